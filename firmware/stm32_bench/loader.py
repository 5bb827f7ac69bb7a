"""The loader commands that the field must never send: Write Memory to option bytes and Readout
Unprotect, AN4221 sections 2.6, 2.11 and 2.19.

After each of them the chip erases and programs its option bytes. A reset or a loss of supply in
that time can lock it permanently (RM0444 p. 90). So these methods return as soon as the command
was sent, and the caller must leave the target alone until it has finished.
"""

from micropython import const

from stm32_rom.errors import BusError, LoaderError

from . import optr

_GET = const(0x00)
READOUT_UNPROTECT = const(0x92)
NS_READOUT_UNPROTECT = const(0x93)

# Bytes of the reply to Get by protocol version, AN4221 section 2.1; the reply must be read in one
# transaction. V1.2 has 19 without the checksum command: ST's open bootloader 6.1.3.
_GET_LENGTHS = {0x10: (13,), 0x11: (19,), 0x12: (20, 19)}


class BenchLoader:
    """The dangerous commands, and Get, for the loader of `target`."""

    def __init__(self, target):
        self._target = target
        self._loader = target.loader

    def get_commands(self, version):
        """Get: the command codes of a loader with protocol `version`, as bytes.

        A loader holds the line if more is read than its reply is long. It is then reset and asked
        again for the shorter reply."""
        lengths = _GET_LENGTHS.get(version)
        if lengths is None:
            raise LoaderError("protocol V%s is not known here" % self._target.protocol)
        for length in lengths[:-1]:
            try:
                return self._get(version, length)
            except BusError as error:
                if not self._loader.is_held(error):
                    raise error
                self._target.return_to_loader()
        return self._get(version, lengths[-1])

    def _get(self, version, length):
        loader = self._loader
        loader.command(_GET, "Get")
        answer = bytes(loader.receive(length))
        loader.await_ack("Get")
        if answer[0] != length - 2 or answer[1] != version:
            raise LoaderError("Get answered %d bytes for V0x%02X" % (answer[0], answer[1]))
        return answer[2:]

    def write_optr(self, address, before, after):
        """Write Memory: the 4 bytes of OPTR to `address`, the start of the option bytes.

        Exactly 4: fewer would set the other bits to 0, more would write other words too (ST's open
        bootloader for G0). Does not read the status; the chip resets itself at the end."""
        if not optr.may_become(before, after):
            raise ValueError("OPTR 0x%08X must not become 0x%08X" % (before, after))
        self._loader.begin_data(address, optr.pack(after))

    def readout_unprotect(self, code):
        """Readout Unprotect with `code` 92h or 93h. Raises LoaderRefused if it was not started."""
        self._loader.command(code, "Readout Unprotect")
