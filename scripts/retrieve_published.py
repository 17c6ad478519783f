"""Rank documents with a published model for a published test set, after a check that the two and the docids fit."""

import argparse
from pathlib import Path

from ddro.core import tables
from ddro.core.command import UserError, call_main, log
from ddro.core.files import read_json, write_json, write_table


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--model", type=Path, required=True, help="folder of the model")
    options.add_argument("--docids", type=Path, required=True, help="its docids")
    options.add_argument("--tests", type=Path, required=True, help="its test set")
    options.add_argument("--tag", default="published", help="name of the model in the run (default: published)")
    options.add_argument(
        "--tied-head", action=argparse.BooleanOptionalAction, default=False, help="how the model was trained"
    )
    options.add_argument(
        "--scaled-output",
        action=argparse.BooleanOptionalAction,
        help="whether the decoder's output is multiplied by d_model^-0.5 (default: as the model's config.json has it)",
    )
    options.add_argument(
        "--end-token",
        action=argparse.BooleanOptionalAction,
        help="whether docids end with an end token (default: as the docid table has it)",
    )
    options.add_argument(
        "--leading-zero", action=argparse.BooleanOptionalAction, default=False, help="whether docids begin with a 0"
    )
    options.add_argument(
        "--padding",
        type=int,
        help="pad docids with 0 to so many tokens, in place of the end token; padding counts (default: don't)",
    )
    options.add_argument(
        "--probe-lines",
        type=int,
        default=200,
        help="test lines whose gold docids say if the last three options are right; 0: no check (default: %(default)s)",
    )
    options.add_argument("--beams", type=int, required=True, help="width of the beam")
    options.add_argument(
        "--length-penalty",
        type=float,
        default=1,
        help="a docid's score is divided by length^this: 0 or 1 (default: 1, the authors' evaluation)",
    )
    options.add_argument("--max-query-tokens", type=int, default=64, help="a query is cut to this length (default: 64)")
    options.add_argument(
        "--memory-mib", type=int, default=2048, help="how much the queries of a batch may take (default: %(default)s)"
    )
    options.add_argument("--output", type=Path, required=True, help="folder of run, queries, qrels and corpus")
    return options


def main(arguments: argparse.Namespace) -> None:
    import numpy as np
    import pyarrow as pa
    import torch
    from transformers import AutoModelForSeq2SeqLM

    from ddro.docids.tokens import with_padding
    from ddro.docids.trie import DocidTrie
    from ddro.models.hub import (
        Reading,
        are_closed,
        check_no_prefix,
        gold_docid,
        has_own_head,
        mismatches,
        read_docids,
        read_test_set,
        weight_shapes,
    )
    from ddro.models.probe import check_reading, mean_log_probabilities
    from ddro.models.t5 import be_quiet, note_whether_tied
    from ddro.models.tokenizer import TOKENS
    from ddro.retrieval.ranking import rank_in_batches
    from ddro.retrieval.runs import write_trec

    be_quiet()
    docids, tests = read_docids(arguments.docids), read_test_set(arguments.tests)
    config, shapes = read_json(arguments.model / "config.json"), weight_shapes(arguments.model)
    heads = {"tied_head": arguments.tied_head, "own_head": has_own_head(arguments.model)}
    if problems := mismatches(config, shapes, docids, tests, **heads):
        raise UserError(
            f"{arguments.model}, {arguments.docids} and {arguments.tests} don't fit: {'; '.join(problems)}."
        )
    log.info("%d documents, %d queries; model, docids and test set fit", len(docids), len(tests))
    without_docid = sorted({line.docno for line in tests} - docids.keys())
    if without_docid:
        count = sum(line.docno not in docids for line in tests)
        log.warning("%d of %d queries can only miss: their document has no docid here", count, len(tests))

    model = AutoModelForSeq2SeqLM.from_pretrained(
        arguments.model, use_safetensors=True, local_files_only=True, dtype=torch.float32
    )
    note_whether_tied(model)
    model.eval().to("cuda" if torch.cuda.is_available() else "cpu")
    longest = arguments.max_query_tokens
    queries = [
        ids if len(ids) <= longest else [*ids[: longest - 1], ids[-1]] for ids in (line.input_ids for line in tests)
    ]

    closed = are_closed(docid for of_document in docids.values() for docid in of_document)
    scaled, ends = arguments.scaled_output, arguments.end_token
    reading = Reading(
        scaled_output=model.config.scale_decoder_outputs if scaled is None else scaled,
        end_token=closed if ends is None else ends,
        leading_zero=arguments.leading_zero,
    )
    golden = [(query, gold_docid(line, docids)) for query, line in zip(queries, tests, strict=True)]
    known = [(query, docid) for query, docid in golden if docid]
    if arguments.probe_lines > 0:
        count = min(arguments.probe_lines, len(known))
        probed = [known[index] for index in np.linspace(0, len(known) - 1, count).astype(int)]
        check_reading(mean_log_probabilities(model, probed, closed), reading, str(arguments.model))
    model.config.scale_decoder_outputs = reading.scaled_output

    as_read = dict.fromkeys(  # a document may have several docids
        (docno, reading.docid(docid, closed)) for docno, of_document in docids.items() for docid in of_document
    )
    docnos_read, tokens = zip(*as_read, strict=True)
    padded = with_padding(pa.array(tokens, TOKENS), arguments.padding, docnos_read)
    as_read = dict.fromkeys(zip(docnos_read, map(tuple, padded.to_pylist()), strict=True))
    check_no_prefix(as_read, arguments.docids)
    qids = [str(number) for number in range(1, len(tests) + 1)]
    table, _ = rank_in_batches(
        model,
        DocidTrie.build([list(docid) for _, docid in as_read]),
        [docno for docno, _ in as_read],
        qids,
        queries,
        beams=arguments.beams,
        length_penalty=arguments.length_penalty,
        max_query_tokens=longest,
        memory_mib=arguments.memory_mib,
    )
    write_json(
        {
            "documents": len(docids),
            "queries": len(tests),
            "queries_without_docid": len(tests) - len(known),
            "probed": min(max(arguments.probe_lines, 0), len(known)),
        },
        arguments.output / "report.json",
    )
    docnos = [*docids, *without_docid]
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


if __name__ == "__main__":
    call_main(parser(), main)
