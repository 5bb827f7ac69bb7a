"""Replaces `network` on a simulated board: a WLAN that connects if the test has a web server."""

from machine import call  # of a simulated board

STA_IF = 0


class WLAN:
    def __init__(self, interface):
        self._connected = False

    def active(self, value):
        pass

    def connect(self, ssid, password):
        self._connected = call("network_is_up")

    def isconnected(self):
        return self._connected
