"""The commands of ST's ROM loader (AN4221 rev 14 over I2C, AN3155 over UART). No policy.

A command is a sequence of frames. Each frame is one transaction. After each frame the loader sends
one status byte, which is read in a separate transaction. (Over UART, frames and status bytes are
the same, one after the other.)

    command     code, code ^ FF
    address     4 bytes MSB first, XOR
    count       n - 1, (n - 1) ^ FF
    data        n - 1, n bytes, XOR of all bytes before
    pages       MSB, LSB of each page number, XOR

Writing a block takes the loader as long as an RP2040 needs to prepare the next one, so
`begin_write` and `end_write` are separate. In what runs for each block nothing is allocated.
"""

import struct
import time

from micropython import const

from . import errors
from .chips import (
    BLOCK,
    BLOCK_WRITE_US,
    CHECKSUM_BYTES,
    CHECKSUM_US,
    GRANULE,
    MASS_ERASE_US,
    OPERATION_LIMIT_MS,
    PAGE_ERASE_US,
)
from .errors import BusStuck, LoaderError, LoaderRefused, LoaderTimeout

_ACK, _NACK = errors.ACK, errors.NACK
_BUSY = const(0x76)
# Results of Loader.status.
ACK, NACK, BUSY, ABSENT, HELD, UNDRIVEN = "ack", "nack", "busy", "no answer", "line held", "0xFF"
_STATUSES = {_ACK: ACK, _NACK: NACK, _BUSY: BUSY, errors.NO_ANSWER: ABSENT, errors.LINE_HELD: HELD}

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
_NS_GET_CHECKSUM = const(0xA1)

_NO_STRETCH_SINCE = const(0x11)  # protocol V1.1, AN4221 table 2
# Erase: every page, AN4221 section 2.7; one page: count - 1, and its XOR.
_EVERY_PAGE = b"\xff\xff\x00"
_ONE_PAGE = b"\x00\x00\x00"
# What differs between the two protocols, beside the No-Stretch commands, which only a loader that
# is polled has: bytes of the answer to Get Version; whether Erase has its count in a frame of its
# own. AN3155 has two more bytes of version, both 0, and count and pages in one frame.
_AN4221 = (1, True)
_AN3155 = (3, False)
# Without a flash operation the loader's status is ready at once; the limit allows for a slow host.
_STATUS_LIMIT_MS = const(100)
_LONGEST_POLL_MS = const(16)
_POLL_US = const(250)  # while an operation takes no longer than it may
_RELEASE_POLL_MS = const(50)
_SCRATCH = const(34)  # bytes: a short data frame, or a reply
_BLANK = memoryview(b"\xff" * BLOCK)
FRAME = const(258)  # bytes of the data frame of a whole block


class Block:
    """256 bytes of a flash page, in the data frame that Write Memory needs. Fill `data`, a
    memoryview, then call `begin`. `memory`: a memoryview of FRAME bytes."""

    def __init__(self, memory):
        self._whole = memory
        self.data = self._whole[1 : BLOCK + 1]
        self.offset = 0  # of the first byte to write
        self.length = BLOCK  # bytes to write, 0 if `data` is blank
        self.frame = self._whole
        self._is_sealed = False

    def begin(self):
        """`data` is about to change."""
        self._is_sealed = False

    def seal(self):
        """Make `frame` from `data`, without the blank granules at both ends: what is blank already
        needs no programming, and zeros cannot be programmed over it later (erratum 2.2.5). `data`
        is not valid afterwards."""
        if self._is_sealed:
            return
        self._is_sealed = True
        data = self.data
        begin, end = 0, BLOCK
        if data[0] == 0xFF or data[-1] == 0xFF:  # seldom
            begin, end = _not_blank(data)
        self.offset, self.length = begin, end - begin
        if begin == end:
            return
        # A plain loop allocates nothing, and an RP2040 has the time while the loader programs.
        # Blank granules leave the sum unchanged.
        check = end - begin - 1
        for byte in data:
            check ^= byte
        whole = self._whole
        self.frame = whole if end - begin == BLOCK else whole[begin : end + 2]
        whole[begin] = end - begin - 1
        whole[end + 1] = check


def _not_blank(data):
    """(begin, end) of `data` without the blank granules at both ends; equal if all are blank."""
    begin, end = 0, len(data)
    if data == _BLANK[:end]:
        return 0, 0
    while data[begin : begin + GRANULE] == _BLANK[:GRANULE]:
        begin += GRANULE
    while data[end - GRANULE : end] == _BLANK[:GRANULE]:
        end -= GRANULE
    return begin, end


class _Operation:
    """How long one kind of operation takes this loader: `us` for `amount`, at most `longest`. `us`
    begins as the typical time, and follows a loader that needs more."""

    def __init__(self, times, amount):
        self.us, self.longest = times
        self.amount = amount


class Loader:
    """The loader behind `link`. `clock` limits every wait.

    Methods raise LoaderRefused (NACK), LoaderTimeout (not finished within the limit), and the
    errors of the link. After any of these the loader is out of step: it may
    expect another frame than the host sends next. Reset it before the next command.

    `name`, `recover`, `is_held`, `is_polled`, `silent_advice`: the link's. `write_code`: this
    loader's code of Write Memory.
    `changing`: True from the moment when a write begins to send its data until it gets a status:
    flash may hold any part of them. False after any other error of a write: flash is unchanged."""

    def __init__(self, link, clock):
        self.name = link.name
        self.recover = link.recover
        self.is_held = link.is_held
        self.silent_advice = link.silent_advice
        self.is_polled = link.is_polled
        self._version_length, self._counts_apart = _AN4221 if link.is_polled else _AN3155
        self._link = link
        self._clock = clock
        self._exchange = link.exchange
        self._code, self._count = bytearray(2), bytearray(2)
        self._address = bytearray(5)
        # The frames of a command that are each acknowledged at once.
        self._one = (self._code,)
        self._two = (self._code, self._address)
        self._three = (self._code, self._address, self._count)
        self._scratch = memoryview(bytearray(_SCRATCH))
        self.write_code = _WRITE_MEMORY
        self._erase_code = _ERASE
        self._writing = _Operation(BLOCK_WRITE_US, BLOCK)
        self._erasing = _Operation(PAGE_ERASE_US, 1)
        self._erasing_all = _Operation(MASS_ERASE_US, 1)
        self._summing = _Operation(CHECKSUM_US, CHECKSUM_BYTES)
        self._begun = time.ticks_us()  # when an operation began
        self._length = 0  # bytes that are being written
        self._at = 0  # address in the current command, for messages
        self.changing = False

    def get_version(self):
        """Protocol version, e.g. 0x12 for V1.2. Selects the No-Stretch commands if the loader has
        them. The only command that a loader may get first."""
        self._link.greet()
        self.command(_GET_VERSION, "Get Version")
        answer = self.receive(self._version_length)
        self.await_ack("Get Version")
        version = answer[0]
        if any(answer[1:]):
            raise LoaderError("the version arrived damaged")
        no_stretch = self.is_polled and version >= _NO_STRETCH_SINCE
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
        count = self._count
        count[0] = len(buffer) - 1
        count[1] = count[0] ^ 0xFF
        self._command_at(_READ_MEMORY, address, self._three, "Read Memory")
        self._link.receive_into(buffer)

    def begin_write(self, address, block):
        """Write Memory: send what is not blank of a Block, which begins at `address` (8-aligned).
        Call `end_write` next, within half of the loader's timeout."""
        block.seal()
        self.changing = False
        self._command_at(self.write_code, address + block.offset, self._two, "Write Memory")
        self._length = block.length
        self.changing = True
        self._link.send(block.frame)
        self._begun = time.ticks_us()

    def end_write(self):
        """Wait until the block of `begin_write` is written.

        The loader's ACK does not prove that flash was programmed: verify it."""
        self._finish(self._writing, self._length, "Write Memory")

    def write(self, address, data):
        """Write Memory: `data` (8..32 bytes, a multiple of 8) to `address` (8-aligned)."""
        if len(data) % GRANULE or address % GRANULE:
            raise ValueError("flash is written in double words")  # else stale bytes are programmed
        self.begin_data(address, data)
        self.end_write()

    def begin_data(self, address, data):
        """Write Memory: send 1..32 bytes of `data` to `address`. The status follows."""
        self.changing = False
        self._command_at(self.write_code, address, self._two, "Write Memory")
        self._length = length = len(data)
        frame = self._scratch[: length + 2]
        frame[1 : length + 1] = data
        frame[0] = check = length - 1
        for byte in data:
            check ^= byte
        frame[length + 1] = check
        self.changing = True
        self._link.send(frame)
        self._begun = time.ticks_us()

    def erase_page(self, page):
        """Erase one page by its number. As for `end_write`, ACK proves nothing."""
        self._set_code(self._erase_code)
        frame = self._scratch[:5]
        frame[0] = frame[1] = 0
        frame[2] = page >> 8
        frame[3] = page & 0xFF
        frame[4] = frame[2] ^ frame[3]
        if self._counts_apart:
            self._run((self._code, _ONE_PAGE), "Erase")
            frame = frame[2:]
        else:
            self._run(self._one, "Erase")
        self._operate(frame, self._erasing, "Erase of page %d" % page)

    def erase_all(self):
        """Erase every page, also those that the caller does not know. Refused if any is
        write-protected."""
        self.command(self._erase_code, "Erase")
        self._operate(_EVERY_PAGE, self._erasing_all, "Erase of all pages")

    def checksum(self, address, length):
        """Get Memory Checksum: 4 bytes, which the next frame overwrites, MSB first: the CRC-32 of
        `length` bytes (a multiple of 4) of flash from `address` (4-aligned), as the STM32's CRC
        unit computes it after a reset. AN4221 section 2.20. Loaders before protocol V1.2, and some
        later ones, refuse it."""
        number = struct.pack(">I", length)
        number += bytes((number[0] ^ number[1] ^ number[2] ^ number[3],))
        frames = (self._code, self._address, number)
        self._command_at(_NS_GET_CHECKSUM, address, frames, "Get Memory Checksum")
        self._begun = time.ticks_us()
        self._finish(self._summing, length, "Get Memory Checksum")
        answer = self.receive(5)
        if answer[0] ^ answer[1] ^ answer[2] ^ answer[3] != answer[4]:
            raise LoaderError("a checksum arrived damaged")
        return answer[:4]

    def go(self, address):
        """Go: leave the loader and run the application whose vector table is at `address`."""
        self._command_at(_GO, address, self._two, "Go")

    # --- the state of the link ---

    def status(self):
        """Read one status: ACK, NACK, BUSY, UNDRIVEN (no device drives SDA), ABSENT (no answer),
        HELD (the target holds a line), or any other byte as hex text.

        This is the only safe request to a loader that programs flash: a command would be out of
        turn, and then the loader resets the chip. Raises BusStuck."""
        return _text(self._link.status())

    def releases_lines(self, limit_ms):
        """Whether SCL and SDA become free within `limit_ms`. An idle loader releases them when it
        resets itself, see Chip.release_ms."""
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
        self._set_code(code)
        self._run(self._one, name)

    def receive(self, length):
        """Read `length` bytes (1..34) in one transaction. The next frame overwrites them."""
        answer = self._scratch[:length]
        self._link.receive_into(answer)
        return answer

    def await_ack(self, what):
        """Wait for a status that must be ACK."""
        self._await(self._link.status(), what, _STATUS_LIMIT_MS)

    def _set_code(self, code):
        self._at = 0
        self._code[0] = code
        self._code[1] = code ^ 0xFF

    def _command_at(self, code, address, frames, name):
        """Send a command whose second frame is an address. Each frame is acknowledged at once."""
        first = self._code
        first[0] = code
        first[1] = code ^ 0xFF
        self._at = address
        number = self._address
        struct.pack_into(">I", number, 0, address)
        number[4] = number[0] ^ number[1] ^ number[2] ^ number[3]
        done = self._exchange(frames)
        if done != len(frames):
            self._finish_frames(frames, done, name)

    def _run(self, frames, name):
        """Send frames and wait for the ACK of each."""
        self._finish_frames(frames, self._exchange(frames), name)

    def _finish_frames(self, frames, done, name):
        """Wait for the ACK of a frame that needs longer, or is refused, and send the others."""
        while done != len(frames):
            self._await(self._link.seen, name, _STATUS_LIMIT_MS)
            frames = frames[done + 1 :]
            done = self._exchange(frames)

    def _operate(self, frame, operation, what):
        """Send a frame that begins an operation, and wait for its end."""
        self._link.send(frame)
        self._begun = time.ticks_us()
        self._finish(operation, operation.amount, what)

    def _finish(self, operation, amount, what):
        """Wait for the ACK that ends an operation of `amount`, which began at `_begun`.

        The first status is read when the operation is expected to have ended: this saves polls,
        and a loader that stretches the clock even in No-Stretch commands rarely needs to. Once
        such a loader has held a line for too long (ESP32: 13 ms), the wait is the longest time."""
        expected = operation.us * amount // operation.amount
        self._clock.sleep_us(expected - time.ticks_diff(time.ticks_us(), self._begun))
        status = self._link.status()
        if status != _ACK:
            longest = operation.longest * amount // operation.amount
            while status == _BUSY and time.ticks_diff(time.ticks_us(), self._begun) < longest:
                self._clock.sleep_us(_POLL_US)
                status = self._link.status()
            if status == errors.LINE_HELD:
                operation.us = operation.longest
            elif status == _ACK:
                taken = time.ticks_diff(time.ticks_us(), self._begun) * operation.amount // amount
                operation.us = min(taken, operation.longest)
            self._await(status, what, OPERATION_LIMIT_MS)
        self.changing = False

    def _await(self, status, what, limit_ms):
        """Wait for ACK; `status` was read first. Silence, BUSY and noise mean "not yet" until the
        deadline of `limit_ms`."""
        deadline = self._clock.deadline(limit_ms)
        pause = 1
        while status != _ACK:
            if status == _NACK:
                self.changing = False
                raise LoaderRefused("the loader refused %s" % self._where(what))
            if deadline.expired():
                raise LoaderTimeout(
                    "%s: no ACK within %d ms, last: %s"
                    % (self._where(what), limit_ms, _text(status))
                )
            deadline.sleep(pause)
            pause = min(pause * 2, _LONGEST_POLL_MS)
            status = self._link.status()

    def _where(self, what):
        return what + " at 0x%08X" % self._at if self._at else what


def _text(status):
    """A status for messages and decisions; see Loader.status."""
    return _STATUSES.get(status) or "0x%02X" % status
