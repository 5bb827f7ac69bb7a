"""Fetch images over HTTP and install them: for a Pico W or an ESP32.

Stock MicroPython brings `network` and `requests` on these boards. An image is fetched into the
inbox if the server has another one than last time (ETag). A download that is interrupted, by the
network or by a power cut, goes on where it was (Range), as long as the server still has the same
image. The updater checks the image before it touches the target, so neither the server nor the way
to it has to be trusted, as long as board.toml says `unsigned = false`.

What is known of a download is in two files: PART has the bytes that are there, and TAG says of
which image they are. Without PART, TAG is that of the last image that arrived whole.
"""

import os
import time

import network
import requests

from stm32_updater import Updater, UpdaterError

SSID, PASSWORD = "my network", "my password"
URL = "http://updates.example/app.img"
EVERY_MS = 60 * 60 * 1000
AGAIN_MS = 60 * 1000  # after a failure
TIMEOUT_S = 10
ROOM = 64 * 1024  # bytes of the filesystem that a download leaves free: the updater needs them

PART, IMAGE = "/updater/inbox/fetched.part", "/updater/inbox/fetched.img"
TAG = "/fetched.etag"
PIECE = bytearray(1024)
KEPT = 16 * len(PIECE)  # a power cut loses no more of a download


def work():
    """What the product does."""
    time.sleep_ms(100)


def connect():
    """Raises OSError if there is no network in time."""
    wlan = network.WLAN(network.STA_IF)
    wlan.active(True)
    if not wlan.isconnected():
        wlan.connect(SSID, PASSWORD)
    for _ in range(TIMEOUT_S * 10):
        if wlan.isconnected():
            return
        time.sleep_ms(100)
    raise OSError("no network")


def last_tag():
    try:
        with open(TAG) as file:
            return file.read()
    except OSError:
        return ""


def size_of_part():
    """The bytes that are there of an interrupted download; None if there was none."""
    try:
        return os.stat(PART)[6]
    except OSError:
        return None


def header(response, name):
    """Older builds keep the names as the server writes them."""
    return response.headers.get(name) or response.headers.get(name.lower()) or ""


def wanted(tag, present):
    """The headers of the request."""
    if present is None:
        return {"If-None-Match": tag} if tag else {}
    if present and tag:
        # If the image has changed since, the server sends all of the new one.
        return {"Range": f"bytes={present}-", "If-Range": tag}
    return {}


def begin(response):
    """Forget an earlier download: the server sends an image from its first byte."""
    with open(PART, "wb"):
        pass  # empty before the tag changes, so that PART never has bytes of another image
    with open(TAG, "w") as file:
        file.write(header(response, "ETag"))


def drop():
    """Forget an earlier download for good. The tag first: without PART it would mean that the
    image has arrived."""
    for path in (TAG, PART):
        try:
            os.remove(path)
        except OSError:
            pass  # is not there


def save(response, present, total):
    """Append the body to PART. Raises OSError if not all of it arrives."""
    storage = os.statvfs("/")
    if storage[0] * storage[3] < total - present + ROOM:
        raise OSError(f"no room for {total} bytes")
    with open(PART, "ab") as file:
        while present < total:
            piece = memoryview(PIECE)[: total - present]
            length = response.raw.readinto(piece)
            if not length:
                raise OSError(f"{present} of {total} bytes arrived")
            file.write(piece[:length])
            if present // KEPT != (present + length) // KEPT:
                file.flush()
            present += length


def receive(response, tag, present):
    """Complete PART. Returns False if there is nothing to fetch. Raises OSError."""
    status, part = response.status_code, header(response, "Content-Range")
    if status == 304:  # not modified
        return False
    if status == 200:
        total = header(response, "Content-Length")
        if not total:
            raise OSError("the server does not say how long the image is")
        begin(response)
        save(response, 0, int(total))
    elif status == 206 and part.startswith(f"bytes {present or 0}-"):
        if header(response, "ETag") not in ("", tag):
            drop()
            raise OSError("the server sends a part of another image")
        save(response, present, int(part.partition("/")[2]))
    elif status != 416 or part != f"bytes */{present or 0}":
        # 416 with this length: all of it was there, and the power failed before it was renamed.
        if present is not None and status < 500:
            drop()  # the server cannot continue it
        raise OSError(f"the server answers {status}")
    return True


def fetch():
    """Put the server's image into the inbox, unless it was fetched before. Raises OSError."""
    connect()
    tag, present = last_tag(), size_of_part()
    response = requests.get(URL, headers=wanted(tag, present), timeout=TIMEOUT_S)
    try:
        if receive(response, tag, present):
            os.rename(PART, IMAGE)
    finally:
        response.close()


def update():
    """Finish what was interrupted, then install what the server has. Returns whether it went
    well."""
    try:
        print(Updater.from_board("/board.json", answers=True).run())
        fetch()
        result = Updater.from_board("/board.json", answers=True).run()
        print(result)
        if result.get("error") == "image-damaged":
            drop()  # it was damaged on its way: fetch it again
        return result["ok"]
    except UpdaterError as error:
        print(error.message, error.next_step)
    except Exception as error:  # no network, a full filesystem: the product works on
        print(repr(error))
    return False


pause = EVERY_MS if update() else AGAIN_MS
tried = time.ticks_ms()
while True:
    work()
    if time.ticks_diff(time.ticks_ms(), tried) > pause:
        pause = EVERY_MS if update() else AGAIN_MS
        tried = time.ticks_ms()
