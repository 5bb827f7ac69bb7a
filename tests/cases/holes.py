"""An application file with whole pages without data."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from bincopy import BinFile

from stm32sim.chip.cortex_m import emulated
from stm32sim.chip.flash import PAGE
from stm32sim.in_process import Bench
from stm32up.board import boards
from tests.cases.case import Cases, build, expect
from tests.host_tools.input_files import FLASH, elf, hex_file, s_data, s_line, text

CASES = Cases()
OPEN = 10 * PAGE  # the page without data in the update
CALIBRATION = b"SERIAL-0042-CALIBRATION!"
TABLE = bytes(range(256))  # the data after the hole


def application(version: str) -> bytes:
    source = boards.BOARDS / "nucleo_g071rb_app" / f"app-{version}.hex"
    code = bytes(BinFile(str(source)).as_binary())
    return code + bytes(-len(code) % 8)


def update() -> bytes:
    return text(hex_file((0, application("1.1.0")), (OPEN + PAGE, TABLE)))


def factory_fresh(preserve: list[list[int]]) -> Bench:
    """A board from the factory: with 1.0.0, the calibration and the table."""
    parts = (0, application("1.0.0")), (OPEN, CALIBRATION), (OPEN + PAGE, TABLE)
    build("factory.hex", text(hex_file(*parts)), version="1.0.0").succeeds()
    bench = Bench(applications=emulated)
    bench.install(Path("x.img").read_bytes())
    bench.settings["preserve"] = preserve
    bench.write_file("/board.json", json.dumps(bench.settings).encode())
    bench.boot()
    return bench


def board(preserved: int) -> Path:
    """A board.toml that preserves one page."""
    path = shutil.copytree(boards.BOARDS / "pico_nucleo_g071rb", Path("custom"))
    toml = (path / "board.toml").read_text()
    region = f"preserve = [{{start = 0x{FLASH + preserved:08X}, length = 0x{PAGE:X}}}]"
    changed = toml.replace("preserve = []", region)
    expect(changed != toml, "board.toml has no line 'preserve = []'")
    (path / "board.toml").write_text(changed)
    return path


def updated(bench: Bench) -> str:
    """Install x.img; check that everything is in its place afterwards."""
    result = bench.install(Path("x.img").read_bytes())
    flash = bytes(bench.target.flash.data)
    code = application("1.1.0")
    right = (
        result["status"] == "installed"
        and flash.startswith(code)
        and flash[OPEN : OPEN + PAGE] == CALIBRATION.ljust(PAGE, b"\xff")
        and flash[OPEN + PAGE :].startswith(TABLE)
        and not bench.target.flash.weak_granules()
    )
    kept = flash[OPEN : OPEN + len(CALIBRATION)]
    return expect(right, f"{result['status']}; page 10 holds {kept!r}")


@CASES("factory.hex, then update.hex, which leaves pages 1 to 10 open")
def the_pages_of_a_hole_keep_their_content() -> str:
    bench = factory_fresh([])
    build("update.hex", update()).succeeds()
    return updated(bench)


@CASES("image build of hex, S-records and ELF with a hole")
def build_says_which_pages_stay_as_they_are() -> str:
    code, far = application("1.1.0"), FLASH + OPEN + PAGE
    records = [*s_data(code), *s_data(TABLE, far), s_line(7, FLASH)]
    said = [
        build(name, content).succeeds("kept", "0x08000800", "0x080057FF")
        for name, content in (
            ("update.hex", update()),
            ("update.srec", text(records)),
            ("update.elf", elf((FLASH, FLASH, code), (far, far, TABLE))),
        )
    ]
    return said[0]


@CASES("preserve = page 10, which update.hex leaves open")
def a_region_to_preserve_may_lie_in_a_hole() -> str:
    bench = factory_fresh([[FLASH + OPEN, PAGE]])
    build("update.hex", update(), "--board", board(OPEN)).succeeds()
    return updated(bench)


@CASES("preserve = page 11, which update.hex fills")
def build_refuses_what_covers_a_region_to_preserve() -> str:
    custom = board(OPEN + PAGE)
    return build("update.hex", update(), "--board", custom).refuses("0x08005800", "preserve")


@CASES("preserve = page 11, an image that fills it reaches the board another way")
def the_board_refuses_what_covers_a_region_to_preserve() -> str:
    bench = factory_fresh([[FLASH + OPEN + PAGE, PAGE]])
    build("update.hex", update()).succeeds()
    before = bytes(bench.target.flash.data)
    result = bench.install(Path("x.img").read_bytes())
    untouched = bytes(bench.target.flash.data) == before
    return expect(not result["ok"] and untouched, result.get("message", result["status"]))
