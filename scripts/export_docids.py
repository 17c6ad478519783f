"""Write docids as the authors of DDRO publish theirs: a line [docno]<TAB>token,token,... for each document."""

import argparse
from pathlib import Path

from ddro.core.command import call_main, log


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--docids", type=Path, required=True, help="the docid of each document (Parquet)")
    options.add_argument("--output", type=Path, required=True, help="the table (text)")
    return options


def main(arguments: argparse.Namespace) -> None:
    from ddro.core import tables
    from ddro.core.files import read_table
    from ddro.docids.text_format import write_docid_table

    docids = read_table(arguments.docids, tables.DOCIDS, ["docno"])
    write_docid_table(docids["docno"].to_pylist(), docids["tokens"].to_pylist(), arguments.output)
    log.info("%d docids", docids.num_rows)


if __name__ == "__main__":
    call_main(parser(), main)
