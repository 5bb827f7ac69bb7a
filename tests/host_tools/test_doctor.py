"""The doctor: for everything that can be wrong, a world in which it is, and what it says there."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stm32sim.chip import option_bytes
from stm32sim.chip.application import known_images
from stm32sim.chip.flash import Cell
from stm32sim.chip.loader import Loader
from stm32sim.chip.loader_steps import I2C_ADDRESS
from stm32sim.chip.quirks import FOR_EVER, quirks_of
from stm32sim.chip.stm32 import START_UP, Running
from stm32sim.in_process import Bench
from stm32sim.wires.clock import NS_PER_MS, NS_PER_S
from stm32sim.world import Wiring
from stm32up.doctor import examine, rules_state
from stm32up.doctor.diagnosis import Severity
from stm32up.host.host_facts import Hidden, HostFacts
from stm32up.host.paths import LIB, LIBRARY
from tests.host_tools.doctors_bench import (
    DEAD,
    DEPLOYED,
    NEWER,
    OLD,
    Eeprom,
    examined,
    installed,
    make,
    power_cycle,
)
from tests.support import image, known

HOSTS = ("rp2", "esp32", "esp32-new")
SWITCHED = {"pins": {"nrst": 2, "boot0": 3, "supply": 6}}
BY_COMMAND = {
    "pins": {"nrst": 2, "boot0": None, "supply": None},
    "enter": {"method": "command", "address": 0x2A, "command": "10424f4f54"},
}
# AN4221 table 2: what changes flash, option bytes or protection
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
    """Option bytes as if programmed long ago."""
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


@scenario("debugger-blocks-boot0")  # doctor --power-cycled tells the rest
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


@scenario("option-bytes-torn", power_cycled=True)  # or the status read would reset it: locked
def option_bytes_torn_and_not_yet_loaded(host):
    bench = make(host)
    bench.target.option_bytes.data[4] ^= 1
    return bench


@scenario("target-at-work")
def another_program_sent_readout_unprotect(host):
    """The case from the field, before the reset: the host that did it is gone, and no note."""
    return at_work(host)


def at_work(host: str, answer: str = "busy") -> Bench:
    """A chip that says BUSY, or whatever it does meanwhile, and never comes to an end."""
    protected = {option_bytes.OPTR: 0xFEFF_FEBB}
    slow = replace(quirks_of(4), unprotect_delay=FOR_EVER, unprotect_answer=answer)
    bench = make(host, OLD, quirks=slow, options=protected)
    target = bench.updater()._target
    with pytest.raises(Exception, match="protection level 1"):
        target.enter_loader()
    target.loader.command(0x93, "Readout Unprotect")
    bench.clock.advance(NS_PER_MS)
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
    """Let the updater run until it is in the loader, and take the host's supply away."""
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
    """The digest that failed is old news, and the record still has it."""
    bench = a_dead_application_was_installed(host)
    updater = bench.updater()
    updater._admission.pushed = lambda record: 1 // 0
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
    """Make files until no more than `left` bytes are free."""
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


# --- the tests ---


def files_of(bench: Bench) -> dict[str, bytes]:
    """Every file of the host."""
    found, folders = {}, ["/"]
    for folder in folders:
        for name, mode, _ in bench.files.fs_list(folder):
            path = folder.rstrip("/") + "/" + name
            if mode == 0x4000:
                folders.append(path)
            else:
                found[path] = bench.read_file(path)
    return found


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("name", SCENARIOS)
def test_the_cause_is_found_and_nothing_is_written(name, host):
    code, world, how = SCENARIOS[name]
    bench = world(host)
    target = bench.target
    before = bytes(target.flash.data), bytes(target.option_bytes.data), files_of(bench)
    begun = len(bench.trace)
    facts, diagnosis = examined(bench, **how)
    said = [finding.code for finding in diagnosis.findings]
    assert said and said[0] == code, (said, diagnosis.otherwise, facts)
    for _, reading, frame in bench.trace.transactions[begun:]:
        command = not reading and len(frame) == 2 and frame[0] ^ frame[1] == 0xFF
        assert not command or frame[0] not in CHANGING
    after = bytes(target.flash.data), bytes(target.option_bytes.data), files_of(bench)
    assert after == before


@pytest.mark.parametrize("host", HOSTS)
def test_nothing_is_wrong_with_a_healthy_board(host):
    bench = installed(host)
    _, diagnosis = examined(bench)
    assert diagnosis.healthy and diagnosis.findings == [] and diagnosis.otherwise == []
    assert bench.target.running is Running.APPLICATION


@pytest.mark.parametrize("loader", [1, 2, 3, 4])
def test_every_loader_version_is_healthy(loader):
    assert examined(installed(loader=loader))[1].findings == []


def test_software_i2c_is_healthy():
    settings = {"i2c": {"id": None, "scl": 5, "sda": 4, "freq": 400_000}}
    assert examined(installed(settings=settings))[1].findings == []


@pytest.mark.parametrize("provisioned", [True, False])
def test_a_board_without_boot0_is_healthy(provisioned):
    without: dict[str, Any] = {"settings": BY_COMMAND, "wiring": Wiring(boot0=None)}
    bench = installed(provisioned=provisioned, **without)
    facts, diagnosis = examined(bench)
    assert diagnosis.findings == [] and facts["reached_by"] == "own"
    assert bench.target.running is Running.APPLICATION


@pytest.mark.parametrize("nrst, code", [(2, None), (None, "nrst-not-connected")])
def test_an_application_that_only_blinks_is_seen(nrst, code):
    confirm = {"method": "gpio", "pin": 7, "edges": 4, "timeout_ms": 500, "address": None}
    bench = Bench(
        applications=known_images(known(OLD, answers=False, blinks_ms=20)),
        wiring=Wiring(heartbeat=7, nrst=nrst),
        settings={"confirm": confirm},
    )
    bench.target.flash.load(OLD)
    power_cycle(bench)
    facts, diagnosis = examined(bench)
    assert facts["application"] == "runs"
    wrong = [finding.code for finding in diagnosis.findings if finding.severity != "notice"]
    assert wrong[:1] == ([code] if code else [])


def test_a_controller_that_gives_up_too_early_is_found():
    slow = replace(quirks_of(4), connection_stretch=40 * NS_PER_MS)
    for host in ("esp32", "esp32-new"):
        assert examined(make(host, quirks=slow))[1].findings[0].code == "controller-impatient"
    assert examined(installed("rp2", quirks=slow))[1].healthy


def test_what_the_driver_of_an_esp32_prints_in_between_is_no_answer():
    def exec_(code: str, silence_s: float = 0.0) -> str:
        noise = "E (1234) i2c.master: I2C hardware timeout detected\n"
        return noise + '{"application": "runs"}\n'

    host = object.__new__(examine.ConnectedHost)
    vars(host)["_connection"] = SimpleNamespace(exec=exec_)
    assert host.call("target.facts", {}) == {"application": "runs"}


@pytest.mark.parametrize("host", HOSTS)
def test_a_loader_of_another_family_is_found(host, monkeypatch):
    monkeypatch.setattr(Loader, "address", 0x56)
    _, diagnosis = examined(make(host))
    assert diagnosis.findings[0].code == "another-family"
    assert "STM32G03x" in diagnosis.findings[0].evidence[0]


@pytest.mark.parametrize("host", HOSTS)
def test_other_devices_on_the_bus_are_sent_nothing(host):
    bench = make(host, wiring=Wiring(boot0=None))
    bench.target.flash.load(DEAD)
    power_cycle(bench)
    devices = [Eeprom(address) for address in (0x53, 0x54, 0x56)]
    bench.world.bus.devices += devices
    examined(bench)
    assert all(device.received == b"" for device in devices)


def test_blank_flash_that_a_reset_would_lock_up_is_not_reset():
    """V11.3 has cleared the EMPTY flag: without BOOT0 there is no way back into the loader."""
    bench = make(loader=3, provisioned=False)
    resets = bench.target.resets
    assert examined(bench, power_cycled=True)[0]["spared"] == "blank"
    assert bench.target.resets == resets and bench.target.running is Running.LOADER


def test_where_the_status_read_ends_such_a_loader_a_power_on_is_the_advice():
    bench = make(loader=3, provisioned=False)
    _, diagnosis = examined(bench)
    assert "switch the target off and on" in diagnosis.findings[0].next_step
    power_cycle(bench)
    assert examined(bench, power_cycled=True)[1].findings[0].code == "boot0-ignored"


def test_a_target_under_a_bench_operation_is_left_alone():
    bench = bench_operation_interrupted("rp2")
    begun, resets = len(bench.trace), bench.target.resets
    assert examined(bench)[0] == {}
    assert len(bench.trace) == begun and bench.target.resets == resets


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("answer", ["busy", "stretch"])
def test_a_target_at_work_gets_status_reads_and_nothing_else(host, answer):
    bench = at_work(host, answer)
    begun, resets = len(bench.trace), bench.target.resets
    facts, diagnosis = examined(bench)
    assert facts["spared"] == "at-work"
    codes = {finding.code for finding in diagnosis.findings + diagnosis.otherwise}
    assert "target-at-work" in codes and "locked-suspected" not in codes
    assert all(reading for _, reading, _ in bench.trace.transactions[begun:])
    bench.clock.advance(5 * NS_PER_S)
    assert bench.target.resets == resets and not bench.target.bricked


def test_without_a_bench_operation_wires_are_likelier_than_a_locked_chip():
    bench = installed(settings=SWITCHED, wiring=Wiring(supply=6))
    bench.target.option_bytes.data[4] ^= 1
    power_cycle(bench)
    _, diagnosis = examined(bench)
    assert diagnosis.findings[0].code == "no-answer"
    assert [finding.code for finding in diagnosis.otherwise] == ["locked-suspected"]


def test_an_unforeseen_error_is_quoted_and_the_roll_back_keeps_its_own_words():
    bench = an_unforeseen_error_after_a_roll_back("rp2")
    failed, rolled_back = examined(bench)[1].findings
    assert "not foreseen: ZeroDivisionError" in failed.evidence[0]
    assert rolled_back.code == "rolled-back" and "not foreseen" not in str(rolled_back.evidence)
    assert "did not prove itself (it is silent)" in rolled_back.evidence[1]


def test_where_nobody_answers_the_debugger_comes_after_the_wires():
    _, diagnosis = examined(nobody_on_the_bus("rp2"))
    assert [finding.code for finding in diagnosis.findings] == ["no-answer"]
    assert "SDA" in diagnosis.findings[0].next_step
    assert [other.code for other in diagnosis.otherwise] == ["debugger-blocks-boot0"]


def test_after_a_roll_back_a_good_image_ends_the_matter():
    bench = a_dead_application_was_installed("rp2")
    assert bench.install(image(NEWER, "2.1.0"))["ok"]
    assert examined(bench)[1].findings == []


def test_only_what_is_beyond_help_is_said_to_be():
    assert {rule.code for rule in examine.RULES if rule.severity is Severity.BEYOND_HELP} == {
        "locked-suspected",
        "option-bytes-torn",
    }


def test_every_rule_has_a_world_in_which_it_is_right():
    codes = {rule.code for rule in examine.RULES}
    assert len(codes) == len(examine.RULES)
    shown = {code for code, _, _ in SCENARIOS.values()}
    assert codes - shown == {"controller-impatient", "another-family"}  # tested on their own


def test_every_group_and_code_that_a_rule_waits_for_exists():
    names = {rule.code for rule in examine.RULES} | {rule.group for rule in examine.RULES}
    for rule in examine.RULES:
        assert set(rule.unless) <= names, rule.code


def test_the_page_about_the_doctor_says_what_the_doctor_says():
    page = (Path(__file__).parents[2] / "docs" / "doctor.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z0-9-]+)` \| (.*?) \| (.*?) \| (.*?) \|$", page, re.MULTILINE)
    expected = [(rule.code, rule.what, rule.cause, rule.next_step) for rule in examine.RULES]
    assert rows == expected


def test_a_version_is_named_with_its_build_number():
    assert rules_state.version("01020300" + "07000000") == "1.2.3+7"
    assert rules_state.version("0102030000000000") == "1.2.3"
    assert rules_state.version("runs") == "runs"
