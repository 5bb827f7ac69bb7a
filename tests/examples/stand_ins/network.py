"""Replaces `network` on a simulated board: a WLAN that connects if /www exists."""

import os

STA_IF = 0


class WLAN:
    def __init__(self, interface):
        self._connected = False

    def active(self, value):
        pass

    def connect(self, ssid, password):
        self._connected = "www" in os.listdir("/")

    def isconnected(self):
        return self._connected
