"""The loader's commands that rewrite option bytes: write protection and readout protection.

Evidence: AN4221 rev 14 sections 2.8 to 2.11, AN3155; ST's open bootloader (OPENBL); RM0490 for
levels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stm32sim.chip.loader_steps import ACK, NACK, LoaderSteps
from stm32sim.chip.option_bytes import (
    FACTORY,
    OPTR,
    PCROP1AER,
    PCROP1ASR,
    RDP_LEVEL_0,
    RDP_LEVEL_1,
    WRP1AR,
    WRP1BR,
    write_protected_area,
)
from stm32sim.chip.polled import Program, Wait


class Protection(LoaderSteps):
    """The part of a loader that programs option bytes."""

    def _program_options(
        self, programmings: Sequence[Mapping[int, int]], no_stretch: bool
    ) -> Program:
        """Rewrite the option page once for each of `programmings`, send the status, launch. The
        loader does not check whether a programming started: after an earlier error it does not,
        unless the loader clears errors, and the ACK is sent anyway."""
        ack = self.quirks.option_ack
        for number, values in enumerate(programmings):
            if number:
                yield from self._wait_until_idle(no_stretch)
            self.chip.start_options(values)
        if ack == "early":
            yield from self._answer(ACK)
        yield from self._wait_until_idle(no_stretch)
        if ack == "before" or (ack == "lost" and not self._launches()):
            yield from self._answer(ACK)
        yield from self._launch()

    def _launch(self) -> Program:
        """Without a launch the loader only waits for the next command [D]."""
        if self._launches():
            self.chip.launch_options()
            yield Wait.EVER

    def _write_protect(self, no_stretch: bool) -> Program:
        """Pairs of first and last page, area A, then B; not checked, and each area programmed
        separately [V OPENBL-G0]. An area without a pair is unchanged."""
        if not (yield from self._allowed()):
            return
        codes = yield from self._receive_sector_codes()
        if codes is None:
            yield from self._answer(NACK)
            return
        areas = [
            {register: write_protected_area(*codes[start : start + 2])}
            for register, start in ((WRP1AR, 0), (WRP1BR, 2))
            if len(codes) >= start + 2
        ]
        yield from self._program_options(areas, no_stretch)

    def _write_unprotect(self, no_stretch: bool) -> Program:
        if self.quirks.write_unprotect_erases and not no_stretch:
            yield from self._readout_unprotect(no_stretch)
        elif (yield from self._allowed()):
            none = write_protected_area(0x3F, 0)
            yield from self._program_options([{WRP1AR: none}, {WRP1BR: none}], no_stretch)

    def _readout_protect(self, no_stretch: bool) -> Program:
        if (yield from self._allowed()):
            yield from self._program_options([self._optr_with(RDP_LEVEL_1)], no_stretch)

    def _optr_with(self, rdp: int) -> dict[int, int]:
        return {OPTR: self.chip.option_bytes.word(OPTR) & ~0xFF | rdp}

    def _readout_unprotect(self, no_stretch: bool) -> Program:
        """Flash is erased and option bytes are rewritten for level 0, at level 0 too, and then
        again without PCROP areas [V OPENBL-G0]. NACK if a step is refused: at level 0 the erase is
        subject to write protection [D from AN4221 2.11, RM0490 4.3]."""
        if not (yield from self._allowed(up_to=1)):
            return
        quirks = self.quirks
        if self.unprotect_ack == "early":
            yield from self._answer(ACK)
        self._hide(True)
        answers = no_stretch and quirks.unprotect_answer == "busy"
        steps = [self._start_unprotect_erase, self._start_unprotect_options]
        if not quirks.erases_first:
            steps.reverse()
        done = False
        for start in (*steps, self._start_pcrop_options):
            done = start()
            if not done:
                break
            yield from self._wait_until_idle(answers)
        self._hide(False)
        if self.unprotect_ack == "late":
            yield from self._answer(ACK if done else NACK)
        if done:
            yield from self._launch()

    def _start_unprotect_erase(self) -> bool:
        protected = self.chip.rdp_level == 1
        return self.chip.flash.start_mass_erase(despite_protection=protected)

    def _start_unprotect_options(self) -> bool:
        values = self._optr_with(RDP_LEVEL_0)
        return self.chip.start_options(values, self.quirks.unprotect_delay)

    def _start_pcrop_options(self) -> bool:
        none = {register: FACTORY[register] for register in (PCROP1ASR, PCROP1AER)}
        return self.chip.start_options(none)
