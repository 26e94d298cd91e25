"""The application: the routes of `PROTOCOL.md`, and nothing that a route does not need."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import math
import os
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from localserver import page
from localserver.clients import Clients
from localserver.config import Config
from localserver.door import CLIENT, door, origin_of
from localserver.errors import BadRequest, MethodNotAllowed, NotFound, NotReady, TryLater, Unauthorised
from localserver.jobs import Engine, Job, JobQueue
from localserver.log import facts
from localserver.memory import open_descriptors, resident_bytes
from localserver.metrics import CONTENT_TYPE
from localserver.results import Result
from localserver.serving import Doorman
from pmask import __version__
from pmask.errors import PMaskError, TooManyBytes, TooManyPixels
from pmask.images import MAX_BYTES, MAX_PIXELS, ImageInfo, inspect_image
from pmask.options import DELTA_RANGE, OMEGA_RANGE, PRESETS, MaskOptions
from pmask.recognisers.specs import SPECS
from pmask.report import UNTOUCHED
from pmask.store import is_here
from pmask.uploads import UPLOADS

log = logging.getLogger(__name__)

PROTOCOL = 1
_MAX_WAIT = 20.0
"""Seconds of a long poll: Firefox drops what an extension waits for after 30."""
_MAX_PATIENCE = 600.0
_MAX_PAIR_BODY = 4096
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""On every answer: no cache keeps a photo, no page shows or embeds what it should not have got.
`localserver.page`'s files have a policy of their own."""

_CONFIG = web.AppKey("config", Config)
_ENGINE: web.AppKey[Engine] = web.AppKey("engine")
_CLIENTS = web.AppKey("clients", Clients)
QUEUE = web.AppKey("queue", JobQueue)
_LOOKING = web.AppKey("looking", asyncio.Lock)
_STARTED = web.AppKey("started", float)
DOORMAN = web.AppKey("doorman", Doorman)
"""Who serves the application: `app[DOORMAN].serve(app, listener)`."""
_CODE = web.ResponseKey("code", str)


def create_app(
    config: Config, engine: Engine, clients: Clients, clock: Callable[[], float] = time.monotonic
) -> web.Application:
    """The daemon's application. ``clock`` is monotonic, in seconds. The engine is closed at the end."""
    queue = JobQueue(engine, config, clients.is_paired, clock)
    doorman = Doorman(config.connections, lambda: queue.metrics.count("pmask_connections_refused_total"))
    middlewares = [_errors, page.dismiss_workers, door(clients, config.port, doorman.know)]
    app = web.Application(middlewares=middlewares, client_max_size=MAX_BYTES)
    app[_CONFIG], app[_ENGINE], app[_CLIENTS] = config, engine, clients
    app[QUEUE], app[DOORMAN] = queue, doorman
    app[_LOOKING], app[_STARTED] = asyncio.Lock(), time.time()
    for method, path, handler in (
        ("GET", "/v1/health", _health),
        ("POST", "/v1/pair", _pair),
        ("DELETE", "/v1/client", _leave),
        ("GET", "/v1/options", _options),
        ("GET", "/v1/metrics", _metrics),
        ("POST", "/v1/warm", _warm),
        ("POST", "/v1/jobs", _make_job),
        ("GET", "/v1/jobs/{id}", _job),
        ("GET", "/v1/jobs/{id}/result", _result),
        ("DELETE", "/v1/jobs/{id}", _delete_job),
    ):
        app.router.add_route(method, path, handler, expect_handler=_expect_nothing_yet)
    for path in page.FILES:
        app.router.add_route("GET", path, page.serve, expect_handler=_expect_nothing_yet)
    app.on_response_prepare.append(_add_headers)
    app.on_shutdown.append(_wake_all)
    app.cleanup_ctx.append(_work)
    return app


async def _health(request: web.Request) -> web.Response:
    answer: dict[str, Any] = {"product": "pmask", "version": __version__, "protocol": PROTOCOL}
    client, challenge = request.query.get("client"), request.query.get("challenge")
    if client is not None and challenge is not None:
        proof = request.app[_CLIENTS].proof(client, challenge, request.app[_CONFIG].port)
        if proof is not None:
            answer["proof"] = proof
    return web.json_response(answer)


async def _pair(request: web.Request) -> web.Response:
    asked = _json_object(await _read_body(request, _MAX_PAIR_BODY), "the body")
    code, name = asked.get("code"), asked.get("name")
    if not isinstance(code, str) or not isinstance(name, str):
        raise BadRequest("code and name must be texts")
    token, client = request.app[_CLIENTS].pair(code, name, origin_of(request))
    log.info("a client was paired", extra=facts(client=client.id))
    return web.json_response({"token": token, "client": {"id": client.id, "name": client.name}})


async def _leave(request: web.Request) -> web.Response:
    client = request[CLIENT].id
    request.app[QUEUE].forget_client(client)
    request.app[_CLIENTS].revoke(client)
    log.info("a client has left", extra=facts(client=client))
    return web.Response(status=204)


async def _options(request: web.Request) -> web.Response:
    recognisers = [
        {"name": spec.name, "network": spec.network, "training": spec.training, "licence": spec.licence}
        for spec in SPECS.values()
        if spec.source == "registry" or is_here(spec)
    ]
    return web.json_response(
        {
            "defaults": MaskOptions().to_json(),
            "presets": PRESETS,
            "ranges": {"delta": DELTA_RANGE, "omega": OMEGA_RANGE},
            "recognisers": recognisers,
            "uploads": list(UPLOADS),
            "devices": request.app[_ENGINE].devices,
            "limits": {
                "bytes": _most_bytes(request.app[_CONFIG]),
                "pixels": min(request.app[_CONFIG].photo_pixels, MAX_PIXELS),
            },
            "seconds_per_face": request.app[QUEUE].seconds_per_face,
        }
    )


async def _warm(request: web.Request) -> web.Response:
    request.app[QUEUE].warm(_options_of(request))
    return web.Response(status=204)


async def _metrics(request: web.Request) -> web.Response:
    app = request.app
    engine = app[_ENGINE].status
    gauges = app[QUEUE].gauges() | {
        "pmask_info": {__version__: 1},
        "pmask_start_time_seconds": app[_STARTED],
        "pmask_resident_bytes": resident_bytes(os.getpid()),
        "pmask_tasks": len(asyncio.all_tasks()),
        "pmask_descriptors": open_descriptors(),
        "pmask_connections": app[DOORMAN].connections,
        "pmask_clients": len(app[_CLIENTS].paired()),
        "pmask_engine_up": engine.pid is not None,
        "pmask_engine_resident_bytes": resident_bytes(engine.pid) if engine.pid is not None else None,
        "pmask_engine_starts_total": engine.starts,
        "pmask_engine_fallbacks_total": engine.fallbacks,
    }
    text = app[QUEUE].metrics.render(gauges)
    return web.Response(text=text, headers={"Content-Type": f"{CONTENT_TYPE}; charset=utf-8"})


async def _make_job(request: web.Request) -> web.Response:
    config, queue, client_id = request.app[_CONFIG], request.app[QUEUE], request[CLIENT].id
    options, limit = _options_of(request), _most_bytes(config)
    patience = _number(request, "patience", math.inf, _MAX_PATIENCE)
    size = _announced_size(request, limit)
    with queue.admit(client_id, size):
        data = await _read_body(request, limit)
        async with request.app[_LOOKING]:  # one at a time: Pillow may have to decode a whole photo
            info, digest = await asyncio.to_thread(_look, data)
        if info.width * info.height > config.photo_pixels:
            raise TooManyPixels(f"at most {config.photo_pixels:,} pixels are accepted")
        if not request.app[_CLIENTS].is_paired(client_id):
            raise Unauthorised("the client has left while its photo arrived")
        job = queue.add(client_id, data, info.media_type, options, digest, patience)
    return web.json_response({"id": job.id}, status=202)


async def _job(request: web.Request) -> web.Response:
    job = _own_job(request)
    wait = _number(request, "wait", 0, _MAX_WAIT)
    request.app[QUEUE].asked(job, wait)
    if wait:
        await job.wait(int(_number(request, "seen", job.revision, math.inf)), wait)
        request.app[QUEUE].asked(job)
    return web.json_response(_as_json(job, request.app[QUEUE]))


async def _result(request: web.Request) -> web.Response:
    job = _own_job(request)
    if job.error is not None:
        return _error_response(job.error)
    if job.result is None:
        raise NotReady("the photo is still being protected")
    headers = {"X-PMask-Report": _summary(job.result)}
    if job.result.report["status"] in UNTOUCHED:
        return web.Response(status=204, headers=headers)
    return web.Response(body=job.result.data, content_type=job.media_type, headers=headers)


async def _delete_job(request: web.Request) -> web.Response:
    request.app[QUEUE].forget(_own_job(request))
    return web.Response(status=204)


def _own_job(request: web.Request) -> Job:
    return request.app[QUEUE].get(request[CLIENT].id, request.match_info["id"])


def _most_bytes(config: Config) -> int:
    """Of one photo: what can never fit is refused for good, not until there is room."""
    return min(config.photo_bytes, config.client_bytes, config.queue_bytes, MAX_BYTES)


def _look(data: bytes) -> tuple[ImageInfo, bytes]:
    """What a photo is, and its SHA-256."""
    return inspect_image(data), hashlib.sha256(data).digest()


def _options_of(request: web.Request) -> MaskOptions:
    header = request.headers.get("X-PMask-Options", "{}")
    return MaskOptions.from_mapping(_json_object(header.encode(errors="replace"), "X-PMask-Options"))


def _as_json(job: Job, queue: JobQueue) -> dict[str, Any]:
    progress, error = job.progress, job.error
    return {
        "id": job.id,
        "state": job.state,
        "stage": progress.stage if progress and job.state == "running" else None,
        "progress": 1.0 if job.state == "done" else progress.fraction if progress else 0.0,
        "faces": progress.faces if progress else None,
        "eta_s": queue.eta(job),
        "ahead": queue.ahead(job),
        "revision": job.revision,
        "report": job.result.report if job.result else None,
        "error": {"code": error.code, "message": str(error)} if error else None,
    }


def _summary(result: Result) -> str:
    """The X-PMask-Report header: JSON without spaces or anything but ASCII."""
    report = result.report
    faces = report["faces"]
    summary = {
        "status": report["status"],
        "faces": len(faces),
        "hidden": sum(face["hidden"] for face in faces),
        "matched": sum(face["matched"] for face in faces),
        "converged": sum(face["converged"] for face in faces),
        "seconds": report["seconds"],
        "ssim": min((face["ssim"] for face in faces if face["ssim"] is not None), default=None),
        "bare": report["bare"],
        "judged": report["judged"],
    }
    return json.dumps(summary, separators=(",", ":"))


async def _read_body(request: web.Request, limit: int) -> bytes:
    """The whole body, in time and within ``limit`` bytes, whatever Content-Length says."""
    _announced_size(request, limit)
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # as aiohttp does: what follows is the answer's first byte
    body = bytearray()

    async def read() -> None:
        async for chunk in request.content.iter_any():
            body.extend(chunk)
            if len(body) > limit:
                raise TooManyBytes(f"the body has more than {limit:,} bytes")

    try:
        await asyncio.wait_for(read(), request.app[_CONFIG].upload)
    except asyncio.TimeoutError as error:
        raise BadRequest("the body took too long to arrive") from error
    except (web.RequestPayloadError, ConnectionError) as error:  # nobody hears it, but nothing went wrong here
        raise BadRequest("the body was cut short") from error
    return bytes(body)


def _announced_size(request: web.Request, limit: int) -> int:
    """Bytes that the body may have; refuses before the first one is read."""
    size = request.content_length
    if size is not None and size > limit:
        raise TooManyBytes(f"the body has {size:,} bytes; at most {limit:,} are accepted")
    return limit if size is None else size


def _json_object(text: bytes, what: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"{what} is not JSON") from error
    if not isinstance(value, dict):
        raise BadRequest(f"{what} is not a JSON object")
    return value


def _number(request: web.Request, name: str, default: float, most: float) -> float:
    """A query parameter from 0 to ``most``."""
    text = request.query.get(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= most or math.isinf(value):
        raise BadRequest(f"{name} must be a number from 0" + (f" to {most:g}" if most < math.inf else ""))
    return value


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Makes the one error shape out of whatever went wrong, and counts."""
    metrics = request.app[QUEUE].metrics
    response = await _answer(request, handler)
    metrics.count("pmask_requests_total", status=str(response.status))
    if (code := response.get(_CODE)) is not None:
        metrics.count("pmask_refusals_total", code=code)
    return response


async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except PMaskError as error:
        return _error_response(error)
    except web.HTTPException as error:
        return _error_response(_of_aiohttp(error), error)
    except ConnectionError:
        raise  # the client left: there is nobody to answer
    except Exception:
        log.exception("a request failed unexpectedly")
        return _error_response(PMaskError("the daemon failed; its log says where"))


def _error_response(error: PMaskError, cause: web.HTTPException | None = None) -> web.Response:
    response = web.json_response({"error": {"code": error.code, "message": str(error)}}, status=error.status)
    response[_CODE] = error.code
    if error.status in (401, 403):
        response.force_close()  # who is not let in does not keep a connection either
    if isinstance(error, TryLater):
        response.headers["Retry-After"] = str(math.ceil(error.retry_after))
    if isinstance(cause, web.HTTPMethodNotAllowed):
        response.headers["Allow"] = cause.headers["Allow"]
    return response


def _of_aiohttp(error: web.HTTPException) -> PMaskError:
    if isinstance(error, web.HTTPNotFound):
        return NotFound("no such route")
    if isinstance(error, web.HTTPMethodNotAllowed):
        return MethodNotAllowed("this route does not know this method")
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        return TooManyBytes("the body is too large")
    return BadRequest(error.reason)


async def _expect_nothing_yet(request: web.Request) -> None:
    """aiohttp would invite the body before the door has looked; `_read_body` invites it instead."""


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)


async def _wake_all(app: web.Application) -> None:
    app[QUEUE].stop()


async def _work(app: web.Application) -> AsyncIterator[None]:
    """The queue's life is the application's."""
    working = asyncio.create_task(app[QUEUE].run())
    yield
    working.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await working
    await app[_ENGINE].close()
