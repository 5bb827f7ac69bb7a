"""Replaces `requests` on a simulated board: a server with /www/app.img.

/www/etag contains its version, and with /www/broken the connection ends in the middle. Every
answer is logged in /www/log. A Response has only what the example uses."""

import os


class Response:
    def __init__(self, status_code, headers=None, raw=None):
        self.status_code = status_code
        self.headers = headers or {}
        self.raw = raw

    def close(self):
        if self.raw:
            self.raw.close()


class Body:
    """A socket: `read(n)` gives up to n bytes, and none at its end."""

    def __init__(self, path, length):
        self._file = open(path, "rb")  # noqa: SIM115, closed by close()
        self._left = length

    def read(self, length):
        data = self._file.read(min(length, self._left))
        self._left -= len(data)
        return data

    def close(self):
        self._file.close()


def get(url, headers=None, timeout=None):
    assert url.startswith("http://") and timeout
    answer = _answer(headers or {})
    with open("/www/log", "a") as log:
        log.write(f"{answer.status_code}\n")
    return answer


def _answer(headers):
    if "app.img" not in os.listdir("/www"):
        return Response(404)
    with open("/www/etag") as file:
        tag = file.read()
    if headers.get("If-None-Match") == tag:
        return Response(304)
    size = os.stat("/www/app.img")[6]
    sent = size // 2 if "broken" in os.listdir("/www") else size
    headers = {"Content-Length": str(size), "ETag": tag}
    return Response(200, headers, Body("/www/app.img", sent))
