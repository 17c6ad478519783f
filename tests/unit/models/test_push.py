"""Uploading an exported model, to a loopback server that answers as the hub does."""

import base64
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from huggingface_hub import constants

from ddro.core.command import UserError
from export_model import push

TOKEN = "hf_token_of_a_test"


class Hub(BaseHTTPRequestHandler):
    """Takes one commit of small files, which travel inside it."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        asked = self.path.split("?")[0]
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            self.answer(401, {"error": "Invalid credentials"})
        elif asked == "/api/repos/create":
            self.server.created.append(json.loads(body))
            self.answer(200, {"url": f"{self.server.address}/someone/tiny"})
        elif asked == "/api/validate-yaml":
            self.answer(200, {"errors": [], "warnings": []})
        elif asked.endswith("/preupload/main"):
            files = [{"path": file["path"], "uploadMode": "regular"} for file in json.loads(body)["files"]]
            self.answer(200, {"files": [file | {"shouldIgnore": False} for file in files]})
        elif asked == "/api/models/someone/tiny/commit/main":
            lines = [json.loads(line) for line in body.splitlines()]
            files = [line["value"] for line in lines if line["key"] == "file"]
            self.server.files.update({file["path"]: base64.b64decode(file["content"]) for file in files})
            self.answer(
                200,
                {"success": True, "commitOid": "0" * 40, "commitUrl": f"{self.server.address}/someone/tiny/commit/0"},
            )
        else:
            self.answer(404, {"error": asked})

    def answer(self, status, value):
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.created, server.files, server.address = [], {}, f"http://127.0.0.1:{server.server_port}"
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", server.address)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "README.md").write_text("---\nlicense: apache-2.0\n---\n# tiny\n")
    (tmp_path / "model.safetensors").write_bytes(bytes(range(256)))
    return tmp_path


def test_every_file_arrives_byte_for_byte(hub, folder):
    push(folder, "someone/tiny")
    assert hub.files == {path.name: path.read_bytes() for path in folder.iterdir()}
    assert [(repository["organization"], repository["name"]) for repository in hub.created] == [("someone", "tiny")]


def test_a_refused_token_is_told(hub, folder, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_another")
    with pytest.raises(UserError, match=r"(?s)someone/tiny: not uploaded .*401.* is whole; try again"):
        push(folder, "someone/tiny")
    assert not hub.files
