"""A world for every fault of a board."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from stm32sim.chip import option_bytes
from stm32sim.chip.flash import Cell
from stm32sim.chip.loader_steps import I2C_ADDRESS
from stm32sim.chip.quirks import FOREVER, quirks_of
from stm32sim.chip.stm32 import START_UP, Running
from stm32sim.in_process import Bench
from stm32sim.wires.clock import NS_PER_MS
from stm32sim.world import Wiring
from stm32up.host.host_facts import Hidden, HostFacts
from stm32up.host.paths import LIB, LIBRARY
from tests.host_tools.doctor.doctors_bench import (
    DEAD,
    DEPLOYED,
    NEWER,
    OLD,
    Eeprom,
    installed,
    make,
    power_cycle,
)
from tests.support import image, over_uart

HOSTS = ("rp2", "esp32", "esp32-new")
SWITCHED = {"pins": {"nrst": 2, "boot0": 3, "supply": 6}}
BY_COMMAND = {
    "pins": {"nrst": 2, "boot0": None, "supply": None},
    "enter": {"method": "command", "address": 0x2A, "command": "10424f4f54"},
}
# AN4221 table 2: commands that change flash, option bytes or protection
CHANGING = {0x31, 0x32, 0x44, 0x45, 0x63, 0x64, 0x73, 0x74, 0x82, 0x83, 0x92, 0x93}

World = Callable[[str], Bench]
SCENARIOS: dict[str, tuple[str, World, dict[str, Any]]] = {}  # name: code, world, how examined


def scenario(code: str, **how: Any) -> Callable[[World], World]:
    def add(world: World) -> World:
        name = world.__name__
        while name in SCENARIOS:
            name += "_"
        SCENARIOS[name] = (code, world, how)
        return world

    return add


def hides(**how: Any) -> Hidden:
    return Hidden("json", "/json.py", **how)


def options(bench: Bench, offset: int, value: int) -> Bench:
    """Set option bytes as if programmed long before."""
    bench.target.option_bytes.store(offset, value)
    power_cycle(bench)
    return bench


# --- the bus ---


@scenario("sda-held-low")
def sda_shorted(host):
    bench = installed(host)
    bench.world.bus.sda_stuck = True
    return bench


@scenario("scl-held-low")
def scl_shorted(host):
    bench = installed(host)
    bench.world.bus.scl_stuck = True
    return bench


@scenario("target-unpowered")
def no_supply(host):
    bench = installed(host, wiring=Wiring(pull_ups="target"))
    bench.target.power(False)
    return bench


@scenario("nrst-held-low")
def reset_button_stuck(host):
    return make(host, wiring=Wiring(nrst_held=True))


@scenario("pull-ups-missing")
def no_resistors(host):
    return make(host, OLD, wiring=Wiring(pull_ups=""))


def on_uart(host: str, rate: int = 460_800, **wiring: Any) -> Bench:
    """OLD runs, and toggles its line; `wiring`: what differs from board.json."""
    arguments = over_uart(rate)
    arguments["wiring"] = replace(arguments["wiring"], **wiring)
    return make(host, content=OLD, **arguments)


@scenario("tx-rx-exchanged")
def tx_and_rx_exchanged(host):
    return on_uart(host, tx=5, rx=4)


@scenario("loader-elsewhere")
def tx_is_open(host):
    return on_uart(host, tx=None)


@scenario("loader-elsewhere")
def i2c_is_wired_too_and_another_master_was_first(host):
    bench = on_uart(host)
    nrst = bench.target.nrst

    def probe() -> None:
        bench.target.start(I2C_ADDRESS, False)

    def probed(high: bool) -> None:
        nrst(high)
        if high:
            bench.clock.after(2 * START_UP, probe)

    bench.target.nrst = probed  # type: ignore[method-assign]
    return bench


@scenario("loader-elsewhere")
def parity_is_lost_on_the_way(host):
    bench = on_uart(host)
    bench.world.line.to_target.distortion = lambda byte: [(byte, True)]
    return bench


@scenario("no-answer-over-uart")
def rx_is_open(host):
    return on_uart(host, rx=None)


@scenario("rate-too-high")
def slow_edges(host):
    bench = on_uart(host, 1_000_000)
    wire = bench.world.line.to_target
    wire.distortion = lambda byte: [(byte if wire._format.rate < 200_000 else byte | 0x11, False)]
    return bench


@scenario("nrst-not-connected")
def nrst_is_open_beside_a_uart(host):
    return on_uart(host, nrst=None)


@scenario("nrst-not-connected")
def nrst_is_open_at_a_blank_chip_beside_a_uart(host):
    arguments = over_uart()
    return make(host, **{**arguments, "wiring": replace(arguments["wiring"], nrst=None)})


@scenario("loader-elsewhere-than-i2c")
def another_interface_was_first(host):
    """As PA3 of a G03x that is low."""
    return make(host, content=OLD, quirks=replace(quirks_of(4), deaf=True))


@scenario("loader-elsewhere-than-i2c")
def another_interface_was_first_and_the_supply_can_be_switched(host):
    deaf = replace(quirks_of(4), deaf=True)
    return make(host, OLD, quirks=deaf, wiring=Wiring(supply=6), settings=SWITCHED)


@scenario("bus-too-fast")
def long_wires(host):
    return make(host, wiring=Wiring(fastest=100_000))


@scenario("lines-exchanged")
def wires_swapped(host):
    return make(host, wiring=Wiring(scl=4, sda=5))


@scenario("board-json-wrong", wanted={"i2c": {"id": 1, "scl": 7, "sda": 6, "freq": 400_000}})
def deployed_for_another_board(host):
    return make(host, OLD, wiring=Wiring(scl=7, sda=6))


@scenario("nrst-not-connected")
def nrst_wire_open(host):
    return make(host, OLD, wiring=Wiring(nrst=None))


@scenario("nrst-not-connected")
def nrst_wire_open_and_blank(host):
    return make(host, wiring=Wiring(nrst=None))


@scenario("boot0-not-connected")
def boot0_wire_open(host):
    return make(host, OLD, wiring=Wiring(boot0=None))


@scenario("address-conflict")
def eeprom_at_the_loaders_address(host):
    bench = installed(host)
    bench.world.bus.devices.append(Eeprom(I2C_ADDRESS))
    return bench


@scenario("loader-stretches")
def loader_11_3_with_pc11_low(host):
    return make(host, quirks=quirks_of(3, pc11_low=True))


@scenario("banks-differ")
def one_bank_of_larger_pages(host):
    bench = make(host, chip="STM32G474RE")
    bench.target.family = replace(bench.target.family, dbank=False)
    return bench


@scenario("banks-differ")
def half_the_flash_in_two_banks(host):
    return make(host, chip="STM32G0B1RE", flash_size=256 * 1024, flash_size_readable=True)


@scenario("another-chip")
def another_product_id(host):
    return make(host, quirks=replace(quirks_of(4), product_id=0x466))


# --- the loader stays silent ---


@scenario("debugger-blocks-boot0")
def st_link_touched_swd(host):
    bench = installed(host)
    bench.target.attach_debugger()
    return bench


@scenario("debugger-blocks-boot0")
def st_link_touched_swd_and_the_host_can_switch(host):
    bench = installed(host, settings=SWITCHED, wiring=Wiring(supply=6))
    bench.target.attach_debugger()
    return bench


@scenario("boot0-ignored")
def factory_option_bytes_and_blank(host):
    return make(host, provisioned=False)


@scenario("boot0-ignored")
def factory_option_bytes_and_programmed_since_power_on(host):
    bench = make(host, provisioned=False)
    bench.target.flash.load(OLD)
    return bench


@scenario("debugger-blocks-boot0")  # doctor --power-cycled shows the rest
def factory_option_bytes_and_a_loader_that_clears_the_empty_flag(host):
    bench = make(host, provisioned=False, loader=3)
    bench.target.flash.load(OLD)
    return bench


@scenario("boot0-ignored", power_cycled=True)
def factory_option_bytes_and_an_application(host):
    return make(host, OLD, provisioned=False)


@scenario("boot0-ignored", power_cycled=True)
def the_first_update_worked_and_the_second_does_not(host):
    return installed(host, times=1, provisioned=False)


@scenario("level-2-suspected", power_cycled=True)
def readout_protection_level_2(host):
    bench = installed(host)
    return options(bench, option_bytes.OPTR, 0xFEFF_FECC)


@scenario("locked-suspected", power_cycled=True)
def option_bytes_torn_by_a_bench_operation(host):
    bench = bench_operation_interrupted(host)
    bench.target.option_bytes.data[4] ^= 1
    power_cycle(bench)
    assert bench.target.running is Running.LOCKED
    return bench


@scenario("no-answer")
@scenario("no-answer", power_cycled=True)
def nobody_on_the_bus(host):
    bench = make(host)
    bench.world.bus.devices.clear()
    return bench


@scenario("no-way-in")
def blank_without_boot0_and_the_empty_flag_cleared(host):
    bench = make(host, OLD, settings=BY_COMMAND, wiring=Wiring(boot0=None))
    bench.target.flash.load(b"\xff" * len(OLD))
    bench.target.system_reset()
    bench.clock.advance(2 * START_UP)
    assert bench.target.running is Running.CRASHED
    return bench


# --- the target's state ---


@scenario("hands-off")
def bench_operation_interrupted(host):
    bench = installed(host)
    note = {"what": "provision", "stage": "sent", "chip": "STM32G071RB"}
    bench.write_file("/updater/hands-off", json.dumps(note).encode())
    return bench


# Without power_cycled the status read would reset it, which locks it.
@scenario("option-bytes-torn", power_cycled=True)
def option_bytes_torn_and_not_yet_loaded(host):
    bench = make(host)
    bench.target.option_bytes.data[4] ^= 1
    return bench


@scenario("target-at-work")
def another_program_sent_readout_unprotect(host):
    """The case from the field, before the reset: the host that did it is gone and left no note."""
    return at_work(host)


def at_work(host: str, answer: str = "busy") -> Bench:
    """A chip that answers BUSY, or as `answer` says, and never finishes."""
    protected = {option_bytes.OPTR: 0xFEFF_FEBB}
    slow = replace(quirks_of(4), unprotect_delay=FOREVER, unprotect_answer=answer)
    bench = make(host, OLD, quirks=slow, options=protected)
    target = bench.updater()._board.target
    with pytest.raises(Exception, match="protection level 1"):
        target.enter_loader()
    target.loader.command(0x93, "Readout Unprotect")
    bench.clock.advance(100 * NS_PER_MS)  # flash is erased
    return bench


@scenario("read-protected")
def readout_protection_level_1(host):
    return options(installed(host), option_bytes.OPTR, 0xFEFF_FEBB)


@scenario("forced-into-loader")
def nboot0_programmed_to_0(host):
    return options(installed(host), option_bytes.OPTR, 0xFBFF_FEAA)


def programmed_not_loaded(host: str, offset: int, value: int) -> Bench:
    bench = make(host)
    bench.target.option_bytes.store(offset, value)
    return bench


@scenario("boot-lock-set")
def boot_lock_set_and_the_loader_still_there(host):
    return programmed_not_loaded(host, option_bytes.SECR, 1 << 16)


@scenario("nboot1-wrong")
def nboot1_programmed_to_0(host):
    return programmed_not_loaded(host, option_bytes.OPTR, 0xFCFF_FEAA)


@scenario("write-protected")
def pages_write_protected(host):
    return options(installed(host), option_bytes.WRP1AR, 3 | 5 << 16)


@scenario("flash-torn")
def first_granule_torn(host):
    bench = make(host, OLD)
    bench.target.flash.cells[0] = Cell.TORN
    power_cycle(bench)
    return bench


@scenario("flash-blank")
def nothing_installed_yet(host):
    return make(host)


@scenario("application-silent")
def an_application_without_i2c(host):
    return make(host, DEAD)


@scenario("another-version")
def programmed_by_other_means(host):
    bench = installed(host)
    bench.target.flash.load(OLD)
    power_cycle(bench)
    return bench


# --- updates ---


def interrupt(bench: Bench) -> None:
    """Run the updater until it is in the loader, then cut the host's supply."""
    for event in bench.updater().events():
        if event["event"] == "loader":
            break
    bench.boot()


@scenario("interrupted")
def host_lost_its_supply_in_an_update(host):
    bench = installed(host)
    bench.push(image(OLD, "1.2.0"))
    interrupt(bench)
    return bench


@scenario("keeps-restarting")
def host_is_reset_in_every_try(host):
    bench = host_lost_its_supply_in_an_update(host)
    for _ in range(4):
        interrupt(bench)
    return bench


@scenario("rolled-back")
def a_dead_application_was_installed(host):
    bench = installed(host)
    assert bench.install(image(DEAD, "2.0.0"))["status"] == "rolled-back"
    return bench


@scenario("update-failed")
def an_unforeseen_error_after_a_roll_back(host):
    """The failed digest is outdated, but still in the record."""
    bench = a_dead_application_was_installed(host)
    updater = bench.updater()
    updater._store.keep_spare = lambda: 1 // 0
    with pytest.raises(ZeroDivisionError):
        updater.run()
    bench.boot()
    return bench


@scenario("image-not-kept")
def a_candidate_that_changed_while_it_proved_itself(host):
    bench = installed(host)
    bench.push(image(NEWER, "2.1.0"))
    for event in bench.updater().events():
        if event["event"] == "starting":
            content = bytearray(bench.read_file("/updater/candidate.img"))
            content[1000] ^= 1
            bench.write_file("/updater/candidate.img", bytes(content))
    assert event["status"] == "installed"
    bench.boot()
    return bench


@scenario("image-refused")
def a_damaged_image_in_the_inbox(host):
    bench = installed(host)
    bench.push(image(OLD, "3.0.0")[:-100])
    return bench


@scenario("image-refused")
def an_image_was_refused(host):
    bench = installed(host)
    assert not bench.install(image(OLD, "3.0.0", chip="STM32G031K8"))["ok"]
    return bench


# --- the host's files ---


@scenario("no-updater", host=HostFacts())
def host_without_updater(host):
    bench = make(host)
    bench.files.fs_remove("/board.json")
    return bench


@scenario("filesystem-reformatted", host=HostFacts())
def host_without_anything_and_an_application(host):
    bench = make(host, OLD)
    bench.files.fs_remove("/board.json")
    return bench


@scenario("micropython-unfit", host=replace(DEPLOYED, version=(1, 23, 0)))
@scenario("micropython-unfit", host=replace(DEPLOYED, mpy=0x305))
@scenario("no-filesystem", host=replace(DEPLOYED, block=0))
@scenario(
    "updater-hidden",
    host=HostFacts(found={"stm32_updater": [("", "/stm32_updater.py"), (LIB, LIBRARY)]}),
)
@scenario(
    "updater-hidden",
    host=HostFacts(
        found={"stm32_updater": [(".frozen", ".frozen/stm32_updater"), (LIB, LIBRARY)]}
    ),
)
@scenario("built-in-hidden", host=replace(DEPLOYED, hidden=(hides(lacks=("dumps",)),)))
@scenario("updater-broken", import_trouble="import stm32_updater: ValueError: incompatible .mpy")
@scenario("built-in-replaced", host=replace(DEPLOYED, hidden=(hides(),)))
def an_updated_board_with_a_host_that_says(host):
    return installed(host)


@scenario("board-json-missing")
def board_json_removed(host):
    bench = installed(host)
    bench.files.fs_remove("/board.json")
    return bench


@scenario("board-json-broken")
def board_json_cut_short(host):
    bench = installed(host)
    bench.write_file("/board.json", bench.read_file("/board.json")[:-9])
    return bench


@scenario("board-json-broken")
def board_json_without_pins(host):
    bench = installed(host)
    settings = {key: value for key, value in bench.settings.items() if key != "pins"}
    bench.write_file("/board.json", json.dumps(settings).encode())
    return bench


@scenario("record-lost")
def both_state_files_damaged(host):
    bench = installed(host)
    for name in ("/updater/state.0", "/updater/state.1"):
        bench.write_file(name, bench.read_file(name)[:-1])
    return bench


def fill(bench: Bench, left: int) -> None:
    """Make files until at most `left` bytes are free."""
    number = 0
    while (free := _free(bench)) > left:
        bench.write_file(f"/ballast.{number}", bytes(max(4096, (free - left) * 9 // 10)))
        number += 1


def _free(bench: Bench) -> int:
    block, _, _, free = bench.files.fs_statvfs("/")[:4]
    return int(block * free)


@scenario("host-full")
def filesystem_full(host):
    bench = installed(host)
    fill(bench, 8 * 1024)
    return bench


@scenario("host-nearly-full")
def filesystem_nearly_full(host):
    bench = installed(host)
    fill(bench, 100 * 1024)
    return bench


@scenario("empty-flag-set")
def programmed_since_power_on(host):
    bench = make(host)
    bench.target.flash.load(OLD)
    return bench


@scenario("target-unknown")
def programmed_before_the_host_came(host):
    return make(host, OLD)


@scenario("board-json-differs", wanted={"title": "another board"})
def another_board_named(host):
    return installed(host)


@scenario("log-lines-lost")
def a_line_of_the_log_is_gone(host):
    bench = installed(host)
    lines = bench.read_file("/updater/log.0").splitlines(keepends=True)
    bench.write_file("/updater/log.0", b"".join(lines[:3] + lines[4:]))
    return bench
