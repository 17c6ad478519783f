import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import fetch_file
from ddro.core.command import UserError

CONTENT = bytes(range(256)) * 10000
HALF = len(CONTENT) // 2
MD5 = "a4c40ee1a1b44c533eeb5a6c5d91e4e1"
SHA256 = "2350b445eb01b3dc3c68b3e42b5b5678349472e2cbf75539fd75172f931ad1ee"
VERIFIED = ["--size", str(len(CONTENT)), "--md5", MD5.upper(), "--sha256", SHA256]


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT; the name of the file says what goes wrong."""

    def do_GET(self):
        name, start = self.path[1:].removesuffix(".gz"), 0
        asked = self.headers.get("Range")
        self.server.asked.append(asked)
        assert self.headers["Accept-Encoding"] == "identity"
        if name == "absent":
            self.send_error(404)
            return
        if name == "mute":
            time.sleep(0.3)
            return
        if name == "busy" and len(self.server.asked) < 3:
            self.send_error(503)
            return
        content = CONTENT[:HALF] + b"?" + CONTENT[HALF + 1 :] if name == "wrong" else CONTENT
        etag = '"second"' if name == "replaced" and len(self.server.asked) > 1 else '"first"'
        same = self.headers.get("If-Range") in (None, etag)
        if asked and name != "rangeless" and same:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self.send_error(416)
                return
        self.send_response(206 if start else 200)
        if name != "silent":
            self.send_header("Content-Length", str(len(content) - start))
        if name == "packed":
            self.send_header("Content-Encoding", "gzip")
        if name != "unmarked":
            self.send_header("ETag", etag)
        self.end_headers()
        drops = name in ("dropped", "rangeless", "replaced", "unmarked") and len(self.server.asked) == 1
        self.wfile.write(content[start:HALF] if drops or name == "stuck" else content[start:])

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.asked = []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        server.url = f"http://127.0.0.1:{server.server_port}"
        yield server
        server.shutdown()
        thread.join()


def fetch(folder, url, *options):
    arguments = ["--url", url, "--output", str(folder / "a" / "file.gz"), "--wait", "0.01", "--attempts", "3", *options]
    fetch_file.main(fetch_file.parser().parse_args(arguments))


def left_in(folder):
    return sorted(path.name for path in (folder / "a").iterdir())


@pytest.mark.parametrize("name", ["file.gz", "silent.gz", "packed.gz"])
def test_a_file_arrives_byte_for_byte(server, tmp_path, caplog, name):
    caplog.set_level("INFO", logger="ddro")
    fetch(tmp_path, f"{server.url}/{name}", *VERIFIED)
    assert (tmp_path / "a" / "file.gz").read_bytes() == CONTENT
    assert left_in(tmp_path) == ["file.gz"]
    assert "verified: size, md5, sha256" in caplog.messages


def test_an_unverified_file_is_said_to_be_that(server, tmp_path, caplog):
    caplog.set_level("INFO", logger="ddro")
    fetch(tmp_path, f"{server.url}/file.gz")
    assert "verified: nothing, for neither size nor checksum is known" in caplog.messages
    assert any(SHA256 in message for message in caplog.messages)


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("dropped", [None, f"bytes={HALF}-"]),
        ("rangeless", [None, f"bytes={HALF}-"]),  # answered with the whole file
        ("replaced", [None, f"bytes={HALF}-"]),  # the same, for the ETag is another
        ("busy", [None, None, None]),
    ],
)
def test_a_broken_transfer_goes_on(server, tmp_path, name, asked):
    fetch(tmp_path, f"{server.url}/{name}.gz", *VERIFIED)
    assert (tmp_path / "a" / "file.gz").read_bytes() == CONTENT
    assert left_in(tmp_path) == ["file.gz"]
    assert server.asked == asked


def test_what_has_come_is_kept_for_the_next_call(server, tmp_path):
    with pytest.raises(UserError, match=f"download failed after {HALF} bytes .*rerun; what has come is kept"):
        fetch(tmp_path, f"{server.url}/stuck.gz", *VERIFIED)
    assert left_in(tmp_path) == [".file.gz.etag", ".file.gz.part"]
    server.asked.clear()
    fetch(tmp_path, f"{server.url}/file.gz", *VERIFIED)
    assert server.asked == [f"bytes={HALF}-"]
    assert (tmp_path / "a" / "file.gz").read_bytes() == CONTENT
    assert left_in(tmp_path) == ["file.gz"]


@pytest.mark.parametrize(("part", "asked"), [(CONTENT, 1), (CONTENT + b"?", 2)])
def test_a_part_that_is_the_whole_file_or_more(server, tmp_path, part, asked):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / ".file.gz.part").write_bytes(part)
    fetch(tmp_path, f"{server.url}/file.gz", *VERIFIED)
    assert (tmp_path / "a" / "file.gz").read_bytes() == CONTENT
    assert len(server.asked) == asked


def test_a_part_that_nothing_could_verify_is_not_used_by_the_next_call(server, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / ".file.gz.part").write_bytes(b"of another file")
    fetch(tmp_path, f"{server.url}/unmarked.gz")
    assert server.asked == [None, f"bytes={HALF}-"]
    assert (tmp_path / "a" / "file.gz").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("wrong", VERIFIED, f"wrong.gz: md5 is .*, expected {MD5.upper()}"),
        ("file", ["--sha256", "f" * 64], f"sha256 is {SHA256}, expected ffff"),
        ("silent", ["--size", "5"], f"size is {len(CONTENT)}, expected 5"),
        ("file", ["--size", "5"], f"announces {len(CONTENT)} bytes, expected 5"),
        ("absent", [], "absent.gz: the server answers 404 .*downloads.mirror"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_stays(server, tmp_path, name, options, message):
    with pytest.raises(UserError, match=message):
        fetch(tmp_path, f"{server.url}/{name}.gz", *options)
    assert left_in(tmp_path) == []
    assert len(server.asked) == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs the device that is always full")
def test_a_full_disk(server, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / ".file.gz.part").symlink_to("/dev/full")
    with pytest.raises(UserError, match="the disk is full: .* Free the space and rerun"):
        fetch(tmp_path, f"{server.url}/file.gz", *VERIFIED)
    assert not (tmp_path / "a" / "file.gz").exists()


def test_a_file_larger_than_the_free_space_is_not_begun(server, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: Free)
    with pytest.raises(UserError, match="the disk is full: 0 bytes have come"):
        fetch(tmp_path, f"{server.url}/file.gz", *VERIFIED)


def test_bytes_of_an_older_version_are_gone_before_the_new_one_is_marked(server, tmp_path, monkeypatch):
    with pytest.raises(UserError, match=f"download failed after {HALF} bytes"):
        fetch(tmp_path, f"{server.url}/replaced.gz", "--attempts", "1")
    with monkeypatch.context() as patched:
        patched.setattr("shutil.disk_usage", lambda _: Free)
        with pytest.raises(UserError, match="the disk is full"):
            fetch(tmp_path, f"{server.url}/replaced.gz")
    assert ".file.gz.part" not in left_in(tmp_path)
    fetch(tmp_path, f"{server.url}/replaced.gz")
    assert server.asked == [None, f"bytes={HALF}-", None]


class Free:
    """A disk with one byte less than the file needs."""

    free = len(CONTENT) - 1


def test_an_older_file_survives_a_failed_download(server, tmp_path):
    fetch(tmp_path, f"{server.url}/file.gz")
    with pytest.raises(UserError):
        fetch(tmp_path, f"{server.url}/absent.gz")
    assert (tmp_path / "a" / "file.gz").read_bytes() == CONTENT


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/file", "file:///etc/hostname", "nonsense"])
def test_a_url_that_leads_nowhere_is_named(tmp_path, url):
    with pytest.raises(UserError, match=f"{url}: download failed"):
        fetch(tmp_path, url)


def test_a_server_that_falls_silent_is_given_up(server, tmp_path):
    with pytest.raises(UserError, match="download failed after 0 bytes .*timed out"):
        fetch(tmp_path, f"{server.url}/mute.gz", "--timeout", "0.1")
    assert len(server.asked) == 3


def use_file(folder, content, *options):
    (folder / "mine.gz").write_bytes(content)
    arguments = ["--file", str(folder / "mine.gz"), "--output", str(folder / "a" / "file.gz"), *options]
    fetch_file.main(fetch_file.parser().parse_args(arguments))


def test_a_file_that_is_there_is_verified_and_linked(tmp_path):
    use_file(tmp_path, CONTENT, *VERIFIED)
    assert (tmp_path / "a" / "file.gz").is_symlink()
    assert (tmp_path / "a" / "file.gz").read_bytes() == CONTENT


def test_a_file_that_is_there_but_wrong_is_named_and_not_touched(tmp_path):
    with pytest.raises(UserError, match=f"mine.gz: size is {HALF}, expected {len(CONTENT)}"):
        use_file(tmp_path, CONTENT[:HALF], *VERIFIED)
    assert (tmp_path / "mine.gz").exists() and not (tmp_path / "a").exists()
    arguments = ["--file", str(tmp_path / "absent.gz"), "--output", str(tmp_path / "file.gz")]
    with pytest.raises(UserError, match="absent.gz: no such file. Correct downloads.files"):
        fetch_file.main(fetch_file.parser().parse_args(arguments))
