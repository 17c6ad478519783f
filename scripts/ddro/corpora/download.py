"""Fetching a large file: what has come is kept, a broken transfer goes on from there, and only the right bytes stay."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import time
from pathlib import Path
from typing import NamedTuple

import requests
import urllib3

from ddro.core.command import UserError, log, progress

CHUNK = 2**20
TRANSIENT = (408, 429, 500, 502, 503, 504)


class Expected(NamedTuple):
    """What is known of a file beforehand; None is unknown."""

    size: int | None = None
    md5: str | None = None
    sha256: str | None = None


class Digests:
    """The checksums of the bytes that have come so far, and how many they are."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget what has come."""
        self.size = 0
        self.md5, self.sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()

    def update(self, chunk: bytes) -> None:
        self.size += len(chunk)
        self.md5.update(chunk)
        self.sha256.update(chunk)

    def verify(self, expected: Expected, source: object) -> None:
        """Log what was compared; a `UserError` names source, expected and found."""
        found = Expected(self.size, self.md5.hexdigest(), self.sha256.hexdigest())
        for name, want, have in zip(Expected._fields, expected, found, strict=True):
            if want is not None and str(want).lower() != str(have):
                raise UserError(
                    f"{source}: {name} is {have}, expected {want}. Another try may help; if not, the file has changed: "
                    "look for news of the data set, then correct config/datasets.yaml."
                )
        compared = [name for name, want in zip(Expected._fields, expected, strict=True) if want is not None]
        log.info("%s: %d bytes, sha256 %s", source, found.size, found.sha256)
        log.info("verified: %s", ", ".join(compared) or "nothing, for neither size nor checksum is known")


def digest_file(path: Path, *, description: str) -> Digests:
    """Read a file once and return its checksums."""
    digests = Digests()
    total = -(-path.stat().st_size // CHUNK)
    with path.open("rb") as file, progress(description=description, unit="MiB", total=total) as bar:
        while chunk := file.read(CHUNK):
            digests.update(chunk)
            bar.update()
    return digests


def download(
    url: str, path: Path, expected: Expected, *, timeout: float = 60, attempts: int = 8, wait: float = 2
) -> None:
    """Download ``url`` to ``path``, verified, whole or not at all.

    What has come is kept beside ``path`` as .NAME.part, in this call and for the next one, and the rest is asked for
    (HTTP Range). The ETag or date of the file is kept with it, so that the two halves are of the same file. A server
    that can't do ranges is read from the start.

    Args:
        timeout: seconds without a byte after which the connection counts as broken.
        attempts: tries in a row that bring no byte, after which it is given up.
        wait: seconds before the second of these tries; doubled for each further one, at most a minute.

    Raises:
        UserError: the server says no, the bytes are wrong (the part is deleted), the disk is full, or no connection.
    """
    part, mark = path.with_name(f".{path.name}.part"), path.with_name(f".{path.name}.etag")
    path.parent.mkdir(parents=True, exist_ok=True)
    known = expected.md5 or expected.sha256
    if part.is_file() and not (known or mark.is_file()):
        part.unlink()  # nothing could tell whether the other half is of the same file
    digests = digest_file(part, description=f"check the part of {path.name}") if part.is_file() else Digests()
    failures = 0
    while True:
        before = digests.size
        try:
            _receive(url, part, mark, expected, digests, timeout)
            break
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            failures = 1 if digests.size > before else failures + 1
            if failures >= attempts or isinstance(error, ValueError):  # such as a URL that is none
                raise UserError(
                    f"{url}: download failed after {digests.size} bytes ({error}). Check the network and rerun; what "
                    "has come is kept and the rest is fetched. Or set downloads.mirror or downloads.files "
                    "(config/README.md)."
                ) from error
            pause = min(wait * 2 ** (failures - 1), 60)
            log.warning("%s: %s; %d bytes are here, going on in %g s", url, error, digests.size, pause)
            time.sleep(pause)
    try:
        digests.verify(expected, url)
    except UserError:
        part.unlink()
        mark.unlink(missing_ok=True)
        raise
    with part.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(part, path)
    mark.unlink(missing_ok=True)


def _receive(url: str, part: Path, mark: Path, expected: Expected, digests: Digests, timeout: float) -> None:
    """One connection: append what comes to ``part``; raise an error of requests or urllib3 when it breaks."""
    # Asked for as it is stored: a server that packs or unpacks a .gz file on the way would change its bytes.
    headers = {"Accept-Encoding": "identity"}
    if digests.size:
        headers["Range"] = f"bytes={digests.size}-"
        if mark.is_file():
            headers["If-Range"] = mark.read_text(encoding="utf-8")
    with requests.get(url, stream=True, timeout=timeout, headers=headers) as response:
        if response.status_code == 416 and digests.size == expected.size:
            return  # all of it is here
        if response.status_code == 416:
            _begin_anew(part, digests)
            raise requests.ConnectionError("the part is longer than the file; it is fetched anew")
        if response.status_code in TRANSIENT:
            response.raise_for_status()
        if not response.ok:
            raise UserError(
                f"{url}: the server answers {response.status_code} {response.reason}. Look where the file is now and "
                "correct config/datasets.yaml, or set downloads.mirror or downloads.files (config/README.md)."
            )
        if response.status_code != 206 and digests.size:
            log.warning("%s: the server can't go on from a byte or has another file now; from the start", url)
            _begin_anew(part, digests)
        rest = response.headers.get("Content-Length")
        total = digests.size + int(rest) if rest else expected.size
        if expected.size is not None and total != expected.size:
            raise UserError(
                f"{url}: the server announces {total} bytes, expected {expected.size}. The file has changed: look for "
                "news of the data set, then correct config/datasets.yaml."
            )
        if not digests.size:
            _remember_version(response, mark)
        _write(response, part, digests, total)
    if total is not None and digests.size < total:
        raise requests.ConnectionError(f"the connection ended after {digests.size} of {total} bytes")


def _begin_anew(part: Path, digests: Digests) -> None:
    """Forget what is there: its bytes must never lie under the mark of another version."""
    part.unlink(missing_ok=True)
    digests.reset()


def _remember_version(response: requests.Response, mark: Path) -> None:
    validator = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
    if validator and not validator.startswith("W/"):  # a weak ETag can't be asked for (RFC 9110, 13.1.5)
        mark.write_text(validator, encoding="utf-8")
    else:
        mark.unlink(missing_ok=True)


def _write(response: requests.Response, part: Path, digests: Digests, total: int | None) -> None:
    free = shutil.disk_usage(part.parent).free
    if total is not None and total - digests.size > free:
        raise UserError(_disk_full(part, digests.size, total))
    try:
        with (
            part.open("ab" if digests.size else "wb") as file,
            progress(
                description=f"download {part.name[1:-5]}", unit="MiB", total=-(-total // CHUNK) if total else None
            ) as bar,
        ):
            bar.update(digests.size // CHUNK)
            for chunk in response.raw.stream(CHUNK, decode_content=False):
                file.write(chunk)
                digests.update(chunk)
                bar.update(digests.size // CHUNK - bar.n)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(_disk_full(part, digests.size, total)) from error
        raise


def _disk_full(part: Path, here: int, total: int | None) -> str:
    missing = f"{(total - here) / 2**30:.1f} GiB are missing" if total else "more is to come"
    return (
        f"{part.parent}: the disk is full: {here} bytes have come, {missing}. Free the space and rerun; what has come "
        "is kept."
    )
