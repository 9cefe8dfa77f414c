"""`axial-deeplab import NAME`: downloads from a server on loopback, whole or not at all."""

import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from axial_deeplab.checkpoints.load import load_checkpoint
from axial_deeplab.checkpoints.published import PUBLISHED_FILES, PublishedFile, get_downloads_folder
from axial_deeplab.cli import main
from tests.checkpoints.bundle_maker import pack, write_bundle
from tests.checkpoints.foreign_files import build_tiny, build_tiny_authors, list_variables, save_authors_file

DOCS = Path(__file__).resolve().parents[2] / "docs" / "checkpoints.md"


class Handler(BaseHTTPRequestHandler):
    """Serve files of a folder, some of them badly."""

    def __init__(self, folder: Path, requests: list[str], *arguments: object) -> None:
        self.folder, self.requests = folder, requests
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        self.requests.append(self.path)
        path = self.folder / self.path.rpartition("/")[2]
        if not path.is_file():
            self.send_error(404)
            return
        data = path.read_bytes()
        self.send_response(200)
        if "/chunked/" not in self.path:
            self.send_header("Content-Length", str(len(data)))
        else:
            self.send_header("Transfer-Encoding", "chunked")
            data = b"%x\r\n%s\r\n" % (len(data) // 2, data[: len(data) // 2])  # and no end
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if "/short/" in self.path else data)

    def log_message(self, *arguments: object) -> None:
        return


@pytest.fixture
def requests() -> list[str]:
    return []


@pytest.fixture
def server(tmp_path: Path, requests: list[str]) -> Iterator[str]:
    """Return the address of a server for the files of `tmp_path`."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, tmp_path, requests)) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    prefix = write_bundle(tmp_path / "zoo" / "ckpt", list_variables(build_tiny(19), heads=False))
    return pack(tmp_path / "backbone.tar.gz", {path.name: path for path in prefix.parent.iterdir()})


def publish(monkeypatch: pytest.MonkeyPatch, address: str, form: str = "deeplab2") -> None:
    monkeypatch.setitem(PUBLISHED_FILES, "test", PublishedFile(address, form, published=(("top1", 75.8),)))  # type: ignore[arg-type]


def run(tmp_path: Path) -> int:
    return main(["import", "test", "--output", str(tmp_path / "out"), "--downloads", str(tmp_path / "kept")])


def test_a_download_is_recorded_and_used_again(
    tmp_path: Path, server: str, archive: Path, requests: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(monkeypatch, f"{server}/zoo/backbone.tar.gz")
    assert run(tmp_path) == 0
    assert run(tmp_path) == 0
    assert requests == ["/zoo/backbone.tar.gz"]
    record = load_checkpoint(tmp_path / "out")[1].recipe["imported"]
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    assert record["files"] == [{"name": archive.name, "bytes": archive.stat().st_size, "sha256": digest}]
    assert (record["address"], record["published"]) == (f"{server}/zoo/backbone.tar.gz", {"top1": 75.8})


def test_the_authors_file_is_downloaded_too(tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    save_authors_file(tmp_path / "tiny.pth", build_tiny_authors(3))
    publish(monkeypatch, f"{server}/tiny.pth", "official-pytorch")
    assert run(tmp_path) == 0
    assert load_checkpoint(tmp_path / "out")[1].task == "classification"


@pytest.mark.parametrize("way", ["short", "chunked"])
def test_an_interrupted_download_leaves_nothing(
    tmp_path: Path,
    server: str,
    archive: Path,
    way: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    publish(monkeypatch, f"{server}/{way}/backbone.tar.gz")
    assert run(tmp_path) == 2
    assert "none are kept" in capsys.readouterr().err.splitlines()[-1]
    assert list((tmp_path / "kept").iterdir()) == []
    publish(monkeypatch, f"{server}/whole/backbone.tar.gz")
    assert run(tmp_path) == 0


def test_a_server_that_says_no_is_named(
    tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(monkeypatch, f"{server}/absent.tar.gz")
    assert run(tmp_path) == 2
    assert "/absent.tar.gz cannot be downloaded: HTTP Error 404" in capsys.readouterr().err


def test_a_wrong_answer_is_kept_and_named(
    tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "page.tar.gz").write_text("<html>Moved</html>")
    publish(monkeypatch, f"{server}/page.tar.gz")
    assert run(tmp_path) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "is damaged, or no archive" in error
    assert error.endswith(f"the download is kept as {tmp_path}/kept/page.tar.gz: delete it to fetch it again")


def test_downloads_go_to_the_user_s_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert get_downloads_folder() == tmp_path / "axial-deeplab"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert get_downloads_folder() == Path.home() / ".cache" / "axial-deeplab"


def test_the_table_in_the_documentation_is_the_same() -> None:
    text = DOCS.read_text()
    for name, file in PUBLISHED_FILES.items():
        assert f"axial-deeplab import {name} " in text, name
        assert file.address in text, name
