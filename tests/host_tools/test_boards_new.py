"""`boards new` and `boards list`."""

from __future__ import annotations

import re
import tomllib

import pytest

from stm32up.board import boards
from stm32up.board.model import I2c, Uart
from tests.terminal import on_a_terminal


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("host", "pins"), [("rp2", (4, 5, 2, 3)), ("esp32", (21, 22, 25, 26))])
def test_the_defaults_make_a_board_that_is_listed_and_loads(run, here, host, pins):
    ran = run("--json", "boards", "new", "mine", "--yes", "--host", host)
    assert (ran.status, ran.result["file"]) == (0, "boards/mine/board.toml")
    board = boards.load("boards/mine")
    assert isinstance(board.link, I2c) and board.link.id == 0
    assert (board.link.sda, board.link.scl, board.nrst, board.boot0) == pins
    assert not board.unsigned and board.product == "mine"
    listed = run("--json", "boards", "list").result["boards"]
    assert [entry["name"] for entry in listed] == [*boards.names(), "boards/mine"]
    assert listed[-1]["pins"]["nrst"] == pins[2] and "boards/mine" in run("boards", "list").out


def test_the_wires_of_a_new_board_are_shown(run, here):
    out = run("boards", "new", "mine", "--yes", "--nrst", "6").out
    assert re.search(r"^NRST +GP6 \(pin 9\) +CN7-14$", out, re.MULTILINE)
    out = run("boards", "new", "other", "--yes", "--chip", "STM32L432KC").out
    assert "docs/families.md" in out and "CN7" not in out


def test_a_new_board_is_found_by_its_name(run, here):
    assert run("boards", "new", "mine", "--yes").status == 0
    assert boards.load("mine").product == "mine"
    ran = run("--board", "mime", "image", "build", "app.hex", "--version", "1", "-o", "app.img")
    assert ran.status == 2 and "boards/mine" in ran.err


@pytest.mark.parametrize(("host", "number"), [("rp2", 1), ("esp32", 2)])
def test_a_board_over_uart(run, here, host, number):
    ran = run("boards", "new", "mine", "--yes", "--link", "uart", "--host", host)
    assert ran.status == 0
    board = boards.load("boards/mine")
    assert isinstance(board.link, Uart)
    assert board.link.id == number and board.link.baudrate == 460_800
    assert board.confirm and board.confirm.method == "gpio"
    assert "UART, 460800 baud" in run("boards", "list").out


@pytest.mark.parametrize("chip", ["STM32C031C6", "STM32G0B1RE", "STM32L431KC"])
def test_the_default_rate_is_the_tested_one_where_no_higher_one_was_tried(run, here, chip):
    ran = run("boards", "new", "mine", "--yes", "--link", "uart", "--chip", chip)
    assert ran.status == 0
    link = boards.load("boards/mine").link
    assert isinstance(link, Uart) and link.baudrate == 115_200


def test_a_chip_that_is_identified_later_is_no_word_of_the_title(run, here):
    assert run("boards", "new", "mine", "--yes", "--host", "esp32", "--chip", "auto").status == 0
    assert boards.load("boards/mine").title == "ESP32 and an STM32"


def test_every_question_has_an_option(run, here):
    given = {"host": "esp32", "chip": "STM32G031K8", "sda": "13", "scl": "14", "nrst": "27"}
    given |= {"boot0": "33", "frequency": "100_000", "title": 'A "title"', "product": "p"}
    given |= {"unsigned": "yes", "link": "i2c"}
    options = [part for name, value in given.items() for part in (f"--{name}", value)]
    ran = run("boards", "new", "mine", *options, "-o", "elsewhere")
    assert ran.status == 0 and "--board elsewhere" in ran.out
    content = tomllib.loads((here / "elsewhere" / "board.toml").read_text())
    assert content["title"] == 'A "title"' and content["pins"] == {"nrst": 27, "boot0": 33}
    assert content["i2c"]["frequency"] == 100_000 and content["images"]["unsigned"] is True


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--host", "avr"], "--host: must be rp2 or esp32"),
        (["--chip", "STM32F407"], "--chip: STM32F407 is not a supported chip"),
        (["--sda", "99"], "--sda: is 99; it must be 0 to 29"),
        (["--sda", "x"], "--sda: must be 0 to 29"),
        (["--scl", "4"], "pin 4 is also"),
        (["--nrst", "5"], "--nrst: pin 5 is also [i2c] scl"),
        (["--boot0", "2"], "--boot0: pin 2 is also [pins] nrst"),
        (["--frequency", "5"], "--frequency: is 5"),
        (["--link", "spi"], "--link: must be i2c or uart"),
        (["--link", "uart", "--tx", "2"], "--tx: UART 0 has TX on"),
        (["--link", "uart", "--tx", "8", "--rx", "1"], "--rx: UART 1 has RX on"),
        (["--link", "uart", "--sda", "4"], "--sda does not go with this --link"),
        (["--unsigned", "perhaps"], "--unsigned: must be yes or no"),
        (["--title", "  "], "--title: must be printable text"),
        (["--chip", "G071RB"], "--chip: G071RB is not a part number such as STM32G071RB"),
        (["--chip", "STM32C031"], "it is the second one after STM32C031: 4, 6"),
        (["--chip", "auto", "--link", "uart"], "--link: chip auto needs [i2c]"),
        (["--host", "esp32", "--boot0", "36"], "--boot0: pin 36 of a classic ESP32 is only an"),
    ],
)
def test_a_wrong_answer_is_one_line_and_nothing_is_written(run, here, options, message):
    ran = run("boards", "new", "mine", "--yes", *options)
    assert ran.status == 2 and message in ran.err and ran.err.count("\n") == 1
    assert list(here.iterdir()) == []


def test_without_a_terminal_a_missing_answer_is_named(run, here):
    ran = run("boards", "new", "mine", "--host", "rp2")
    assert ran.status == 2 and ran.err.startswith("error: --chip is not given")


@pytest.mark.parametrize("name", ["..", ".", "a/b", ""])
def test_a_name_is_one_folder(run, here, name):
    ran = run("boards", "new", name, "--yes")
    assert ran.status == 2 and "is not a name" in ran.err and list(here.iterdir()) == []


def test_a_board_of_this_project_keeps_its_name(run, here):
    ran = run("boards", "new", "pico_nucleo_g071rb", "--yes")
    assert ran.status == 2 and "is a board of this project" in ran.err


def test_a_folder_of_the_same_name_does_not_hide_a_board(run, here):
    assert run("boards", "new", "mine", "--yes").status == 0
    (here / "mine").mkdir()
    assert boards.load("mine").product == "mine"


def test_a_board_is_never_overwritten(run, here):
    assert run("boards", "new", "mine", "--yes").status == 0
    before = (here / "boards/mine/board.toml").read_text()
    assert "exists" in run("boards", "new", "mine", "--yes", "--sda", "0", "--scl", "1").err
    assert (here / "boards/mine/board.toml").read_text() == before
    assert run("boards", "new", "../mine", "--yes").status == 2


def test_pins_of_no_hardware_controller_become_softi2c_and_that_is_said(run, here):
    ran = run("boards", "new", "mine", "--yes", "--sda", "4", "--scl", "7")
    assert ran.status == 0 and "SoftI2C" in ran.out
    assert boards.load("boards/mine").link.id is None
    assert run("boards", "new", "other", "--yes", "--sda", "6", "--scl", "7").status == 0
    assert boards.load("boards/other").link.id == 1


def test_a_board_that_takes_signed_images_only_says_so_at_once(run, here):
    assert "signed images only" in run("boards", "new", "product", "--yes").out
    made = run("boards", "new", "trial", "--yes", "--unsigned", "yes")
    assert made.status == 0 and "signed" not in made.out


def test_a_folder_without_board_toml_is_named(run, here):
    (here / "boards" / "empty").mkdir(parents=True)
    ran = run("--board", "boards/empty", "--port", "sim", "status")
    assert ran.status == 2 and "there is no board.toml in boards/empty" in ran.err


def test_a_broken_board_is_listed_with_its_mistake(run, here):
    (here / "boards" / "bad").mkdir(parents=True)
    (here / "boards" / "bad" / "board.toml").write_text("title = 1\nhost =\n")
    ran = run("boards", "list")
    assert ran.status == 0 and "trouble  boards/bad/board.toml:2: Invalid value" in ran.out


@pytest.mark.posix
def test_on_a_terminal_a_wrong_answer_is_asked_again(here):
    typed = "rp2\n\n\n99\n4\n\n\n2\n3\n\n\nyes\n"
    program = (
        f"from stm32up.cli import main; main.run(['boards', 'new', 'mine', '-o', {str(here)!r}])"
    )
    lines = on_a_terminal(80, program, typed=typed)
    assert any("is 99; it must be 0 to 29" in line for line in lines)
    assert boards.load(str(here)).unsigned
