"""The real engine with a real worker process; only what it does to a photo is the tests' own (`protectors.py`)."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from localserver.config import Config
from localserver.engine import WorkerEngine
from localserver.errors import EngineFailed
from localserver.frames import pack
from pmask.errors import Cancelled, DeviceUnavailable, OutOfMemory
from pmask.options import MaskOptions
from pmask.report import Progress

posix = pytest.mark.skipif(sys.platform == "win32", reason="uses POSIX signals")


@pytest.fixture
async def engine_of(tmp_path, monkeypatch):
    """Makes an engine with one of the tests' protectors."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    engines = []

    def make(protector: str, **settings) -> WorkerEngine:
        engines.append(WorkerEngine(Config(state_dir=tmp_path, **settings), f"protectors:{protector}"))
        return engines[-1]

    yield make
    for engine in engines:
        await engine.close()


async def protect(engine, *, seed=0, data=b"a photo", on_progress=lambda progress: None, cancel=None):
    return await engine.protect(data, MaskOptions(seed=seed), on_progress, cancel or asyncio.Event())


async def start_and_cancel(engine) -> float:
    """Cancels as soon as the worker masks; the seconds until the engine is free."""
    cancel, began = asyncio.Event(), asyncio.Event()

    def on_progress(progress: Progress) -> None:
        if progress.stage != "loading":
            began.set()

    job = asyncio.ensure_future(protect(engine, cancel=cancel, on_progress=on_progress))
    await began.wait()
    cancel.set()
    since = time.monotonic()
    with pytest.raises(Cancelled):
        await job
    return time.monotonic() - since


async def until_gone(pid: int, seconds: float = 3) -> bool:
    """Whether a process ends in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        await asyncio.sleep(0.02)
    return False


async def test_a_photo_comes_back_with_its_report(engine_of):
    """Bytes cross unharmed, prints (Python's and C's) do not get in between, infinity becomes JSON's null."""
    engine, seen = engine_of("Good"), []
    data = bytes(range(256)) * 40_000  # beyond every pipe's buffer
    protection = await protect(engine, data=data, on_progress=seen.append)
    assert data + b" protected" == protection.data
    assert ("protected", "auto") == (protection.report["status"], protection.report["device"])
    assert None is protection.report["faces"][0]["psnr"]
    assert ["loading", "masking"] == [progress.stage for progress in seen]
    assert (0.5, 1) == (seen[-1].fraction, seen[-1].faces)
    assert ["cpu"] == engine.devices


async def test_the_worker_stays_warm(engine_of):
    """Loading the recognisers takes seconds: once, not per photo."""
    engine = engine_of("Good")
    assert None is engine.pid
    await protect(engine)
    first = engine.pid
    await protect(engine)
    assert first == engine.pid


async def test_a_photo_without_a_face_sends_no_bytes_back(engine_of):
    """The client has the original; nothing that could pass for a protected photo exists."""
    protection = await protect(engine_of("NoFace"))
    assert (b"", "no_face") == (protection.data, protection.report["status"])
    protection = await protect(engine_of("Looker"))
    assert (b"", "looked") == (protection.data, protection.report["status"])


async def test_a_photo_that_was_protected_before_comes_back_as_it_was(engine_of):
    """It is what the page gets: bytes that are empty would read as "no face, upload the original"."""
    protection = await protect(engine_of("Before"), data=b"masked bytes")
    assert (b"masked bytes", "already_protected") == (protection.data, protection.report["status"])


async def test_the_worker_is_told_the_gallery(engine_of, tmp_path):
    """The folder is the daemon's setting, and only the worker reads photos."""
    engine = engine_of("Galleried", gallery=tmp_path)
    assert str(tmp_path).encode() == (await protect(engine)).data


async def test_a_crash_fails_that_photo_only(engine_of, caplog):
    """A segmentation fault in a native library takes neither the daemon nor the next photo with it."""
    engine = engine_of("Choosy")
    with pytest.raises(EngineFailed):
        await protect(engine, seed=1)
    assert "the worker died" in caplog.text
    assert b"a photo protected" == (await protect(engine)).data


async def test_a_worker_that_died_idle_is_replaced(engine_of):
    """The system may kill it when memory is short; the next photo does not notice. Until then there is none."""
    engine = engine_of("Good")
    await protect(engine)
    os.kill(engine.pid, signal.SIGTERM)
    deadline = time.monotonic() + 10
    while engine.pid is not None and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
    assert engine.status.pid is None
    assert b"a photo protected" == (await protect(engine)).data


async def test_running_out_of_memory_is_told_as_such(engine_of):
    """The cure (a smaller photo) differs from a crash's; a new worker starts from empty memory."""
    engine = engine_of("Choosy")
    with pytest.raises(OutOfMemory):
        await protect(engine, seed=2)
    assert None is engine.pid
    await protect(engine)


async def test_an_unforeseen_error_hides_its_text(engine_of, caplog, capfd):
    """Texts of exceptions quote what was handled; the log gets the place, the client the type."""
    engine = engine_of("Choosy")
    with pytest.raises(EngineFailed, match="RuntimeError"):
        await protect(engine, seed=3)
    log = str([vars(record) for record in caplog.records])
    assert "RuntimeError" in log
    assert "protectors.py" in log
    assert "secret" not in log + capfd.readouterr().err
    await protect(engine)


async def test_an_expected_error_keeps_its_code(engine_of):
    """And is no reason to start another worker."""
    engine = engine_of("no_device")
    for _ in range(2):
        with pytest.raises(DeviceUnavailable, match="there is no auto"):
            await protect(engine)
    assert None is not engine.pid


async def test_a_cancel_is_heard_in_the_middle_of_a_mask(engine_of):
    """And the worker stays warm: it was not killed, which a minute of grace would have put off."""
    engine = engine_of("Patient", cancel_grace=60)
    assert 30 > await start_and_cancel(engine)
    first = engine.pid
    assert 30 > await start_and_cancel(engine)
    assert first == engine.pid


async def test_a_worker_that_does_not_obey_is_killed(engine_of, caplog):
    """A photo that nobody wants must not hold up the next one. That is no error of the worker's."""
    engine = engine_of("Deaf", cancel_grace=0.2)
    assert 30 > await start_and_cancel(engine), "the mask would have taken 600"
    assert None is engine.pid
    assert "the worker died" not in caplog.text


async def test_a_worker_without_a_sign_of_life_is_killed(engine_of):
    """A deadlock in a driver must not stop the queue for good."""
    engine = engine_of("Deaf", stall=2)
    with pytest.raises(EngineFailed, match="sign of life"):
        await protect(engine)
    assert None is engine.pid


async def test_an_idle_worker_is_stopped_and_started_again(engine_of):
    """The daemon gives back hundreds of megabytes while nobody posts photos."""
    engine = engine_of("Good", idle_stop=0.1)
    await protect(engine)
    pid = engine.pid
    assert await until_gone(pid)
    assert None is engine.pid
    assert b"a photo protected" == (await protect(engine)).data
    assert pid != engine.pid


async def test_closing_ends_the_worker(engine_of, caplog):
    """The daemon leaves nothing behind, idle or busy, and does not speak of a crash."""
    for protector in ("Good", "Deaf"):
        engine, began = engine_of(protector), asyncio.Event()
        job = asyncio.ensure_future(protect(engine, on_progress=lambda _, began=began: began.set()))
        await began.wait()
        pid = engine.pid
        if protector == "Deaf":
            job.cancel()
        await asyncio.gather(job, return_exceptions=True)
        await engine.close()
        assert await until_gone(pid)
    assert "the worker died" not in caplog.text


@pytest.mark.parametrize("what", ["idle", "masking"])
async def test_the_worker_leaves_when_its_stdin_is_closed(what):
    """A daemon that is killed cannot say goodbye; its pipes close all the same."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "localserver.worker", "--device", "cpu", "--protector", "protectors:Deaf"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])},
    )
    if what == "masking":
        for part in pack({"do": "protect", "options": {}}, b"a photo"):
            process.stdin.write(part)
        await process.stdout.readexactly(12)
        await asyncio.sleep(0.2)
    process.stdin.close()
    await asyncio.wait_for(process.communicate(), 10)
    assert 0 == process.returncode


@pytest.mark.parametrize("junk", [b"\xff" * 12, b"\0\0\0\x02" + b"\0" * 8 + b"[]", b"\0\0\0\x02" + b"\0" * 8 + b"x!"])
async def test_a_worker_that_speaks_nonsense_is_replaced(engine_of, monkeypatch, tmp_path, junk):
    """A corrupt stream can never be read right again."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "babble.py").write_text(
        "import __main__, gc, time\n"
        "def make(device, gallery):\n"
        "    [worker] = [one for one in gc.get_objects() if isinstance(one, __main__.Worker)]\n"
        f"    worker._outbox.raw.write({junk!r})\n"
        "    time.sleep(600)\n"
    )
    engine = WorkerEngine(Config(state_dir=tmp_path), "babble:make")
    with pytest.raises(EngineFailed, match="nonsense"):
        await protect(engine)
    assert None is engine.pid


@posix
async def test_a_worker_that_the_system_kills_fails_that_photo_only(engine_of):
    """Memory ran out in the middle of a mask: the person is told what helps, and the next photo gets a new worker."""
    engine, began = engine_of("Deaf"), asyncio.Event()
    job = asyncio.ensure_future(protect(engine, on_progress=lambda _: began.set()))
    await began.wait()
    while engine.status.device is None:
        await asyncio.sleep(0.01)
    os.kill(engine.pid, signal.SIGKILL)
    with pytest.raises(EngineFailed, match="want of memory"):
        await job
    assert (None, 1) == (engine.pid, engine.status.starts)


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_the_processor_stands_in_for_a_graphics_card_that_fails(engine_of, seed):
    """Out of its memory (1) or broken (2), the photo is masked all the same, and the person is told why it took long;
    a worker that died (3) takes its photo with it, and the next one goes to the processor."""
    engine = engine_of("Gpu", gpu_pause=600)
    assert b"a photo by cuda" == (await protect(engine)).data
    if seed == 3:
        with pytest.raises(EngineFailed):
            await protect(engine, seed=seed)
    else:
        protection = await protect(engine, seed=seed)
        assert (b"a photo by cpu", True) == (protection.data, protection.report["passing"])
        assert ["the graphics card failed" in text for text in protection.report["warnings"]] == [True]
    later = await protect(engine)
    assert (b"a photo by cpu", 1, 2) == (later.data, len(later.report["warnings"]), engine.status.starts)
    assert ("cpu", 1) == (engine.status.device, engine.status.fallbacks)


async def test_a_graphics_card_may_try_again_later(engine_of):
    """A driver that was updated, or a game that has ended, must not cost the card for good."""
    engine = engine_of("Gpu", gpu_pause=3)
    assert b"a photo by cpu" == (await protect(engine, seed=1)).data
    await asyncio.sleep(3.1)
    protection = await protect(engine)
    assert (b"a photo by cuda", []) == (protection.data, protection.report["warnings"])
    assert not protection.report["passing"]


async def test_what_the_processor_cannot_do_fails(engine_of):
    """Once; there is nothing else to try."""
    engine = engine_of("Choosy", device="cpu")
    with pytest.raises(OutOfMemory):
        await protect(engine, seed=2)
    assert (1, 0) == (engine.status.starts, engine.status.fallbacks)


async def test_a_warm_up_loads_before_the_photo_comes(engine_of):
    """The seconds that loading takes are over when the person has chosen the photo."""
    engine, seen = engine_of("Good"), []
    engine.warm(MaskOptions())
    engine.warm(MaskOptions())
    while engine.status.device is None:
        await asyncio.sleep(0.02)
    assert b"a photo protected" == (await protect(engine, on_progress=seen.append)).data
    assert 1 == engine.status.starts
    assert "masking" == seen[-1].stage


async def test_a_photo_waits_for_the_warm_up_and_can_be_cancelled_meanwhile(engine_of):
    """Two conversations at once would mix up their frames; a cancel does not wait for the loading, nor undo it."""
    engine, cancel = engine_of("Slow"), asyncio.Event()
    engine.warm(MaskOptions())
    job = asyncio.ensure_future(protect(engine, cancel=cancel))
    await asyncio.sleep(0.1)
    cancel.set()
    with pytest.raises(Cancelled):
        await asyncio.wait_for(job, 1)
    assert b"a photo protected" == (await protect(engine)).data
    assert 1 == engine.status.starts


@pytest.mark.parametrize("protector", ["no_device", "Dies"])
async def test_a_warm_up_that_fails_harms_nobody(engine_of, protector):
    """It was not asked for by a person; the photo to come fails, or not, on its own."""
    engine = engine_of(protector)
    engine.warm(MaskOptions())
    with pytest.raises((DeviceUnavailable, EngineFailed)):
        await protect(engine)


async def test_closing_ends_a_warm_up(engine_of, caplog):
    """Nothing is left behind."""
    engine = engine_of("Slow")
    engine.warm(MaskOptions())
    while engine.pid is None:
        await asyncio.sleep(0.01)
    pid = engine.pid
    await engine.close()
    assert await until_gone(pid)
    assert "the worker died" not in caplog.text


async def test_a_cancel_is_heard_between_the_stages(engine_of):
    """Not in the search alone: a worker that is killed must load all over again."""
    engine = engine_of("Stages", cancel_grace=60)
    assert 30 > await start_and_cancel(engine)
    assert None is not engine.pid


@posix
async def test_ctrl_c_is_the_daemons_business(engine_of):
    """A terminal sends it to the worker too, which would end noisily in the middle of a frame."""
    engine = engine_of("Good")
    await protect(engine)
    pid = engine.pid
    os.kill(pid, signal.SIGINT)
    await protect(engine)
    assert pid == engine.pid
