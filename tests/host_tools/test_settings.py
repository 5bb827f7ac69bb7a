"""stm32up.toml and the environment stand for --port, --board and --key."""

from __future__ import annotations

import pytest

from stm32up.board import boards
from stm32up.image import images, keys
from tests.host_tools.test_cli import one_line


@pytest.fixture
def toml(tmp_path, monkeypatch):
    """Writes stm32up.toml into a folder, and works there."""
    monkeypatch.chdir(tmp_path)

    def toml(text: str) -> None:
        (tmp_path / "stm32up.toml").write_text(text)

    return toml


@pytest.fixture
def below(tmp_path, monkeypatch):
    """Goes to a folder below that one."""

    def below() -> None:
        (tmp_path / "a" / "b").mkdir(parents=True)
        monkeypatch.chdir(tmp_path / "a" / "b")

    return below


def test_the_file_gives_the_port_also_from_a_folder_below(run, fake, toml, below):
    toml(f'port = "{fake.port}"')
    assert run("status").status == 0
    below()
    assert run("status").status == 0


def test_the_nearest_file_counts_alone(run, fake, toml, below, tmp_path):
    toml(f'port = "{fake.port}"\nboard = "pico_nucleo_g071rb"')
    below()
    (tmp_path / "a" / "stm32up.toml").write_text('port = "/dev/nearer"')
    assert "/dev/nearer" in one_line(run("status"), 3)


def test_an_option_counts_before_the_environment_and_that_before_the_file(
    run, fake, toml, monkeypatch
):
    toml('port = "/dev/file"')
    assert "/dev/file" in one_line(run("status"), 3)
    monkeypatch.setenv("STM32UP_PORT", "/dev/environment")
    assert "/dev/environment" in one_line(run("status"), 3)
    assert run("--port", fake.port, "status").status == 0
    assert run("status", "--port", fake.port).status == 0


def test_the_board_may_be_a_path_from_the_file(run, toml, below, tmp_path):
    board = tmp_path / "boards" / "mine"
    board.mkdir(parents=True)
    text = (boards.BOARDS / "pico_nucleo_g071rb" / "board.toml").read_text()
    (board / "board.toml").write_text(text.replace('"nucleo-demo"', '"kettle"'))
    (tmp_path / "app.hex").write_bytes(APP)
    for name in ("boards/mine", "boards/mine/board.toml"):
        toml(f'board = "{name}"')
        target = tmp_path / "app.img"
        build = ("image", "build", tmp_path / "app.hex", "--version", "1.0.0", "-o", target)
        assert run("--json", *build).result["product"] == "kettle"
    below()
    assert run("--json", *build).result["product"] == "kettle"


APP = (boards.BOARDS / "nucleo_g071rb_app" / "app-1.0.0.hex").read_bytes()


@pytest.fixture
def signing(run, key_files, tmp_path):
    """Builds app.img; the key that signed it, by its number, or None."""

    def signing(*more: object) -> int | None:
        (tmp_path / "app.hex").write_bytes(APP)
        target = tmp_path / "app.img"
        build = ("image", "build", tmp_path / "app.hex", "--version", "1.0.0", "-o", target)
        assert run(*build, *more).status == 0
        ids = [keys.key_hash(keys.load(path)).hex() for path in key_files]
        found = images.show(target)["key_hash"]
        return ids.index(found) if found else None

    return signing


def test_the_key_signs_as_the_option_would(signing, toml, key_files, monkeypatch):
    assert signing() is None
    toml(f'key = "{key_files[0]}"')
    assert signing() == 0
    monkeypatch.setenv("STM32UP_KEY", str(key_files[1]))
    assert signing() == 1
    assert signing("--key", key_files[0]) == 0


def test_a_key_for_signing_does_not_hinder_an_image_that_is_built(
    run, fake, image, toml, key_files, monkeypatch
):
    toml('key = "not/here.pem"')
    assert run("--port", fake.port, "push", image).status == 0
    monkeypatch.setenv("STM32UP_KEY", str(key_files[1]))
    assert run("--port", fake.port, "push", image).status == 0


def test_a_state_of_a_simulated_board_is_a_path_from_the_file(run, toml, below):
    toml('port = "sim:state"')
    below()
    assert "default: sim:../../state" in " ".join(run("--help").out.split())


def test_help_shows_where_each_option_comes_from(run, toml):
    out = " ".join(run("--help").out.split())
    assert "[env var: STM32UP_PORT; default: auto]" in out
    assert "[env var: STM32UP_BOARD; default: pico_nucleo_g071rb]" in out
    assert "then from stm32up.toml in the current folder or a parent, then" in out
    toml('port = "/dev/file"\nkey = "k.pem"')
    out = " ".join(run("--help").out.split())
    assert "[env var: STM32UP_PORT; default: /dev/file]" in out
    assert "a parent; here stm32up.toml, then" in out
    assert "[env var: STM32UP_KEY; default: k.pem]" in " ".join(run("update", "-h").out.split())


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ('prot = "x"', ["stm32up.toml:1: prot is not a known key; did you mean port?"]),
        ('\n\nmood = "x"', ["stm32up.toml:3: mood is not a known key; known keys: board, key"]),
        ("port = 3", ["stm32up.toml:1: port must be printable text"]),
        ('port = ""', ["stm32up.toml:1: port must be printable text"]),
        ('port = "\\u001b[31m"', ["stm32up.toml:1: port must be printable text"]),
        ('# a\n[port]\nx = "y"', ["stm32up.toml:2: port must be printable text"]),
        (f"port = {'9' * 5000}", ["stm32up.toml:1: it holds a number or list that is too large"]),
        (f"port = {'[' * 3000}{']' * 3000}", ["stm32up.toml:1: it holds a number or list"]),
        ("port = x", ["stm32up.toml:1: "]),
        ('port = "a"\nport = "b"', ["stm32up.toml:2: "]),
        (
            'key = 1\nport = 2\nbord = "x"',
            [
                "stm32up.toml:1: key must be",
                "stm32up.toml:2: port must be",
                "stm32up.toml:3: bord is not a known key; did you mean board?",
            ],
        ),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_mistakes_are_named_by_file_line_and_key(run, toml, text, lines):
    toml(text)
    ran = run("status")
    assert ran.status == 2
    said = ran.err.splitlines()
    assert len(said) == len(lines)
    assert all(line.startswith(f"error: {start}") for line, start in zip(said, lines, strict=True))
    assert run("--json", "status").result["error"] == "settings-file"


def test_a_file_that_cannot_be_read_is_named(run, toml, tmp_path):
    (tmp_path / "stm32up.toml").write_bytes(b"\xff\xfe")
    assert "stm32up.toml: not UTF-8" in one_line(run("--port", "/dev/none", "status"), 2)


def test_a_key_that_is_not_there_is_named_with_the_file(run, toml, tmp_path):
    toml('port = "/dev/none"\nkey = "no.pem"')
    (tmp_path / "app.hex").write_bytes(APP)
    ran = run("update", "app.hex", "--version", "1.0.0")
    assert "stm32up.toml:2: key: cannot read the key no.pem: No such" in one_line(ran, 2)


def test_a_board_that_is_not_there_yet_hinders_only_what_needs_it(run, fake, toml):
    toml('board = "boards/mine"')
    said = one_line(run("--port", fake.port, "probe"), 2)
    assert said.startswith("error: stm32up.toml:1: board: there is no board boards/mine. ")
    assert "Make another one: stm32up boards new mine." in said
    assert run("--port", fake.port, "--board", "pico_nucleo_g071rb", "status").status == 0
    assert run("-h").status == run("boards", "list").status == 0
    assert run("boards", "new", "mine", "--yes").status == 0
    assert run("--port", fake.port, "status").status == 0
