"""A Hub of one repository on loopback: takes commits, and serves the files of the last one."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class LoopbackHub(ThreadingHTTPServer):
    """What was uploaded, by path, and every request."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.requests: list[str] = []

    @property
    def address(self) -> str:
        """Return the address that stands for the Hub's."""
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    """Answer the requests that huggingface_hub makes for uploads and for snapshots."""

    server: LoopbackHub
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.requests.append(f"POST {self.path}")
        name = self.path.partition("?")[0]
        if name == "/api/repos/create":
            self.answer({"url": f"{self.server.address}/user/network", "name": "user/network"})
        elif name == "/api/validate-yaml":
            self.answer({"errors": [], "warnings": []})
        elif "/preupload/" in name:
            files = [{"path": file["path"], "uploadMode": "regular"} for file in json.loads(body)["files"]]
            self.answer({"files": [file | {"shouldIgnore": False} for file in files]})
        elif "/commit/" in name:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.server.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            url = f"{self.server.address}/user/network/commit/{COMMIT}"
            self.answer({"success": True, "commitUrl": url, "commitOid": COMMIT, "hookOutput": ""})
        else:
            self.answer({"error": "unknown"}, 404)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.server.requests.append(f"{self.command} {self.path}")
        name = self.path.partition("?")[0]
        if name.startswith("/api/models/user/network"):
            siblings = [{"rfilename": path, "size": len(data)} for path, data in self.server.files.items()]
            entries = [
                {"type": "file", "path": path, "oid": "0" * 40, "size": len(x)} for path, x in self.server.files.items()
            ]
            info = {"id": "user/network", "sha": COMMIT, "private": False, "tags": [], "siblings": siblings}
            self.answer(entries if "/tree/" in name else info)
        elif name.startswith("/user/network/resolve/") and name.rpartition("/")[2] in self.server.files:
            data = self.server.files[name.rpartition("/")[2]]
            self.answer(data, headers={"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X-Repo-Commit": COMMIT})
        else:
            self.answer({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})

    def answer(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        """Send JSON, or bytes as they are."""
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/octet-stream" if isinstance(value, bytes) else "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, text in (headers or {}).items():
            self.send_header(name, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@contextmanager
def serve_hub(monkeypatch: pytest.MonkeyPatch, cache: str) -> Iterator[LoopbackHub]:
    """Let huggingface_hub talk to a Hub on loopback, with a cache of its own."""
    from huggingface_hub import constants

    with LoopbackHub() as hub:
        thread = threading.Thread(target=hub.serve_forever)
        thread.start()
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, hub.address)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "ENDPOINT", hub.address)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", cache)
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()
