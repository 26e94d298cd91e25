"""Downloads go on where they were cut, and what is kept is what was published."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from pmask import store
from pmask.download import ATTEMPTS, download
from pmask.errors import WeightsUnavailable
from pmask.recognisers.records import WebFile

CONTENT = np.random.default_rng(0).bytes(300_000)


@pytest.fixture
def part(tmp_path):
    return tmp_path / "downloads" / "net.part"


@pytest.fixture(autouse=True)
def _folders(tmp_path, monkeypatch):
    monkeypatch.setenv("PMASK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def archive(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in members.items():
            made.writestr(name.replace("__", "/").replace("_onnx", ".onnx"), content)
    return out.getvalue()


def record(web, path: str, content: bytes = CONTENT, member: str = "net.onnx", homes: tuple[str, ...] = ()) -> WebFile:
    digest = hashlib.sha256(content).hexdigest()
    return WebFile(url=web.url(path), member=member, sha256=digest, size=len(content), homes=homes)


def test_a_cut_connection_goes_on_where_it_was(web, part):
    """260 MB over a hotel's network: each cut may cost the lost bytes only."""
    web.files["/net"] = CONTENT
    web.cut = [100_000, 50_000]
    heard: list[tuple[str, int, int | None]] = []
    download(web.url("/net"), part, lambda *step: heard.append(step))
    assert CONTENT == part.read_bytes()
    assert [None, "bytes=100000-", "bytes=150000-"] == [span for _, span in web.asked]
    assert ("net", len(CONTENT), len(CONTENT)) == heard[-1]
    assert [done for _, done, _ in heard] == sorted(done for _, done, _ in heard)


def test_the_next_command_goes_on_too(web, part):
    """Whoever gives up has lost nothing."""
    web.files["/net"] = CONTENT
    web.cut = [100_000, *[0] * ATTEMPTS]
    with pytest.raises(WeightsUnavailable, match=r"100,000 bytes are kept, and the next try goes on from there"):
        download(web.url("/net"), part)
    web.cut, web.asked = [], []
    download(web.url("/net"), part)
    assert CONTENT == part.read_bytes()
    assert [("/net", "bytes=100000-")] == web.asked
    download(web.url("/net"), part)  # whole already: the program ended before it looked
    assert CONTENT == part.read_bytes()


def test_halves_of_two_versions_are_never_joined(web, part):
    """The file was replaced in between: it begins anew."""
    web.files["/net"] = CONTENT
    web.cut = [100_000, *[0] * ATTEMPTS]
    with pytest.raises(WeightsUnavailable):
        download(web.url("/net"), part)
    web.files["/net"], web.cut = CONTENT[::-1], []
    download(web.url("/net"), part)
    assert CONTENT[::-1] == part.read_bytes()


def test_a_server_without_ranges_is_asked_for_the_whole(web, part):
    """Slower, but right."""
    web.files["/net"], web.ranges = CONTENT, False
    web.cut = [100_000]
    download(web.url("/net"), part)
    assert CONTENT == part.read_bytes()


def test_what_is_not_there_is_said_at_once(web, part):
    """Asking again would not help."""
    with pytest.raises(WeightsUnavailable, match="answered 404"):
        download(web.url("/absent"), part)
    assert 1 == len(web.asked)


def test_one_member_of_an_archive_is_kept(web, tmp_path):
    """A pack of 361 MB, of which one recogniser is wanted; it may lie in a folder there."""
    web.files["/pack.zip"] = archive(pack__net_onnx=CONTENT, pack__other_onnx=b"no" * 1000)
    web.cut = [100_000]
    file = record(web, "/pack.zip")
    said: list[str] = []
    (path,) = store.fetch([file], said.append)
    assert CONTENT == path.read_bytes()
    assert [path] == [found for found in (tmp_path / "cache").rglob("*") if found.is_file() and found.suffix != ".lock"]
    assert any("pack.zip" in line for line in said)
    web.asked.clear()
    assert [path] == store.fetch([file])
    assert [] == web.asked
    assert store.verify(file)


def test_two_processes_fetch_one_file_once(web, tmp_path):
    """The daemon and the command line, both new: their bytes were mixed in one part, and both failed."""
    web.files["/net.onnx"], web.pause = CONTENT, 0.02
    file = record(web, "/net.onnx")
    code = f"from pmask import store; from pmask.recognisers.records import WebFile; print(*store.fetch([{file!r}]))"
    both = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [f"{store.weight_path(file)}\n"] * 2 == [process.communicate()[0] for process in both]
    assert store.verify(file)
    assert 1 == len(web.asked)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (archive(net_onnx=CONTENT[:-1] + b"!"), "SHA-256"),
        (archive(other_onnx=CONTENT), "holds no net.onnx"),
        (CONTENT, "no zip archive"),
    ],
)
def test_other_bytes_are_not_kept(web, tmp_path, content, words):
    """Weights run as part of the program; a swapped file must not, and is not resumed either."""
    web.files["/pack.zip"] = content
    with pytest.raises(WeightsUnavailable, match=words):
        store.fetch([record(web, "/pack.zip")])
    assert [] == [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.suffix != ".lock"]


def test_what_another_program_keeps_is_used_there(web, tmp_path):
    """InsightFace's users have its packs already."""
    home = tmp_path / "home" / ".insightface/models/pack/net.onnx"
    file = record(web, "/pack.zip", homes=("~/.insightface/models/pack/net.onnx",))
    assert not store.is_present(file)
    home.parent.mkdir(parents=True)
    home.write_bytes(CONTENT)
    assert store.is_present(file)
    assert [home] == store.fetch([file])
    assert [] == web.asked
    home.write_bytes(CONTENT[:-1] + b"!")  # as long, and not the published one: PMask gets its own
    web.files["/pack.zip"] = archive(net_onnx=CONTENT)
    (path,) = store.fetch([file])
    assert tmp_path / "cache" / "weights" == path.parent
    assert CONTENT == path.read_bytes()
