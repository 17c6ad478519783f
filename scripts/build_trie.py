"""Build the prefix tree of all docids, as a file that every retrieval maps into its memory."""

import argparse
from pathlib import Path

from ddro.core import tables
from ddro.core.command import call_main, log
from ddro.core.files import read_table


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--docids", type=Path, required=True, help="the docid of each document (Parquet)")
    options.add_argument(
        "--padding", type=int, help="pad docids with 0 to so many tokens, in place of the end token (default: don't)"
    )
    options.add_argument("--output", type=Path, required=True, help="the trie (safetensors)")
    return options


def main(arguments: argparse.Namespace) -> None:
    from ddro.docids.tokens import with_padding
    from ddro.docids.trie import DocidTrie

    docids = read_table(arguments.docids, tables.DOCIDS, ["docno"])
    trie = DocidTrie.build(with_padding(docids["tokens"], arguments.padding, docids["docno"]))
    trie.save(arguments.output)
    log.info(
        "%d docids of %d documents, %d to %d tokens long; they stand alone after %d tokens at most; %.1f MiB",
        len(trie.first_token) - 1,
        len(trie.documents),
        trie.shortest,
        trie.depth,
        len(trie.levels) - 1,
        trie.nbytes / 2**20,
    )


if __name__ == "__main__":
    call_main(parser(), main)
