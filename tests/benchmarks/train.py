"""Training against the reference way: everything padded to its maximum, float32, no grouping, a live reference model.

Both sides run in this process in turn on the same weights and data, lengths as in MS MARCO: documents of 128 tokens,
pseudo queries of 5 to 12 words, queries of 3 to 10 words; docids have 24 tokens. Rates are medians of the repeats; ours
are those of the Trainer's whole steps. `counted` is the ratio that the multiplications allow. Each part prints a line,
one JSON object, as soon as it is done; the last line has the rates of all. On a GPU ours trains in bfloat16 and the
default model is T5-base; else in float32, and T5-small. There a line also has the kernels of a step, and the shares of
the time and of the card's peak that they take.

    python tests/benchmarks/train.py
    python tests/benchmarks/train.py --quick
    python tests/benchmarks/train.py --compile --parts finetune ddro --no-reference
    python tests/benchmarks/train.py --count          # what a step asks of a GPU, on any machine
"""

import argparse
import copy
import json
import math
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

import datasets
import torch
from operations import counted, device_profile, device_work
from torch.nn.functional import logsigmoid
from transformers import T5Config, T5ForConditionalGeneration, TrainerCallback, TrainingArguments
from trl import DPOConfig

from ddro.core.tables import PRECISIONS
from ddro.models.t5 import be_quiet
from ddro.models.tokenizer import train_tokenizer
from ddro.training.batches import LABEL_PAD, InstanceCollator, instance_dataset
from ddro.training.callbacks import add_callbacks
from ddro.training.compiled import MULTIPLE, compile_for_gpu
from ddro.training.ddro import DdroTrainer, GroupCollator, score_docids
from ddro.training.throughput import peak_of, training_operations
from ddro.training.trainer import SftTrainer, trainer_arguments

WORDS, DOCID, BETA = 32128, 24, 0.4
SIZES = {
    "narrow": {"d_model": 8, "d_kv": 4, "d_ff": 8, "num_layers": 12, "num_heads": 2},  # operations don't see the width
    "tiny": {"d_model": 128, "d_kv": 32, "d_ff": 512, "num_layers": 2, "num_heads": 4},
    "small": {"d_model": 512, "d_kv": 64, "d_ff": 2048, "num_layers": 6, "num_heads": 8},
    "base": {"d_model": 768, "d_kv": 64, "d_ff": 3072, "num_layers": 12, "num_heads": 12},
}
STAGES = {"pretrain": (128, None), "search_pretrain": (64, (5, 12)), "finetune": (64, (3, 10))}
PARTS = (*STAGES, "ddro", "ddro_one_negative")
PROFILED = 3  # steps
TOKENS_A_WORD = 1.4
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true", help="a tiny model and few steps: within 45 s")
    on_gpu = DEVICE == "cuda"
    options.add_argument("--model", choices=SIZES, default="base" if on_gpu else "small", help="T5 of this size")
    options.add_argument("--batch", type=int, default=128 if on_gpu else 16, help="instances a step")
    options.add_argument("--pairs", type=int, default=64 if on_gpu else 16, help="pairs a step")
    options.add_argument("--steps", type=int, default=20 if on_gpu else 3, help="timed steps of a repeat")
    options.add_argument("--repeats", type=int, default=3, help="of which the median is taken (3)")
    fastest = "bfloat16" if on_gpu else "float32"
    options.add_argument("--precision", nargs="+", choices=PRECISIONS, default=[fastest], help="of our side")
    options.add_argument("--compile", action="store_true", help="our side's steps on a GPU, as the recipe's compile")
    options.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="what is timed (all)")
    options.add_argument("--no-reference", action="store_true", help="ours alone")
    options.add_argument("--count", action="store_true", help="count a step's operations and waits, not its time")
    return options


def device_name() -> str:
    """The card, or cpu."""
    return torch.cuda.get_device_name() if DEVICE == "cuda" else "cpu"


def new_model(size: str) -> T5ForConditionalGeneration:
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=WORDS + DOCID * 256, **SIZES[size], decoder_start_token_id=0, pad_token_id=0, eos_token_id=1,
        tie_word_embeddings=False,
    )  # fmt: skip
    with torch.device(DEVICE):  # a processor takes seconds to draw T5-base's weights
        model = T5ForConditionalGeneration(config)
    # Logits such as an untrained model has: larger ones make gradients so small that processors multiply them slowly.
    model.lm_head.weight.data.mul_(SIZES[size]["d_model"] ** -0.5)
    return model


def texts(count: int, longest: int, words: tuple[int, int] | None, generator: torch.Generator) -> list[list[int]]:
    """Token ids with an end token; without ``words`` all are as long as can be."""
    found = []
    for _ in range(count):
        length = longest - 1
        if words:
            length = round(TOKENS_A_WORD * int(torch.randint(words[0], words[1] + 1, (), generator=generator)))
        found.append([*torch.randint(2, WORDS, (length,), generator=generator).tolist(), 1])
    return found


def docids(count: int, generator: torch.Generator) -> list[list[int]]:
    codes = torch.randint(0, 256, (count, DOCID), generator=generator)
    return (WORDS + codes + 256 * torch.arange(DOCID)).tolist()


def to_maximum(sequences: list[list[int]], longest: int) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.tensor([sequence + [0] * (longest - len(sequence)) for sequence in sequences])
    return ids.to(DEVICE), (ids != 0).long().to(DEVICE)


def settings(options: argparse.Namespace, precision: str, folder: str, batch: int, unit: int = 1) -> dict:
    one = argparse.Namespace(
        epochs=1, learning_rate=1e-4, batch_size=batch, schedule="constant", weight_decay=0.0, max_grad_norm=1.0,
        epsilon=1e-8, precision=precision, evaluations=1, seed=0, device_batch_size=0,
    )  # fmt: skip
    arguments = trainer_arguments(one, Path(folder), warmup=0.0, best=None, unit=unit)
    return arguments | {"eval_strategy": "no", "logging_strategy": "no", "disable_tqdm": True}


def steps_before(options: argparse.Namespace) -> int:
    """Steps that aren't timed: the first, or those in which graphs are compiled, recorded and first replayed."""
    return 4 if options.compile else 1


def steps_in_all(options: argparse.Namespace) -> int:
    """Those before, those that are timed, and on a GPU those of which the kernels are counted."""
    return steps_before(options) + options.steps + (PROFILED if DEVICE == "cuda" else 0)


class Clock(TrainerCallback):
    """Times some steps, whole, then looks at the kernels of a few more; waits for the device only in between."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.first, self.last = steps_before(options), steps_before(options) + options.steps
        self.seconds, self.work = 0.0, {}

    def on_train_begin(self, args, state, control, **_):
        self.begin = synchronised()

    def on_step_end(self, args, state, control, **_):
        if state.global_step <= self.first:
            self.start = synchronised()
            print(f"step {state.global_step} ends at {self.start - self.begin:.0f} s", file=sys.stderr)
        elif state.global_step == self.last:
            self.seconds = synchronised() - self.start
            print(f"{1000 * self.seconds / (self.last - self.first):.1f} ms a step", file=sys.stderr)
            if DEVICE == "cuda":
                self.profile = device_profile()
                self.profile.start()
        elif state.global_step == self.last + PROFILED:
            torch.cuda.synchronize()
            self.profile.stop()
            kernels, busy = device_work(self.profile)
            step = self.seconds / (self.last - self.first)
            self.work = {"kernels": round(kernels / PROFILED), "step_ms": 1000 * step, "busy": busy / PROFILED / step}


def synchronised() -> float:
    """The time at which the device has done what it was asked for."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def time_trainer(trainer: SftTrainer | DdroTrainer, options: argparse.Namespace, work: dict) -> float:
    """Seconds of the timed steps; ``work`` is told what they asked of a GPU."""
    clock = Clock(options)
    add_callbacks(trainer, "ours")
    trainer.add_callback(clock)
    trainer.train()
    work.update(clock.work)
    return clock.seconds


def time_loop(model: T5ForConditionalGeneration, losses) -> float:
    """The reference way's steps: ``losses`` gives one loss a step."""
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4, foreach=False, fused=False)
    start = 0.0
    for step, loss in enumerate(losses):
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if DEVICE == "cuda":
            torch.cuda.synchronize()
        if step == 0:
            start = time.perf_counter()
    return time.perf_counter() - start


def in_turn(options: argparse.Namespace, examples: int, ours, reference) -> list[float]:
    """Median examples a second of both sides, run in turn, or of ours alone."""
    sides = (ours,) if options.no_reference else (ours, reference)
    rates = [[options.steps * examples / side() for side in sides] for _ in range(options.repeats)]
    return [statistics.median(side) for side in zip(*rates, strict=True)]


def peak_mib(reset: bool = False) -> float:
    if DEVICE == "cpu":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    peak = torch.cuda.max_memory_allocated() / 2**20
    if reset:
        torch.cuda.reset_peak_memory_stats()
    return peak


def sft(options: argparse.Namespace, precision: str, stage: str) -> dict[str, float]:
    longest, words = STAGES[stage]
    generator = torch.Generator().manual_seed(1)
    count = options.batch * steps_in_all(options)
    inputs, targets = texts(count, longest, words, generator), docids(count, generator)
    model, dataset = new_model(options.model), instance_dataset(inputs, list(range(count)))
    work: dict[str, float] = {}

    def ours() -> float:
        with tempfile.TemporaryDirectory() as folder:
            trained = copy.deepcopy(model)
            multiple = compile_for_gpu(trained) if options.compile else 1
            trainer = SftTrainer(
                trained,
                TrainingArguments(**settings(options, precision, folder, options.batch)),
                data_collator=InstanceCollator(targets, multiple),
                train_dataset=dataset,
            )
            return time_trainer(trainer, options, work)

    def padded(first: int) -> dict[str, torch.Tensor]:
        rows = slice(first, first + options.batch)
        ids, mask = to_maximum(inputs[rows], longest)
        return {"input_ids": ids, "attention_mask": mask, "labels": torch.tensor(targets[rows]).to(DEVICE)}

    def reference() -> float:
        trained = copy.deepcopy(model).train()
        firsts = range(0, options.batch * (options.steps + 1), options.batch)
        return time_loop(trained, (trained(**padded(first)).loss for first in firsts))

    batch = InstanceCollator(targets)([dataset[row] for row in range(options.batch)])
    with torch.inference_mode():
        ours_loss = model.eval()(**{name: tensor.to(DEVICE) for name, tensor in batch.items()}).loss
        difference = abs(ours_loss - model(**padded(0)).loss).item()
    model.train()
    rates = in_turn(options, options.batch, ours, reference)
    encoder, decoder = training_operations(model)
    mean = sum(map(len, inputs)) / count
    return work | {
        "rates": rates,
        "counted": (longest * encoder + DOCID * decoder) / (mean * encoder + DOCID * decoder),
        "operations": mean * encoder + DOCID * decoder,
        "difference": difference,
    }


def log_probability(model: T5ForConditionalGeneration, ids: torch.Tensor, mask: torch.Tensor, docid: torch.Tensor):
    logits = model(input_ids=ids, attention_mask=mask, labels=docid).logits
    return logits.log_softmax(-1).gather(-1, docid[..., None])[..., 0].sum(-1)


def ddro(options: argparse.Namespace, precision: str, negatives: int) -> dict[str, float]:
    longest, words = STAGES["finetune"]
    generator = torch.Generator().manual_seed(1)
    queries = options.pairs // negatives * steps_in_all(options)
    prompts, chosen = texts(queries, longest, words, generator), docids(queries, generator)
    rejected = [docids(negatives, generator) for _ in range(queries)]
    all_docids = [*chosen, *(docid for several in rejected for docid in several)]
    rows = [[queries + query * negatives + place for place in range(negatives)] for query in range(queries)]
    columns = {"prompt_ids": prompts, "chosen": list(range(queries)), "rejected": rows}
    columns["length"] = list(map(len, prompts))
    dataset, tokenizer = datasets.Dataset.from_dict(columns), train_tokenizer(["some words"], 20)
    model = new_model(options.model).eval()
    unit = math.gcd(options.pairs, negatives)
    for module in model.modules():
        if isinstance(getattr(module, "dropout", None), float):
            module.dropout = 0.0
    seconds_of_reference, work = [], {}

    def trainer(folder: str, *, compiled: bool = False) -> DdroTrainer:
        start = time.perf_counter()
        trained = copy.deepcopy(model)
        multiple = compile_for_gpu(trained) if compiled else 1
        made = DdroTrainer(
            trained,
            args=DPOConfig(
                **settings(options, precision, folder, options.pairs, unit), beta=BETA, loss_type=["sigmoid"],
                precompute_ref_log_probs=True, max_length=None, gradient_checkpointing=False,
            ),
            data_collator=GroupCollator(0, all_docids, multiple),
            train_dataset=dataset,
            eval_dataset=datasets.Dataset.from_dict({name: column[:1] for name, column in columns.items()}),
            processing_class=tokenizer,
            cache=Path(folder),
        )  # fmt: skip
        seconds_of_reference.append(time.perf_counter() - start)
        return made

    def ours() -> float:
        with tempfile.TemporaryDirectory() as folder:
            return time_trainer(trainer(folder, compiled=options.compile), options, work)

    def loss_of(policy: T5ForConditionalGeneration, frozen: T5ForConditionalGeneration, first: int) -> torch.Tensor:
        rows = [
            (query, other) for query in range(first, first + options.pairs // negatives) for other in range(negatives)
        ]
        ids, mask = to_maximum([prompts[query] for query, _ in rows], longest)
        sides = (
            torch.tensor([chosen[query] for query, _ in rows]).to(DEVICE),
            torch.tensor([rejected[query][other] for query, other in rows]).to(DEVICE),
        )
        wanted, unwanted = (log_probability(policy, ids, mask, docid) for docid in sides)
        with torch.no_grad():
            wanted_before, unwanted_before = (log_probability(frozen, ids, mask, docid) for docid in sides)
        return -logsigmoid(BETA * ((wanted - wanted_before) - (unwanted - unwanted_before))).mean()

    def reference() -> float:
        policy = copy.deepcopy(model)
        firsts = range(0, options.pairs // negatives * (options.steps + 1), options.pairs // negatives)
        return time_loop(policy, (loss_of(policy, model, first) for first in firsts))

    moved = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in moved.parameters():
            parameter += 0.01 * torch.randn(parameter.shape, generator=generator).to(DEVICE) * parameter.std()
    with tempfile.TemporaryDirectory() as folder:
        made = trainer(folder)
        made.model.load_state_dict(moved.state_dict())
        features = [made.train_dataset[row] for row in range(options.pairs // negatives)]
        batch = {name: tensor.to(DEVICE) for name, tensor in made.data_collator(features).items()}
        with torch.no_grad():
            difference = abs(made.compute_loss(made.model.eval(), batch) - loss_of(moved, model, 0)).item()
    del made, moved
    rates = in_turn(options, options.pairs, ours, reference)
    encoder, decoder = training_operations(model)
    mean = sum(columns["length"]) / queries
    live = 8 / 6 * 2 * negatives * (longest * encoder + DOCID * decoder)  # and a forward pass of the reference
    shared = mean * encoder + (1 + negatives) * DOCID * decoder
    return work | {
        "rates": rates,
        "counted": live / shared,
        "operations": shared / negatives,
        "difference": difference,
        "cache": statistics.median(seconds_of_reference) / (queries * negatives),
    }


def count_operations(batch_size: int) -> dict[str, int]:
    """What SFT's and DDRO's step but for the optimizer ask of a GPU, with 12 layers: operations, waits, graphs.

    Operations and waits are those of a plain step, and of its forward pass. The graphs are those that a compiled one
    needs for batches of several lengths together: 1 if nothing breaks a step or ties it to one.
    """
    generator = torch.Generator().manual_seed(1)
    targets = docids(batch_size, generator)

    def sft_batch(longest: int, multiple: int = 1) -> dict[str, torch.Tensor]:
        inputs = texts(batch_size, longest, None, generator)
        features = [{"input_ids": ids, "document": row} for row, ids in enumerate(inputs)]
        return InstanceCollator(targets, multiple)(features)

    def ddro_batch(longest: int, multiple: int = 1) -> dict[str, torch.Tensor]:
        rows = list(range(1, batch_size))
        prompts = texts(3, longest, None, generator)
        found = GroupCollator(0, targets, multiple)(
            [{"prompt_ids": ids, "chosen": 0, "rejected": rows} for ids in prompts]
        )
        return found | {"labels": found["input_ids"].masked_fill(found["completion_mask"] == 0, LABEL_PAD)}

    model, counts, graphs = new_model("narrow").cpu().train(), {}, []
    steps = {
        "sft": (sft_batch, lambda batch: model(**batch).loss),
        "ddro": (ddro_batch, lambda batch: score_docids(model, **batch).log_probs.sum()),
    }
    for name, (make, loss) in steps.items():
        batch = make(64)
        with counted() as forward:
            loss(batch)
        with counted() as step:
            loss(batch).backward()
        graphs.clear()
        compiled = torch.compile(loss, dynamic=True, backend=lambda graph, _: graphs.append(graph) or graph.forward)
        for longest in (40, 16, 56):  # equal lengths at first would be taken for one
            compiled(make(longest, MULTIPLE)).backward()
        found = {"forward": forward.operations, "step": step.operations, "waits": step.waits, "graphs": len(graphs)}
        counts |= {f"{name}_{what}": number for what, number in found.items()}
    return counts


def measure(options: argparse.Namespace, precision: str, part: str) -> dict[str, object]:
    """The line of one part."""
    parts = {stage: lambda: sft(options, precision, part) for stage in STAGES}
    parts |= {"ddro": lambda: ddro(options, precision, 16), "ddro_one_negative": lambda: ddro(options, precision, 1)}
    start, device = time.perf_counter(), device_name()
    values = parts[part]()
    ours, *reference = values["rates"]
    line = {"part": part, "device": device, "model": options.model, "precision": precision, "compile": options.compile}
    line["examples_per_second"] = [round(rate, 1) for rate in values["rates"]]
    if reference:
        line["ratio"] = round(ours / reference[0], 2)
    line["counted"] = round(values["counted"], 2)
    if "cache" in values:
        line["cached_per_second"] = round(1 / values["cache"], 1)
    if "kernels" in values:
        line |= {name: round(values[name], 3) for name in ("kernels", "step_ms", "busy")}
    if peak := peak_of(device):
        line["mfu"] = round(ours * values["operations"] / peak, 3)
    return line | {
        "loss_difference": values["difference"],
        "peak_mib": round(peak_mib(reset=True)),
        "seconds": round(time.perf_counter() - start),
    }


def main(options: argparse.Namespace) -> None:
    if options.quick:
        options.model, options.batch, options.pairs, options.steps, options.repeats = "tiny", 4, 16, 1, 1
    if options.compile:
        options.repeats = 1  # each repeat would compile anew
    be_quiet()
    if options.count:
        print(json.dumps(count_operations(options.batch)))
        return
    lines = []
    for precision in options.precision:
        for part in options.parts:
            lines.append(measure(options, precision, part))
            print(json.dumps(lines[-1]), flush=True)
    print(json.dumps({f"{line['part']}, {line['precision']}": line["examples_per_second"] for line in lines}))


if __name__ == "__main__":
    main(parser().parse_args())
