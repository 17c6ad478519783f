"""Download one file, or take one that is there already; verified by its size and checksum, whole or not at all."""

import argparse
from pathlib import Path

from ddro.core.command import UserError, call_main, log


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        description=__doc__,
        epilog="A download that was cut off goes on where it stopped, also in a later call. The library requests does "
        "the transfer, for it is in every environment here: curl and aria2 aren't on the package index.",
    )
    source = options.add_mutually_exclusive_group(required=True)
    source.add_argument("--url", help="where the file is")
    source.add_argument("--file", type=Path, help="a copy that is there already: verified, then linked to")
    options.add_argument("--size", type=int, help="its size in bytes (default: whatever the server announces)")
    options.add_argument("--md5", help="its MD5 checksum, hexadecimal (default: not compared)")
    options.add_argument("--sha256", help="its SHA-256 checksum, hexadecimal (default: not compared)")
    options.add_argument(
        "--timeout", type=float, default=60, help="seconds to wait for the server's next bytes (default: 60)"
    )
    options.add_argument("--attempts", type=int, default=8, help="tries in a row that bring no byte (default: 8)")
    options.add_argument(
        "--wait", type=float, default=2, help="seconds before the second try, doubled for the next (default: 2)"
    )
    options.add_argument("--output", type=Path, required=True, help="name of the file")
    return options


def main(arguments: argparse.Namespace) -> None:
    from ddro.corpora.download import Expected, download

    expected = Expected(arguments.size, arguments.md5, arguments.sha256)
    if arguments.file:
        link(arguments.file, arguments.output, expected)
    else:
        download(
            arguments.url,
            arguments.output,
            expected,
            timeout=arguments.timeout,
            attempts=arguments.attempts,
            wait=arguments.wait,
        )


def link(file: Path, output: Path, expected) -> None:
    """Verify ``file`` and make ``output`` a symbolic link to it."""
    from ddro.core.files import write_whole
    from ddro.corpora.download import digest_file

    if not file.is_file():
        raise UserError(f"{file}: no such file. Correct downloads.files in the configuration.")
    digest_file(file, description=f"verify {file.name}").verify(expected, file)
    with write_whole(output) as temporary:
        temporary.symlink_to(file.resolve())
    log.info("%s is a link to it", output)


if __name__ == "__main__":
    call_main(parser(), main)
