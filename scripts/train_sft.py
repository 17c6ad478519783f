"""Train one stage of supervised fine-tuning: cross-entropy of the docid given a text."""

import argparse
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pyarrow as pa

from ddro.core import tables
from ddro.core.command import UserError, call_main, log
from ddro.core.files import check_foreign_key, read_batches, read_table
from ddro.training.arguments import (
    TrainingSettings,
    add_optimizer_options,
    add_training_options,
    add_validation_options,
)
from ddro.training.start import run_training

ROWS_A_PART = 10_000
"""Instances that are read at a time."""


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--stage", choices=tables.STAGES, required=True, help="name of the stage, for the log")
    options.add_argument(
        "--instances", type=Path, nargs="+", required=True, help="training instances, of one stage a file (Parquet)"
    )
    options.add_argument(
        "--replay",
        nargs="*",
        choices=tables.STAGES,
        default=[],
        help="stages whose instances are there too, for the log",
    )
    options.add_argument("--initial", type=Path, required=True, help="model folder to start from")
    options.add_argument("--tied-head", action=argparse.BooleanOptionalAction, required=True, help="keep the head tied")
    options.add_argument(
        "--head", choices=["copied", "new_scaled"], required=True, help="what an untied head starts as"
    )
    options.add_argument("--lower-case", action=argparse.BooleanOptionalAction, required=True, help="read texts so")
    options.add_argument("--warmup-share", type=float, required=True, help="share of the steps that warm up")
    options.add_argument("--dropout", type=float, required=True, help="dropout rate")
    options.add_argument(
        "--label-smoothing", type=float, required=True, help="share of each label that is spread over all tokens"
    )
    options.add_argument(
        "--keep", choices=["best", "last"], required=True, help="checkpoint to keep: best MRR@10 or last"
    )
    add_training_options(options, "instances")
    add_optimizer_options(options)
    add_validation_options(options)
    return options


def main(arguments: argparse.Namespace) -> dict[str, float]:
    return run_training(train, arguments)


def train(arguments: argparse.Namespace, most: int) -> dict[str, float]:
    """Train with at most so many examples on a device at a time."""
    import pyarrow.compute as pc
    from transformers import TrainingArguments, set_seed

    from ddro.models.t5 import be_quiet, extend_vocabulary, load
    from ddro.models.tokenizer import TokenLists, read_in_lower_case
    from ddro.training.batches import InstanceCollator, mapped_instance_dataset
    from ddro.training.callbacks import add_callbacks
    from ddro.training.checkpoints import Checkpoints, identity
    from ddro.training.compiled import compile_for_gpu
    from ddro.training.states import keep_states
    from ddro.training.trainer import SftTrainer, finish, train_with_checkpoints, trainer_arguments
    from ddro.training.validation import MRR, validation_instances, validation_retrieval

    be_quiet()
    set_seed(arguments.seed)
    checkpoints = Checkpoints(arguments.output, identity(__file__, vars(arguments)))
    docids = read_table(arguments.docids, tables.DOCIDS, ["docno"])
    parts = chain.from_iterable(read_instances(path, arguments, docids) for path in arguments.instances)
    instances = mapped_instance_dataset(parts, checkpoints.folder / "instances.arrow")
    log.info("%d instances, of %s", len(instances), " and ".join([*arguments.replay, arguments.stage]))
    model, tokenizer = load(arguments.initial, dropout_rate=arguments.dropout)
    if arguments.lower_case:
        read_in_lower_case(tokenizer)  # saved with the model, so that whoever loads it reads in the same way
    extend_vocabulary(
        model,
        tokenizer,
        pc.max(pc.list_flatten(docids["tokens"])).as_py() + 1,
        tied_head=arguments.tied_head,
        head=arguments.head,
        seed=arguments.seed,
    )
    retrieval = validation_retrieval(
        arguments.queries,
        arguments.qrels,
        docids,
        tokenizer,
        count=arguments.validation_queries,
        num_beams=arguments.validation_beams,
        length_penalty=arguments.length_penalty,
        max_query_tokens=arguments.max_query_tokens,
    )
    texts = chain(
        (ids.as_py() for ids in instances.data["input_ids"]), retrieval.input_ids
    )  # lists are made if need be
    keep_states(model, texts, checkpoints.folder / "states.npy", arguments.precision)
    multiple = compile_for_gpu(model) if arguments.compile else 1
    best = MRR if arguments.keep == "best" else None
    settings = trainer_arguments(
        TrainingSettings.of(vars(arguments) | {"device_batch_size": most}),
        checkpoints.folder,
        warmup=arguments.warmup_share,
        best=best,
    )
    trainer = SftTrainer(
        model,
        TrainingArguments(**settings, label_smoothing_factor=arguments.label_smoothing),
        data_collator=InstanceCollator(TokenLists(docids["tokens"]), multiple),
        train_dataset=instances,
        eval_dataset=validation_instances(retrieval),
        processing_class=tokenizer,
        retrieval=retrieval,
    )
    add_callbacks(trainer, arguments.stage, checkpoint_minutes=arguments.checkpoint_minutes)
    train_with_checkpoints(trainer, checkpoints)
    return finish(trainer, tokenizer, arguments.stage, arguments.output, checkpoints)


def read_instances(path: Path, arguments: argparse.Namespace, docids: pa.Table) -> Iterator[tuple]:
    """The instances of one file, checked: some at a time, their tokens and the rows of their documents."""
    import pyarrow.compute as pc

    instances = read_table(path, tables.columns(tables.INSTANCES, "docno"))
    if not instances.num_rows:
        raise UserError(
            f"{path}: stage {arguments.stage} has no instances there. Its texts come from the recipe's "
            "section instances, from doc2query.per_document, or from the training queries' judgements."
        )
    check_foreign_key(instances, path, "docno", docids["docno"], str(arguments.docids))
    rows, start = pc.index_in(instances["docno"], docids["docno"].combine_chunks()).to_numpy(), 0
    for part in read_batches(path, tables.columns(tables.INSTANCES, "input_ids"), ROWS_A_PART):
        yield part["input_ids"], rows[start : start + len(part)]
        start += len(part)


if __name__ == "__main__":
    call_main(parser(), main)
