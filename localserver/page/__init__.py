"""The local page at ``/``: these files, to anybody on this machine; what they ask of the daemon needs a token as ever.

Its policy lets the browser run and show nothing but these files and photos that the page itself holds.
"""

from __future__ import annotations

from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler

_FOLDER = Path(__file__).resolve().parent
_SCRIPT, _STYLE, _ICON = "text/javascript", "text/css", "image/svg+xml"
FILES = {
    "/": ("index.html", "text/html"),
    "/page/page.js": ("page.js", _SCRIPT),
    "/page/daemon.js": ("daemon.js", _SCRIPT),
    "/page/photos.js": ("photos.js", _SCRIPT),
    "/page/words.js": ("words.js", _SCRIPT),
    "/page/worker.js": ("worker.js", _SCRIPT),
    "/page/zip.js": ("zip.js", _SCRIPT),
    "/page/page.css": ("page.css", _STYLE),
    "/page/icon.svg": ("icon.svg", _ICON),
}
"""Path to file and media type. Nothing else in the folder can be asked for."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}


async def serve(request: web.Request) -> web.Response:
    """One of FILES; called by the route of that very path."""
    resource = request.match_info.route.resource
    return _file(resource.canonical if resource else "")


@web.middleware
async def dismiss_workers(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Gives a service worker that looks for a newer version of itself, at whatever path, the one that goes.

    Any other answer would leave it where it is, and so would this one without Service-Worker-Allowed, where the scope
    is wider than the script's folder (https://w3c.github.io/ServiceWorker/#update-algorithm).
    """
    if request.method != "GET" or request.headers.get("Service-Worker") != "script":
        return await handler(request)
    response = _file("/page/worker.js")
    response.headers["Service-Worker-Allowed"] = "/"
    return response


def _file(path: str) -> web.Response:
    name, media_type = FILES[path]
    data = (_FOLDER / name).read_bytes()
    response = web.Response(body=data, content_type=media_type, charset="utf-8", headers=HEADERS)
    if path == "/":  # a cache may hold scripts for this page that another program gave while it had the port
        response.headers["Clear-Site-Data"] = '"cache"'
    return response
