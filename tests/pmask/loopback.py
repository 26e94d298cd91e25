"""A file server on the loopback that stands for the makers' own: it knows range requests, and can cut a connection."""

from __future__ import annotations

import hashlib
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_PIECE = 1 << 12


class Web:
    """files: what is served, by path. cut: where the next answers break off, in bytes of their bodies. ranges: whether
    range requests are known. asked: each request's path and Range. pause: seconds after each _PIECE of a body."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.cut: list[int] = []
        self.ranges = True
        self.pause = 0.0
        self.asked: list[tuple[str, str | None]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def url(self, path: str) -> str:
        """The address of a path."""
        return f"http://127.0.0.1:{self._server.server_port}{path}"

    def close(self) -> None:
        """Stops serving."""
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                span = self.headers.get("Range")
                web.asked.append((self.path, span))
                content = web.files.get(self.path)
                if content is None:
                    self.send_error(404)
                    return
                version = f'"{hashlib.sha256(content).hexdigest()[:8]}"'
                first = 0
                if web.ranges and span and self.headers.get("If-Range") == version:
                    first = int(span.removeprefix("bytes=").partition("-")[0])
                if first >= len(content):
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{len(content)}")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                self.send_response(206 if first else 200)
                if first:
                    self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
                self.send_header("ETag", version)
                self.send_header("Content-Length", str(len(content) - first))
                self.end_headers()
                body = content[first:]
                body = body[: web.cut.pop(0)] if web.cut else body
                for start in range(0, len(body), _PIECE):
                    self.wfile.write(body[start : start + _PIECE])
                    time.sleep(web.pause)
                self.close_connection = True

            def log_message(self, *arguments: object) -> None:
                """Says nothing."""

        return Handler
