import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml

import fetch_file
from ddro.command import UserError

CONTENT = bytes(range(256)) * 10000
MD5 = "a4c40ee1a1b44c533eeb5a6c5d91e4e1"
SHA256 = "2350b445eb01b3dc3c68b3e42b5b5678349472e2cbf75539fd75172f931ad1ee"


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT; /short announces more than it sends; /silent announces nothing; /packed claims an encoding."""

    def do_GET(self):
        if self.path == "/absent.gz":
            self.send_error(404)
            return
        assert self.headers["Accept-Encoding"] == "identity"
        self.send_response(200)
        if self.path != "/silent.gz":
            self.send_header("Content-Length", str(len(CONTENT) + (self.path == "/short.gz")))
        if self.path == "/packed.gz":
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        self.wfile.write(CONTENT)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def fetch(folder, url, *options):
    arguments = fetch_file.parser().parse_args(["--url", url, "--output", str(folder / "a" / "file.gz"), *options])
    fetch_file.main(arguments)


def left_in(folder):
    return [path.name for path in (folder / "a").iterdir()]


@pytest.mark.parametrize("name", ["file.gz", "silent.gz", "packed.gz"])
def test_a_file_arrives_byte_for_byte(server, tmp_path, caplog, name):
    caplog.set_level("INFO", logger="ddro")
    fetch(tmp_path, f"{server}/{name}", "--size", str(len(CONTENT)), "--md5", MD5.upper(), "--sha256", SHA256)
    assert (tmp_path / "a" / "file.gz").read_bytes() == CONTENT
    assert left_in(tmp_path) == ["file.gz"]
    assert "verified: size, md5, sha256" in caplog.messages


def test_an_unverified_file_is_said_to_be_that(server, tmp_path, caplog):
    caplog.set_level("INFO", logger="ddro")
    fetch(tmp_path, f"{server}/file.gz")
    assert "verified: nothing, for neither size nor checksum is known" in caplog.messages
    assert any(SHA256 in message for message in caplog.messages)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("file.gz", ["--md5", "0" * 32], f"md5 is {MD5}, not 0000"),
        ("file.gz", ["--sha256", "f" * 64], f"sha256 is {SHA256}, not ffff"),
        ("file.gz", ["--size", "5"], f"{len(CONTENT)} bytes came, not 5"),
        ("silent.gz", ["--size", "5"], f"{len(CONTENT)} bytes came, not 5"),
        ("short.gz", [], f"(failed after {len(CONTENT)} bytes|{len(CONTENT)} bytes came, not {len(CONTENT) + 1})"),
        ("absent.gz", [], "download failed after 0 bytes .*404"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_stays(server, tmp_path, name, options, message):
    with pytest.raises(UserError, match=message):
        fetch(tmp_path, f"{server}/{name}", *options)
    assert left_in(tmp_path) == []


def test_an_older_file_survives_a_failed_download(server, tmp_path):
    fetch(tmp_path, f"{server}/file.gz")
    with pytest.raises(UserError):
        fetch(tmp_path, f"{server}/absent.gz")
    assert (tmp_path / "a" / "file.gz").read_bytes() == CONTENT


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/file", "file:///etc/hostname", "nonsense"])
def test_a_url_that_leads_nowhere_is_named(tmp_path, url):
    with pytest.raises(UserError, match=f"{url}: download failed"):
        fetch(tmp_path, url)


def test_the_files_of_the_shipped_data_sets_are_described_whole(root):
    datasets = yaml.safe_load((root / "config" / "datasets.yaml").read_text())
    for name, dataset in datasets.items():
        assert {"title", "source", "licence", "citation", "files"} == set(dataset), name
        for file in dataset["files"]:
            assert {"name", "url", "size", "md5"} == set(file), name
            assert file["url"].startswith("https://") and file["url"].endswith("/" + file["name"])
            assert file["md5"] is None or re.fullmatch("[0-9a-f]{32}", file["md5"])
            assert file["size"] is None or file["size"] > 0
