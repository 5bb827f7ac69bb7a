"""The doctor in each of the worlds: its diagnosis, and that it changes nothing."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from stm32sim.chip.application import known_images
from stm32sim.chip.quirks import quirks_of
from stm32sim.chip.stm32 import Running
from stm32sim.in_process import Bench
from stm32sim.wires.clock import NS_PER_MS, NS_PER_S
from stm32sim.world import Wiring
from stm32up.doctor import examine
from tests.host_tools.doctor.doctors_bench import (
    DEAD,
    NEWER,
    OLD,
    Eeprom,
    examined,
    installed,
    make,
    power_cycle,
)
from tests.host_tools.doctor.worlds import (
    BY_COMMAND,
    CHANGING,
    HOSTS,
    SCENARIOS,
    SWITCHED,
    a_dead_application_was_installed,
    an_unforeseen_error_after_a_roll_back,
    at_work,
    bench_operation_interrupted,
    nobody_on_the_bus,
)
from tests.support import image, known, over_uart


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
    said = [finding["code"] for finding in diagnosis.findings]
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


@pytest.mark.parametrize("host", HOSTS)
def test_nothing_is_wrong_with_a_healthy_board_over_uart(host):
    bench = installed(host, **over_uart())
    _, diagnosis = examined(bench)
    assert diagnosis.findings == [] and diagnosis.otherwise == []
    assert bench.target.running is Running.APPLICATION


@pytest.mark.parametrize("name", ["rx_is_open", "tx_is_open", "another_interface_was_first"])
def test_boot0_that_stops_the_application_is_not_said_to_be_ignored(name):
    _, diagnosis = examined(SCENARIOS[name][1]("rp2"))
    said = diagnosis.findings + diagnosis.otherwise
    codes = {finding["code"] for finding in said}
    assert not codes & {"debugger-blocks-boot0", "boot0-ignored", "level-2-suspected"}
    assert not any("runs anyway" in shown for finding in said for shown in finding["evidence"])


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
    wrong = [finding["code"] for finding in diagnosis.findings if finding["severity"] != "notice"]
    assert wrong[:1] == ([code] if code else [])


def test_of_a_line_it_is_said_that_it_does_not_toggle():
    confirm = {"method": "gpio", "pin": 7, "edges": 4, "timeout_ms": 500, "address": None}
    bench = Bench(
        applications=known_images(known(OLD)),
        wiring=Wiring(heartbeat=7),
        settings={"confirm": confirm},
    )
    bench.target.flash.load(OLD)
    power_cycle(bench)
    finding = examined(bench)[1].findings[0]
    assert finding["code"] == "application-silent"
    assert "pin 7 does not toggle" in finding["evidence"][0]


def test_a_controller_that_gives_up_too_early_is_found():
    slow = replace(quirks_of(4), connection_stretch=40 * NS_PER_MS)
    for host in ("esp32", "esp32-new"):
        assert examined(make(host, quirks=slow))[1].findings[0]["code"] == "controller-impatient"
    assert examined(installed("rp2", quirks=slow))[1].healthy


def test_what_the_driver_of_an_esp32_prints_in_between_is_no_answer():
    def exec_(code: str, on_line: Any, silence_s: float = 0.0) -> None:
        on_line("E (1234) i2c.master: I2C hardware timeout detected")
        on_line('{"application": "runs"}')

    host = object.__new__(examine.ConnectedHost)
    vars(host)["_connection"] = SimpleNamespace(exec=exec_, tracer=None)
    assert host.call("target.facts", {}) == {"application": "runs"}


def test_a_device_at_the_loaders_address_is_named_if_it_is_a_usual_one():
    bench = make("rp2", chip="STM32C071RB")
    bench.world.bus.devices.append(Eeprom(0x71))
    evidence = examined(bench)[1].findings[0]["evidence"]
    assert evidence == ["a device acknowledges 0x71 while the target is in reset"]
    bench = make("rp2", chip="STM32C051C8")
    bench.world.bus.devices.append(Eeprom(0x76))
    assert "BME280" in examined(bench)[1].findings[0]["evidence"][1]


@pytest.mark.parametrize("host", HOSTS)
def test_a_loader_of_another_family_is_found(host):
    bench = make(host, chip="STM32G031K8", settings={"chip": "STM32G071RB"})
    _, diagnosis = examined(bench)
    assert diagnosis.findings[0]["code"] == "another-family"
    assert "STM32G031" in diagnosis.findings[0]["evidence"][0]


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
    assert "switch the target off and on" in diagnosis.findings[0]["next_step"]
    power_cycle(bench)
    assert examined(bench, power_cycled=True)[1].findings[0]["code"] == "boot0-ignored"


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
    codes = {finding["code"] for finding in diagnosis.findings + diagnosis.otherwise}
    assert "target-at-work" in codes and "locked-suspected" not in codes
    assert all(reading for _, reading, _ in bench.trace.transactions[begun:])
    bench.clock.advance(5 * NS_PER_S)
    assert bench.target.resets == resets and not bench.target.bricked


def test_without_a_bench_operation_wires_are_likelier_than_a_locked_chip():
    bench = installed(settings=SWITCHED, wiring=Wiring(supply=6))
    bench.target.option_bytes.data[4] ^= 1
    power_cycle(bench)
    _, diagnosis = examined(bench)
    assert diagnosis.findings[0]["code"] == "no-answer"
    assert [finding["code"] for finding in diagnosis.otherwise] == ["locked-suspected"]


def test_an_unforeseen_error_is_quoted_and_the_roll_back_keeps_its_own_words():
    bench = an_unforeseen_error_after_a_roll_back("rp2")
    failed, rolled_back = examined(bench)[1].findings
    assert "unexpected error: ZeroDivisionError" in failed["evidence"][0]
    assert rolled_back["code"] == "rolled-back" and "unexpected error" not in str(
        rolled_back["evidence"]
    )
    assert "did not prove itself (it is silent)" in rolled_back["evidence"][1]


def test_where_nobody_answers_the_debugger_comes_after_the_wires():
    _, diagnosis = examined(nobody_on_the_bus("rp2"))
    assert [finding["code"] for finding in diagnosis.findings] == ["no-answer"]
    assert "SDA" in diagnosis.findings[0]["next_step"]
    assert [other["code"] for other in diagnosis.otherwise] == ["debugger-blocks-boot0"]


def test_after_a_roll_back_a_good_image_ends_the_matter():
    bench = a_dead_application_was_installed("rp2")
    assert bench.install(image(NEWER, "2.1.0"))["ok"]
    assert examined(bench)[1].findings == []
    assert bench.install(image(OLD, "0.9.0"))["error"] == "image-older"
    assert [finding["code"] for finding in examined(bench)[1].findings] == ["image-refused"]
