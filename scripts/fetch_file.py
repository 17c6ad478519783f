"""Download one file, verified by its size and checksum; the file is there when all of it is, and right."""

import argparse
import hashlib
from pathlib import Path

from ddro.command import UserError, log, progress, run

CHUNK = 2**20


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--url", required=True, help="where the file is")
    options.add_argument("--size", type=int, help="its size in bytes (default: whatever the server announces)")
    options.add_argument("--md5", help="its MD5 checksum, hexadecimal (default: not compared)")
    options.add_argument("--sha256", help="its SHA-256 checksum, hexadecimal (default: not compared)")
    options.add_argument(
        "--timeout", type=float, default=60, help="seconds to wait for the server's next bytes (default: 60)"
    )
    options.add_argument("--output", type=Path, required=True, help="name of the downloaded file")
    return options


def main(arguments: argparse.Namespace) -> None:
    from ddro.files import whole

    with whole(arguments.output) as temporary:
        digests = download(arguments.url, temporary, arguments.size, arguments.timeout)
        for name, expected in (("md5", arguments.md5), ("sha256", arguments.sha256)):
            if expected and digests[name] != expected.lower():
                raise UserError(
                    f"{arguments.url}: {name} is {digests[name]}, not {expected}. Another try may help; if not, the "
                    "file has changed: look for news of the data set, then correct config/datasets.yaml."
                )
    verified = [name for name in ("size", "md5", "sha256") if vars(arguments)[name]]
    log.info("%s: %d bytes, sha256 %s", arguments.output, arguments.output.stat().st_size, digests["sha256"])
    log.info("verified: %s", ", ".join(verified) or "nothing, for neither size nor checksum is known")


def download(url: str, path: Path, size: int | None, timeout: float) -> dict[str, str]:
    """Stream ``url`` into ``path`` and return its checksums; a `UserError` says what went wrong."""
    import requests
    import urllib3

    digests = {"md5": hashlib.md5(usedforsecurity=False), "sha256": hashlib.sha256()}
    received = 0
    try:
        # Asked for as it is stored: a server that packs or unpacks a .gz file on the way would change its bytes.
        with requests.get(url, stream=True, timeout=timeout, headers={"Accept-Encoding": "identity"}) as response:
            response.raise_for_status()
            announced = response.headers.get("Content-Length")
            expected = size if size is not None else int(announced) if announced else None
            total = -(-expected // CHUNK) if expected else None
            with (
                path.open("wb") as file,
                progress(description=f"download {url.rsplit('/', 1)[-1]}", unit="MiB", total=total) as bar,
            ):
                for chunk in response.raw.stream(CHUNK, decode_content=False):
                    file.write(chunk)
                    for digest in digests.values():
                        digest.update(chunk)
                    received += len(chunk)
                    bar.update(received // CHUNK - bar.n)
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise UserError(
            f"{url}: download failed after {received} bytes ({error}). Check the network and rerun."
        ) from error
    if expected is not None and received != expected:
        raise UserError(f"{url}: {received} bytes came, not {expected}. Rerun; if it stays, the file has changed.")
    return {name: digest.hexdigest() for name, digest in digests.items()}


if __name__ == "__main__":
    run(parser(), main)
