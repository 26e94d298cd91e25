"""A photo's way through the daemon over real HTTP, with an engine that does what the test says."""

from __future__ import annotations

import asyncio
import gc
import io
import json
import weakref

import pytest
from PIL import Image

from localserver import jobs
from localserver.app import QUEUE
from localserver.results import Result
from localserver.serving import SERVER_OPTIONS
from pmask.errors import OutOfMemory, WeightsUnavailable
from pmask.images import MAX_BYTES, MAX_PIXELS
from pmask.options import MOST_BOXES, PRESETS, MaskOptions
from pmask.report import Progress

FACE = {"hidden": True, "matched": False, "converged": True, "ssim": 0.971}
REPORT = {
    "status": "protected",
    "faces": [FACE, FACE | {"hidden": False, "matched": True, "converged": False, "ssim": 0.969}],
    "seconds": 1.5,
    "bare": 0,
    "judged": {"recognisers": 4, "fooled": 3, "unseen": 2, "upload": "Instagram"},
}
PROTECTED = Result(data=b"protected bytes", report=REPORT)
NO_FACE = Result(data=b"", report={"status": "no_face", "faces": [], "seconds": 0.5, "bare": 0, "judged": None})


def masking(fraction: float, faces: int | None = 2) -> Progress:
    return Progress(stage="masking", fraction=fraction, faces=faces)


async def test_a_photo_is_protected(daemon, photo):
    """The whole way: post, poll, fetch, delete."""
    job = await daemon.post(photo)
    daemon.engine.say(PROTECTED)
    body = await daemon.until(job, "done")
    assert (1.0, None, REPORT, None) == (body["progress"], body["stage"], body["report"], body["error"])
    async with daemon.request("GET", f"/v1/jobs/{job}/result") as answer:
        assert (200, "image/jpeg") == (answer.status, answer.content_type)
        assert b"protected bytes" == await answer.read()
        assert "nosniff" == answer.headers["X-Content-Type-Options"]
        summary = answer.headers["X-PMask-Report"]
    expected = {
        "status": "protected",
        "faces": 2,
        "hidden": 1,
        "matched": 1,
        "converged": 1,
        "seconds": 1.5,
        "ssim": 0.969,
        "bare": 0,
    }
    expected["judged"] = {"recognisers": 4, "fooled": 3, "unseen": 2, "upload": "Instagram"}
    assert json.dumps(expected, separators=(",", ":")) == summary
    async with daemon.request("DELETE", f"/v1/jobs/{job}") as answer:
        assert (204, b"") == (answer.status, await answer.read())
    assert (404, "not_found") == await daemon.refusal("GET", f"/v1/jobs/{job}")


async def test_a_photo_that_was_protected_before_is_a_200(daemon, photo):
    """The same way as a photo that was protected now: its bytes, unchanged, are what to upload."""
    job = await daemon.post(photo)
    report = {"status": "already_protected", "faces": [], "seconds": 0.1, "bare": 1, "judged": None}
    daemon.engine.say(Result(data=photo, report=report))
    await daemon.until(job, "done")
    async with daemon.request("GET", f"/v1/jobs/{job}/result") as answer:
        assert (200, photo) == (answer.status, await answer.read())
        summary = json.loads(answer.headers["X-PMask-Report"])
        assert ("already_protected", 1) == (summary["status"], summary["bare"])


@pytest.mark.parametrize("status", ["looked", "left_out"])
async def test_what_nothing_was_done_to_is_never_a_200(daemon, photo, status):
    """Faces that were only looked for, or all left out: no byte may pass for a protected photo."""
    job = await daemon.post(photo, headers={"X-PMask-Options": json.dumps({"look": True})})
    report = {"status": status, "faces": [], "seconds": 0.1, "bare": 0, "judged": None}
    daemon.engine.say(Result(data=b"", report=report))
    await daemon.until(job, "done")
    assert daemon.engine.taken[0][1].look
    async with daemon.request("GET", f"/v1/jobs/{job}/result") as answer:
        assert (204, b"") == (answer.status, await answer.read())
        assert status == json.loads(answer.headers["X-PMask-Report"])["status"]


async def test_what_a_face_takes_is_told_from_the_last_photos(daemon, photo):
    """The options page says what a setting costs on this machine, not on the author's."""

    async def seconds_per_face():
        return (await daemon.json("GET", "/v1/options"))[1]["seconds_per_face"]

    assert await seconds_per_face() is None
    for seconds in (3.0, 50.0, 5.0):
        job = await daemon.post(photo)
        daemon.engine.say(Result(data=b"protected bytes", report=REPORT | {"seconds": seconds}))
        await daemon.until(job, "done")
    job = await daemon.post(photo)
    daemon.engine.say(NO_FACE)
    await daemon.until(job, "done")
    assert 2.5 == await seconds_per_face()


async def test_a_client_that_leaves_is_gone_with_its_photos(daemon, photo):
    """Unpairing in the browser must leave neither a key to the door nor a photo behind it."""
    other = await daemon.pair()
    job = await daemon.post(photo)
    async with daemon.request("DELETE", "/v1/client") as answer:
        assert (204, b"") == (answer.status, await answer.read())
    assert (401, "unauthorised") == await daemon.refusal("GET", f"/v1/jobs/{job}")
    assert [other.client_id] == [client.id for client in daemon.clients.paired()]
    assert (404, "not_found") == await other.refusal("GET", f"/v1/jobs/{job}")
    daemon.engine.say(PROTECTED)


async def test_a_client_that_leaves_while_a_photo_arrives_has_none_made(daemon, photo):
    """The photo was let in before; nobody is left who could fetch it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", daemon.config.port)
    head = f"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1:{daemon.config.port}\r\nAuthorization: Bearer {daemon.token}\r\n"
    writer.write(f"{head}Content-Length: {len(photo)}\r\nExpect: 100-continue\r\n\r\n".encode())
    assert b"HTTP/1.1 100 Continue\r\n\r\n" == await reader.readuntil(b"\r\n\r\n")
    assert 204 == await daemon.json_or_nothing("DELETE", "/v1/client")
    writer.write(photo)
    assert b"401" == (await reader.readline()).split()[1]
    writer.close()
    assert [] == daemon.engine.taken


async def test_a_revoked_client_has_no_more_photos_made(daemon, photo):
    """`pmask-server clients revoke` is another process, which cannot tell the queue."""
    other = await daemon.pair()
    at_work = await other.post(photo)
    await other.until(at_work, "running")
    await take_turns(daemon, photo, [1, 2, 3])
    daemon.clients.revoke(daemon.client_id)
    last = await other.post(photo, headers={"X-PMask-Options": '{"seed": 9}'})
    for _ in range(5):
        daemon.engine.say(PROTECTED)
    await other.until(last, "done")
    assert [0, 9] == [options.seed for _, options in daemon.engine.taken]


async def test_a_photo_without_a_face_is_never_a_200(daemon, photo):
    """204 says that the original is what to upload; the same header says why."""
    job = await daemon.post(photo)
    daemon.engine.say(NO_FACE)
    await daemon.until(job, "done")
    async with daemon.request("GET", f"/v1/jobs/{job}/result") as answer:
        assert (204, b"") == (answer.status, await answer.read())
        expected = {
            "status": "no_face",
            "faces": 0,
            "hidden": 0,
            "matched": 0,
            "converged": 0,
            "seconds": 0.5,
            "ssim": None,
            "bare": 0,
        }
        assert expected | {"judged": None} == json.loads(answer.headers["X-PMask-Report"])


async def test_the_engine_gets_the_photo_and_the_options(daemon, photo):
    """What the person chose is what the mask is made with."""
    daemon.engine.say(PROTECTED)
    options = {"delta": 2, "omega": 0.03, "team": ["dlib"], "seed": 7}
    job = await daemon.post(photo, headers={"X-PMask-Options": json.dumps(options)})
    await daemon.until(job, "done")
    assert [(photo, MaskOptions(delta=2, omega=0.03, team=("dlib",), seed=7))] == daemon.engine.taken


@pytest.mark.parametrize("error", [OutOfMemory("too big"), WeightsUnavailable("offline"), ValueError("secret.jpg")])
async def test_a_failure_is_never_a_200(daemon, photo, error):
    """A photo that was not protected must never look as if it were; an unforeseen error's text stays in the daemon."""
    job = await daemon.post(photo)
    daemon.engine.say(error)
    body = await daemon.until(job, "failed")
    code, status = getattr(error, "code", "internal"), getattr(error, "status", 500)
    assert code == body["error"]["code"]
    assert "secret" not in body["error"]["message"]
    assert (status, code) == await daemon.refusal("GET", f"/v1/jobs/{job}/result")


async def test_a_failed_photo_does_not_stay_in_memory(daemon, photo):
    """Hundreds of failures, as without a network, must not fill the memory: a traceback keeps what its frames hold."""
    error, held = WeightsUnavailable("offline"), []

    async def talk(body):
        try:
            raise OSError("a pipe")
        except OSError as cause:
            raise error from cause

    async def protect(data, options, on_progress, cancel):
        body = asyncio.Event()  # in the photo's place: bytes take no weakref
        held.append(weakref.ref(body))
        talking = asyncio.ensure_future(talk(body))
        await talking

    daemon.engine.protect = protect
    gc.disable()
    try:
        job = await daemon.post(photo)
        await daemon.until(job, "failed")
        for _ in range(2):
            await daemon.refusal("GET", f"/v1/jobs/{job}/result")
        assert [None] == [body() for body in held]
        assert error.__traceback__ is None
    finally:
        gc.enable()


async def test_a_result_under_way_is_not_ready(daemon, photo):
    """Neither empty nor the original: a client that asks too early is told so."""
    job = await daemon.post(photo)
    assert (409, "not_ready") == await daemon.refusal("GET", f"/v1/jobs/{job}/result")
    daemon.engine.say(PROTECTED)


async def test_jobs_run_one_after_the_other(daemon, photo):
    """Two masks at once would fight for one processor or one GPU's memory."""
    first, second = await daemon.post(photo), await daemon.post(photo)
    await daemon.until(first, "running")
    assert "queued" == (await daemon.json("GET", f"/v1/jobs/{second}"))[1]["state"]
    daemon.engine.say(PROTECTED)
    await daemon.until(second, "running")
    assert "done" == (await daemon.json("GET", f"/v1/jobs/{first}"))[1]["state"]


async def test_one_failure_does_not_stop_the_queue(daemon, photo):
    """The next photo is protected all the same."""
    first, second = await daemon.post(photo), await daemon.post(photo)
    daemon.engine.say(RuntimeError("unforeseen"))
    daemon.engine.say(PROTECTED)
    await daemon.until(first, "failed")
    await daemon.until(second, "done")


@pytest.mark.parametrize("report", [{}, REPORT | {"seconds": None}])
async def test_a_report_that_is_none_does_not_stop_the_queue(daemon, photo, report):
    """The daemon would go on to answer, and protect nothing."""
    first, second = await daemon.post(photo), await daemon.post(photo)
    daemon.engine.say(Result(data=b"protected bytes", report=report))
    daemon.engine.say(PROTECTED)
    await asyncio.wait_for(daemon.until(first, "failed"), 10)
    await asyncio.wait_for(daemon.until(second, "done"), 10)


async def test_a_long_poll_wakes_at_each_change(daemon, photo):
    """The popup's bar moves as the mask does, without asking many times a second."""
    job = await daemon.post(photo)
    seen = (await daemon.until(job, "running"))["revision"]
    for fraction in (0.25, 0.5):
        poll = asyncio.ensure_future(daemon.json("GET", f"/v1/jobs/{job}?wait=20&seen={seen}"))
        await asyncio.sleep(0.05)
        assert not poll.done()
        daemon.engine.say(masking(fraction))
        _, body = await asyncio.wait_for(poll, 2)
        assert ("masking", fraction, 2) == (body["stage"], body["progress"], body["faces"])
        assert body["revision"] > seen
        seen = body["revision"]


async def test_a_long_poll_of_an_old_revision_answers_at_once(daemon, photo):
    """What changed between two polls is not waited for again."""
    job = await daemon.post(photo)
    await daemon.until(job, "running")
    _, body = await asyncio.wait_for(daemon.json("GET", f"/v1/jobs/{job}?wait=20&seen=0"), 2)
    assert "running" == body["state"]


async def test_a_long_poll_ends_when_its_time_is_up(daemon, photo):
    """Firefox drops an extension's wait after 30 seconds, so a poll must answer even if nothing happens."""
    job = await daemon.post(photo)
    await daemon.until(job, "running")
    status, body = await asyncio.wait_for(daemon.json("GET", f"/v1/jobs/{job}?wait=0.1"), 2)
    assert (200, "running") == (status, body["state"])


async def test_a_long_poll_of_an_ended_job_answers_at_once(daemon, photo):
    """Nothing will change any more."""
    job = await daemon.post(photo)
    daemon.engine.say(PROTECTED)
    seen = (await daemon.until(job, "done"))["revision"]
    await asyncio.wait_for(daemon.json("GET", f"/v1/jobs/{job}?wait=20&seen={seen}"), 2)


@pytest.mark.parametrize("query", ["wait=21", "wait=-1", "wait=x", "wait=nan", "wait=1&seen=-1", "wait=1&seen=inf"])
async def test_a_bad_wait_is_refused(daemon, photo, query):
    """Nobody may park a request for longer than the protocol says."""
    job = await daemon.post(photo)
    assert (400, "bad_request") == await daemon.refusal("GET", f"/v1/jobs/{job}?{query}")


async def test_progress_never_goes_back_and_eta_follows_the_stage(daemon, photo, clock):
    """A bar that jumps back, or an estimate that counts the loading of models, is worse than none."""
    job = await daemon.post(photo)
    assert None is (await daemon.until(job, "running"))["eta_s"]
    daemon.engine.say(Progress(stage="loading", fraction=0.1))
    await poll_until(daemon, job, 0.1)
    clock.now += 60
    daemon.engine.say(masking(0.2))
    body = await poll_until(daemon, job, 0.2)
    assert None is body["eta_s"]
    clock.now += 10
    daemon.engine.say(masking(0.4, faces=None))
    body = await poll_until(daemon, job, 0.4)
    assert 2 == body["faces"]
    assert 30 == pytest.approx(body["eta_s"])
    daemon.engine.say(masking(0.3))
    daemon.engine.say(masking(7.0))
    await poll_until(daemon, job, 1.0)


async def poll_until(daemon, job, fraction):
    """Polls until progress has got there; it must rise on the way."""
    body = {"progress": 0.0, "revision": 0}
    while body["progress"] != fraction:
        before = body["progress"]
        _, body = await daemon.json("GET", f"/v1/jobs/{job}?wait=20&seen={body['revision']}")
        assert before <= body["progress"] <= 1
    return body


async def test_deleting_cancels_a_running_job(daemon, photo):
    """The person closed the page: the processor is for the next photo, and who waits is told."""
    first, second = await daemon.post(photo), await daemon.post(photo)
    seen = (await daemon.until(first, "running"))["revision"]
    poll = asyncio.ensure_future(daemon.json("GET", f"/v1/jobs/{first}?wait=20&seen={seen}"))
    await asyncio.sleep(0.05)
    async with daemon.request("DELETE", f"/v1/jobs/{first}") as answer:
        assert 204 == answer.status
    assert "cancelled" == (await asyncio.wait_for(poll, 2))[1]["state"]
    assert (404, "not_found") == await daemon.refusal("DELETE", f"/v1/jobs/{first}")
    await daemon.until(second, "running")


async def test_deleting_a_queued_job_keeps_it_from_running(daemon, photo):
    """What was given up is never begun."""
    first = await daemon.post(photo)
    second = await daemon.post(photo, headers={"X-PMask-Options": '{"seed": 2}'})
    third = await daemon.post(photo, headers={"X-PMask-Options": '{"seed": 3}'})
    async with daemon.request("DELETE", f"/v1/jobs/{second}") as answer:
        assert 204 == answer.status
    daemon.engine.say(PROTECTED)
    daemon.engine.say(PROTECTED)
    await daemon.until(first, "done")
    await daemon.until(third, "done")
    assert [0, 3] == [options.seed for _, options in daemon.engine.taken]


async def impatient(daemon, photo) -> jobs.Job:
    """A job that is given up ten minutes after the last question for it."""
    _, body = await daemon.json("POST", "/v1/jobs?patience=600", data=photo)
    return daemon.app[QUEUE].get(daemon.client_id, body["id"])


def left(job: jobs.Job) -> float:
    """Seconds until it is given up."""
    return job.given_up.when() - asyncio.get_running_loop().time()


async def test_a_photo_that_nobody_asks_for_is_given_up(daemon, photo):
    """A tab that is closed says nothing that surely arrives, and the next one's photos would wait for its own."""
    gone = [await impatient(daemon, photo) for _ in range(2)]
    kept = await daemon.post(photo)
    await daemon.until(gone[0].id, "running")
    for job in gone:
        job.patience = 0.0
        daemon.app[QUEUE].asked(job)
    await asyncio.wait_for(daemon.until(kept, "running"), 20)
    assert ["cancelled"] * 2 == [job.state for job in gone]
    for job in gone:
        assert (404, "not_found") == await daemon.refusal("GET", f"/v1/jobs/{job.id}")


async def test_who_asks_for_a_photo_or_waits_for_it_has_not_left(daemon, photo):
    """Patience counts from the last answer, however late that is."""
    job = await impatient(daemon, photo)
    await daemon.until(job.id, "running")
    before = job.given_up.when()
    await daemon.json("GET", f"/v1/jobs/{job.id}")
    assert before < job.given_up.when() and 600 >= left(job)
    poll = asyncio.ensure_future(daemon.json("GET", f"/v1/jobs/{job.id}?wait=20&seen={job.revision}"))
    while left(job) <= 600:
        await asyncio.sleep(0.01)
    daemon.engine.say(Progress(stage="masking", fraction=0.5))
    await poll
    assert 600 >= left(job)


async def test_what_is_made_waits_for_whoever_was_late(daemon, photo):
    """The work is done: there is nothing to save by throwing it away."""
    job = await impatient(daemon, photo)
    daemon.engine.say(PROTECTED)
    await daemon.until(job.id, "done")
    assert job.given_up.cancelled()
    assert 200 == await daemon.json_or_nothing("GET", f"/v1/jobs/{job.id}/result")


async def test_a_deleted_photo_is_not_kept_by_its_patience(daemon, photo):
    """Nor by anything else: nobody counts it any more."""
    job = await impatient(daemon, photo)
    daemon.engine.say(PROTECTED)
    await daemon.until(job.id, "done")
    held, job_id = weakref.ref(job), job.id
    del job
    assert 204 == await daemon.json_or_nothing("DELETE", f"/v1/jobs/{job_id}")
    gc.collect()
    assert held() is None


@pytest.mark.parametrize("patience", ["-1", "601", "soon", "nan"])
async def test_a_patience_is_a_number_of_seconds(daemon, photo, patience):
    """What is asked for wrongly is told, not guessed."""
    assert (400, "bad_request") == await daemon.refusal("POST", f"/v1/jobs?patience={patience}", data=photo)


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("GET", "/result"), ("DELETE", "")])
async def test_another_clients_job_is_not_there(daemon, photo, method, path):
    """A photo belongs to who sent it; whether an id exists is nobody else's business."""
    job = await daemon.post(photo)
    other = await daemon.pair()
    assert (404, "not_found") == await other.refusal(method, f"/v1/jobs/{job}{path}")
    assert (404, "not_found") == await other.refusal(method, f"/v1/jobs/unknown{path}")
    assert 200 == (await daemon.json("GET", f"/v1/jobs/{job}"))[0]


async def test_results_are_forgotten_after_ten_minutes(daemon, photo, clock):
    """A photo does not stay in memory because a browser forgot to fetch it."""
    job = await daemon.post(photo)
    daemon.engine.say(PROTECTED)
    await daemon.until(job, "done")
    clock.now += 599
    assert 200 == (await daemon.json("GET", f"/v1/jobs/{job}"))[0]
    clock.now += 1
    assert (404, "not_found") == await daemon.refusal("GET", f"/v1/jobs/{job}/result")


async def test_a_slow_job_is_not_forgotten(daemon, photo, clock):
    """The ten minutes are a result's, not a mask's."""
    job = await daemon.post(photo)
    await daemon.until(job, "running")
    clock.now += 3600
    daemon.engine.say(PROTECTED)
    await daemon.until(job, "done")


async def test_the_queue_is_bounded_in_number(make_daemon, photo):
    """A page with a thousand photos must not fill the memory; the refusal says when to come again."""
    daemon = await (await make_daemon(queue_jobs=2)).pair()
    first, _ = await daemon.post(photo), await daemon.post(photo)
    async with daemon.request("POST", "/v1/jobs", data=photo) as answer:
        assert (429, "5") == (answer.status, answer.headers["Retry-After"])
        assert "queue_full" == (await answer.json())["error"]["code"]
    daemon.engine.say(PROTECTED)
    await daemon.until(first, "done")
    await daemon.post(photo)


async def test_the_queue_is_bounded_in_bytes(make_daemon, photo):
    """Results count too, until they are deleted: a client cleans up what it has fetched."""
    daemon = await (await make_daemon(queue_bytes=len(photo) + 100)).pair()
    job = await daemon.post(photo)
    assert (429, "queue_full") == await daemon.refusal("POST", "/v1/jobs", data=photo)
    daemon.engine.say(Result(data=b"x" * 200, report=REPORT))
    await daemon.until(job, "done")
    assert (429, "queue_full") == await daemon.refusal("POST", "/v1/jobs", data=photo)
    async with daemon.request("DELETE", f"/v1/jobs/{job}") as answer:
        assert 204 == answer.status
    await daemon.post(photo)


async def take_turns(daemon, photo, numbers):
    """Posts photos whose seeds are the numbers."""
    return [await daemon.post(photo, headers={"X-PMask-Options": json.dumps({"seed": n})}) for n in numbers]


async def test_clients_take_turns(daemon, photo):
    """A program that sends a folder of photos must not keep a person's one photo waiting for all of them."""
    other, third = await daemon.pair(), await daemon.pair()
    many = await take_turns(daemon, photo, [1, 2, 3, 4])
    await daemon.until(many[0], "running")
    await take_turns(other, photo, [11, 12])
    last = await take_turns(third, photo, [21])
    assert 3 == (await third.json("GET", f"/v1/jobs/{last[0]}"))[1]["ahead"]
    for _ in range(7):
        daemon.engine.say(PROTECTED)
    await daemon.until(many[-1], "done")
    assert [1, 2, 11, 21, 3, 12, 4] == [options.seed for _, options in daemon.engine.taken]


async def test_photos_given_up_cost_no_turns(daemon, photo):
    """Who cancelled a folder and sends one photo more must not wait as if the folder was still to be made."""
    other = await daemon.pair()
    [at_work] = await take_turns(other, photo, [10])
    await other.until(at_work, "running")
    given_up = await take_turns(daemon, photo, [1, 2, 3])
    await take_turns(other, photo, [11, 12, 13])
    for job in given_up:
        assert 204 == await daemon.json_or_nothing("DELETE", f"/v1/jobs/{job}")
    [last] = await take_turns(daemon, photo, [4])
    ahead = (await daemon.json("GET", f"/v1/jobs/{last}"))[1]["ahead"]
    assert 2 == ahead
    for _ in range(ahead + 1):
        daemon.engine.say(PROTECTED)
    await daemon.until(last, "done")
    assert [10, 11, 4] == [options.seed for _, options in daemon.engine.taken][:3]


async def test_one_client_cannot_fill_the_queue(make_daemon, photo):
    """Its share is used up; the others' is not."""
    daemon = await (await make_daemon(queue_jobs=4, client_jobs=2, client_bytes=3 * len(photo))).pair()
    other = await daemon.pair()
    await take_turns(daemon, photo, [1, 2])
    assert (429, "queue_full") == await daemon.refusal("POST", "/v1/jobs", data=photo)
    await take_turns(other, photo, [1])
    assert (429, "queue_full") == await other.refusal("POST", "/v1/jobs", data=photo + b"x" * 2 * len(photo))
    await take_turns(other, photo, [2])


async def test_no_photo_is_taken_while_memory_is_short(make_daemon, photo, monkeypatch):
    """The system would kill programs of the person's to make room."""
    daemon = await (await make_daemon(free_memory=1000)).pair()
    monkeypatch.setattr(jobs, "free_bytes", lambda: 999)
    status, body = await daemon.json("POST", "/v1/jobs", data=photo)
    assert (429, "queue_full") == (status, body["error"]["code"])
    assert "short of memory" in body["error"]["message"]
    await daemon.json_or_nothing("POST", "/v1/warm")
    assert [] == daemon.engine.warmed
    monkeypatch.setattr(jobs, "free_bytes", lambda: 1000 + len(photo))
    await daemon.post(photo)
    monkeypatch.setattr(jobs, "free_bytes", lambda: None)
    await daemon.post(photo)


async def test_the_owner_may_set_tighter_limits(make_daemon, photo):
    """An old machine's owner knows better; what is refused is said in the options, too."""
    daemon = await (await make_daemon(photo_bytes=len(photo) + 10, photo_pixels=1200)).pair()
    assert {"bytes": len(photo) + 10, "pixels": 1200} == (await daemon.json("GET", "/v1/options"))[1]["limits"]
    await daemon.post(photo)
    assert (413, "too_many_bytes") == await daemon.refusal("POST", "/v1/jobs", data=photo + b"x" * 11)
    out = io.BytesIO()
    Image.new("1", (40, 31)).save(out, "PNG")
    assert (413, "too_many_pixels") == await daemon.refusal("POST", "/v1/jobs", data=out.getvalue())


@pytest.mark.parametrize("limit", ["client_bytes", "queue_bytes"])
async def test_a_photo_that_can_never_fit_is_refused_for_good(make_daemon, photo, limit):
    """To come again later, as a full queue asks, would never end."""
    daemon = await (await make_daemon(**{limit: len(photo) - 1})).pair()
    assert len(photo) - 1 == (await daemon.json("GET", "/v1/options"))[1]["limits"]["bytes"]
    assert (413, "too_many_bytes") == await daemon.refusal("POST", "/v1/jobs", data=photo)


async def test_time_left_is_told_while_a_photo_waits(daemon, photo, clock):
    """From how long the last photos took; before any was made, nobody knows."""
    first, second, third = await take_turns(daemon, photo, [1, 2, 3])
    await daemon.until(first, "running")
    told = (await daemon.json("GET", f"/v1/jobs/{third}"))[1]
    assert (None, 2) == (told["eta_s"], told["ahead"])
    clock.now += 10
    daemon.engine.say(PROTECTED)
    await daemon.until(second, "running")
    clock.now += 4
    told = [(await daemon.json("GET", f"/v1/jobs/{job}"))[1] for job in (second, third)]
    assert [(6, 0), (16, 1)] == [(body["eta_s"], body["ahead"]) for body in told]


async def test_the_first_sign_of_an_upload_warms_the_engine(daemon, photo):
    """With the team of the photo to come; not while a photo is at work, when there is nothing to gain."""
    headers = {"X-PMask-Options": '{"team": ["dlib"]}'}
    for _ in range(2):
        async with daemon.request("POST", "/v1/warm", headers=headers) as answer:
            assert (204, b"") == (answer.status, await answer.read())
    assert [MaskOptions(team=("dlib",))] * 2 == daemon.engine.warmed
    await daemon.until(await daemon.post(photo), "running")
    await daemon.json_or_nothing("POST", "/v1/warm")
    assert 2 == len(daemon.engine.warmed)
    assert (400, "bad_request") == await daemon.refusal("POST", "/v1/warm", headers={"X-PMask-Options": "["})


async def test_uploads_count_before_they_have_arrived(make_daemon, photo):
    """Many slow uploads at once are memory too."""
    daemon = await (await make_daemon(queue_jobs=1, upload=2)).pair()
    slow = asyncio.ensure_future(daemon.refusal("POST", "/v1/jobs", data=drip(photo)))
    while not daemon.app[QUEUE].gauges()["pmask_uploads"]:
        await asyncio.sleep(0.01)
    assert (429, "queue_full") == await daemon.refusal("POST", "/v1/jobs", data=photo)
    assert (400, "bad_request") == await slow
    await daemon.post(photo)


async def drip(photo):
    """A body that never ends."""
    yield photo
    await asyncio.sleep(30)


async def test_an_upload_that_breaks_off_leaves_no_trace(make_daemon, photo, caplog):
    """A browser that is closed in the middle must not use up a place in the queue, nor pass for an error in the log."""
    daemon = await (await make_daemon(queue_jobs=1)).pair()
    _, writer = await asyncio.open_connection("127.0.0.1", daemon.config.port)
    head = f"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1:{daemon.config.port}\r\nAuthorization: Bearer {daemon.token}\r\n"
    writer.write(head.encode() + b"Content-Length: 1000\r\n\r\nsome")
    await writer.drain()
    await asyncio.sleep(0.1)
    writer.close()
    await asyncio.sleep(0.1)
    await daemon.post(photo)
    assert [] == caplog.records


@pytest.mark.parametrize("data", [b"", b"%PDF-1.7 something", b"<svg></svg>"])
async def test_what_is_no_photo_is_refused_at_once(daemon, data):
    """A client hears it at the upload, not after minutes in the queue."""
    assert (415, "not_an_image") == await daemon.refusal("POST", "/v1/jobs", data=data)


async def test_too_many_pixels_are_refused_at_once(daemon):
    """A decompression bomb is some kilobytes that unpack to gigabytes."""
    out = io.BytesIO()
    Image.new("1", (20_000, 10_000)).save(out, "PNG")
    assert 200_000_000 > MAX_PIXELS
    assert (413, "too_many_pixels") == await daemon.refusal("POST", "/v1/jobs", data=out.getvalue())


async def test_a_head_that_drips_in_is_cut_off(make_daemon, monkeypatch):
    """Connections that never finish their request must not pile up."""
    monkeypatch.setitem(SERVER_OPTIONS, "keepalive_timeout", 0.2)
    daemon = await make_daemon()
    reader, writer = await asyncio.open_connection("127.0.0.1", daemon.config.port)
    writer.write(b"GET /v1/health HTTP/1.1\r\nHost:")
    assert b"" == await asyncio.wait_for(reader.read(), 2)
    writer.close()


async def test_a_body_that_is_announced_too_large_is_not_read(daemon):
    """Refused by Content-Length alone, before a byte is sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", daemon.config.port)
    head = f"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1:{daemon.config.port}\r\nAuthorization: Bearer {daemon.token}\r\n"
    writer.write(head.encode() + f"Content-Length: {MAX_BYTES + 1}\r\n\r\n".encode())
    answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 2)
    assert b"413" == answer.split()[1]
    writer.close()


async def test_a_body_that_grows_too_large_is_refused(daemon):
    """Without Content-Length nobody knows before; memory stays bounded all the same."""

    async def chunks():
        for _ in range(MAX_BYTES // (1 << 20) + 1):
            yield b"x" * (1 << 20)

    assert (413, "too_many_bytes") == await daemon.refusal("POST", "/v1/jobs", data=chunks())


async def test_a_compressed_body_is_not_unpacked(daemon, photo):
    """Photos do not shrink; bombs do."""
    headers = {"Content-Encoding": "gzip"}
    async with daemon.session.request(
        "POST",
        daemon.url + "/v1/jobs",
        data=b"\x1f\x8b\x08\x00" + b"0" * 50,
        headers=headers | {"Authorization": f"Bearer {daemon.token}"},
        compress=False,
    ) as answer:
        assert (415, "not_an_image") == (answer.status, (await answer.json())["error"]["code"])


async def test_a_client_that_expects_to_be_invited_is(daemon, photo):
    """curl sends no large body before it is told to continue; nobody is told before the door has looked."""
    daemon.engine.say(PROTECTED)
    await daemon.until(await daemon.post(photo, expect100=True), "done")
    reader, writer = await asyncio.open_connection("127.0.0.1", daemon.config.port)
    head = f"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1:{daemon.config.port}\r\nExpect: 100-continue\r\n"
    writer.write(head.encode() + b"Content-Length: 1000\r\n\r\n")
    assert b"401" == (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 2)).split()[1]
    writer.close()


@pytest.mark.parametrize(
    ("header", "refusal"),
    [
        ('{"strength": 9}', (400, "unknown_option")),
        ('{"delta": -1}', (400, "bad_option")),
        ('{"delta": NaN}', (400, "bad_option")),
        ('{"team": ["nobody"]}', (400, "unknown_recogniser")),
        ("[1]", (400, "bad_request")),
        ("{", (400, "bad_request")),
        ("[" * 4000, (400, "bad_request")),
        ("é", (400, "bad_request")),
    ],
)
async def test_bad_options_are_refused_at_once(daemon, photo, header, refusal):
    """Before the upload is read, and with the code that the extension has a sentence for."""
    assert refusal == await daemon.refusal("POST", "/v1/jobs", data=photo, headers={"X-PMask-Options": header})


async def test_all_faces_of_a_crowd_can_be_left_out_but_one(daemon, photo):
    """A concert's photo has hundreds, and their boxes travel in one header."""
    boxes = [[10_000.5 + i, 20_000.5 + i, 1_000.5, 1_000.5] for i in range(MOST_BOXES)]
    job = await daemon.post(photo, headers={"X-PMask-Options": json.dumps({"leave_out": boxes})})
    await daemon.until(job, "running")
    assert boxes == [list(box) for box in daemon.engine.taken[0][1].leave_out]


async def test_options_say_what_can_be_chosen(daemon):
    """The extension's settings are drawn from this and from nothing else."""
    status, body = await daemon.json("GET", "/v1/options")
    assert 200 == status
    choices = {"defaults", "presets", "ranges", "recognisers", "uploads", "devices"}
    assert choices | {"limits", "seconds_per_face"} == set(body)
    assert MaskOptions() == MaskOptions.from_mapping(body["defaults"])
    assert list(PRESETS.items()) == list(body["presets"].items())
    assert {"delta": [0, 10], "omega": [0, 0.5]} == body["ranges"]
    assert {"name", "network", "training", "licence"} == set(body["recognisers"][0])
    assert {"bytes": MAX_BYTES, "pixels": MAX_PIXELS} == body["limits"]
    assert None is body["devices"]
    daemon.engine.devices = ["cpu", "cuda"]
    assert ["cpu", "cuda"] == (await daemon.json("GET", "/v1/options"))[1]["devices"]


async def test_aiohttps_own_refusals_have_the_one_shape(daemon):
    """A client parses one kind of error."""
    assert (404, "not_found") == await daemon.refusal("GET", "/nowhere")
    async with daemon.request("POST", "/v1/health") as answer:
        assert (405, "GET") == (answer.status, answer.headers["Allow"])
        assert "method_not_allowed" == (await answer.json())["error"]["code"]


async def test_an_unforeseen_error_has_the_one_shape(daemon, monkeypatch):
    """And tells nothing of the daemon's inside."""

    def fail(self):
        raise RuntimeError("secret")

    monkeypatch.setattr(type(daemon.clients), "paired", fail)
    status, body = await daemon.json("GET", "/v1/options")
    assert (500, "internal") == (status, body["error"]["code"])
    assert "secret" not in json.dumps(body)


async def test_shutting_down_wakes_who_waits(make_daemon, photo):
    """A stop must not take the twenty seconds of a long poll."""
    daemon = await (await make_daemon()).pair()
    job = await daemon.post(photo)
    seen = (await daemon.until(job, "running"))["revision"]
    poll = asyncio.ensure_future(daemon.json("GET", f"/v1/jobs/{job}?wait=20&seen={seen}"))
    await asyncio.sleep(0.05)
    stopping = asyncio.ensure_future(make_daemon.stop())
    assert "cancelled" == (await asyncio.wait_for(poll, 2))[1]["state"]
    await asyncio.wait_for(stopping, 2)
    assert daemon.engine.closed
