"""Train DDRO: prefer each query's relevant docid to docids that BM25 ranks for it."""

import argparse
from itertools import chain
from pathlib import Path

import pyarrow as pa

from ddro.core import tables
from ddro.core.command import UserError, call_main, log
from ddro.core.files import check_foreign_key, read_table
from ddro.training.arguments import (
    TrainingSettings,
    add_optimizer_options,
    add_training_options,
    add_validation_options,
)
from ddro.training.start import run_training

BEST = {"mrr@10": "eval_mrr@10", "loss": "eval_loss", "reward_accuracy": "eval_rewards/accuracies"}


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--initial", type=Path, required=True, help="the SFT model: start and frozen reference")
    options.add_argument("--negatives", type=Path, nargs="+", required=True, help="pairs to learn from (Parquet)")
    options.add_argument("--validation-negatives", type=Path, required=True, help="pairs of the validation queries")
    options.add_argument("--beta", type=float, required=True, help="strength of the reference")
    options.add_argument("--loss-type", required=True, help="TRL's name of the loss; sigmoid is the paper's")
    options.add_argument("--warmup-steps", type=int, required=True, help="steps of linear warm-up")
    options.add_argument("--evaluation-steps", type=int, help="validate every so many steps, not --evaluations times")
    options.add_argument(
        "--prompt-tokens", type=int, help="most tokens of a pair's query; as --max-query-tokens without"
    )
    options.add_argument("--keep", choices=sorted(BEST), required=True, help="keep the checkpoint that is best in this")
    options.add_argument(
        "--patience", type=int, required=True, help="stop after so many validations without a better one"
    )
    add_training_options(options, "pairs")
    add_optimizer_options(options)
    add_validation_options(options)
    return options


def main(arguments: argparse.Namespace) -> dict[str, float]:
    return run_training(train, arguments)


def train(arguments: argparse.Namespace, most: int) -> dict[str, float]:
    """Train with at most so many examples on a device at a time."""
    import pyarrow.compute as pc
    from trl import DPOConfig

    from ddro.models.t5 import be_quiet, load
    from ddro.models.tokenizer import TokenLists
    from ddro.training.callbacks import add_callbacks
    from ddro.training.checkpoints import Checkpoints, identity
    from ddro.training.compiled import compile_for_gpu
    from ddro.training.ddro import DdroTrainer, GroupCollator
    from ddro.training.pairs import group_pairs, group_size
    from ddro.training.states import keep_states
    from ddro.training.trainer import finish, train_with_checkpoints, trainer_arguments
    from ddro.training.validation import validation_retrieval

    be_quiet()
    checkpoints = Checkpoints(arguments.output, identity(__file__, vars(arguments)))
    docids = read_table(arguments.docids, tables.DOCIDS, ["docno"])
    model, tokenizer = load(arguments.initial, dropout_rate=0.0)
    largest = pc.max(pc.list_flatten(docids["tokens"])).as_py()
    if largest >= model.config.vocab_size:
        raise UserError(
            f"{arguments.docids}: docid token {largest} is beyond the vocabulary of {arguments.initial} "
            f"({model.config.vocab_size} tokens): the model was trained on other docids. Train it anew."
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
    queries = read_table(arguments.queries, tables.QUERIES, ["qid"])
    train = pa.concat_tables([read_pairs(path, arguments, docids, queries) for path in arguments.negatives])
    validation = read_pairs(arguments.validation_negatives, arguments, docids, queries)
    size = group_size(arguments.batch_size, train)
    settings = trainer_arguments(
        TrainingSettings.of(vars(arguments) | {"device_batch_size": most}),
        checkpoints.folder,
        warmup=arguments.warmup_steps,
        best=BEST[arguments.keep],
        unit=size,
        evaluation_steps=arguments.evaluation_steps,
    )
    prompt_tokens = arguments.prompt_tokens or arguments.max_query_tokens
    train_groups = group_pairs(train, queries, docids, tokenizer, prompt_tokens, size)
    validation_groups = group_pairs(validation, queries, docids, tokenizer, prompt_tokens, size, only=retrieval.qids)
    prompts = (group["prompt_ids"] for groups in (train_groups, validation_groups) for group in groups)
    texts = chain(prompts, retrieval.input_ids)  # lists are made if need be
    keep_states(model, texts, checkpoints.folder / "states.npy", arguments.precision)
    multiple = compile_for_gpu(model) if arguments.compile else 1
    trainer = DdroTrainer(
        model,
        args=DPOConfig(
            **settings,
            beta=arguments.beta,
            loss_type=[arguments.loss_type],
            precompute_ref_log_probs=True,
            max_length=None,
            gradient_checkpointing=False,
        ),
        data_collator=GroupCollator(model.config.decoder_start_token_id, TokenLists(docids["tokens"]), multiple),
        train_dataset=train_groups,
        eval_dataset=validation_groups,
        processing_class=tokenizer,
        retrieval=retrieval,
        cache=checkpoints.folder,
    )
    add_callbacks(trainer, "ddro", checkpoint_minutes=arguments.checkpoint_minutes, patience=arguments.patience)
    train_with_checkpoints(trainer, checkpoints)
    return finish(trainer, tokenizer, "ddro", arguments.output, checkpoints)


def read_pairs(path: Path, arguments: argparse.Namespace, docids: pa.Table, queries: pa.Table) -> pa.Table:
    """The pairs of one file, checked."""
    negatives = read_table(path, tables.NEGATIVES)
    check_foreign_key(negatives, path, "qid", queries["qid"], str(arguments.queries))
    for name in ("positive", "negative"):
        check_foreign_key(negatives, path, name, docids["docno"], str(arguments.docids))
    if not negatives.num_rows:
        raise UserError(f"{path}: no query has a negative. Raise bm25.depth or widen negatives.strata.")
    log.info("%s: %d pairs", path, negatives.num_rows)
    return negatives


if __name__ == "__main__":
    call_main(parser(), main)
