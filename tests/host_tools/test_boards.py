"""board.toml: valid files become board.json, mistakes are reported by line."""

from __future__ import annotations

import json
import re

import pytest

from stm32sim.in_process import NUCLEO
from stm32up import device
from stm32up.board import boards, toml_keys
from stm32up.board.model import I2c
from stm32up.errors import BoardFileError, UsageError
from stm32up.image import images

GOOD = (boards.BOARDS / "pico_nucleo_g071rb" / "board.toml").read_text()


def test_a_file_of_a_windows_editor_may_begin_with_its_mark(tmp_path):
    assert load(tmp_path, f"\ufeff{GOOD}").host == "rp2"


def load(tmp_path, text):
    path = tmp_path / "board.toml"
    path.write_text(text)
    return boards.load(str(path))


@pytest.mark.parametrize("name", boards.names())
def test_the_boards_of_the_project_are_valid_and_have_their_wiring_described(name):
    board = boards.load(name)
    wiring = (boards.BOARDS / name / "wiring.md").read_text()
    link = board.link
    lines = (link.scl, link.sda) if isinstance(link, I2c) else (link.tx, link.rx)
    for pin in (*lines, board.nrst, board.boot0):
        assert f"GP{pin} " in wiring or f"GPIO{pin} " in wiring


def test_board_json_has_every_key_and_survives_json():
    content = boards.load("pico_nucleo_g071rb").as_json()
    assert json.loads(json.dumps(content)) == content
    assert content == {
        "title": "Raspberry Pi Pico and NUCLEO-G071RB",
        "host": "rp2",
        "chip": "STM32G071RB",
        "i2c": {"id": 0, "scl": 5, "sda": 4, "freq": 400000},
        "uart": None,
        "pins": {"nrst": 2, "boot0": 3, "supply": None, "short": None},
        "enter": {"method": "boot0", "address": None, "command": None},
        "confirm": {
            "method": "i2c-version",
            "address": 0x2A,
            "register": 1,
            "pin": None,
            "edges": None,
            "timeout_ms": 2000,
            "tries": 3,
        },
        "preserve": [],
        "verify": "checksum",
        "class_id": images.class_id("nucleo-demo").hex,
        "unsigned": True,
        "bench": None,
    }


def test_the_simulated_host_in_tests_has_settings_of_the_same_form():
    content = dict(boards.load("pico_nucleo_g071rb").as_json())
    for key, value in NUCLEO.items():
        if isinstance(value, dict):
            assert value == content[key]
    # Which the device's code does without, or does not need.
    assert content.keys() - NUCLEO.keys() == {"host", "bench", "uart"}


def test_optional_parts_reach_board_json(tmp_path):
    text = (
        GOOD.replace("id = 0\n", "")
        .replace("boot0 = 3", "supply = 6")
        .replace('method = "boot0"', 'method = "command"\n'
                 "command = {address = 0x2A, bytes = [0x10, 0x42, 0x4F, 0x4F, 0x54]}")
        .replace("preserve = []", "preserve = [{start = 0x0801F800, length = 0x800}]")
        .replace("unsigned = true", "unsigned = false")
        + "\n[bench]\nshort_pin = 7\n"
    )  # fmt: skip
    content = load(tmp_path, text).as_json()
    assert content["bench"] is None  # nothing measures the supply
    assert content["i2c"]["id"] is None
    assert content["pins"] == {"nrst": 2, "boot0": None, "supply": 6, "short": 7}
    assert content["enter"] == {"method": "command", "address": 0x2A, "command": "10424f4f54"}
    assert content["preserve"] == [[0x0801F800, 0x800]]
    assert content["unsigned"] is False


def with_confirm(lines: str) -> str:
    """GOOD with another [confirm] section."""
    start, end = GOOD.index("[confirm]"), GOOD.index("[flash]")
    return f"{GOOD[:start]}[confirm]\n{lines}\n{GOOD[end:]}"


HEARTBEAT = 'method = "gpio"\npin = 7\nedges = 4\ntimeout_ms = 500\ntries = 2'


def test_a_heartbeat_reaches_board_json(tmp_path):
    assert load(tmp_path, with_confirm(HEARTBEAT)).as_json()["confirm"] == {
        "method": "gpio",
        "address": None,
        "register": None,
        "pin": 7,
        "edges": 4,
        "timeout_ms": 500,
        "tries": 2,
    }


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("pin = 7\n", "", '[confirm] pin is needed by method = "gpio"'),
        ("pin = 7", "pin = 3", "[confirm] pin pin 3 is also [pins] boot0"),
        ("pin = 7", "pin = 77", "[confirm] pin is 77; it must be 0 to 29"),
        ("edges = 4", "edges = 1", "[confirm] edges is 1; it must be 2 to 1000"),
        ("edges = 4\n", "", "[confirm] edges is missing"),
        ("edges = 4", "edges = 4\naddress = 9", 'address is only for method = "i2c-version"'),
        ('"gpio"', '"i2c-version"', 'edges is only for method = "gpio"'),
        ('"gpio"', '"none"', 'edges is only for method = "gpio"'),
    ],
)
def test_a_heartbeat_that_cannot_be(tmp_path, old, new, said):
    with pytest.raises(BoardFileError) as caught:
        load(tmp_path, with_confirm(HEARTBEAT).replace(old, new))
    assert said in str(caught.value)


@pytest.mark.parametrize("chip", ["STM32C051C8", "STM32C092RC", "STM32U083RC", "STM32L476RG"])
def test_a_bus_that_is_too_fast_for_the_family_is_refused(tmp_path, chip):
    text = GOOD.replace("STM32G071RB", chip)
    assert load(tmp_path, text).as_json()["i2c"]["freq"] == 400_000
    line = GOOD.splitlines().index("frequency = 400_000") + 1
    with pytest.raises(BoardFileError) as caught:
        load(tmp_path, text.replace("400_000", "400_001"))
    said = f":{line}: [i2c] frequency is above the limit of the loader of {chip}: 400000 Hz"
    assert said in str(caught.value)


def test_a_heartbeat_needs_a_pin_with_a_pull_down(tmp_path):
    esp32 = with_confirm(HEARTBEAT).replace('host = "rp2"', 'host = "esp32"')
    assert load(tmp_path, esp32.replace("pin = 7", "pin = 33")).confirm.pin == 33
    with pytest.raises(BoardFileError, match=r"\[confirm\] pin pin 34 of a classic ESP32"):
        load(tmp_path, esp32.replace("pin = 7", "pin = 34"))


def test_without_confirmation_its_values_are_null(tmp_path):
    confirm = load(tmp_path, with_confirm('method = "none"')).as_json()["confirm"]
    assert confirm.pop("method") == "none"
    assert set(confirm.values()) == {None}


UART = (boards.BOARDS / "pico_nucleo_g071rb_uart" / "board.toml").read_text()
UART_ESP32 = (boards.BOARDS / "esp32_nucleo_g071rb_uart" / "board.toml").read_text()
UART_TABLE = UART[UART.index("[uart]") : UART.index("[pins]")]
I2C_TABLE = GOOD[GOOD.index("[i2c]") : GOOD.index("[pins]")]


def test_a_uart_reaches_board_json_and_the_device_reads_it_again(tmp_path):
    content = load(tmp_path, UART).as_json()
    assert content["i2c"] is None
    assert content["uart"] == {"id": 1, "tx": 4, "rx": 5, "baudrate": 460_800}
    assert content["confirm"]["method"] == "gpio"


@pytest.mark.parametrize(
    ("text", "good", "bad", "said"),
    [
        (UART, "[pins]", f"{I2C_TABLE}[pins]", "[uart] and [i2c] are both there"),
        (
            UART,
            UART[UART.index("[uart]") : UART.index("[pins]")],
            "",
            "[i2c] or [uart] is missing",
        ),
        (UART, "id = 1", "id = 2", "[uart] id must be 0 or 1 on rp2"),
        (UART, "id = 1", 'id = "soft"', "[uart] id must be 0, 1 or 2"),
        (UART, "tx = 4", "tx = 5", "[uart] rx pin 5 is also [uart] tx"),
        (UART, "tx = 4", "tx = 12", "only, UART 0 on 0, 12, 16, 28"),
        (UART, "rx = 5", "rx = 7", "[uart] rx UART 1 has RX on 5, 9, 21, 25 only"),
        (UART, "tx = 4\n", "", "[uart] tx is missing"),
        (UART, "tx = 4", "tx = 30", "[uart] tx is 30; it must be 0 to 29"),
        (
            UART,
            "baudrate = 460_800",
            "baudrate = 2_000_000",
            "[uart] baudrate is 2000000; it must",
        ),
        (
            UART,
            "[flash]",
            "[bench]\nshort_pin = 20\n[flash]",
            "[bench] short_pin pulls SDA low, so it needs [i2c]",
        ),
        (UART, "baudrate", "bautrate", "bautrate is not a known key; did you mean baudrate?"),
        (UART, "nrst = 2", "nrst = 5", "[pins] nrst pin 5 is also [uart] rx"),
        (UART, 'method = "gpio"', 'method = "i2c-version"', 'method "i2c-version" needs [i2c]'),
        (UART, 'method = "boot0"', 'method = "command"', 'method "command" needs [i2c]'),
        (UART, "boot0 = 3", "", "[pins] boot0 is needed by"),
        (UART_ESP32, "id = 2", "id = 0", "[uart] id must be 1 or 2 on esp32"),
        (UART_ESP32, "tx = 22", "tx = 34", "[uart] tx pin 34 of a classic ESP32 is only an input"),
        (UART_ESP32, "nrst = 25", "nrst = 35", "[pins] nrst pin 35 of a classic ESP32 is only an"),
    ],
)
def test_a_uart_that_cannot_be(tmp_path, text, good, bad, said):
    assert good in text
    with pytest.raises(BoardFileError) as caught:
        load(tmp_path, text.replace(good, bad, 1))
    assert said in str(caught.value)


REGION = "preserve = [{start = %s, length = %s}]"

MISTAKES = [
    # (text in the good file, its replacement, text of the message)
    ("frequency", "frequncy", "[i2c] frequncy is not a known key; did you mean frequency?"),
    ("400_000", "2_000_000", "[i2c] frequency is 2000000; it must be 10000 to 1000000 Hz"),
    ('"STM32G071RB"', '"STM32H563ZI"', "STM32H563ZI is not a supported chip: it has"),
    ('"STM32G071RB"', '"STM32G071RE"', "chip STM32G071RE: the flash size letter is"),
    ("frequency = 400_000", 'frequency = "fast"', "[i2c] frequency must be a number, without"),
    ("frequency = 400_000", "frequency = true", "[i2c] frequency must be"),
    ('host = "rp2"', 'host = "rp2040"', 'host must be "rp2" or "esp32"'),
    ('chip = "STM32G071RB"', 'chip = "STM32Z999RB"', "chip STM32Z999RB is not"),
    ('chip = "STM32G071RB"', 'chip = "STM32G71RB"', "did you mean STM32G471RB or STM32G071RB"),
    ('chip = "STM32G071RB"', "chip = 71", "chip must be text"),
    ('chip = "STM32G071RB"', 'chipp = "STM32G071RB"', "chipp is not a known key; did you mean"),
    ("title = ", 'pins2 = "x"\ntitle = ', "pins2 is not a known key; did you mean pins?"),
    ("[flash]", "[flahs]", "flahs is not a known key; did you mean flash?"),
    ("id = 0", "id = 2", '[i2c] id must be 0, 1 or "soft"'),
    ("id = 0", "id = 1", "[i2c] id must be 0: these pins are those of I2C 0"),
    ("sda = 4", "sda = 6", "[i2c] sda I2C 0 has SDA on 0, 4, 8"),
    ("scl = 5", "scl = 30", "[i2c] scl is 30; it must be 0 to 29"),
    ("nrst = 2 ", "nrst = 4 ", "[pins] nrst pin 4 is also [i2c] sda"),
    ("boot0 = 3", "boot0 = 2", "[pins] boot0 pin 2 is also [pins] nrst"),
    ("boot0 = 3", "", "[pins] boot0 is needed by"),
    ("nrst = 2 ", "nrst = -1 ", "[pins] nrst is -1"),
    ('method = "boot0"', 'method = "magic"', '[enter] method must be "boot0" or "command"'),
    ('method = "boot0"', 'method = "command"', "[enter] command is missing"),
    ('method = "boot0"', 'method = "boot0"\ncommand = {}', "[enter] command is only for"),
    ("address = 0x2A", "address = 0x80", "[confirm] address is 0x80; it must be 0x8 to 0x77"),
    ("address = 0x2A", "address = 0x51", "[confirm] address is the address of the loader"),
    (
        'method = "boot0"',
        'method = "command"\ncommand = {address = 0x51, bytes = [0x92, 0x6D]}',
        "[enter] command address is the address of the loader",
    ),
    ("register = 0x01\n", "", "[confirm] register is missing"),
    ("tries = 3", "tries = 0", "[confirm] tries is 0; it must be 1 to 100"),
    (
        "preserve = []",
        REGION % ("0x0801F801", "0x800"),
        "0x0801F801 + 0x800 does not consist of whole",
    ),
    ("preserve = []", REGION % ("0x0801F800", "0x801"), "does not consist of whole pages"),
    ("preserve = []", REGION % ("0x0801F800", "0x1000"), "outside the flash, 0x08000000 to"),
    ("preserve = []", REGION % ("0x08000000", "0x800"), "covers the first page"),
    ("preserve = []", "preserve = [{start = 0x0801F800}]", "needs start and length"),
    ("preserve = []", "preserve = [{lenght = 1}]", "lenght is not a known key; did you mean"),
    (
        'method = "i2c-version"',
        'method = "gpoi"\npin = []',
        "[confirm] method must be",
    ),
    ("preserve = []", "preserve = 5", "[flash] preserve must be"),
    ("preserve = []", "preserve = [5]", "[flash] preserve must contain"),
    ("unsigned = true", "unsigned = 1", "[images] unsigned must be true or false"),
    ("[flash]", "[bench]\nsupply_adc = 3\nmin_mv = 3000\n[flash]", "pin 3 is also [pins] boot0"),
    ("[flash]", "[bench]\nshort_pin = 2\n[flash]", "pin 2 is also [pins] nrst"),
    ("[flash]", "[bench]\nsupply_adc = 7\nmin_mv = 3000\n[flash]", "pin 7 has no ADC"),
    ("[flash]", "[bench]\nsupply_adc = 26\n[flash]", "[bench] min_mv is missing"),
    ('product = "nucleo-demo"', 'product = ""', "[images] product must be printable text"),
]  # fmt: skip


@pytest.mark.parametrize(("good", "bad", "message"), MISTAKES, ids=[m[2][:40] for m in MISTAKES])
def test_each_mistake_is_one_line_that_names_its_place(tmp_path, good, bad, message):
    assert good in GOOD
    with pytest.raises(BoardFileError) as raised:
        load(tmp_path, GOOD.replace(good, bad, 1))
    text = str(raised.value)
    assert message in text
    assert "\n" not in text


def test_the_line_named_is_the_line_of_the_mistake(tmp_path):
    line = GOOD.splitlines().index("frequency = 400_000") + 1
    with pytest.raises(BoardFileError, match=rf"board\.toml:{line}: \[i2c\] frequncy"):
        load(tmp_path, GOOD.replace("frequency", "frequncy"))
    table = GOOD.splitlines().index("[flash]") + 1
    with pytest.raises(BoardFileError, match=rf"board\.toml:{table}: flahs"):
        load(tmp_path, GOOD.replace("[flash]", "[flahs]"))
    with pytest.raises(BoardFileError, match=rf"board\.toml:{line}: "):
        load(tmp_path, GOOD.replace("frequency = 400_000", "frequency = ="))


def test_a_missing_key_is_named_at_its_table(tmp_path):
    line = GOOD.splitlines().index("[pins]") + 1
    with pytest.raises(BoardFileError, match=rf"board\.toml:{line}: \[pins\] nrst is missing"):
        load(tmp_path, GOOD.replace("nrst = 2 ", "supply = 2 "))


@pytest.mark.parametrize("text", ["", "x", "[i2c", '"a"', "[[i2c]]\nid = 1\n", "i2c = 3\n"])
def test_any_other_rubbish_is_refused_as_well(tmp_path, text):
    with pytest.raises(BoardFileError):
        load(tmp_path, text)


def test_an_unknown_board_tells_which_there_are():
    with pytest.raises(UsageError, match="pico_nucleo_g071rb"):
        boards.load("no-such-board")


def test_all_mistakes_of_a_file_are_told_together_each_at_its_line(tmp_path, run):
    text = GOOD.replace("scl = 5", "scl = 50").replace("tries = 3", "trees = 3")
    text = text.replace("frequency = 400_000\n", "").replace("unsigned = true", "unsigned = 1")
    said = mistakes(tmp_path, text)
    number = {line.partition(" ")[0]: n for n, line in enumerate(text.splitlines(), 1)}
    assert said == [
        f"{number['[i2c]']}: [i2c] frequency is missing (of the bus, in Hz); "
        "it must be 10000 to 1000000 Hz",
        f"{number['scl']}: [i2c] scl is 50; it must be 0 to 29",
        f"{number['trees']}: [confirm] trees is not a known key; did you mean tries?",
        f"{number['unsigned']}: [images] unsigned must be true or false",
    ]
    ran = run("--board", str(tmp_path), "status")
    assert [line.rpartition(".toml:")[2] for line in ran.err.splitlines()] == said
    assert all(line.startswith("error: ") for line in ran.err.splitlines())


def test_a_mistake_is_not_told_again_by_what_follows_from_it(tmp_path):
    for good, bad in (
        ('chip = "STM32G071RB"', 'chip = "STM32Z999RB"'),  # no flash to compare with
        ('host = "rp2"', 'host = "pico"'),  # no pins to compare with
        ("scl = 5", 'scl = "five"'),
        ('method = "i2c-version"', 'method = "version"'),  # no keys that it wants
        ("[flash]", "[flahs]"),
    ):
        assert len(mistakes(tmp_path, GOOD.replace(good, bad))) == 1


def test_a_key_beside_its_misspelled_double_is_looked_at_as_well(tmp_path):
    said = mistakes(tmp_path, GOOD.replace("tries = 3", "tries = 900\ntrys = 3"))
    assert [line.partition(": ")[2].partition(";")[0] for line in said] == [
        "[confirm] tries is 900",
        "[confirm] trys is not a known key",
    ]


def mistakes(tmp_path, text) -> list[str]:
    """The mistakes, without the name of the file: "7: [i2c] scl is ..."."""
    with pytest.raises(BoardFileError) as caught:
        load(tmp_path, text)
    return [line.rpartition(".toml:")[2] for line in caught.value.lines]


PAGE = (device.PROJECT / "docs" / "board-toml.md").read_text()


def documented() -> dict[tuple[str, str], list[str]]:
    """The cells behind each key in the table of docs/board-toml.md."""
    rows, table = {}, ""
    for row in re.findall(r"^\| (.*) \|$", PAGE, re.MULTILINE)[1:]:
        names, *cells = row.split(" | ")
        if header := re.fullmatch(r"\*\*`\[(\w+)\]`\*\*", names):
            table = header[1]
        for name in re.findall(r"`(\w+)`", names):
            rows[table, name] = cells
    return rows


def test_the_page_lists_the_keys_that_the_reader_knows_in_their_order():
    assert list(documented()) == [(key.table, key.name) for key in toml_keys.KEYS]


@pytest.mark.parametrize("key", toml_keys.KEYS, ids=str)
def test_the_page_says_of_each_key_what_the_reader_goes_by(key):
    what, allowed = documented()[key.table, key.name]
    assert what.startswith(key.what)
    if isinstance(key.kind, toml_keys.Number) and key.kind.limits in device.limits():
        shown = re.sub(r"0x[0-9A-F]+|[\d_]*\d", lambda number: str(int(number[0], 0)), allowed)
        lowest, highest = device.limits()[key.kind.limits]
        assert f"{lowest} to {highest}" in shown
    if isinstance(key.kind, toml_keys.Choice):
        assert all(f"{option}".lower() in allowed for option in key.kind.options)
    assert key.default in ((), ([],)) or "left out" in allowed or "`false`" in allowed


def test_names_inside_a_value_are_in_its_example():
    for place in ("enter.command", "flash.preserve"):
        table, _, name = place.partition(".")
        cell = documented()[table, name][1]
        assert all(f"{inside} = " in cell for inside in toml_keys.NAMES[place])


def test_every_limit_of_the_description_is_one_of_the_device():
    named = {key.kind.limits for key in toml_keys.KEYS if isinstance(key.kind, toml_keys.Number)}
    assert named - {"pin"} | {"command"} == set(device.limits())
