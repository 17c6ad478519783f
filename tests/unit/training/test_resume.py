"""Training that is killed, or shared by two processes, gives the weights of a run that wasn't."""

import importlib
import json
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file

import train_ddro
from ddro.core import tables
from ddro.core.command import UserError
from ddro.core.files import write_table
from ddro.training.checkpoints import Checkpoints, content_hash, identity
from ddro.training.log import read_training_log

WORDS = ["stack", "queue", "alarm", "bucket", "table", "image", "stream", "group"]
DOCUMENTS = [f"d{number}" for number in range(len(WORDS))]
SFT = [
    "--no-tied-head",
    "--head=copied",
    "--no-lower-case",
    "--keep=best",
    "--dropout=0.1",
    "--label-smoothing=0.1",
    "--warmup-share=0.1",
    "--learning-rate=0.001",
    "--epochs=9",
]
DDRO = [
    "--beta=0.4", "--loss-type=sigmoid", "--warmup-steps=5", "--keep=reward_accuracy", "--patience=9",
    "--learning-rate=0.001", "--epochs=3",
]  # fmt: skip
BOTH = [
    "--batch-size=4", "--weight-decay=0.01", "--epsilon=1e-8",
    "--precision=bfloat16", "--no-compile", "--max-grad-norm=1", "--schedule=linear", "--evaluations=3",
    "--validation-beams=3", "--length-penalty=0", "--max-query-tokens=8", "--seed=1", "--checkpoint-minutes=0.005",
]  # fmt: skip


@pytest.fixture(scope="module")
def processes():
    """Starts processes that have the libraries loaded already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["trl", "transformers.trainer", "train_sft", "train_ddro", "ddro.training.ddro"])
    return context


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A base model and all tables, of 8 documents with 6 queries each."""
    import pyarrow as pa

    from ddro.models.t5 import initialise_t5, save_whole
    from ddro.models.tokenizer import encode, train_tokenizer

    folder = tmp_path_factory.mktemp("data")
    texts = {
        f"{doc}q{number}": f"{word} {number} how"
        for doc, word in zip(DOCUMENTS, WORDS, strict=True)
        for number in range(6)
    }
    tokenizer = train_tokenizer(texts.values(), 60)
    model = initialise_t5(len(tokenizer), d_model=16, d_kv=8, d_ff=32, layers=1, decoder_layers=1, heads=2, seed=0)
    save_whole(model, tokenizer, folder / "model")
    base = model.config.vocab_size
    docids = {"docno": DOCUMENTS, "tokens": [[base + row // 4, base + 2 + row % 4] for row in range(len(DOCUMENTS))]}
    write_table(pa.table(docids), folder / "docids.parquet", tables.DOCIDS)
    split = ["validation" if qid.endswith("q5") else "train" for qid in texts]
    queries = {"qid": list(texts), "text": list(texts.values()), "split": split}
    write_table(pa.table(queries), folder / "queries.parquet", tables.QUERIES)
    documents = [qid.split("q")[0] for qid in texts]
    qrels = {"qid": list(texts), "docno": documents, "relevance": [1] * len(texts)}
    write_table(pa.table(qrels), folder / "qrels.parquet", tables.QRELS)
    instances = {"docno": documents, "text": list(texts.values()), "input_ids": encode(tokenizer, texts.values(), 8)}
    write_table(pa.table(instances), folder / "instances.parquet", tables.INSTANCES)
    for name in ("train", "validation"):
        pairs = [
            {"qid": qid, "positive": document, "negative": other, "rank": 1}
            for qid, document, of_split in zip(texts, documents, split, strict=True)
            for other in DOCUMENTS[:2]
            if of_split == name and other != document
        ]
        pairs = pairs[: len(pairs) // 4 * 4]  # whole batches: accelerate fills up the last one of several processes
        write_table(pa.Table.from_pylist(pairs), folder / f"negatives_{name}.parquet", tables.NEGATIVES)
    return folder


def command(data, step, initial, output):
    """Name and arguments of the script of a step."""
    inputs = [f"--{name}={data / f'{name}.parquet'}" for name in ("docids", "queries", "qrels")]
    common = [*inputs, *BOTH, f"--initial={initial}", f"--output={output}"]
    if step == "ddro":
        pairs = [
            f"--negatives={data}/negatives_train.parquet",
            f"--validation-negatives={data}/negatives_validation.parquet",
        ]
        return "train_ddro", [*common, *DDRO, *pairs]
    return "train_sft", [*common, *SFT, f"--stage={step}", f"--instances={data}/instances.parquet"]


def run(name, arguments, kill_at_step=None, kill_at_save=None, fits=None):
    """What a process does: the script, with one thread.

    It may kill itself at a step, or in the middle of a save, or run out of memory where more instances than ``fits``
    are trained on at a time.
    """
    import torch
    from transformers import TrainerCallback

    from ddro.training import callbacks, checkpoints, trainer

    torch.set_num_threads(1)
    saves = []

    class Kill(TrainerCallback):
        def on_step_end(self, args, state, control, **_):
            if state.global_step == kill_at_step:
                os.kill(os.getpid(), signal.SIGKILL)

    def add_callbacks(trainer, *args, **kwargs):
        original(trainer, *args, **kwargs)
        trainer.add_callback(Kill())

    def flush(path):
        saves.append(path)
        if len(saves) == kill_at_save:
            os.kill(os.getpid(), signal.SIGKILL)

    class Small(trainer.SftTrainer):
        def training_step(self, model, inputs, *args, **kwargs):
            if fits and len(inputs["input_ids"]) > fits:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
            return super().training_step(model, inputs, *args, **kwargs)

    trainer.SftTrainer = Small
    original, callbacks.add_callbacks, checkpoints.flush_to_disk = callbacks.add_callbacks, add_callbacks, flush
    script = importlib.import_module(name)
    script.main(script.parser().parse_args(arguments))


def run_process(processes, step, **kill):
    process = processes.Process(target=run, args=step, kwargs=kill)
    process.start()
    process.join()
    return process.exitcode


@pytest.fixture(scope="module")
def trained(data, processes, tmp_path_factory):
    """A function that gives the folder of a step's model, trained without a break."""
    folder = tmp_path_factory.mktemp("trained")
    before = {"pretrain": None, "search_pretrain": "pretrain", "finetune": "search_pretrain", "ddro": "finetune"}

    def initial_of(step):
        return data / "model" if before[step] is None else of(before[step])

    def of(step):
        if not (folder / step).exists():
            assert run_process(processes, command(data, step, initial_of(step), folder / step)) == 0
        return folder / step

    return of, initial_of


@pytest.mark.parametrize("step", ["pretrain", "search_pretrain", "finetune", "ddro"])
def test_a_killed_training_ends_with_the_same_weights(step, data, processes, trained, tmp_path):
    of, initial_of = trained
    whole = of(step)
    assert not whole.with_name(f".{step}.checkpoints").exists()
    arguments = command(data, step, initial_of(step), tmp_path / "model")
    checkpoints = tmp_path / ".model.checkpoints"
    for kill in ({"kill_at_step": 40}, {"kill_at_save": 2}):
        assert run_process(processes, arguments, **kill) == -signal.SIGKILL
        assert not (tmp_path / "model").exists()
        assert 1 <= len(list(checkpoints.glob("*/whole"))) <= 3  # the newest, the best, and one about to go
    assert run_process(processes, arguments) == 0
    assert not checkpoints.exists()
    expected, found = (load_file(model / "model.safetensors") for model in (whole, tmp_path / "model"))
    assert expected.keys() == found.keys()
    assert all((expected[name] == found[name]).all() for name in expected)
    start_weights = load_file(initial_of(step) / "model.safetensors")
    assert any(name in start_weights and (start_weights[name] != found[name]).any() for name in found)


def test_a_training_that_does_not_fit_goes_on_in_halves(data, processes, trained, tmp_path):
    _, initial_of = trained
    models = []
    for name, more, memory in (("asked", ["--device-batch-size=1"], {}), ("found", [], {"fits": 1})):
        script, arguments = command(data, "finetune", initial_of("finetune"), tmp_path / name)
        assert run_process(processes, (script, [*arguments, "--epochs=1", "--dropout=0", *more]), **memory) == 0
        models.append(load_file(tmp_path / name / "model.safetensors"))
    assert all((models[0][name] == models[1][name]).all() for name in models[0])
    start = load_file(initial_of("finetune") / "model.safetensors")
    assert any((start[name] != models[0][name]).any() for name in models[0])


def run_launched(root, name, arguments, environments):
    """Run the script at once on as many machines as there are environments, each of them this one."""
    script = [sys.executable, str(root / f"scripts/{name}.py"), *arguments]
    started = [
        subprocess.Popen(
            script, env=os.environ | {"OMP_NUM_THREADS": "1"} | environment, stderr=subprocess.PIPE, text=True
        )
        for environment in environments
    ]
    try:
        errors = [process.communicate(timeout=300)[1] for process in started]
    finally:
        for process in started:
            process.kill()
    assert not any(process.returncode for process in started), "\n".join(text[-3000:] for text in errors)


def machines_of_slurm(count):
    """What Slurm tells a script that `srun` starts once on each of so many machines."""
    common = {
        "SLURM_STEP_NUM_NODES": str(count),
        "SLURM_LAUNCH_NODE_IPADDR": "127.0.0.1",
        "SLURM_JOB_ID": next(str(port) for port in range(20000 + os.getpid() % 10000, 40000) if is_free(port)),
    }
    return [common | {"SLURM_NODEID": str(number)} for number in range(count)]


def is_free(port):
    with socket.socket() as candidate:
        return candidate.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.parametrize(("step", "machines"), [("pretrain", 1), ("ddro", 1), ("pretrain", 2), ("ddro", 2)])
def test_two_processes_train_as_one(step, machines, root, data, processes, trained, tmp_path):
    of, initial_of = trained
    models = []
    for count in (1, 2):
        name, arguments = command(data, step, initial_of(step), tmp_path / str(count))
        arguments += ["--epochs=2", f"--processes={count}", "--precision=float32"]
        arguments += (step != "ddro") * ["--keep=last", "--dropout=0"]
        if count == 1:
            assert run_process(processes, (name, arguments)) == 0
        else:
            run_launched(root, name, arguments, [{}] if machines == 1 else machines_of_slurm(machines))
        models.append(load_file(tmp_path / str(count) / "model.safetensors"))
    first = load_file(initial_of(step) / "model.safetensors")
    same = [name for name in first if first[name].shape == models[0][name].shape]
    assert max((models[0][name] - first[name]).abs().max() for name in same) > 5e-3
    # 1e-7 and 2e-4 were measured: Adam enlarges what rounding makes of a gradient that is nearly nothing.
    assert max((models[0][name] - models[1][name]).abs().max() for name in models[0]) < 1e-3
    logs = [read_training_log(tmp_path / str(count) / "training_log.jsonl") for count in (1, 2)]
    losses = [[record["loss"] for record in records if "loss" in record] for records in logs]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_a_stage_learns_from_the_instances_that_it_replays_too(data, tmp_path):
    import train_sft

    _, arguments = command(data, "finetune", data / "model", tmp_path / "finetune")
    half = pq.read_table(data / "instances.parquet").slice(0, 24)
    write_table(half, tmp_path / "pretrain.parquet", tables.INSTANCES)
    both = [f"{data}/instances.parquet", str(tmp_path / "pretrain.parquet")]
    replay = ["--epochs=1", "--evaluations=1", "--replay", "pretrain", "--instances", *both]
    train_sft.main(train_sft.parser().parse_args([*arguments, *replay]))
    assert read_training_log(tmp_path / "finetune/training_log.jsonl")[-1]["step"] == (48 + 24) / 4


def test_a_checkpoint_of_another_configuration_is_refused(tmp_path):
    Checkpoints(tmp_path / "model", {"seed": 1, "learning_rate": 0.1})
    Checkpoints(tmp_path / "model", {"seed": 1, "learning_rate": 0.1})
    with pytest.raises(UserError, match=r"\.model\.checkpoints: .* another learning_rate \(0.1, now 0.2\). Delete"):
        Checkpoints(tmp_path / "model", {"seed": 1, "learning_rate": 0.2})


def test_only_a_whole_checkpoint_counts(tmp_path):
    checkpoints = Checkpoints(tmp_path / "model", {})
    assert checkpoints.latest() is None
    for step in (9, 10, 11):
        (checkpoints.folder / f"checkpoint-{step}").mkdir()
    for step in (9, 10):
        (checkpoints.folder / f"checkpoint-{step}/whole").touch()
    assert checkpoints.latest().name == "checkpoint-10"


def test_the_content_of_a_folder_is_all_but_its_log(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
        (tmp_path / name / "training_log.jsonl").write_text(name)
    assert content_hash(tmp_path / "a") == content_hash(tmp_path / "b")
    shutil.move(tmp_path / "b/config.json", tmp_path / "b/other.json")
    assert content_hash(tmp_path / "a") != content_hash(tmp_path / "b")
    with pytest.raises(UserError, match="no such file"):
        content_hash(Path("nowhere"))


def test_a_run_is_known_by_the_content_of_each_of_several_inputs(tmp_path):
    names = [tmp_path / name for name in ("a", "b")]

    def of_contents(*texts):
        for path, text in zip(names, texts, strict=True):
            path.write_text(text)
        return json.loads(json.dumps(identity(train_ddro.__file__, {"negatives": names, "beta": 2.0})))

    assert of_contents("1", "2") == of_contents("1", "2") != of_contents("1", "3")
