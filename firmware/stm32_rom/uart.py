"""Bytes to and from the loader over machine.UART: a link as i2c.py describes it.

AN3155: 8 data bits, even parity, 1 stop bit. The loader measures the rate of 0x7F, its first byte,
and answers ACK. From then on it is a stream of bytes without a time limit: a loader that missed a
byte waits for it until it is reset or gets other bytes instead. It sends each answer by itself, as
soon as it has one: nothing is polled, and there is no BUSY.

An answer that arrives while the host erases or writes its own flash is lost (rp2: interrupts are
off, and its FIFO holds 32 bytes). So no file is written while an answer is due.
"""

import time

from micropython import const

from .errors import ACK, NACK, NO_ANSWER, BusTimeout, NoAnswer

_LONGEST_FRAME = const(258)  # bytes; AN3155 section 3.6: length, 256 data bytes, checksum
_BITS_PER_BYTE = const(11)  # start, 8 data bits, parity, stop
# For an answer to begin: the loader needs microseconds; esp32 counts in ticks of 10 ms.
_BEGIN_MS = const(30)
# Every loader measures this rate, AN2606: used if the board's own does not work.
SAFE_RATE = const(115_200)

# What is sent to a loader in an unknown state, in turn. A loader that was reset takes the first
# for the rate; one that waits for a command refuses any two of them; one that waits for the rest
# of a frame gets it, and refuses that. They differ, so that after lost bytes they are not the
# number of a page and its checksum. Only for a count of pages they are too large: there a reset
# helps.
_FILLERS = (b"\x7f", b"\xff")
_GREETINGS = const(3)
# The most bytes of a frame that a loader may wait for, twice: an accepted address leads to data.
_MOST_FILLERS = const(600)
_FILL_MS = const(1000)

_NEXT_STEP = (
    "Check that TX is wired to the target's RX and RX to its TX, and ground; try a lower baudrate "
    "in board.toml; or run: stm32up doctor"
)


def read_timeout_ms(rate):
    """The `timeout=` for machine.UART: the longest answer at `rate` baud, and its beginning. On
    esp32 the timeout covers the whole answer, on rp2 only its first byte."""
    return _LONGEST_FRAME * _BITS_PER_BYTE * 1000 // rate + _BEGIN_MS


class UARTLink:
    """The loader at the other end of a UART.

    `make_uart(rate)` returns a machine.UART, 8E1, with buffers for a whole frame. `number`: of the
    UART, for messages. `rate`: baud; if no loader answers at it, SAFE_RATE is tried in turn.
    `seen`: the last status byte, or NO_ANSWER."""

    is_polled = False
    silent_advice = (
        "Check that TX is wired to the target's RX and RX to its TX, the wiring of NRST and "
        "BOOT0, that nBOOT_SEL is 0, that no debugger was attached since power-on, and that "
        "nothing else speaks to the target: its loader uses the first interface with activity, "
        "until a reset; or run: stm32up doctor"
    )

    def __init__(self, make_uart, number, rate):
        self.name = "UART %d" % number
        self.seen = NO_ANSWER
        self.rate = rate
        self._rates = (rate, min(rate, SAFE_RATE))
        self._make_uart = make_uart
        self._uart = make_uart(rate)
        self._is_proven = True  # whether a loader has answered since the last `recover`
        self._status = bytearray(1)
        self._stale = bytearray(32)

    def greet(self):
        """Begin a conversation: with a loader that was reset, or that waits for a command. Raises
        NoAnswer."""
        if not self._greeted():
            raise self._silent("no answer to 0x7F")

    def exchange(self, frames):
        """Send each frame (1..258 bytes), and read the status byte after it, until one is not ACK.
        Returns the number of frames that were acknowledged. Raises BusTimeout."""
        uart, status = self._uart, self._status
        if uart.any():
            self._drop_stale()
        done = 0
        for frame in frames:
            if uart.write(frame) != len(frame):
                raise self._unsent()
            if not uart.readinto(status):
                self.seen = NO_ANSWER
                break
            self.seen = status[0]
            if status[0] != ACK:
                break
            done += 1
        return done

    def send(self, frame):
        """Send `frame` (1..258 bytes), and wait until all of it is on the wire. Raises
        BusTimeout."""
        uart = self._uart
        if uart.write(frame) != len(frame):
            raise self._unsent()
        uart.flush()

    def status(self):
        """Wait for one status byte, for the time of the longest answer. Returns it, or
        NO_ANSWER."""
        if self._uart.readinto(self._status):
            self.seen = self._status[0]
            if self.seen == ACK:
                self._is_proven = True
        else:
            self.seen = NO_ANSWER
        return self.seen

    def receive_into(self, buffer):
        """Fill `buffer` (1..256 bytes). Raises NoAnswer, BusTimeout."""
        count = self._uart.readinto(buffer)
        if count != len(buffer):
            if not count:
                raise self._silent("no answer")
            raise BusTimeout(
                "the answer on %s broke off after %d of %d bytes"
                % (self.name, count, len(buffer)),
                _NEXT_STEP,
            )

    def recover(self):
        """Bring a loader that is out of step to where it waits for a command, if one is there. If
        no loader has answered since the last call, this is done at the next rate."""
        if not self._is_proven and self._rates[0] != self._rates[1]:
            self.rate = self._rates[self.rate == self._rates[0]]
            self.reopen()
        self._is_proven = False
        if not self._greeted():
            self._fill()

    def reopen(self):
        """Make the UART again: for another rate, or because its pins were used otherwise."""
        self._uart = self._make_uart(self.rate)

    def is_held(self, error):
        """As of another link: whether `error` shows that the target holds a line. Not here."""
        return False

    # --- the state of the loader ---

    def _greeted(self):
        """Whether a loader that was reset, or waits for a command, does so now."""
        self._drop_stale()
        for number in range(_GREETINGS):
            self._uart.write(_FILLERS[number % 2])
            answer = self._status[0] if self._uart.readinto(self._status) else NO_ANSWER
            # An ACK that comes later may have been due before: only NACK shows the state.
            if answer == NACK or answer == ACK and not number:
                time.sleep_us(2 * _BITS_PER_BYTE * 1_000_000 // self.rate)
                self._drop_stale()  # some loaders answer twice: AN2606, L412 V13.1
                return True
        return False

    def _fill(self):
        """Complete the frame that a loader may wait for, after `_greeted`, until it refuses. One
        deadline."""
        began = time.ticks_ms()
        for number in range(_GREETINGS, _MOST_FILLERS):
            self._uart.write(_FILLERS[number % 2])
            self._uart.flush()
            time.sleep_us(2 * _BITS_PER_BYTE * 1_000_000 // self.rate)
            while self._uart.any():
                self._uart.readinto(self._status)
                if self._status[0] == NACK:
                    return
            if time.ticks_diff(time.ticks_ms(), began) >= _FILL_MS:
                return

    def _drop_stale(self):
        """Drop what arrived unasked, such as the late answer of an earlier command."""
        stale = self._stale
        count = self._uart.any()
        while count:
            self._uart.readinto(stale, min(count, len(stale)))
            count = self._uart.any()

    # --- errors ---

    def _silent(self, what):
        return NoAnswer("%s on %s at %d baud, 8E1" % (what, self.name, self.rate), _NEXT_STEP)

    def _unsent(self):
        return BusTimeout("the host's %s does not send" % self.name, _NEXT_STEP)
