"""A stand-in for a social site: pages that upload as real sites do, and a server that keeps what it got.

``.venv/bin/python scripts/demo/server.py`` serves it on http://127.0.0.1:8737/pmask-demo/. The extension's list of
sites holds this path, and the end-to-end tests assert on the bytes that arrive here.
"""

from __future__ import annotations

import argparse
import hashlib
import html
from dataclasses import asdict, dataclass
from pathlib import Path
from string import Template

from aiohttp import BodyPartReader, web

HERE = Path(__file__).parent
MAX_BYTES = 256 * 1024 * 1024
STRICT_POLICY = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; img-src 'self'; frame-src 'self'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)

PAGES = {
    "": "A plain form",
    "react": "A React-like page",
    "shadow": "Shadow DOM",
    "detached": "A detached input",
    "frames": "Frames",
    "drop": "Drop and paste",
    "inner": "",  # stands in a frame of the page above
}


@dataclass(frozen=True, kw_only=True)
class Received:
    """One uploaded file, as the site got it."""

    name: str
    type: str
    size: int
    sha256: str


RECEIVED_DIR = web.AppKey("received_dir", Path)
RECEIVED = web.AppKey("received", list[Received])
FIELDS = web.AppKey("fields", list[bytes])
"""What came beside files, in forms: their other fields, in order."""


def create_demo_app(received_dir: Path) -> web.Application:
    """The demo site; uploads are stored in ``received_dir`` by SHA-256, and listed in order under ``app[RECEIVED]``."""
    app = web.Application(client_max_size=MAX_BYTES, middlewares=[_headers])
    app[RECEIVED_DIR] = received_dir
    app[RECEIVED] = []
    app[FIELDS] = []
    app.router.add_get("/", _to_demo)
    for name in PAGES:
        app.router.add_get(f"/pmask-demo/{name}", _page)
    app.router.add_static("/pmask-demo/static", HERE / "static")
    app.router.add_post("/pmask-demo/upload", _upload)
    app.router.add_get("/pmask-demo/received/{sha256:[0-9a-f]{64}}", _received)
    return app


@web.middleware
async def _headers(request: web.Request, handler: web.Handler) -> web.StreamResponse:  # type: ignore[name-defined]
    response: web.StreamResponse = await handler(request)
    response.headers["Cache-Control"] = "no-store"
    if request.query.get("csp") == "strict":
        response.headers["Content-Security-Policy"] = STRICT_POLICY
    return response


async def _to_demo(request: web.Request) -> web.Response:
    raise web.HTTPFound("/pmask-demo/")


async def _page(request: web.Request) -> web.Response:
    name = request.path.removeprefix("/pmask-demo/")
    fragment = (HERE / "pages" / f"{name or 'plain'}.html").read_text(encoding="utf-8")
    if name == "inner":
        return web.Response(text=fragment, content_type="text/html")
    links = (
        f'<a href="/pmask-demo/{page}"{" aria-current=page" if page == name else ""}>{html.escape(title)}</a>'
        for page, title in PAGES.items()
        if title
    )
    layout = Template((HERE / "pages" / "layout.html").read_text(encoding="utf-8"))
    text = layout.substitute(title=html.escape(PAGES[name]), links="\n".join(links), body=fragment)
    return web.Response(text=text, content_type="text/html")


async def _upload(request: web.Request) -> web.Response:
    files: list[Received] = []
    async for part in await request.multipart():
        if not isinstance(part, BodyPartReader):
            continue
        data = bytes(await part.read())
        if not part.filename:
            if data:
                request.app[FIELDS].append(data)
            continue
        digest = hashlib.sha256(data).hexdigest()
        request.app[RECEIVED_DIR].joinpath(digest).write_bytes(data)
        kind = part.headers.get("Content-Type", "")
        files.append(Received(name=part.filename, type=kind, size=len(data), sha256=digest))
    request.app[RECEIVED].extend(files)
    return web.json_response({"files": [asdict(file) for file in files]})


async def _received(request: web.Request) -> web.StreamResponse:
    digest = request.match_info["sha256"]
    known = next((file for file in request.app[RECEIVED] if file.sha256 == digest), None)
    if known is None:
        raise web.HTTPNotFound
    # An upload is shown as an image or not at all: it must not run as a page of this site.
    kind = known.type if known.type.startswith("image/") and "svg" not in known.type else "application/octet-stream"
    headers = {"Content-Type": kind, "X-Content-Type-Options": "nosniff"}
    return web.FileResponse(request.app[RECEIVED_DIR] / digest, headers=headers)


def main() -> None:
    """Serves the demo site until it is stopped."""
    parser = argparse.ArgumentParser(description="PMask's demo site: upload a photo and see what the site received.")
    parser.add_argument("--port", type=int, default=8737)
    parser.add_argument("--received", type=Path, default=Path("out/demo-received"), help="where uploads are kept")
    arguments = parser.parse_args()
    arguments.received.mkdir(parents=True, exist_ok=True)
    web.run_app(create_demo_app(arguments.received), host="127.0.0.1", port=arguments.port)


if __name__ == "__main__":
    main()
