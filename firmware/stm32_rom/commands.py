"""The commands of ST's ROM loader (AN4221 rev 14). No policy.

A command is a sequence of frames. Each frame is one transaction. After each frame the loader sends
one status byte, which is read in a separate transaction.

    command     code, code ^ FF
    address     4 bytes MSB first, XOR
    count       n - 1, (n - 1) ^ FF
    data        n - 1, n bytes, XOR of all bytes before
    pages       MSB, LSB of each page number, XOR
"""

from micropython import const

from .chips import BLOCK, BLOCK_WRITE_MS, OPERATION_LIMIT_MS, PAGE_ERASE_MS
from .errors import BusError, BusStuck, LoaderError, LoaderRefused, LoaderTimeout

_ACK = const(0x79)
_NACK = const(0x1F)
_BUSY = const(0x76)
# Results of Loader.status.
ACK, NACK, BUSY, ABSENT, HELD, UNDRIVEN = "ack", "nack", "busy", "no answer", "line held", "0xFF"
_STATUSES = {_ACK: ACK, _NACK: NACK, _BUSY: BUSY}

# Command codes, AN4221 table 2. Only those that the field needs: none of them can change option
# bytes or protection.
_GET_VERSION = const(0x01)
_GET_ID = const(0x02)
_READ_MEMORY = const(0x11)
_GO = const(0x21)
_WRITE_MEMORY = const(0x31)
_NS_WRITE_MEMORY = const(0x32)
_ERASE = const(0x44)
_NS_ERASE = const(0x45)

_NO_STRETCH_SINCE = const(0x11)  # protocol V1.1, AN4221 table 2
# Without a flash operation the loader's status is ready at once; the limit allows for a slow host.
_STATUS_LIMIT_MS = const(100)
_LONGEST_POLL_MS = const(16)
# A loader out of step resets itself after LOADER_TIMEOUT_MS, which releases its lines.
_RELEASE_MS = const(1500)
_RELEASE_POLL_MS = const(50)


class Loader:
    """The loader behind `link`. `clock` limits every wait.

    Methods raise LoaderRefused (NACK), LoaderTimeout (not finished within the limit), and the
    errors of the link. After any of these the loader is out of step: it may
    expect another frame than the host sends next. Reset it before the next command.

    `name`: where the loader is, for messages. `recover`, `is_held`: the link's. `write_code`: this
    loader's code of Write Memory.
    `changing`: True from the moment when `write` begins to send its data until it gets a status:
    flash may hold any part of them. False after any other error of `write`: flash is unchanged."""

    def __init__(self, link, clock):
        self.name = link.name
        self.recover = link.recover
        self.is_held = link.is_held
        self._link = link
        self._clock = clock
        self._status = bytearray(1)
        self._frame = bytearray(BLOCK + 2)
        self._view = memoryview(self._frame)
        self.write_code = _WRITE_MEMORY
        self._erase_code = _ERASE
        self._polls_late = False  # first status read after the longest operation time
        self.changing = False

    def get_version(self):
        """Protocol version, e.g. 0x12 for V1.2. Selects the No-Stretch commands if the loader has
        them."""
        self.command(_GET_VERSION, "Get Version")
        version = self.receive(1)[0]
        self.await_ack("Get Version")
        no_stretch = version >= _NO_STRETCH_SINCE
        self.write_code = _NS_WRITE_MEMORY if no_stretch else _WRITE_MEMORY
        self._erase_code = _NS_ERASE if no_stretch else _ERASE
        return version

    def get_id(self):
        """Product ID of the chip, 12 bits."""
        self.command(_GET_ID, "Get ID")
        answer = self.receive(3)
        self.await_ack("Get ID")
        if answer[0] != 1:
            raise LoaderError("Get ID announced %d bytes, not 2" % (answer[0] + 1))
        return answer[1] << 8 | answer[2]

    def read_into(self, address, buffer):
        """Read Memory: fill `buffer` (1..256 bytes) from `address`."""
        self.command(_READ_MEMORY, "Read Memory")
        self.address(address, "Read Memory")
        count = len(buffer) - 1
        self._send2(count, count ^ 0xFF)
        self.await_ack("Read Memory count")
        self._link.receive_into(buffer)

    def write(self, address, data):
        """Write Memory: `data` (8..256 bytes, a multiple of 8) to `address` (8-aligned).

        The loader's ACK does not prove that flash was programmed: read it back."""
        length = len(data)
        if length % 8 or address % 8 or not 0 < length <= BLOCK:
            raise ValueError("flash is written in double words")  # else stale bytes are programmed
        self.changing = False
        self.command(self.write_code, "Write Memory")
        self.address(address, "Write Memory")
        self.changing = True
        self.data(data)
        self.await_ack("Write Memory at 0x%08X" % address, OPERATION_LIMIT_MS, BLOCK_WRITE_MS)

    def erase_page(self, page):
        """Erase one page by its number. As for `write`, ACK proves nothing: read it back."""
        self.command(self._erase_code, "Erase")
        frame = self._view[:3]
        frame[0] = frame[1] = frame[2] = 0  # one page: count - 1, and its XOR
        self._link.send(frame)
        self.await_ack("Erase count")
        frame[0] = page >> 8
        frame[1] = page & 0xFF
        frame[2] = frame[0] ^ frame[1]
        self._link.send(frame)
        self.await_ack("Erase of page %d" % page, OPERATION_LIMIT_MS, PAGE_ERASE_MS)

    def go(self, address):
        """Go: leave the loader and run the application whose vector table is at `address`."""
        self.command(_GO, "Go")
        self.address(address, "Go")

    # --- the state of the link ---

    def status(self):
        """Read one status: ACK, NACK, BUSY, UNDRIVEN (no device drives SDA), ABSENT (no answer),
        HELD (the target holds a line), or any other byte as hex text.

        This is the only safe request to a loader that programs flash: a command would be out of
        turn, and then the loader resets the chip. Raises BusStuck."""
        try:
            self._link.receive_into(self._status)
        except BusStuck:
            raise
        except BusError as error:
            return HELD if self.is_held(error) else ABSENT
        return _STATUSES.get(self._status[0], "0x%02X" % self._status[0])

    def releases_lines(self, limit_ms=_RELEASE_MS):
        """Whether SCL and SDA become free within `limit_ms`; the default is long enough for an
        idle loader to reset itself."""
        deadline = self._clock.deadline(limit_ms)
        while True:
            try:
                self.recover()
                return True
            except BusStuck:
                if deadline.expired():
                    return False
                deadline.sleep(_RELEASE_POLL_MS)

    # --- the parts of a command ---

    def command(self, code, name):
        """Send a command frame and wait for its ACK. `name` is for messages."""
        self._send2(code, code ^ 0xFF)
        self.await_ack(name)

    def address(self, address, name):
        """Send an address frame and wait for its ACK."""
        frame = self._view[:5]
        frame[0] = address >> 24
        frame[1] = address >> 16 & 0xFF
        frame[2] = address >> 8 & 0xFF
        frame[3] = address & 0xFF
        frame[4] = _xor(frame[:4])
        self._link.send(frame)
        self.await_ack("%s at 0x%08X" % (name, address))

    def data(self, data):
        """Send a data frame with 1..256 bytes of `data`."""
        length = len(data)
        frame = self._view[: length + 2]
        frame[0] = length - 1
        frame[1 : length + 1] = data
        frame[length + 1] = frame[0] ^ _xor(data)
        self._link.send(frame)

    def receive(self, length):
        """Read `length` bytes (1..258) in one transaction. The next frame overwrites them."""
        answer = self._view[:length]
        self._link.receive_into(answer)
        return answer

    def _send2(self, first, second):
        frame = self._view[:2]
        frame[0] = first
        frame[1] = second
        self._link.send(frame)

    def await_ack(self, what, limit_ms=_STATUS_LIMIT_MS, operation_ms=None):
        """Wait for ACK. Silence, BUSY and noise mean "not yet" until the deadline of `limit_ms`.

        `operation_ms`: (typical, longest) time of a flash operation. The first status read comes
        after the typical time: this saves polls, and a loader that stretches the clock even in
        No-Stretch commands rarely needs to. Once such a loader has held a line for too long
        (ESP32: 13 ms), the first read comes after the longest time."""
        deadline = self._clock.deadline(limit_ms)
        if operation_ms:
            deadline.sleep(operation_ms[self._polls_late])
        pause = 1
        while True:
            seen = None
            try:
                self._link.receive_into(self._status)
                seen = self._status[0]
            except BusError as error:
                if operation_ms and self.is_held(error):
                    self._polls_late = True
            if seen == _ACK:
                self.changing = False
                return
            if seen == _NACK:
                self.changing = False
                raise LoaderRefused("the loader refused %s" % what)
            if deadline.expired():
                last = "no answer" if seen is None else "0x%02X" % seen
                raise LoaderTimeout("%s: no ACK within %d ms, last: %s" % (what, limit_ms, last))
            deadline.sleep(pause)
            pause = min(pause * 2, _LONGEST_POLL_MS)


def _xor(data):
    """XOR over `data` (1..256 bytes). Folds one big integer: a loop over bytes would take as long
    as the transfer."""
    value = int.from_bytes(data, "big")
    shift = BLOCK * 8 // 2
    while shift >= 8:
        value ^= value >> shift
        shift //= 2
    return value & 0xFF
