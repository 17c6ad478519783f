"""Rank documents with a published model for a published test set, after a check that the two and the docids fit."""

import argparse
from pathlib import Path

from ddro.core import tables
from ddro.core.command import UserError, log, progress, run
from ddro.core.files import read_json, write_table


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--model", type=Path, required=True, help="folder of the model")
    options.add_argument("--docids", type=Path, required=True, help="its docids")
    options.add_argument("--tests", type=Path, required=True, help="its test set")
    options.add_argument("--tag", default="published", help="name of the model in the run (default: published)")
    options.add_argument(
        "--tied-head", action=argparse.BooleanOptionalAction, default=False, help="how the model was trained"
    )
    options.add_argument("--beams", type=int, required=True, help="width of the beam")
    options.add_argument(
        "--length-penalty",
        type=float,
        default=1,
        help="a docid's score is divided by length^this: 0 or 1 (default: 1, the authors' evaluation)",
    )
    options.add_argument("--max-query-tokens", type=int, default=64, help="a query is cut to this length (default: 64)")
    options.add_argument("--batch-size", type=int, default=32, help="queries decoded together (default: 32)")
    options.add_argument("--output", type=Path, required=True, help="folder of run, queries, qrels and corpus")
    return options


def main(arguments: argparse.Namespace) -> None:
    import pyarrow as pa

    from ddro.models.hub import mismatches, read_docids, read_test_set, weight_shapes
    from ddro.models.t5 import be_quiet
    from ddro.retrieval.runs import write_trec

    be_quiet()
    docids, tests = read_docids(arguments.docids), read_test_set(arguments.tests)
    config, shapes = read_json(arguments.model / "config.json"), weight_shapes(arguments.model)
    problems = mismatches(config, shapes, docids, tests, tied_head=arguments.tied_head)
    if problems:
        raise UserError(
            f"{arguments.model}, {arguments.docids} and {arguments.tests} don't fit: {'; '.join(problems)}."
        )
    log.info("%d documents, %d queries; model, docids and test set fit", len(docids), len(tests))

    docnos = list(docids)
    qids = [str(number) for number in range(1, len(tests) + 1)]
    table = rankings(arguments, docids, tests, qids)
    write_trec(table, arguments.output / "run.trec.gz", arguments.tag)
    for name, schema, columns in (
        (
            "queries",
            tables.QUERIES,
            [qids, [" ".join(map(str, line.input_ids)) for line in tests], ["test"] * len(tests)],
        ),
        ("qrels", tables.QRELS, [qids, [line.docno for line in tests], [1] * len(tests)]),
        ("corpus", tables.CORPUS, [docnos, *[[""] * len(docnos)] * 3, [0] * len(docnos)]),
    ):
        write_table(pa.table(columns, schema=schema), arguments.output / f"{name}.parquet", schema)


def rankings(arguments, docids, tests, qids):  # noqa: ANN001, ANN201 - as main has them
    """The run as `tables.RUN`, in the order of the test set."""
    import pyarrow as pa
    import torch
    from transformers import AutoModelForSeq2SeqLM

    from ddro.docids.trie import DocidTrie
    from ddro.models.t5 import note_whether_tied
    from ddro.retrieval.beam_search import rank_documents
    from ddro.retrieval.runs import ranking_rows

    model = AutoModelForSeq2SeqLM.from_pretrained(
        arguments.model, use_safetensors=True, local_files_only=True, dtype=torch.float32
    )
    note_whether_tied(model)
    model.eval().to("cuda" if torch.cuda.is_available() else "cpu")
    trie, docnos = DocidTrie.build([list(tokens) for tokens in docids.values()]), list(docids)
    rows = []
    with progress(total=len(tests), description="retrieve", unit="queries") as bar:
        for first in range(0, len(tests), arguments.batch_size):
            batch = [line.input_ids for line in tests[first : first + arguments.batch_size]]
            longest = arguments.max_query_tokens
            cut = [ids if len(ids) <= longest else [*ids[: longest - 1], ids[-1]] for ids in batch]
            found = rank_documents(model, trie, cut, arguments.beams, length_penalty=arguments.length_penalty)
            for qid, ranking in zip(qids[first : first + len(batch)], found, strict=True):
                rows += ranking_rows(qid, docnos, *ranking)
            bar.update(len(batch))
    return pa.Table.from_pylist(rows, tables.RUN)


if __name__ == "__main__":
    run(parser(), main)
