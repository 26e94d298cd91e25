"""The door in front of every route: nobody but a paired client on this machine gets in.

Why each check stands here: `PROTOCOL.md`, "The door". DNS rebinding: CVE-2024-28224. Fetch metadata:
https://web.dev/articles/fetch-metadata. Pages reaching loopback through 0.0.0.0: the Host check refuses that name too.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from localserver import page
from localserver.clients import Client, Clients
from localserver.errors import BadRequest, ForbiddenHost, ForbiddenOrigin, ForbiddenSite, Unauthorised

CLIENT: web.RequestKey[Client] = web.RequestKey("client", Client)
"""Who makes the request; set on all routes but the open ones."""
OPEN_ROUTES = frozenset({"/v1/health", "/v1/pair", *page.FILES})
_EXTENSION = re.compile(r"(chrome|moz)-extension://[A-Za-z0-9-]+")
_OWN_SITE = frozenset({"none", "same-origin"})
"""What extensions send (Chromium, Firefox). Anything else, known today or not, is a page's."""


def door(clients: Clients, port: int, admitted: Callable[[web.Request], None]) -> Middleware:
    """The middleware that lets a request through, or raises why not. ``admitted`` hears of each of a paired client."""
    hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        _check_browser(request, hosts)
        if not _is_open(request):
            request[CLIENT] = _client(request, clients)
            admitted(request)
        return await handler(request)

    return middleware


def origin_of(request: web.Request) -> str | None:
    """The Origin header: past the door, an extension's, the daemon's own page's, or None."""
    return _single(request, "Origin")


def _check_browser(request: web.Request, hosts: set[str]) -> None:
    host = _single(request, "Host")
    if host not in hosts:
        raise ForbiddenHost("the Host header is not this daemon's")
    site = _single(request, "Sec-Fetch-Site")
    if site is not None and site not in _OWN_SITE:
        raise ForbiddenSite("web pages may not use this daemon")
    origin = origin_of(request)
    # Our own page's: Host is known to be one of ours by now, and the browser itself vouches that nobody else asks.
    own = origin == f"http://{host}" and site == "same-origin"
    if origin is not None and not own and not _EXTENSION.fullmatch(origin):
        raise ForbiddenOrigin("only a browser extension, a program or this daemon's own page may use it")


def _client(request: web.Request, clients: Clients) -> Client:
    scheme, _, token = (_single(request, "Authorization") or "").partition(" ")
    client = clients.authenticate(token.strip()) if scheme.lower() == "bearer" else None
    if client is None:
        raise Unauthorised("not paired; run: pmask-server pair")
    origin = origin_of(request)
    if origin is not None and origin != client.origin:
        raise ForbiddenOrigin("this token belongs to another extension")
    return client


def _is_open(request: web.Request) -> bool:
    """By the route that will answer, not by the path's text, so that no spelling of a path opens another route."""
    resource = request.match_info.route.resource
    return resource is not None and resource.canonical in OPEN_ROUTES


def _single(request: web.Request, name: str) -> str | None:
    """A header's only value; two of them would let one part of the daemon check what another does not read."""
    values = request.headers.getall(name, [])
    if len(values) > 1:
        raise BadRequest(f"more than one {name} header")
    return values[0] if values else None
