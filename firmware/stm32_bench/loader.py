"""The loader's commands that the field must never send: AN4221 sections 2.6 (into option bytes),
2.11 and 2.19.

After each of them the chip erases and programs its option bytes. A reset or a loss of its supply
meanwhile can lock it for good (RM0444 p. 90), so these methods return as soon as the
command is out, and who calls them keeps away.
"""

from micropython import const

from stm32_rom.commands import Bootloader
from stm32_rom.errors import BusTimeout, LoaderError, NoAnswer
from stm32_rom.target import BUSY, HELD, lets_go

from . import optr

_GET = const(0x00)
READOUT_UNPROTECT = const(0x92)
NS_READOUT_UNPROTECT = const(0x93)
_STATUS_LIMIT_MS = const(100)

# Bytes of Get's reply by protocol version; they must be read in one transaction. AN4221 2.1.
_GET_LENGTHS = {0x10: 13, 0x11: 19, 0x12: 20}

ACK, NACK = "ack", "nack"
ABSENT = "no answer"  # its address is not acknowledged
_STATUSES = {0x79: ACK, 0x1F: NACK, 0x76: BUSY}


class BenchLoader(Bootloader):
    """A Bootloader that can do damage."""

    def get_commands(self, version):
        """Get: the command codes of a loader that speaks protocol `version`, as bytes."""
        length = _GET_LENGTHS.get(version)
        if length is None:
            raise LoaderError("protocol V%d.%d is not known here" % (version >> 4, version & 15))
        self._command(_GET, "Get")
        answer = self._view[:length]
        self._link.receive_into(answer)
        self._await_ack("Get", _STATUS_LIMIT_MS)
        if answer[0] != length - 2 or answer[1] != version:
            raise LoaderError("Get answered %d bytes for V0x%02X" % (answer[0], answer[1]))
        return bytes(answer[2:])

    def write_optr(self, address, before, after):
        """Write Memory: the 4 bytes of OPTR to `address`, where option bytes start.

        Exactly 4: fewer would make the other bits 0, more would write other words too (ST's open
        bootloader for G0). The status is not asked for; the chip resets itself at the end."""
        if not optr.may_become(before, after):
            raise ValueError("OPTR 0x%08X must not become 0x%08X" % (before, after))
        self._command(self._write_code, "Write Memory")
        self._address(address, "Write Memory")
        frame = bytearray([optr.LENGTH - 1]) + optr.pack(after) + b"\0"
        for byte in frame[:-1]:
            frame[-1] ^= byte
        self._link.send(frame)

    def readout_unprotect(self, code):
        """Readout Unprotect, by 92h or 93h. Raises LoaderRefused if it is not even begun."""
        self._command(code, "Readout Unprotect")

    def status(self):
        """What one status read brings: ACK, NACK, BUSY, ABSENT, HELD (it did not end), or the byte
        in hex.

        The only thing a loader that works on its flash can be asked: a command would be out of
        turn, and a loader out of turn resets the chip."""
        try:
            self._link.receive_into(self._status)
        except NoAnswer:
            return ABSENT
        except BusTimeout:
            return HELD
        return _STATUSES.get(self._status[0], "0x%02X" % self._status[0])

    def lets_go(self, *limit_ms):
        """Whether the bus becomes free; see stm32_rom.target.lets_go."""
        return lets_go(self._link, self._clock, *limit_ms)
