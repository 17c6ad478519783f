"""Search with BM25, SFT and DDRO side by side, here or, with --serve, on a page in the browser."""

import argparse
from pathlib import Path

from ddro.core.command import UserError, call_main, log
from ddro.core.files import read_json


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("query", nargs="?", help="what you look for")
    options.add_argument("--serve", action="store_true", help="serve the page instead, until Ctrl-C")
    options.add_argument("--host", default="127.0.0.1", help="address of the page (default: this machine only)")
    options.add_argument("--port", type=int, default=8360, help="port of the page (default: 8360; 0: a free one)")
    options.add_argument("--documents", type=int, default=5, help="documents of each system (default: 5)")
    options.add_argument(
        "--results", type=Path, default=Path("results"), help="folder of the results (default: results)"
    )
    options.add_argument("--experiment", metavar="DATASET/DOCID/RECIPE", help="default: the first that was run")
    return options


def main(arguments: argparse.Namespace) -> None:
    from ddro.models.t5 import be_quiet

    if not arguments.serve and arguments.query is None:
        raise UserError('give a query, such as: python scripts/search.py "how do I rotate a key"; or --serve.')
    if arguments.documents < 1:
        raise UserError(f"--documents {arguments.documents}: must be 1 or more.")
    experiment, settings = chosen(arguments.results, arguments.experiment)
    be_quiet()

    from ddro.retrieval.search import SearchEngine

    log.info("loading %s", experiment)
    engine = SearchEngine(arguments.results, experiment, settings)
    if arguments.serve:
        serve(engine, experiment, arguments)
    else:
        show(engine.search(arguments.query, arguments.documents))


def chosen(results: Path, experiment: str | None) -> tuple[str, dict]:
    """The experiment, the first if none is named, and its settings."""
    path = results / "settings.json"
    if not path.is_file():
        raise UserError(f"{path}: no such file. Run make demo first, or name the folder with --results.")
    settings = read_json(path)
    experiment = experiment or next(iter(settings))
    if experiment not in settings:
        raise UserError(f"--experiment {experiment}: not among {', '.join(settings)}.")
    return experiment, settings[experiment]


def show(answers: list) -> None:
    """Print the lists, the docids below their documents."""
    for answer in answers:
        print(f"\n{answer.system.upper()}  ({answer.milliseconds:.0f} ms)")
        for rank, hit in enumerate(answer.hits, start=1):
            print(f"{rank:3} {hit.docno}  {hit.score:.2f}  {hit.title}")
            if hit.tokens:
                print("    " + " ".join(f"{token} {probability:.2f}" for token, probability in hit.tokens))
        if not answer.hits:
            print("    no document has a word of the query")


def serve(engine, experiment: str, arguments: argparse.Namespace) -> None:
    """Serve the page until Ctrl-C."""
    import logging

    from werkzeug.serving import make_server

    from ddro.report.search_page import search_app

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    app = search_app(engine, experiment, arguments.documents)
    try:
        server = make_server(arguments.host, arguments.port, app, threaded=True)
    except (OSError, SystemExit) as error:
        raise UserError(f"port {arguments.port} of {arguments.host} can't be used: try another --port.") from error
    log.info("http://%s:%d (Ctrl-C ends it)", arguments.host, server.server_port)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        log.info("ended")


if __name__ == "__main__":
    call_main(parser(), main)
