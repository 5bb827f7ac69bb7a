"""The application of the NUCLEO-C031C6, executed; and that the hex files of both boards are
current."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
from pathlib import Path

import bincopy
import pytest

from stm32assets import BOARDS, DEMO_APPLICATIONS
from stm32sim.chip.cortex_m import FLASH, SRAM, SYSTEM_MEMORY, emulated
from stm32sim.chip.families import G071, family_of, flash_size_of
from stm32sim.chip.option_bytes import FACTORY, OPTR
from stm32sim.chip.stm32 import Running
from stm32sim.in_process import Bench
from stm32sim.process import Options, make_world
from stm32sim.wires.clock import NS_PER_MS, NS_PER_S
from stm32sim.world import Wiring
from stm32up.board import boards
from stm32up.host.deploy import board_json
from tests.simulator.emulated import ADDRESS, storing
from tests.simulator.emulated import Bench as Emulated
from tests.simulator.rig import Rig
from tests.support import image

C031 = family_of("STM32C031C6")
CHIP, APP = "STM32C031C6", DEMO_APPLICATIONS["STM32C031C6"]
EMPTY = 1 << 16
VERSIONS = ("1.0.0", "1.1.0")
PRODUCT = "nucleo-demo"  # of board.toml
COMPILER = "arm-none-eabi-gcc"


def application(version: str = "1.0.0", folder: Path = APP) -> bytes:
    return bytes(bincopy.BinFile(str(folder / f"app-{version}.hex")).as_binary())


def world_with(content: bytes, hertz: int = 400_000, family=C031) -> Emulated:
    return Emulated(content, hertz, family=family, ram=b"\xa5" * family.ram, empty_flag=True)


@pytest.mark.parametrize("hertz", [10_000, 100_000, 400_000])
@pytest.mark.parametrize("version", VERSIONS)
def test_it_answers_identity_and_version(version, hertz):
    world = world_with(application(version), hertz)
    assert world.read(0, 4) == b"C031"
    major, minor, revision = map(int, version.split("."))
    assert world.read(1, 8) == struct.pack("<BBHI", major, minor, revision, 0)
    assert world.happened == ["not empty"] and world.app.fault is None


def test_its_stack_and_vectors_are_in_its_memories():
    vectors = struct.unpack_from("<48I", application())
    assert vectors[0] == SRAM + 12 * 1024
    assert all(vector & 1 and FLASH < vector < FLASH + 32 * 1024 for vector in vectors[1:])


def test_its_time_is_that_of_12_mhz():
    world = world_with(application())
    toggles = []
    for half in range(4, 11):
        world.clock.advance_to(half * NS_PER_S // 4 + NS_PER_MS * 2)
        toggles.append(world.app.led_toggles)
    assert toggles == list(range(4, 11))
    ms = world.clock.now // NS_PER_MS
    assert ms - 2 <= int.from_bytes(world.read(2, 4), "little") <= ms + 1


def test_the_order_sets_the_flag_and_requests_a_reset():
    world = world_with(application())
    assert world.bus.start(ADDRESS, reading=False)
    for byte in b"\x10BOOT":
        assert world.bus.write(byte)
    world.bus.stop()
    world.clock.advance(NS_PER_MS)
    assert world.happened == ["not empty", "empty", "reset"] and world.app.fault is None


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (application(folder=DEMO_APPLICATIONS["STM32G071RB"]), "write at 0x20008FF8"),  # its stack
        (storing(0x4002_1000, 0x540), "HSI48 / 4"),  # HSIDIV 1: 48 MHz
        (storing(0x4002_1000, 0x1560), "HSI48 / 4"),  # another divider for the kernels
        (storing(0x4002_1008, 1), "HSI48 / 4"),  # HSE
        (storing(0x2000_3000, 1), "write at 0x20003000"),  # beyond 12 KB
        (storing(0x4002_2008, 0), "FLASH register 0x08"),
        (struct.pack("<II", SRAM + 0x1000, FLASH + 0x8001), "instruction fetch at 0x08008000"),
    ],
)
def test_what_the_chip_lacks_or_the_model_does_not_know_is_a_fault(content, reason):
    world = world_with(content)
    assert reason in (world.app.fault or "")
    assert not world.bus.start(ADDRESS, reading=False)


def test_its_application_does_not_run_on_a_g071():
    world = world_with(application(), family=G071)
    assert world.app.fault


def test_a_jump_into_its_smaller_system_memory_enters_the_loader():
    code = struct.pack("<2H", 0x4800, 0x4700) + struct.pack("<I", SYSTEM_MEMORY + 0x101)
    content = struct.pack("<II", SRAM + 0x1000, FLASH + 9) + code
    assert world_with(content).happened == ["system memory"]


# --- in the whole chip ---


def test_the_order_leads_into_the_loader_of_the_chip_and_resets_lead_there_again():
    rig = Rig(
        family=C031,
        quirks=C031.quirks(),
        content=application(),
        optr=FACTORY[OPTR],
        boot0=False,
        applications=emulated,
        start_up=None,
    )
    rig.wait(20)
    assert rig.running is Running.APPLICATION
    assert rig.bus.start(ADDRESS, reading=False)
    for byte in b"\x10BOOT":
        assert rig.bus.write(byte)
    rig.bus.stop()
    rig.wait(20)
    assert rig.starts == 1
    rig.reset()
    rig.wait(20)
    assert rig.starts == 2 and rig.chip.application is None


def test_it_is_installed_and_updated_on_the_chip():
    bench = Bench(chip=CHIP, applications=emulated)
    for version in VERSIONS:
        result = bench.install(image(application(version), version, chip=CHIP))
        assert result["status"] == "installed", result
        assert bench.target.running is Running.APPLICATION
        bench.target.system_reset()
        bench.clock.advance(50 * NS_PER_MS)
        assert bench.target.running is Running.APPLICATION and not bench.target.empty_flag


def test_its_led_is_the_heartbeat_of_an_update_over_uart():
    settings = json.loads(board_json(boards.load("pico_nucleo_c031c6_uart")))
    bench = Bench(
        chip=CHIP, applications=emulated, settings=settings, wiring=Wiring.of(settings), uart=True
    )
    for version in VERSIONS:
        result = bench.install(image(application(version), version, chip=CHIP, product=PRODUCT))
        assert result["status"] == "installed" and result["version"] == version, result
        assert bench.flash_holds(application(version))
        assert bench.target.running is Running.APPLICATION and not bench.target.empty_flag


def test_it_enters_the_loader_by_command_for_an_update_without_boot0():
    settings = {
        "pins": {"nrst": None, "boot0": None},
        "enter": {"method": "command", "address": ADDRESS, "command": "10424f4f54"},
    }
    bench = Bench(chip=CHIP, applications=emulated, settings=settings, provisioned=False)
    for version in VERSIONS:
        assert bench.install(image(application(version), version, chip=CHIP))["ok"]


def test_a_kept_board_is_not_wired_again_by_another_board_toml(tmp_path):
    own, over_uart = (
        json.loads(board_json(boards.load(name)))
        for name in ("pico_nucleo_c031c6", "pico_nucleo_c031c6_uart")
    )
    other_pin = {**own, "pins": {**own["pins"], "nrst": 6}}
    more_wires = {**own, "pins": {**own["pins"], "short": 20}}
    for settings in (own, own, more_wires):
        make_world(tmp_path, settings, Options(), [])
    other_host = {**own, "host": "esp32"}
    for settings, name in ((other_pin, "nrst"), (over_uart, "scl"), (other_host, "host")):
        with pytest.raises(ValueError, match=f"has another {name} .*--board"):
            make_world(tmp_path, settings, Options(), [])


def world_of(chip: str, *options: str, faults: list[str] | None = None):
    settings = json.loads(board_json(boards.load("pico_nucleo_c031c6")))
    found = [] if faults is None else faults
    return make_world(None, {**settings, "chip": chip}, Options.parse(options), found)


@pytest.mark.parametrize(
    ("chip", "options", "part"),
    [
        (CHIP, [], CHIP),
        ("STM32C031C4", [], "STM32C031C4"),
        ("STM32G071RB", [], "STM32G071RB"),
        ("STM32G031K8", [], "STM32G031K8"),
        ("stm32g0b1re", [], "STM32G0B1RE"),
        ("auto", [], "STM32G071RB"),
        ("auto", ["chip=STM32G0B1RE"], "STM32G0B1RE"),
        ("STM32L476RC", ["chip=STM32G0B1RE"], "STM32G0B1RE"),
    ],
)
def test_a_simulated_board_has_its_chip_or_the_one_that_is_named(chip, options, part):
    target = world_of(chip, *options).target
    assert target.family is family_of(part)
    assert len(target.flash.data) == flash_size_of(part)


@pytest.mark.parametrize(
    ("chip", "options", "message"),
    [
        ("STM32L476RC", [], "applications of a G0 or a C031, not of an STM32L476RC"),
        (CHIP, ["chip=STM32WB55CE"], "applications of a G0 or a C031, not of an STM32WB55CE"),
        (CHIP, ["chip=STM32F407VG"], "there is no STM32F407VG"),
        (CHIP, ["chip=STM32G0B1"], "there is no STM32G0B1"),
        (CHIP, ["write-protected=16"], "write-protected is '16'; it must be a number, 0 to 15"),
        (CHIP, ["product-id=zz"], "product-id is 'zz'; it must be"),
        (CHIP, ["supply-mv=lots"], "supply-mv is 'lots'; it must be"),
        (CHIP, ["unprotect-busy-ms=soon"], "unprotect-busy-ms is 'soon'; it must be"),
        (CHIP, ["provisioned=2"], "'2'"),
        (CHIP, ["fault=byte lost to the host@5"], "no fault 'byte lost to the host@5'"),
    ],
)
def test_a_board_whose_applications_cannot_be_executed_is_refused(chip, options, message):
    with pytest.raises(ValueError, match=message):
        world_of(chip, *options)


def over_uart(*options: str):
    settings = json.loads(board_json(boards.load("pico_nucleo_c031c6_uart")))
    return make_world(None, settings, Options.parse(options), [])


def test_over_uart_a_fault_is_one_of_the_line():
    assert over_uart("fault=byte lost to the host@5").line.to_host.distortion is not None
    assert over_uart().line.to_host.distortion is None
    for option, message in (
        ("fault=always busy@5", "no fault 'always busy@5'; write KIND@NUMBER with byte lost to"),
        ("wires=no-pull-ups", "wires=no-pull-ups is for I2C"),
        ("wires=long", "wires=long is for I2C"),
    ):
        with pytest.raises(ValueError, match=message):
            over_uart(option)


def test_each_kept_board_has_a_target_of_its_own(tmp_path):
    settings = json.loads(board_json(boards.load("pico_nucleo_c031c6")))

    def target_id(folder: str) -> bytes:
        (tmp_path / folder).mkdir(exist_ok=True)
        return make_world(tmp_path / folder, settings, Options(), []).target.unique_id

    assert target_id("a") == target_id("a") != target_id("b")
    assert len(target_id("a")) == 12


def test_the_application_of_a_g071_runs_on_a_g0b1():
    folder = DEMO_APPLICATIONS["STM32G071RB"]
    bench = Bench(chip="STM32G0B1RE", applications=emulated)
    for version in VERSIONS:
        content = application(version, folder)
        result = bench.install(image(content, version, chip="STM32G0B1RE"))
        assert result["status"] == "installed", result
        assert bench.target.running is Running.APPLICATION and bench.flash_holds(content)


def faults_after_two_starts_of(program: bytes) -> list[str]:
    """What the process of a board tells if this is in its flash."""
    faults: list[str] = []
    target = world_of(CHIP, faults=faults).target
    for _ in range(2):
        started = target.applications(program.ljust(32 * 1024, b"\xff"), target)
        target.clock.advance(NS_PER_MS)
        assert started is None or started.fault
    return faults


@pytest.mark.parametrize(
    ("program", "fault"),
    [
        (storing(0x4002_2008, 0), "FLASH register 0x08"),
        (struct.pack("<II", SRAM + 0x1000, FLASH + 8), "not an address of Thumb code"),
    ],
)
def test_the_fault_of_an_application_is_told_once(program, fault):
    (told,) = faults_after_two_starts_of(program)
    assert fault in told


@pytest.mark.parametrize("program", [b"", bytes(8) + b"code"], ids=["blank", "half written"])
def test_flash_without_an_application_is_told_as_no_fault(program):
    assert faults_after_two_starts_of(program) == []


def test_the_loaders_of_a_g071_are_not_given_to_another_chip():
    with pytest.raises(ValueError, match="loader is for a G071, and the target is a C031"):
        world_of(CHIP, "loader=11.3")


# --- the hex files ---


def has_the_compiler() -> bool:
    """Another version gives other bytes."""
    if not shutil.which(COMPILER):
        return False
    told = subprocess.run([COMPILER, "-dumpversion"], capture_output=True, text=True).stdout
    return told.startswith("12.2")


@pytest.mark.skipif(not has_the_compiler(), reason="needs gcc-arm-none-eabi 12.2")
@pytest.mark.parametrize("chip", list(DEMO_APPLICATIONS))
def test_the_hex_files_are_those_of_the_sources(chip, tmp_path):
    for folder in ("nucleo_app", DEMO_APPLICATIONS[chip].name):
        shutil.copytree(BOARDS / folder, tmp_path / folder)
    folder = tmp_path / DEMO_APPLICATIONS[chip].name
    committed = {path.name: path.read_bytes() for path in folder.glob("*.hex")}
    assert len(committed) == 2
    subprocess.run(["make", "-s", "-B", "-C", str(folder)], check=True)
    assert committed == {path.name: path.read_bytes() for path in folder.glob("*.hex")}
