# mypy: ignore-errors
"""Replaces `requests` on a simulated board: the test asks its web server. A Response has only what
the example uses, as micropython-lib's has it."""

import json
import time

from machine import call  # of a simulated board

PIECE_MS = 10  # how long 1 KB takes


class Response:
    def __init__(self, status_code, headers):
        self.status_code = status_code
        self.headers = headers
        self.raw = Body()

    def close(self):
        self.raw = None


class Body:
    """A socket: readinto(buffer) gives what has arrived, and 0 at its end."""

    def readinto(self, buffer):
        piece = call("http_body", len(buffer))
        buffer[: len(piece)] = piece
        time.sleep_ms(PIECE_MS)
        return len(piece)


def get(url, headers=None, timeout=None):
    assert url.startswith("http://") and timeout
    return Response(*json.loads(call("http_get", url, json.dumps(headers or {}))))
