"""The pictures that are made of the code and of board.toml are current, and show what they say."""

from __future__ import annotations

import itertools
import re
import tomllib
import xml.etree.ElementTree as ElementTree
from typing import Any

import pytest

from pictures import __main__ as pictures
from pictures import boot_tree, terminal
from stm32sim.chip.application import known_images
from stm32sim.in_process import Bench
from stm32up import device
from stm32up.board import boards, toml_keys
from stm32up.cli import demo
from stm32up.errors import UsageError
from stm32up.report import headers, wiring, wiring_picture
from tests.commands import verbs
from tests.firmware.test_update import write_protect_page_2
from tests.support import image, known, payload

PICO = boards.BOARDS / "pico_nucleo_g071rb" / "board.toml"
UART = {
    "host": "rp2",
    "uart": {"id": 1, "tx": 4, "rx": 5, "baudrate": 115200},
    "pins": {"nrst": 2, "boot0": 3, "supply": 14},
    "confirm": {"method": "gpio", "pin": 20},
}


def picture(toml: dict) -> str:
    return wiring_picture.svg(drawn(toml))


def texts(svg: str) -> list[str]:
    """What can be read in a picture."""
    root = ElementTree.fromstring(svg)
    return [node.text or "" for node in root.iter("{http://www.w3.org/2000/svg}text")]


def drawn(toml: dict) -> wiring.Wiring:
    return wiring.Wiring(toml, headers.TARGETS["STM32G071RB"], "board.toml")


def test_every_picture_is_what_its_sources_give_today():
    stale = [path.name for path, now in pictures.current() if path.read_text("utf-8") != now]
    assert stale == [], "make pictures"


@pytest.mark.parametrize("name", boards.names())
def test_every_board_shows_its_wiring_as_picture_and_table(name):
    page = (boards.BOARDS / name / "wiring.md").read_text()
    assert "](wiring.svg)" in page
    assert wiring.of(boards.BOARDS / name / "board.toml").table() in page


def test_another_pin_in_board_toml_moves_its_wire(tmp_path):
    (tmp_path / "board.toml").write_text(PICO.read_text().replace("nrst = 2 ", "nrst = 15 "))
    assert pictures.main([str(tmp_path)]) == 0
    before, after = wiring.of(PICO), wiring.of(tmp_path / "board.toml")
    assert (tmp_path / "wiring.svg").read_text() == wiring_picture.svg(after)
    assert wiring_picture.svg(after) != wiring_picture.svg(before)
    assert "| NRST | GP15 (pin 20) | CN7-14 |" in after.table()


def test_every_wire_can_be_read_at_both_ends():
    toml = tomllib.loads(PICO.read_text())
    found = texts(picture(toml))
    for signal, pin, label in (("SDA", "GP4", "21: PB7 = SDA"), ("SCL", "GP5", "24: PB6 = SCL")):
        assert {signal, pin, label} <= {*found}
    assert {"7: PA14 = BOOT0", "14: NRST", "16: 3V3", "20: GND", "3.3 V of the target"} <= {*found}
    assert sorted(text for text in found if text.endswith("Ω")) == [
        *("1 kΩ", "1.8 kΩ", "1.8 kΩ", "10 kΩ", "10 kΩ")
    ]


def test_on_a_uart_what_the_host_sends_goes_to_the_pin_where_the_target_receives():
    rows = drawn(UART).table().splitlines()[2:]
    assert rows[0] == "| target's RX | GP4 (pin 6) | PA10, CN10-33 |"
    assert rows[1] == "| target's TX | GP5 (pin 7) | PA9, CN10-21 |"
    assert "1.8 kΩ" not in texts(picture(UART))


def test_a_wire_that_ends_elsewhere_says_where():
    found = texts(picture(UART))
    assert {"supply switch", "GP14"} <= {*found}
    assert {"heartbeat", "GP20", "11: PA5 = LED"} <= {*found}
    assert "| [pins] supply | GP14 (pin 19) | enable of the target's supply" in drawn(UART).table()


def test_without_boot0_its_wire_and_resistors_are_absent():
    toml = tomllib.loads(PICO.read_text())
    del toml["pins"]["boot0"]
    found = texts(picture(toml))
    assert not any("BOOT0" in text and "=" in text for text in found)
    assert "1 kΩ" not in found and found.count("10 kΩ") == 1


def test_a_chip_without_a_known_board_is_refused_in_words(tmp_path, capsys):
    toml = PICO.read_text().replace("STM32G071RB", "STM32G031K8")
    (tmp_path / "board.toml").write_text(toml)
    with pytest.raises(UsageError, match="STM32G031K8, and where its pins are"):
        wiring.of(tmp_path / "board.toml")
    assert pictures.main([str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_pin_that_is_not_on_the_headers_is_refused_in_words(tmp_path, capsys):
    (tmp_path / "board.toml").write_text(PICO.read_text().replace("nrst = 2 ", "nrst = 24 "))
    assert pictures.main([str(tmp_path)]) == 2
    assert "uses GP24, and a Raspberry Pi Pico has no such pin" in capsys.readouterr().err


def test_the_pin_tables_have_each_pin_once():
    for host in headers.HOSTS.values():
        pins = host.left + host.right
        assert len({pin.label for pin in pins}) == len(pins)
        gpios = [pin.name for pin in pins if re.fullmatch(host.gpio.format(r"\d+"), pin.name)]
        assert len({*gpios}) == len(gpios)
    pico = [pin.name for pin in headers.HOSTS["rp2"].left + headers.HOSTS["rp2"].right]
    assert {f"GP{n}" for n in (*range(23), 26, 27, 28)} <= {*pico} and len(pico) == 40
    target = headers.TARGETS["STM32G071RB"]
    ports = [name for names in target.connectors.values() for name in names if name[0] == "P"]
    assert len({*ports}) == len(ports)
    assert [len(names) for names in target.connectors.values()] == [38, 38]


@pytest.mark.parametrize("chip", headers.TARGETS)
def test_the_signals_of_the_loader_are_on_the_pins_that_the_application_uses(chip):
    """AN2606: I2C1 on PB6 and PB7, USART1 on PA9 and PA10. Not PB8 and PB9, D15 and D14."""
    target = headers.TARGETS[chip]
    found = {}
    for signal, place in target.signals.items():
        connector, number = place.split("-")
        found[signal] = target.connectors[connector][int(number) - 1]
    assert [found.pop(name) for name in ("SCL", "SDA", "TX", "RX")] == [
        "PB6",
        "PB7",
        "PA9",
        "PA10",
    ]
    assert (found.pop("BOOT0"), found.pop("LED")) == ("PA14", "PA5")
    assert found == {"NRST": "NRST", "GND": "GND", "3V3": "3V3"}


def test_the_resistors_are_those_of_the_page_of_the_board():
    page = (device.PROJECT / "boards" / "nucleo_g071rb.md").read_text()
    table = page.partition("## Resistors")[2].partition("\n\n- ")[0]
    rows = {row.split("|")[1].strip(): row for row in table.splitlines() if row.startswith("| ")}
    for values in (wiring.PULL_UPS, wiring.IN_SERIES, wiring.PULL_DOWNS):
        for signal, value in values.items():
            row = next(row for names, row in rows.items() if signal in names)
            assert value in row


# The boot decision


def ways(node, answers=()):
    """(the answers that lead there, the leaf) of each leaf."""
    if isinstance(node, boot_tree.Leaf):
        return [(answers, node)]
    yes, no = ways(node.yes, (*answers, True)), ways(node.no, (*answers, False))
    return yes + no


def test_the_boot_tree_names_only_verbs_and_keys_that_exist():
    text = " ".join(leaf.text for _, leaf in ways(boot_tree.TREE))
    assert {*re.findall(r"stm32up (\w+)", text)} <= {*verbs()}
    keys = {str(key) for key in toml_keys.KEYS}
    assert {*re.findall(r"\[\w+\] \w+", text)} <= keys
    assert isinstance(toml_keys.ENTER.kind, toml_keys.Choice)
    assert {*re.findall(r'method = "(\w+)"', text)} == {*toml_keys.ENTER.kind.options}


def test_the_boot_tree_ends_well_only_where_board_toml_can_say_so():
    """Without BOOT0 only the command is left, and NRST is required."""
    for answers, leaf in ways(boot_tree.TREE):
        if not answers[0]:
            assert leaf.tone == "bad" and toml_keys.NRST.default == ()
        elif not answers[1]:
            assert "boot0" not in leaf.text


# The phases


def test_the_states_have_every_phase_and_what_a_start_does_there():
    from pictures import states

    record: Any = device.module("stm32_updater.record")
    assert {edge.begin for edge in states.EDGES} == {*record.PHASES}
    found = texts(states.svg())
    assert {*record.PHASES} <= {*found}
    assert found.count("a start returns at once") == 1
    assert found.count("a start continues") == len(record.PHASES) - 1


OLD, NEW, DEAD = payload(6000, 1), payload(8000, 2), payload(5000, 3)


@pytest.fixture
def seen(monkeypatch):
    """(bench, the changes of phase that its runs record)."""
    bench = Bench(applications=known_images(known(OLD), known(NEW, "1.1.0")))
    changes: list[tuple[str, str]] = []
    store = bench.device.imports("stm32_updater.store").Store
    record: Any = device.module("stm32_updater.record")
    save, load = store.save, store.load
    last = [record.UNKNOWN]

    def loaded(self):
        found = load(self)
        last[0] = record.UNKNOWN if found is None else found.phase
        return found

    def saved(self, changed):
        if changed.phase != last[0]:
            changes.append((last[0], changed.phase))
        last[0] = changed.phase
        save(self, changed)

    monkeypatch.setattr(store, "load", loaded)
    monkeypatch.setattr(store, "save", saved)
    return bench, changes


def leads(*phases: str) -> list[tuple[str, str]]:
    """These changes, each of which is an edge of the picture."""
    from pictures import states

    steps = list(itertools.pairwise(phases))
    drawn = {(edge.begin, edge.end) for edge in states.EDGES}
    assert {*steps} <= drawn
    return steps


def test_an_update_that_is_installed_goes_through_the_phases_that_are_drawn(seen):
    bench, changes = seen
    bench.install(image(OLD))
    assert changes == leads("unknown", "installing", "confirming", "idle")
    changes.clear()
    bench.install(image(NEW, "1.1.0"))
    assert changes == leads("idle", "installing", "confirming", "idle")


def test_an_update_that_is_rolled_back_does_too(seen):
    bench, changes = seen
    bench.install(image(OLD))
    changes.clear()
    assert bench.install(image(DEAD, "1.2.0"))["status"] == "rolled-back"
    assert changes == leads("idle", "installing", "confirming", "rolling back", "idle")


def test_so_does_one_without_an_earlier_image(seen):
    bench, changes = seen
    bench.install(image(DEAD))
    assert changes == leads("unknown", "installing", "confirming", "unknown")


def test_so_does_a_host_that_forgot_everything_but_whose_target_works(seen):
    bench, changes = seen
    bench.install(image(OLD))
    bench.forget("state.0", "state.1", "confirmed.img")
    changes.clear()
    bench.run()
    assert changes == leads("unknown", "idle")


def test_so_does_an_update_that_is_given_up(seen):
    bench, changes = seen
    bench.install(image(OLD))
    changes.clear()
    write_protect_page_2(bench)
    assert bench.install(image(NEW, "1.1.0"))["error"] == "page-protected"
    assert changes == leads("idle", "installing", "idle")
    bench.forget("state.0", "state.1", "confirmed.img")  # so that pages may have been erased
    changes.clear()
    bench.install(image(NEW, "1.1.0"))
    assert changes == leads("unknown", "installing", "unknown")


# The demo


def test_the_picture_of_the_demo_has_the_steps_and_commands_of_the_demo():
    found = "\n".join(texts(pictures.DEMO.read_text("utf-8"))).replace("\xa0", " ")
    for number, step in enumerate(demo.STEPS, 1):
        shown = terminal.FIRST <= number <= terminal.LAST
        assert (f"{number}. {step.headline}" in found) == shown, "make pictures"
        for command in step.commands if shown else ():
            assert f"$ stm32up {command}" in found, "make pictures"
