"""Train one stage of supervised fine-tuning: cross-entropy of the docid given a text."""

import argparse
import shutil
from pathlib import Path

from ddro import tables
from ddro.command import log, run
from ddro.files import check_foreign_key, read_table, whole


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--stage", choices=tables.STAGES, required=True, help="name of the stage, for the log")
    options.add_argument("--instances", type=Path, required=True, help="training instances (Parquet)")
    options.add_argument("--initial", type=Path, required=True, help="model folder to start from")
    options.add_argument("--docids", type=Path, required=True, help="the docid of each document (Parquet)")
    options.add_argument("--queries", type=Path, required=True, help="queries with their split (Parquet)")
    options.add_argument("--qrels", type=Path, required=True, help="relevance judgements (Parquet)")
    options.add_argument("--tied-head", action=argparse.BooleanOptionalAction, required=True, help="keep the head tied")
    options.add_argument("--epochs", type=float, required=True, help="passes over the instances")
    options.add_argument("--learning-rate", type=float, required=True, help="highest learning rate")
    options.add_argument("--batch-size", type=int, required=True, help="instances a step")
    options.add_argument("--weight-decay", type=float, required=True, help="AdamW's weight decay")
    options.add_argument("--max-grad-norm", type=float, required=True, help="gradient clipping")
    options.add_argument("--warmup-share", type=float, required=True, help="share of the steps that warm up")
    options.add_argument("--schedule", required=True, help="learning-rate schedule, as transformers calls it")
    options.add_argument("--dropout", type=float, required=True, help="dropout rate")
    options.add_argument("--evaluations", type=int, required=True, help="validations, the last at the end")
    options.add_argument(
        "--keep", choices=["best", "last"], required=True, help="checkpoint to keep: best MRR@10 or last"
    )
    options.add_argument("--validation-beams", type=int, required=True, help="beams of the validation's retrieval")
    options.add_argument("--max-query-tokens", type=int, required=True, help="most tokens of a validation query")
    options.add_argument("--seed", type=int, required=True, help="seed of the order and of dropout")
    options.add_argument("--output", type=Path, required=True, help="folder of the trained model and its log")
    return options


def main(arguments: argparse.Namespace) -> None:
    import pyarrow.compute as pc
    from transformers import TrainingArguments, set_seed

    from ddro import training
    from ddro.seq2seq import be_quiet, extend_vocabulary, load, save
    from ddro.validation import validation_instances, validation_retrieval

    be_quiet()
    set_seed(arguments.seed)
    model, tokenizer = load(arguments.initial, dropout_rate=arguments.dropout)
    docids = read_table(arguments.docids, tables.DOCIDS, ["docno"])
    tokens = docids["tokens"].to_pylist()
    extend_vocabulary(model, tokenizer, max(map(max, tokens)) + 1, tied_head=arguments.tied_head, seed=arguments.seed)
    instances = read_table(arguments.instances, tables.INSTANCES)
    check_foreign_key(instances, arguments.instances, "docno", docids["docno"], str(arguments.docids))
    documents = pc.index_in(instances["docno"], docids["docno"].combine_chunks())
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
    trainer = training.SftTrainer(
        model,
        TrainingArguments(
            **training.trainer_arguments(
                checkpoints,
                epochs=arguments.epochs,
                learning_rate=arguments.learning_rate,
                batch_size=arguments.batch_size,
                schedule=arguments.schedule,
                warmup=arguments.warmup_share,
                weight_decay=arguments.weight_decay,
                max_grad_norm=arguments.max_grad_norm,
                evaluations=arguments.evaluations,
                seed=arguments.seed,
                best=training.MRR if arguments.keep == "best" else None,
            ),
        ),
        data_collator=training.InstanceCollator(tokens),
        train_dataset=training.instance_dataset(instances["input_ids"], documents),
        eval_dataset=validation_instances(retrieval),
        processing_class=tokenizer,
        retrieval=retrieval,
    )
    training.add_callbacks(trainer, arguments.stage)
    trainer.train()
    with whole(arguments.output) as folder:
        save(model, tokenizer, folder)
        training.write_training_log(trainer, arguments.stage, folder)
    shutil.rmtree(checkpoints, ignore_errors=True)
    log.info("%s: kept the %s checkpoint", arguments.stage, arguments.keep)


if __name__ == "__main__":
    run(parser(), main)
