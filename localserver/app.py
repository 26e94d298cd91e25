"""The application: the routes of `PROTOCOL.md`, and nothing that a route does not need."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from localserver import page
from localserver.clients import Clients
from localserver.config import Config
from localserver.door import CLIENT, door, origin_of
from localserver.errors import BadRequest, MethodNotAllowed, NotFound, NotReady, TryLater
from localserver.jobs import Engine, Job, JobQueue, Protection
from pmask import __version__
from pmask.errors import PMaskError, TooManyBytes
from pmask.images import MAX_BYTES, MAX_PIXELS, inspect_image
from pmask.options import DELTA_RANGE, OMEGA_RANGE, MaskOptions
from pmask.recognisers.specs import SPECS
from pmask.report import UNTOUCHED
from pmask.store import is_here
from pmask.uploads import UPLOADS

log = logging.getLogger(__name__)

PROTOCOL = 1
SERVER_OPTIONS: dict[str, Any] = {
    "access_log": None,  # it would hold addresses of jobs
    "auto_decompress": False,  # photos do not come compressed; decompression bombs do
    "keepalive_timeout": 30.0,  # also how long a request's head may take to arrive
    "shutdown_timeout": 5.0,
}
"""For whoever serves the application: `web.AppRunner(app, **SERVER_OPTIONS)`."""
_MAX_WAIT = 20.0
"""Seconds of a long poll: Firefox drops what an extension waits for after 30."""
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
_QUEUE = web.AppKey("queue", JobQueue)
_LOOKING = web.AppKey("looking", asyncio.Lock)


def create_app(config: Config, engine: Engine, clients: Clients, queue: JobQueue | None = None) -> web.Application:
    """The daemon's application. ``queue`` is for tests that bring their own clock; the engine is closed at the end."""
    app = web.Application(middlewares=[_errors, door(clients, config.port)], client_max_size=MAX_BYTES)
    app[_CONFIG], app[_ENGINE], app[_CLIENTS] = config, engine, clients
    app[_QUEUE] = queue or JobQueue(engine, config)
    app[_LOOKING] = asyncio.Lock()
    for method, path, handler in (
        ("GET", "/v1/health", _health),
        ("POST", "/v1/pair", _pair),
        ("DELETE", "/v1/client", _leave),
        ("GET", "/v1/options", _options),
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
    log.info("client %s was paired", client.id)
    return web.json_response({"token": token, "client": {"id": client.id, "name": client.name}})


async def _leave(request: web.Request) -> web.Response:
    client = request[CLIENT].id
    request.app[_QUEUE].forget_client(client)
    request.app[_CLIENTS].revoke(client)
    log.info("client %s has left", client)
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
            "ranges": {"delta": DELTA_RANGE, "omega": OMEGA_RANGE},
            "recognisers": recognisers,
            "uploads": list(UPLOADS),
            "devices": request.app[_ENGINE].devices,
            "limits": {"bytes": MAX_BYTES, "pixels": MAX_PIXELS},
            "seconds_per_face": request.app[_QUEUE].seconds_per_face,
        }
    )


async def _make_job(request: web.Request) -> web.Response:
    header = request.headers.get("X-PMask-Options", "{}")
    options = MaskOptions.from_mapping(_json_object(header.encode(errors="replace"), "X-PMask-Options"))
    size = _announced_size(request, MAX_BYTES)
    with request.app[_QUEUE].admit(size):
        data = await _read_body(request, MAX_BYTES)
        async with request.app[_LOOKING]:  # one at a time: Pillow may have to decode a whole photo
            info = await asyncio.to_thread(inspect_image, data)
        job = request.app[_QUEUE].add(request[CLIENT].id, data, info.media_type, options)
    return web.json_response({"id": job.id}, status=202)


async def _job(request: web.Request) -> web.Response:
    job = _own_job(request)
    if "wait" in request.query:
        await job.wait(int(_number(request, "seen", job.revision, math.inf)), _number(request, "wait", 0, _MAX_WAIT))
    return web.json_response(_as_json(job, request.app[_QUEUE].eta(job)))


async def _result(request: web.Request) -> web.Response:
    job = _own_job(request)
    if job.error is not None:
        raise job.error
    if job.protection is None:
        raise NotReady("the photo is still being protected")
    headers = {"X-PMask-Report": _summary(job.protection)}
    if job.protection.report["status"] in UNTOUCHED:
        return web.Response(status=204, headers=headers)
    return web.Response(body=job.protection.data, content_type=job.media_type, headers=headers)


async def _delete_job(request: web.Request) -> web.Response:
    request.app[_QUEUE].forget(_own_job(request))
    return web.Response(status=204)


def _own_job(request: web.Request) -> Job:
    return request.app[_QUEUE].get(request[CLIENT].id, request.match_info["id"])


def _as_json(job: Job, eta: float | None) -> dict[str, Any]:
    progress, error = job.progress, job.error
    return {
        "id": job.id,
        "state": job.state,
        "stage": progress.stage if progress and job.state == "running" else None,
        "progress": 1.0 if job.state == "done" else progress.fraction if progress else 0.0,
        "faces": progress.faces if progress else None,
        "eta_s": eta,
        "revision": job.revision,
        "report": job.protection.report if job.protection else None,
        "error": {"code": error.code, "message": str(error)} if error else None,
    }


def _summary(protection: Protection) -> str:
    """The X-PMask-Report header: JSON without spaces or anything but ASCII."""
    report = protection.report
    faces = report["faces"]
    summary = {
        "status": report["status"],
        "faces": len(faces),
        "hidden": sum(face["hidden"] for face in faces),
        "converged": sum(face["converged"] for face in faces),
        "seconds": report["seconds"],
        "ssim": min((face["ssim"] for face in faces if face["ssim"] is not None), default=None),
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
    except web.RequestPayloadError as error:
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
    """Makes the one error shape out of whatever went wrong."""
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
    app[_QUEUE].stop()


async def _work(app: web.Application) -> AsyncIterator[None]:
    """The queue's life is the application's."""
    working = asyncio.create_task(app[_QUEUE].run())
    yield
    working.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await working
    await app[_ENGINE].close()
