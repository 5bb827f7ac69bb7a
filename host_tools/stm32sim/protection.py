"""The loader's commands that rewrite option bytes: write protection and readout protection.

Evidence: AN4221 rev 14 sections 2.8 to 2.11; ST's open bootloader (OPENBL); RM0490 for levels.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping

from stm32sim.loader_steps import ACK, I2C_ADDRESS, NACK, LoaderSteps, xor
from stm32sim.option_bytes import (
    OPTR,
    RDP_LEVEL_0,
    RDP_LEVEL_1,
    WRP1AR,
    WRP1BR,
    write_protected_area,
)
from stm32sim.polled_i2c import Program, Wait

_NOBODY = -1  # as an I2C address: the peripheral is switched off


class Protection(LoaderSteps):
    """The part of a loader that programs option bytes."""

    def _program_options(self, values: Mapping[int, int], no_stretch: bool) -> Program:
        """Rewrite the option page, tell so, launch. Nobody looks whether the programming began:
        after an earlier error it does not [strict: OPENBL-G0 clears the flags], and the ACK comes
        all the same."""
        ack = self.quirks.option_ack
        self.chip.start_options(values)
        if ack == "early":
            yield from self._answer(ACK)
        yield from self._wait_until_idle(no_stretch)
        if ack == "before":
            yield from self._answer(ACK)
        yield from self._launch()

    def _launch(self) -> Program:
        """Over I2C every version reloads option bytes: V11.2 forgets to only over USART."""
        self.chip.launch_options()
        yield Wait.EVER

    def _write_protect(self, no_stretch: bool) -> Program:
        """Pairs of first and last page, area A, then B; unchecked [V OPENBL-G0]. An area without
        its pair stays as it is."""
        if not (yield from self._allowed()):
            return
        codes = yield from self._receive_sector_codes()
        if codes is None:
            yield from self._answer(NACK)
            return
        values = {}
        for index, register in enumerate((WRP1AR, WRP1BR)):
            pair = codes[2 * index : 2 * index + 2]
            if len(pair) == 2:
                values[register] = write_protected_area(*pair)
        yield from self._program_options(values, no_stretch)

    def _receive_sector_codes(self) -> Generator[Wait, int, bytes | None]:
        """Number of codes less one, then the codes and their XOR; None if a checksum is wrong."""
        if self.quirks.write_protect_in_one_frame:
            yield Wait.ADDRESS
            count = (yield from self._receive(1))[0]
            codes = yield from self._receive(count + 2)
            yield Wait.STOP
            return None if count ^ xor(codes) else codes[:-1]
        count, complement = yield from self._receive_frame(2)
        if count ^ complement != 0xFF:
            return None
        yield from self._answer(ACK)
        codes = yield from self._receive_frame(count + 2)
        return None if xor(codes) else codes[:-1]

    def _write_unprotect(self, no_stretch: bool) -> Program:
        if (yield from self._allowed()):
            none = write_protected_area(0x3F, 0)
            yield from self._program_options({WRP1AR: none, WRP1BR: none}, no_stretch)

    def _readout_protect(self, no_stretch: bool) -> Program:
        if (yield from self._allowed()):
            yield from self._program_options(self._optr_with(RDP_LEVEL_1), no_stretch)

    def _optr_with(self, rdp: int) -> dict[int, int]:
        return {OPTR: self.chip.option_bytes.word(OPTR) & ~0xFF | rdp}

    def _readout_unprotect(self, no_stretch: bool) -> Program:
        """Flash is erased and option bytes are rewritten for level 0, at level 0 too. NACK if the
        erase is refused: at level 0 it heeds write protection [D from AN4221 2.11, RM0490 4.3].
        What is refused leaves the error flag set, so nothing after it begins either."""
        if not (yield from self._allowed(up_to=1)):
            return
        quirks = self.quirks
        if quirks.unprotect_ack == "early":
            yield from self._answer(ACK)
        if quirks.unprotect_answer == "nack":
            self.address = _NOBODY
        answers = no_stretch and quirks.unprotect_answer == "busy"
        steps = [self._start_unprotect_erase, self._start_unprotect_options]
        done = False
        for start in steps if quirks.erases_first else reversed(steps):
            done = start()
            yield from self._wait_until_idle(answers)
        self.address = I2C_ADDRESS
        if quirks.unprotect_ack == "late":
            yield from self._answer(ACK if done else NACK)
        if done:
            yield from self._launch()

    def _start_unprotect_erase(self) -> bool:
        protected = self.chip.rdp_level == 1
        return self.chip.flash.start_mass_erase(despite_protection=protected)

    def _start_unprotect_options(self) -> bool:
        values = self._optr_with(RDP_LEVEL_0)
        return self.chip.start_options(values, self.quirks.unprotect_delay)
