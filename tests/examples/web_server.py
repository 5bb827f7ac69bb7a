"""A real HTTP server with one file, whose connections can break."""

from __future__ import annotations

import http.client
import re
import socket
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit


class WebServer:
    """Serves /app.img as RFC 9110 says: ETag, If-None-Match, Range, If-Range. `answers`: (status,
    bytes of the body that were sent).

    `breaks`: for each of the next answers with a body, after how many bytes its connection breaks;
    None: not at all. `resets`: whether it breaks by a reset instead of an end. `fails`: answer
    with this status. The other flags make a server that does less."""

    def __init__(self) -> None:
        self.content: bytes | None = None
        self.tag = ""
        self.ranges = True
        self.heeds_if_range = True
        self.tells_length = True
        self.fails: int | None = None
        self.resets = False
        self.breaks: list[int | None] = []
        self.answers: list[tuple[int, int]] = []
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                web._answer(self)

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/app.img"

    def offer(self, content: bytes, tag: str) -> None:
        self.content, self.tag = content, tag

    @property
    def statuses(self) -> list[int]:
        return [status for status, _ in self.answers]

    def __enter__(self) -> WebServer:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        wanted = request.headers
        if self.fails is not None:
            return self._send(request, self.fails, b"")
        if self.content is None or request.path != "/app.img":
            return self._send(request, 404, b"no such file")
        size = len(self.content)
        if wanted["If-None-Match"] == self.tag:
            return self._send(request, 304, None)
        asked = re.fullmatch(r"bytes=(\d+)-", wanted["Range"] or "")
        same = wanted["If-Range"] in (None, self.tag) or not self.heeds_if_range
        if not (asked and same and self.ranges):
            return self._send(request, 200, self.content)
        first = int(asked[1])
        if first >= size:
            return self._send(request, 416, b"", f"bytes */{size}")
        self._send(request, 206, self.content[first:], f"bytes {first}-{size - 1}/{size}")

    def _send(
        self, request: BaseHTTPRequestHandler, status: int, body: bytes | None, part: str = ""
    ) -> None:
        request.send_response(status)
        request.send_header("ETag", self.tag)
        if part:
            request.send_header("Content-Range", part)
        if body is not None and self.tells_length:
            request.send_header("Content-Length", str(len(body)))
        limit = self.breaks.pop(0) if body and status in (200, 206) and self.breaks else None
        sent = (body or b"")[:limit]
        self.answers.append((status, len(sent)))  # now: the client may end before this thread does
        request.end_headers()
        request.wfile.write(sent)
        if limit is not None and self.resets:  # unsent bytes are lost, too
            request.wfile.flush()
            at_once = struct.pack("ii", 1, 0)
            request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
            request.connection.close()
        request.close_connection = True


def get(url: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
    """(status, headers, as much of the body as arrives)."""
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=10)
    connection.request("GET", place.path, headers=headers)
    response = connection.getresponse()
    try:
        body = response.read()
    except http.client.IncompleteRead as broken:
        body = broken.partial
    connection.close()
    return response.status, dict(response.getheaders()), body
