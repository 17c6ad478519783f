"""Train DDRO: prefer each query's relevant docid to docids that BM25 ranks for it."""

import argparse
import shutil
from pathlib import Path

from ddro import tables
from ddro.command import UserError, log, run
from ddro.files import check_foreign_key, read_table, whole

BEST = {"mrr@10": "eval_mrr@10", "reward_accuracy": "eval_rewards/accuracies"}


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--initial", type=Path, required=True, help="the SFT model: start and frozen reference")
    options.add_argument("--negatives", type=Path, required=True, help="pairs of the training queries (Parquet)")
    options.add_argument("--validation-negatives", type=Path, required=True, help="pairs of the validation queries")
    options.add_argument("--docids", type=Path, required=True, help="the docid of each document (Parquet)")
    options.add_argument("--queries", type=Path, required=True, help="queries with their split (Parquet)")
    options.add_argument("--qrels", type=Path, required=True, help="relevance judgements (Parquet)")
    options.add_argument("--beta", type=float, required=True, help="strength of the reference")
    options.add_argument("--loss-type", required=True, help="TRL's name of the loss; sigmoid is the paper's")
    options.add_argument("--epochs", type=float, required=True, help="passes over the pairs")
    options.add_argument("--learning-rate", type=float, required=True, help="highest learning rate")
    options.add_argument("--batch-size", type=int, required=True, help="pairs a step")
    options.add_argument("--schedule", required=True, help="learning-rate schedule, as transformers calls it")
    options.add_argument("--warmup-steps", type=int, required=True, help="steps of linear warm-up")
    options.add_argument("--weight-decay", type=float, required=True, help="AdamW's weight decay")
    options.add_argument("--max-grad-norm", type=float, required=True, help="gradient clipping")
    options.add_argument("--evaluations", type=int, required=True, help="validations, besides the one before training")
    options.add_argument("--keep", choices=sorted(BEST), required=True, help="keep the checkpoint that is best in this")
    options.add_argument(
        "--patience", type=int, required=True, help="stop after so many validations without a better one"
    )
    options.add_argument("--validation-beams", type=int, required=True, help="beams of the validation's retrieval")
    options.add_argument("--max-query-tokens", type=int, required=True, help="most tokens of a query")
    options.add_argument("--seed", type=int, required=True, help="seed of the order")
    options.add_argument("--output", type=Path, required=True, help="folder of the trained model and its log")
    return options


def main(arguments: argparse.Namespace) -> None:
    from trl import DPOConfig

    from ddro import training
    from ddro.preference import DdroTrainer, PairCollator
    from ddro.seq2seq import be_quiet, load, save
    from ddro.validation import validation_retrieval

    be_quiet()
    model, tokenizer = load(arguments.initial, dropout_rate=0.0)
    docids = read_table(arguments.docids, tables.DOCIDS, ["docno"])
    retrieval = validation_retrieval(
        arguments.queries,
        arguments.qrels,
        docids,
        tokenizer,
        num_beams=arguments.validation_beams,
        max_query_tokens=arguments.max_query_tokens,
    )
    checkpoints = arguments.output.with_name(f".{arguments.output.name}.checkpoints")
    shutil.rmtree(checkpoints, ignore_errors=True)
    settings = training.trainer_arguments(
        checkpoints,
        epochs=arguments.epochs,
        learning_rate=arguments.learning_rate,
        batch_size=arguments.batch_size,
        schedule=arguments.schedule,
        warmup=arguments.warmup_steps,
        weight_decay=arguments.weight_decay,
        max_grad_norm=arguments.max_grad_norm,
        evaluations=arguments.evaluations,
        seed=arguments.seed,
        best=BEST[arguments.keep],
    )
    trainer = DdroTrainer(
        model,
        args=DPOConfig(
            **settings,
            beta=arguments.beta,
            loss_type=[arguments.loss_type],
            precompute_ref_log_probs=True,
            max_length=None,
            gradient_checkpointing=False,
            eval_on_start=True,
        ),
        data_collator=PairCollator(model.config.decoder_start_token_id),
        train_dataset=pairs(arguments.negatives, "train", arguments, docids, tokenizer),
        eval_dataset=pairs(arguments.validation_negatives, "validation", arguments, docids, tokenizer),
        processing_class=tokenizer,
        retrieval=retrieval,
    )
    training.add_callbacks(trainer, "ddro", arguments.patience)
    trainer.train()
    with whole(arguments.output) as folder:
        save(trainer.plain_model(), tokenizer, folder)
        training.write_training_log(trainer, "ddro", folder)
    shutil.rmtree(checkpoints, ignore_errors=True)
    log.info("ddro: kept the checkpoint with the best %s", arguments.keep)


def pairs(path: Path, split: str, arguments: argparse.Namespace, docids, tokenizer):  # noqa: ANN001, ANN201
    """The preference pairs of one split as a `datasets.Dataset` of token ids."""
    import datasets

    from ddro.seq2seq import encode

    negatives = read_table(path, tables.NEGATIVES)
    queries = read_table(arguments.queries, tables.QUERIES, ["qid"])
    check_foreign_key(negatives, path, "qid", queries["qid"], str(arguments.queries))
    for name in ("positive", "negative"):
        check_foreign_key(negatives, path, name, docids["docno"], str(arguments.docids))
    if not negatives.num_rows:
        raise UserError(f"{path}: no {split} query has a negative. Raise bm25.depth or widen negatives.strata.")
    wanted = set(negatives["qid"].to_pylist())
    texts = {row["qid"]: row["text"] for row in queries.to_pylist() if row["qid"] in wanted}
    prompts = dict(zip(texts, encode(tokenizer, list(texts.values()), arguments.max_query_tokens), strict=True))
    docid = dict(zip(docids["docno"].to_pylist(), docids["tokens"].to_pylist(), strict=True))
    log.info("%s: %d pairs of %d queries", split, negatives.num_rows, len(wanted))
    return datasets.Dataset.from_dict(
        {
            "prompt_ids": [prompts[qid] for qid in negatives["qid"].to_pylist()],
            "chosen_ids": [docid[docno] for docno in negatives["positive"].to_pylist()],
            "rejected_ids": [docid[docno] for docno in negatives["negative"].to_pylist()],
        }
    )


if __name__ == "__main__":
    run(parser(), main)
