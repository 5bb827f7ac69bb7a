"""Fetch images over HTTP and install them: for a Pico W or an ESP32.

Stock MicroPython brings `network` and `requests` on these boards. An image is fetched in pieces of
1 KB into the inbox, if the server has another one than last time (ETag). The updater checks it
before it touches the target, so neither the server nor the way to it has to be trusted, as long as
board.toml says `unsigned = false`.
"""

import os
import time

import network
import requests

from stm32_updater import Updater, UpdaterError

SSID, PASSWORD = "my network", "my password"
URL = "http://updates.example/app.img"
EVERY_MS = 60 * 60 * 1000
TIMEOUT_S = 10
PIECE = 1024

PART, IMAGE = "/updater/inbox/fetched.part", "/updater/inbox/fetched.img"
TAG = "/fetched.etag"  # of the image that was fetched last


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


def header(response, name):
    """Older builds keep the names as the server writes them."""
    return response.headers.get(name) or response.headers.get(name.lower())


def save(response):
    """Write the body into the inbox. It is an image only when all of it is there."""
    received = 0
    with open(PART, "wb") as file:
        while True:
            piece = response.raw.read(PIECE)
            if not piece:
                break
            received += file.write(piece)
    length = header(response, "Content-Length")
    if length is not None and received != int(length):
        raise OSError(f"{received} of {length} bytes arrived")
    os.rename(PART, IMAGE)


def fetch():
    """Put the server's image into the inbox, unless it was fetched before. Raises OSError."""
    connect()
    response = requests.get(URL, headers={"If-None-Match": last_tag()}, timeout=TIMEOUT_S)
    try:
        if response.status_code == 304:  # not modified
            return
        if response.status_code != 200:
            raise OSError(f"the server answers {response.status_code}")
        save(response)
        # After the image: a cut in between fetches it once more, and the updater discards it.
        with open(TAG, "w") as file:
            file.write(header(response, "ETag") or "")
    finally:
        response.close()


def update():
    """Finish what was interrupted, then install what the server has."""
    try:
        print(Updater.from_board("/board.json", answers=True).run())
        fetch()
        print(Updater.from_board("/board.json", answers=True).run())
    except UpdaterError as error:
        print(error.message, error.next_step)
    except Exception as error:  # no network, a full filesystem: the product works on
        print(repr(error))


update()
tried = time.ticks_ms()
while True:
    work()
    if time.ticks_diff(time.ticks_ms(), tried) > EVERY_MS:
        update()
        tried = time.ticks_ms()
