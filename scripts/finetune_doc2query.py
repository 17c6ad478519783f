"""Train a model to write the queries of a document: documents in, their training queries out."""

import argparse
from pathlib import Path

from ddro.core import tables
from ddro.core.command import call_main, log
from ddro.core.files import read_table
from ddro.training.arguments import TrainingSettings, add_training_options
from ddro.training.start import run_training


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--corpus", type=Path, required=True, help="the corpus (Parquet)")
    options.add_argument("--queries", type=Path, required=True, help="queries with their split (Parquet)")
    options.add_argument("--qrels", type=Path, required=True, help="relevance judgements (Parquet)")
    options.add_argument("--model", type=Path, required=True, help="model folder to start from")
    options.add_argument("--warmup-share", type=float, required=True, help="share of the steps that warm up")
    options.add_argument("--dropout", type=float, required=True, help="dropout rate")
    options.add_argument("--patience", type=int, required=True, help="stop after so many without a lower loss")
    options.add_argument("--max-document-tokens", type=int, required=True, help="most tokens of a document")
    options.add_argument("--max-query-tokens", type=int, required=True, help="most tokens of a query")
    add_training_options(options, "pairs")
    options.set_defaults(schedule="linear", weight_decay=0.0, epsilon=1e-8, max_grad_norm=1.0, precision="bfloat16")
    return options


def main(arguments: argparse.Namespace) -> dict[str, float]:
    return run_training(train, arguments)


def train(arguments: argparse.Namespace, most: int) -> dict[str, float]:
    """Train with at most so many examples on a device at a time."""
    from transformers import TrainingArguments, set_seed

    from ddro.corpora.judgements import relevant_documents
    from ddro.doc2query.writers import encode_relevant_documents, load_doc2query
    from ddro.models.t5 import be_quiet, save_whole
    from ddro.models.tokenizer import encode
    from ddro.training.batches import InstanceCollator, instance_dataset
    from ddro.training.callbacks import add_callbacks
    from ddro.training.checkpoints import Checkpoints, identity
    from ddro.training.processes import is_first_process
    from ddro.training.trainer import SftTrainer, finish, train_with_checkpoints, trainer_arguments

    be_quiet()
    set_seed(arguments.seed)
    model, tokenizer = load_doc2query(arguments.model, dropout_rate=arguments.dropout)
    if not arguments.epochs:
        if is_first_process():
            save_whole(model, tokenizer, arguments.output)
        log.info("no epochs: %s is taken as it is", arguments.model)
        return {}
    docnos = read_table(arguments.corpus, tables.columns(tables.CORPUS, "docno"), ["docno"])["docno"]
    queries: list[list[int]] = []

    def pairs(split: str):
        judged = relevant_documents(arguments.queries, arguments.qrels, split, docnos)
        relevant = {docno for query in judged for docno in query.docnos}
        place, documents = encode_relevant_documents(
            arguments.corpus, relevant, tokenizer, arguments.max_document_tokens
        )
        first = len(queries)
        queries.extend(encode(tokenizer, [query.text for query in judged], arguments.max_query_tokens))
        found = [(place[docno], row) for row, query in enumerate(judged, first) for docno in query.docnos]
        log.info("%s: %d pairs of document and query", split, len(found))
        return instance_dataset(documents.take([row for row, _ in found]), [row for _, row in found])

    train, validation = pairs("train"), pairs("validation")
    checkpoints = Checkpoints(arguments.output, identity(__file__, vars(arguments)))
    settings = trainer_arguments(
        TrainingSettings.of(vars(arguments) | {"device_batch_size": most}),
        checkpoints.folder,
        warmup=arguments.warmup_share,
        best="eval_loss",
    )
    trainer = SftTrainer(
        model,
        TrainingArguments(**settings),
        data_collator=InstanceCollator(queries),
        train_dataset=train,
        eval_dataset=validation,
        processing_class=tokenizer,
    )
    add_callbacks(trainer, "doc2query", checkpoint_minutes=arguments.checkpoint_minutes, patience=arguments.patience)
    train_with_checkpoints(trainer, checkpoints)
    return finish(trainer, tokenizer, "doc2query", arguments.output, checkpoints)


if __name__ == "__main__":
    call_main(parser(), main)
