"""Differences between versions of the loader, and behaviour that the sources leave open."""

from __future__ import annotations

from dataclasses import dataclass, replace

from stm32sim.wires.clock import NS_PER_MS, NS_PER_S, NS_PER_US

PRODUCT_ID = 0x460  # G07x/08x, AN2606 table 226
CONNECTION = 2 * NS_PER_US  # AN2606 table 230: stretch at the first address match
FOREVER = 10 * 365 * 24 * 3600 * NS_PER_S  # longer than any simulation


@dataclass(frozen=True)
class Quirks:
    """Known faults of a loader version (AN2606 table 108), and choices that the sources leave
    open."""

    version: int  # 1 is V11.1
    product_id: int = PRODUCT_ID
    loader_id: int | None = None  # the ID byte; None: that of V11.`version`
    clears_empty_flag: bool = False
    does_not_wait_for_erase: bool = False
    connection_stretch: int = CONNECTION  # ns SCL is held at the first address match
    survives_probe: bool = False  # a zero-length write; [?] V1.2 is said to survive i2cdetect
    ecc_error: str = "hang"  # the effect of a fault in a read: "hang" or "reset" [?]
    # No-Stretch commands too, and BUSY is never sent [V OPENBL-G0; G05x and F723 were seen to].
    stretches_anyway: bool = False
    erase_stretches: bool = False  # No-Stretch Erase never answers BUSY [V5.1 of the G05x/06x]
    one_page_in_bank_2: bool = False  # of each erase command, only the first [G0B0, G0B1]
    damages_ram: bool = False  # what is written to RAM [V10.1 of the L47x/48x]
    write_unprotect_erases: bool = False  # 0x73 performs Readout Unprotect [WB]
    deaf: bool = False  # another interface was seen first [V5.1 of the G03x with PA3 low]
    # 0xA1: "served" [V AN4221 for V1.2]; "refused", though Get lists it [V OPENBL 3.0.1; a G070
    # was seen to]; or "unlisted", so that Get's reply is a byte shorter [V OPENBL 6.1.3].
    checksum: str = "served"
    # The flash's error flag, at each operation [V HAL-G0]. False: after one error every operation
    # is refused until a reset [V AN2606 4.6].
    clears_errors: bool = False
    # ns a connected loader waits for the next command: None in AN2606 and OPENBL, but OPENBL's
    # port to the G0C1 resets itself there too.
    idle_timeout: int | None = None
    # Status after option bytes were written (Write Memory, Write (Un)protect, Readout Protect;
    # any reset of the chip before they are programmed tears them): "before" the launch that resets
    # the chip; "early", while they are still being programmed
    # [V OPENBL-G0: it does not wait]; or "lost" in that reset [AN4221 2.6; D].
    option_ack: str = "before"
    # Readout Unprotect. Second status: "late", after everything [V AN4221]; "early", before
    # anything starts [V OPENBL]; or "never".
    unprotect_ack: str = "late"
    # The answer to a read meanwhile: "busy" (0x93; 0x92 stretches), "stretch", or "nack": the
    # address is not acknowledged [V AN4221, OPENBL; which of them is open].
    unprotect_answer: str = "busy"
    # Additional ns, during which the option page stays erased [D: a G071 was seen BUSY for 40 s
    # and was locked by the reset that followed]. FOREVER: it never ends.
    unprotect_delay: int = 0
    erases_first: bool = True  # False: option bytes are rewritten before flash is erased [?]
    # At readout protection level 1 with nBOOT_SEL = 0 a power-on may fail to boot, until the next
    # one [V errata of the G030, 2.2.3; whether a G071 does is not known].
    may_fail_to_boot: bool = False
    write_protect_in_one_frame: bool = False  # OPENBL expects the length in a separate frame
    # Over UART: a byte that came with a parity or framing error makes its packet "refused" (NACK)
    # [D: AN3155 calls the parity check active; strict]; or it is "taken", and only the checksum
    # can tell [V OPENBL, which looks at no error flag].
    line_errors: str = "refused"
    # 0xA1 is in the UART protocol from V3.3 on [R AN3155]; a G07x is V3.1 [R AN2606].
    checksum_over_uart: bool = False
    launches_options_over_uart: bool = True  # V11.2 does not [V AN2606 table 108]
    # AN4221 table 2 lists the checksum command as available at level 1 [V], but there a loader
    # gets a bus error from flash [V RM0490 4.5]: False follows the second source.
    checksum_when_protected: bool = False

    @property
    def id_byte(self) -> int:
        return 0xB0 | self.version if self.loader_id is None else self.loader_id

    def __post_init__(self) -> None:
        for value, known in (
            (self.ecc_error, ("hang", "reset")),
            (self.checksum, ("served", "refused", "unlisted")),
            (self.option_ack, ("before", "early", "lost")),
            (self.unprotect_ack, ("late", "early", "never")),
            (self.unprotect_answer, ("busy", "nack", "stretch")),
            (self.line_errors, ("refused", "taken")),
        ):
            if value not in known:
                raise ValueError(f"no such quirk: {value!r}; there are {', '.join(known)}")


def quirks_of(version: int, *, pc11_low: bool = False) -> Quirks:
    """Quirks of V11.`version`; `pc11_low`: USART3_RX is low, which V11.3 mistakes for a start
    bit."""
    if version not in (0, 1, 2, 3, 4):
        raise ValueError(f"loader V11.{version} is not modelled")
    flawed = version == 3
    stretch = 40 * NS_PER_MS if flawed and pc11_low else CONNECTION
    return Quirks(
        version,
        clears_empty_flag=flawed,
        does_not_wait_for_erase=flawed,
        connection_stretch=stretch,
        launches_options_over_uart=version != 2,
    )


_OPENBL = replace(quirks_of(4), clears_errors=True, unprotect_ack="early", line_errors="taken")
# Loaders by name: versions of the ROM, and two of ST's open bootloader, which is not the ROM but
# shows other behaviour of a loader by ST: 6.1.3 with its generic I2C pattern, and 3.0.1 with ST's
# port to the G0.
LOADERS = {
    **{f"11.{version}": quirks_of(version) for version in (1, 2, 3, 4)},
    "openbl": replace(_OPENBL, checksum="unlisted"),
    "openbl-g0": replace(_OPENBL, checksum="refused", stretches_anyway=True),
}
