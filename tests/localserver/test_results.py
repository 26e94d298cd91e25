"""The same photo again: what was made of it before is the answer, for a while, and for its owner alone."""

from __future__ import annotations

import json

import pytest

from localserver.results import Key, Result, Results

REPORT = {"status": "protected", "faces": [], "seconds": 1.5, "bare": 0, "judged": None}
PROTECTED = Result(data=b"protected bytes", report=REPORT)
ROOM = 3 * 8192
"""For two results and a little."""


@pytest.fixture
async def daemon(make_daemon):
    """A daemon that remembers its results."""
    return await (await make_daemon(cache_bytes=1_000_000)).pair()


async def result(daemon, job) -> bytes:
    async with daemon.request("GET", f"/v1/jobs/{job}/result") as answer:
        assert 200 == answer.status
        return await answer.read()


async def first(daemon, photo) -> str:
    """A photo that was made."""
    job = await daemon.post(photo)
    daemon.engine.say(PROTECTED)
    await daemon.until(job, "done")
    return job


async def test_the_same_photo_is_not_made_again(daemon, photo):
    """It is posted to a second site, or the page was loaded anew: the answer is there at once, also after a DELETE."""
    job = await first(daemon, photo)
    assert 204 == await daemon.json_or_nothing("DELETE", f"/v1/jobs/{job}")
    again = await daemon.post(photo)
    status, body = await daemon.json("GET", f"/v1/jobs/{again}")
    assert (200, "done", REPORT) == (status, body["state"], body["report"])
    assert PROTECTED.data == await result(daemon, again)
    assert 1 == len(daemon.engine.taken)


async def test_two_of_one_photo_in_the_queue_are_made_once(daemon, photo):
    """A page may ask twice before the first is done."""
    job, twin = await daemon.post(photo), await daemon.post(photo)
    daemon.engine.say(PROTECTED)
    await daemon.until(twin, "done")
    assert PROTECTED.data == await result(daemon, twin) == await result(daemon, job)
    assert 1 == len(daemon.engine.taken)


async def test_what_may_come_out_better_is_made_anew(daemon, photo):
    """The person plugs the disk with the gallery in, and sends the photo again."""
    for passing in (True, False):
        job = await daemon.post(photo)
        daemon.engine.say(Result(data=b"protected bytes", report=REPORT | {"passing": passing}))
        await daemon.until(job, "done")
    await daemon.post(photo)
    assert 2 == len(daemon.engine.taken)


@pytest.mark.parametrize("options", [{"seed": 1}, {"delta": 2.0}, {"leave_out": [[1, 2, 3, 4]]}, {"look": True}])
async def test_other_options_are_another_result(daemon, photo, options):
    """A stronger mask, or another choice of faces, is not what was made before."""
    await first(daemon, photo)
    job = await daemon.post(photo, headers={"X-PMask-Options": json.dumps(options)})
    await daemon.until(job, "running")


async def test_options_that_mean_the_same_are_the_same(daemon, photo):
    """A client may say the defaults or leave them out."""
    await first(daemon, photo)
    job = await daemon.post(photo, headers={"X-PMask-Options": '{"seed": 0, "look": false}'})
    assert "done" == (await daemon.json("GET", f"/v1/jobs/{job}"))[1]["state"]


async def test_another_client_gets_nothing_of_it(daemon, photo):
    """How fast the answer came would tell that somebody else has sent this very photo."""
    await first(daemon, photo)
    other = await daemon.pair()
    await other.until(await other.post(photo), "running")


async def test_a_failure_is_not_remembered(daemon, photo):
    """Trying again must be worth it."""
    job = await daemon.post(photo)
    daemon.engine.say(RuntimeError("unforeseen"))
    await daemon.until(job, "failed")
    await first(daemon, photo)


async def test_what_was_cancelled_is_not_remembered(daemon, photo):
    """The person took it back."""
    job = await daemon.post(photo)
    await daemon.until(job, "running")
    await daemon.json_or_nothing("DELETE", f"/v1/jobs/{job}")
    await daemon.until(await daemon.post(photo), "running")


async def test_a_client_that_leaves_takes_its_results_along(daemon, photo):
    """Nothing of it stays."""
    await first(daemon, photo)
    await daemon.json_or_nothing("DELETE", "/v1/client")
    other = await daemon.pair()
    metrics = await (await other.request("GET", "/v1/metrics")).text()
    assert "\npmask_cache_bytes 0.0\n" in metrics


async def test_results_are_forgotten_after_ten_minutes(daemon, photo, clock):
    """A photo stays no longer in memory than the protocol says."""
    await first(daemon, photo)
    clock.now += 600
    await daemon.until(await daemon.post(photo), "running")


def key(number: int, client: str = "c") -> Key:
    return Key(client, bytes([number]), "{}")


def test_the_room_is_bounded_and_the_least_used_goes_first(clock):
    """Memory does not grow with the number of photos, of any size."""
    results = Results(ROOM, 600, clock)
    for number in range(2):
        results.put(key(number), PROTECTED)
    assert PROTECTED == results.get(key(0))
    results.put(key(2), Result(data=b"x" * 8000, report=REPORT))
    assert [True, False, True] == [results.get(key(number)) is not None for number in range(3)]
    results.put(key(3), Result(data=b"x" * ROOM, report=REPORT))
    assert results.get(key(3)) is None
    assert ROOM >= results.size > 0
    for number in range(3):
        results.put(key(0), Result(data=b"y" * number, report=REPORT))
    results.forget_client("c")
    assert 0 == results.size


def test_no_room_means_no_results(clock):
    """The owner may want none kept."""
    results = Results(0, 600, clock)
    results.put(key(1), PROTECTED)
    assert results.get(key(1)) is None
