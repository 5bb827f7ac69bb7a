"""What can be wrong between host and loader: wires, entering the loader, and the device that
answers."""

from __future__ import annotations

from stm32up import device
from stm32up.doctor.diagnosis import SLOW_MS, Evidence, Facts, Rules, Severity

RULES = Rules()

# Codes and groups of the rules that hide everything else.
_WIRES = ("bus", "nrst-not-connected", "boot0-not-connected")
_LOADER_11_3 = 0xB3  # AN2606 table 3

# Parts that are often on a bus, by addresses that loaders have too. From memory of their data
# sheets.
COMMON_PARTS = {
    0x48: "ADS1115, TMP102",
    0x4A: "ADS1115, TMP102",
    0x43: "INA219",
    0x50: "24Cxx",
    0x51: "24Cxx, PCF8563",
    0x52: "24Cxx",
    0x53: "24Cxx",
    0x54: "24Cxx",
    0x56: "24Cxx",
    0x5B: "CCS811",
    0x62: "SCD4x",
    0x76: "BME280",
    0x77: "BME280",
}


def _low(facts: Facts, line: str) -> Evidence:
    name = line.upper()
    stages = ("reset", "entry", "start")
    stuck = [stage for stage in stages if facts.seen(stage, "stuck") == name]
    if not facts.low(line) and not stuck:
        return []
    evidence = [f"{facts.pin(line)} stays low; clock pulses and a STOP do not free it"]
    if facts.seen("reset", "lines", line) == [1, 1]:
        evidence.append("it rises while NRST is low, so the target holds it")
    elif facts.seen("reset"):
        evidence.append("it is low even while the target is in reset")
    return evidence


def _drives(facts: Facts, line: str) -> bool:
    """Whether the target drives this line of the UART in its loader, but not in reset."""
    in_loader, in_reset = (facts.seen(stage, "lines", line) for stage in ("entry", "reset"))
    return bool(in_loader == [1, 1] != in_reset)


def _own_address(facts: Facts) -> int:
    return facts.chip.loader_address


def _silence(facts: Facts) -> Evidence:
    evidence = ["no loader answers"]
    if facts.boot0_wired:
        evidence = ["no loader answers after a reset with BOOT0 high"]
        if facts.boot0_stops:
            evidence.append("that reset stops the application, so BOOT0 is not ignored")
        elif facts.application:
            evidence.append("the application runs anyway")
    if not facts.application:
        evidence.append("no application answers either")
    return evidence


def _history(facts: Facts) -> str:
    if facts.boot0_worked:
        return "the log shows that BOOT0 worked before"
    return "the log does not show that BOOT0 ever worked"


@RULES.add(
    "The host's board.json describes another board.",
    "Its pins or its chip are not those of this board, so nothing answers the host.",
    "Deploy the right one: stm32up --board NAME deploy.",
    group="bus",
)
def board_json_wrong(facts: Facts) -> Evidence:
    if not facts.other_wiring or facts.target is None or facts.reached or facts.application:
        return []
    sections = ", ".join(facts.other_wiring)
    return [
        "nothing answers with the chip and the pins of the host's board.json",
        f"the board given by --board differs in: {sections}",
    ]


@RULES.add(
    "The target seems to have no supply.",
    "Pull-up resistors to a 3.3 V rail without supply pull low, and the target's NRST is low too.",
    "Measure 3.3 V at the target; connect the grounds; check the supply jumper and switch.",
    group="bus",
)
def target_unpowered(facts: Facts) -> Evidence:
    if not (facts.low("scl") and facts.low("sda") and facts.seen("nrst") == 0):
        return []
    return [f"{facts.pin('scl')}, {facts.pin('sda')} and {facts.pin('nrst')} are all low"]


@RULES.add(
    "The target is held in reset.",
    "A reset button, an ST-LINK without supply on the NUCLEO, a short, or a target without "
    "supply.",
    "Disconnect everything else from NRST (on a NUCLEO: the ST-LINK's jumpers), then measure it.",
    group="bus",
)
def nrst_held_low(facts: Facts) -> Evidence:
    if facts.seen("nrst") != 0:
        return []
    return [f"{facts.pin('nrst')} is low although the host does not pull it"]


@RULES.add(
    "The pull-up resistors are missing.",
    "The internal pull-ups of host and target are far too weak for the bus.",
    "Put 1.8 kOhm from SDA and from SCL to the target's 3.3 V; check that these are the pins.",
    group="bus",
)
def pull_ups_missing(facts: Facts) -> Evidence:
    levels = facts.seen("reset", "lines") or facts.seen("lines") or {}
    weak = [facts.pin(name) for name in ("scl", "sda") if levels.get(name) == [1, 0]]
    return [f"the host's weak internal pull-down pulls down {' and '.join(weak)}"] if weak else []


@RULES.add(
    "SDA is held low.",
    "A short, another device on the bus, or a target that is stuck in the middle of a byte.",
    "Take devices off the bus until the line rises; look for a short; switch the target off and "
    "on.",
    group="bus",
    unless=("target-unpowered", "pull-ups-missing"),
)
def sda_held_low(facts: Facts) -> Evidence:
    return _low(facts, "sda")


@RULES.add(
    "SCL is held low.",
    "A short, another device on the bus, or a program on the target that never releases it.",
    "Take devices off the bus until the line rises; look for a short; switch the target off and "
    "on.",
    group="bus",
    unless=("target-unpowered", "pull-ups-missing"),
)
def scl_held_low(facts: Facts) -> Evidence:
    return _low(facts, "scl")


@RULES.add(
    "The target is programming its flash or its option bytes: do not reset it.",
    "Some program sent a command that rewrites option bytes. A reset or a loss of supply now can "
    "lock the chip permanently (RM0444 p. 90).",
    "Leave its supply on and wait some minutes, then run doctor again. As a last resort: switch "
    "its supply off and on, then stm32up doctor --power-cycled.",
    group="bus",
)
def target_at_work(facts: Facts) -> Evidence:
    seen = facts.seen("at_work")
    if seen is None:
        return []
    what = "says BUSY" if seen == "busy" else "or something else on the bus holds the clock"
    return [
        f"when asked for its status, the loader {what}; so nothing was sent and nothing was reset"
    ]


@RULES.add(
    "SDA and SCL are exchanged.",
    "The two wires are swapped on one side, or board.toml has the pins swapped.",
    "Swap the wires, or swap scl and sda in board.toml and deploy.",
    group="bus",
)
def lines_exchanged(facts: Facts) -> Evidence:
    if facts.seen("reached_by") != "exchanged":
        return []
    return [f"the loader answers when {facts.pin('scl')} and {facts.pin('sda')} are exchanged"]


@RULES.add(
    "NRST does not reach the target.",
    "An open wire, another pin than in board.toml, or option bits that make NRST a GPIO "
    "(NRST_MODE).",
    "Check the wire from the host's pin to NRST: while it is low the target must be silent.",
)
def nrst_not_connected(facts: Facts) -> Evidence:
    answering = facts.seen("reset", "answering") or []
    evidence = []
    if facts.seen("reset", "application"):
        evidence.append("the application answers while the host holds NRST low")
    if _own_address(facts) in answering and facts.seen("found", "loader", "protocol"):
        evidence.append("the loader answers while the host holds NRST low")
    return evidence


@RULES.add(
    "Another device on the bus has the address of the loader.",
    "Two devices with the same address answer at the same time and disturb each other.",
    "Give that device another address or a separate bus.",
    unless=("nrst-not-connected",),
)
def address_conflict(facts: Facts) -> Evidence:
    address = _own_address(facts)
    if address not in (facts.seen("reset", "answering") or []):
        return []
    evidence = [f"a device acknowledges 0x{address:02X} while the target is in reset"]
    if address in COMMON_PARTS:
        evidence.append(f"parts that often have this address: {COMMON_PARTS[address]}")
    return evidence


@RULES.add(
    "BOOT0 does not reach the target.",
    "An open wire, another pin than in board.toml, or a missing resistor to ground.",
    "Check the wire to BOOT0 (PA14 on a NUCLEO-G071RB) and its 10 kOhm to ground.",
    unless=("bus",),
)
def boot0_not_connected(facts: Facts) -> Evidence:
    if facts.seen("reset", "boot0") != 1 or facts.boot0_works:
        return []
    return [
        f"{facts.pin('boot0')} follows the host's weak pull-up: there is no resistor to ground"
    ]


@RULES.add(
    "This loader holds the clock at its first access.",
    "With PC11 low, V11.3 measures the baud rate of a UART that is not there (AN2606 table 108).",
    "Tie PC11 to 3.3 V with 10 kOhm. If that is not possible, use SoftI2C: leave out id under "
    "[i2c] in board.toml and deploy.",
)
def loader_stretches(facts: Facts) -> Evidence:
    if facts.seen("loader", "loader_id") != _LOADER_11_3 or facts.baudrate:
        return []
    if facts.entry_ms <= SLOW_MS:
        return []
    return [f"loader V11.3; after a reset Get Version took {facts.entry_ms} ms"]


@RULES.add(
    "The host's I2C controller gives up before the target answers.",
    "The target holds the clock for longer than this controller can wait: 2 or 13 ms on an "
    "ESP32, whatever the timeout.",
    "Use SoftI2C: leave out id under [i2c] in board.toml and deploy.",
)
def controller_impatient(facts: Facts) -> Evidence:
    if facts.seen("reached_by") != "patient" or facts.baudrate or facts.entry_ms <= SLOW_MS:
        return []
    return [
        f"the host's I2C controller gave up: {facts.seen('entry', 'loader', 'error')}",
        f"a software controller, which waits longer, got an answer after {facts.entry_ms} ms",
    ]


@RULES.add(
    "The bus is too fast for these wires.",
    "SDA and SCL rise too slowly: pull-ups too weak, or wires too long.",
    "Put 1.8 kOhm to 3.3 V on both lines and shorten the wires, or lower frequency in board.toml.",
)
def bus_too_fast(facts: Facts) -> Evidence:
    if facts.seen("reached_by") != "patient" or facts.baudrate or facts.entry_ms > SLOW_MS:
        return []
    return [
        f"nothing answers at {facts.frequency // 1000} kHz",
        "the loader answers at 20 kHz",
    ]


@RULES.add(
    "TX and RX are exchanged.",
    "Each line must cross: the host's TX to the target's RX, and its RX to the target's TX.",
    "Swap the two wires; or, on an ESP32, swap tx and rx in board.toml and deploy.",
    group="bus",
)
def tx_rx_exchanged(facts: Facts) -> Evidence:
    if facts.silent and _drives(facts, "tx") and not _drives(facts, "rx"):
        return [f"{facts.pin('tx')} is driven by the target while its loader runs"]
    return []


@RULES.add(
    "The rate is too high for these wires.",
    "The edges are too slow (long wires, an isolator, a level shifter), or the loader cannot "
    "measure this rate.",
    "Lower baudrate in board.toml and deploy: every loader can 115200.",
)
def rate_too_high(facts: Facts) -> Evidence:
    if not facts.baudrate or facts.seen("reached_by") != "patient":
        return []
    return [f"nothing answers at {facts.baudrate} baud", "the loader answers at 19200 baud"]


@RULES.add(
    "The loader runs, but it does not listen to this UART.",
    "It uses the first interface with activity, until its next reset, and something else spoke to "
    "it first: another I2C master, or a terminal at its other UART. Or the host's TX does not "
    "reach it, or reaches it with another parity than even.",
    "Disconnect everything else from the target's I2C and from its other UARTs; then check TX.",
    group="silence",
    unless=_WIRES,
)
def loader_elsewhere(facts: Facts) -> Evidence:
    if not facts.silent or facts.seen("entry", "application") or not _drives(facts, "rx"):
        return []
    return [*_silence(facts), f"the target drives {facts.pin('rx')} while its loader runs"]


@RULES.add(
    "BOOT0 stops the application, but no loader answers on this bus.",
    "The loader's I2C is on other pins than these wires; or it saw another interface first, and "
    "uses that one alone until its next reset. (For V5.1 or V5.2 of a G03x PA3 low is enough.)",
    "Check SCL to PB6 and SDA to PB7 of the target (of a G4: to PC4 and PA8). Disconnect all else "
    "from the loader's UARTs, and keep their RX pins high.",
    group="silence",
    unless=_WIRES,
)
def loader_elsewhere_than_i2c(facts: Facts) -> Evidence:
    return _silence(facts) if facts.silent and facts.boot0_stops and facts.frequency else []


@RULES.add(
    "The target belongs to another family.",
    "Each family's loader has its own address, and this one is not that of the chip in "
    "board.json.",
    "Set chip in board.toml to the part that is on the board, and deploy.",
)
def another_family(facts: Facts) -> Evidence:
    address = facts.seen("elsewhere")
    if address is None:
        return []
    return [
        f"a loader answers at 0x{address:02X}: {device.loaders().get(address, 'another family')}",
        f"board.json says {facts.chip.name}, whose loader is at 0x{_own_address(facts):02X}",
    ]


@RULES.add(
    "The target is another chip.",
    "Its product ID is not that of the chip in board.json.",
    "Set chip in board.toml to the part that is on the board, and deploy.",
)
def another_chip(facts: Facts) -> Evidence:
    product_id = facts.seen("loader", "product_id")
    if product_id in (None, facts.chip.product_id):
        return []
    return [
        f"the loader reports product ID 0x{product_id:03X} ({device.family(product_id)})",
        f"board.json says {facts.chip.name}, 0x{facts.chip.product_id:03X}",
    ]


@RULES.add(
    "The target's flash is not divided as that of the chip in board.json.",
    "The part has less or more flash in its two banks, or option bit DBANK is 0 or BFB2 is 1, "
    "which makes one bank of larger pages, or exchanges them.",
    "Set chip in board.toml to the part that is on the board, and deploy. If it is, set these "
    "bits with a debugger, as they were at the factory.",
)
def banks_differ(facts: Facts) -> Evidence:
    if facts.seen("loader", "error") != "wrong-chip":
        return []
    return [f"the loader reports the product ID of {facts.chip.name}, but other banks"]


@RULES.add(
    "No application answers, and without BOOT0 nothing else opens the loader.",
    "The application is broken, or the flash is empty but the EMPTY flag was cleared: it is set "
    "only at power-on.",
    "Switch the target off and on: with empty flash its loader starts. Otherwise wire BOOT0, or "
    "use a debugger.",
    group="silence",
    unless=("bus", "nrst-not-connected"),
)
def no_way_in(facts: Facts) -> Evidence:
    if not facts.silent or facts.boot0_wired:
        return []
    return [*_silence(facts), "BOOT0 is not wired, so only the application can enter the loader"]


@RULES.add(
    "Nothing answers on the bus, neither loader nor application.",
    "A wire of SDA or SCL is open or on another pin than the loader's, or the grounds are not "
    "connected. Or BOOT0 is ignored, and the application has no I2C.",
    "Check SCL to PB6 and SDA to PB7 of the target (of a G4: to PC4 and PA8), and the ground. If "
    "they are right: switch the target off and on, with no debugger connected, then stm32up "
    "doctor --power-cycled; and read nBOOT_SEL with STM32CubeProgrammer over SWD.",
    group="silence",
    unless=_WIRES,
)
def no_answer(facts: Facts) -> Evidence:
    if not facts.silent or not facts.boot0_wired or facts.application:
        return []
    if facts.hands_off is not None:
        return []  # then wires are not the likeliest cause
    if facts.baudrate:
        return []
    return [*_silence(facts), "SDA and SCL are high, as they should be"]


@RULES.add(
    "No loader answers on the UART.",
    "A wire of TX or RX is open or on another pin than the loader's, or the grounds are not "
    "connected. Or BOOT0 is ignored.",
    "Check the host's TX to PA10 and its RX to PA9 of the target, and the ground. If they are "
    "right: switch the target off and on, with no debugger connected, then stm32up doctor "
    "--power-cycled; and read nBOOT_SEL with STM32CubeProgrammer over SWD.",
    group="silence",
    unless=_WIRES,
)
def no_answer_over_uart(facts: Facts) -> Evidence:
    if not facts.silent or not facts.baudrate or facts.seen("entry", "application"):
        return []
    return [] if facts.hands_off is not None else _silence(facts)


@RULES.add(
    "BOOT0 is ignored, most likely because a debugger accessed the target.",
    "An access over SWD forces BOOT0 to 0 until the next power-on; an ST-LINK makes one as soon "
    "as its USB is plugged in.",
    "Unplug the ST-LINK, switch the target off and on, then: stm32up doctor --power-cycled.",
    group="silence",
    unless=_WIRES,
)
def debugger_blocks_boot0(facts: Facts) -> Evidence:
    if facts.seen("reached_by") == "supply":
        return ["BOOT0 was ignored until the host switched the target off and on"]
    if not facts.boot0_seems_ignored or facts.off_and_on:
        return []
    return [*_silence(facts), _history(facts)] if facts.boot0_worked else _silence(facts)


@RULES.add(
    "The target ignores its BOOT0 pin.",
    "From the factory nBOOT_SEL is 1: BOOT0 is not used, and the loader starts only while the "
    "flash is empty. So a first update works and the second does not.",
    "Set nBOOT_SEL to 0 once, on the bench: over I2C stm32up provision while the flash is empty, "
    "otherwise STM32CubeProgrammer over SWD; then switch the target off and on.",
    group="silence",
    unless=_WIRES,
)
def boot0_ignored(facts: Facts) -> Evidence:
    if not facts.boot0_wired:
        return []
    options = facts.options
    if options.get("nBOOT_SEL") == 1 and options.get("nBOOT0") == 1:
        by = "the loader runs only because the flash was empty at power-on"
        return [f"read from the option bytes: nBOOT_SEL is 1 ({options['OPTR']})", by]
    if not facts.boot0_seems_ignored or facts.boot0_worked or not facts.application:
        return []
    return [*_silence(facts), _history(facts)]


@RULES.add(
    "The target never enters its loader, as with readout protection level 2.",
    "Level 2 is permanent. If SWD answers, the cause is not level 2 but an option bit: nBOOT_SEL, "
    "nBOOT1 or BOOT_LOCK.",
    "Try SWD once (STM32CubeProgrammer, connect under reset). If it is refused, the application "
    "still works but can never be updated, except by replacing the STM32.",
    group="silence",
    unless=_WIRES,
)
def level_2_suspected(facts: Facts) -> Evidence:
    if not (facts.boot0_seems_ignored and facts.application and facts.off_and_on):
        return []
    return [*_silence(facts), _history(facts), "switching the target off and on changed nothing"]


@RULES.add(
    "The target has probably locked itself.",
    "A reset or a loss of supply tore the option bytes. Such a chip boots only main flash, "
    "protected and with its debug port closed (RM0444 section 3.4).",
    "Try SWD once (STM32CubeProgrammer, connect under reset). If it is refused, nothing can "
    "unlock this chip: replace the STM32 or the board.",
    severity=Severity.BEYOND_HELP,
    group="silence",
    unless=_WIRES,
)
def locked_suspected(facts: Facts) -> Evidence:
    if not facts.silent or not facts.boot0_wired or facts.application or not facts.off_and_on:
        return []
    evidence = [*_silence(facts), "switching the target off and on changed nothing"]
    if facts.hands_off is not None:
        evidence.append(f"a bench operation has not ended: {facts.hands_off['what']}")
    return evidence
