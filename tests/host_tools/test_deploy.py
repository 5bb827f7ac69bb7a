"""`deploy`: refusals before anything is changed, and the state after an interruption."""

from __future__ import annotations

import functools
import json
from types import SimpleNamespace

import pytest

from stm32up import device
from stm32up.board import boards
from stm32up.errors import DeviceError
from stm32up.host import deploy, host_facts
from stm32up.image import keys
from tests.host_tools.test_cli import one_line

MODULE = "/lib/stm32_updater/admission.mpy"
PRODUCT = "unsigned = false"


COMPILED = functools.cache(deploy.compiled)


@pytest.fixture(autouse=True)
def compiled_once(monkeypatch):
    monkeypatch.setattr(deploy, "compiled", COMPILED)


@pytest.fixture
def contents(fake):
    """All files of the board and their content."""
    return lambda: {path: fake.file(path).read_bytes() for path in sorted(fake.files())}


@pytest.fixture
def refused(run, fake, contents):
    """Runs deploy, which must refuse in one line and change nothing; the line."""

    def refused(*arguments: str, status: int = 1) -> str:
        before = contents()
        said = one_line(run("--port", fake.port, "deploy", *arguments), status)
        assert contents() == before
        return said

    return refused


@pytest.fixture
def deployed(run, fake):
    assert run("--port", fake.port, "deploy").status == 0
    return fake


# Our own files


def test_without_the_modules_nothing_is_removed(deployed, refused, monkeypatch, tmp_path):
    monkeypatch.setattr(device, "PACKAGE", tmp_path / "stm32_updater")
    assert "installed without stm32_updater" in refused()
    (tmp_path / "stm32_updater").mkdir()
    (tmp_path / "stm32_updater" / "flasher.py").write_text("")  # a package without __init__
    assert "installed without stm32_updater" in refused()


def test_without_the_bench_modules_or_main_nothing_is_changed(
    deployed, refused, monkeypatch, tmp_path
):
    monkeypatch.setattr(device, "BENCH", tmp_path / "stm32_bench")
    assert "installed without stm32_bench" in refused("--bench")
    monkeypatch.undo()
    monkeypatch.setattr(device, "MAIN", tmp_path / "main.py")
    assert "installed without main.py" in refused("--main")


def test_without_the_boards_the_message_says_so(deployed, refused, monkeypatch, tmp_path):
    monkeypatch.setattr(boards, "BOARDS", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert "installed without its boards" in refused(status=2)


# The host


@pytest.mark.parametrize(
    "name, version, mpy, said",
    [
        ("micropython", (1, 23, 0, ""), 0x306, "runs MicroPython 1.23.0"),
        ("micropython", (1, 9, 4), None, "runs MicroPython 1.9.4"),
        ("micropython", (1, 29, 0, ""), 0x305, ".mpy files of version 5"),
        ("micropython", (2, 0, 0, ""), 0x007, ".mpy files of version 7"),
        ("micropython", (1, 29, 0, ""), None, "loads no .mpy files"),
        ("circuitpython", (9, 2, 1), 0x306, "runs circuitpython 9.2.1"),
    ],
)
def test_another_micropython_is_refused(deployed, refused, name, version, mpy, said):
    implementation = SimpleNamespace(name=name, version=version)
    if mpy is not None:
        implementation._mpy = mpy
    deployed.implementation = implementation
    line = refused()
    assert said in line and "Install MicroPython 1.24 or newer" in line


def test_the_init_of_a_package_is_copied_last():
    """So that it shows that all of it is there."""
    for package in device.product():
        names = list(deploy.product_modules([package]))
        assert names[-1].endswith(f"{package.name}/__init__.mpy")


def test_the_version_of_mpy_files_is_that_of_the_compiler():
    assert {code[1] for code in deploy.product_modules().values()} == {host_facts.MPY}


def test_a_host_without_a_filesystem_is_refused(fake, refused):
    fake.block = fake.free = 0
    fake._os = without_filesystem(fake._os)
    assert "nothing is mounted at /" in refused()


def without_filesystem(os):
    def made():
        module = os()
        module.statvfs = lambda path: (0,) * 10
        return module

    return made


def test_a_file_where_a_folder_must_be_is_named(fake, refused):
    fake.file("/updater").write_text("notes")
    assert "/updater is a file" in refused()


@pytest.mark.parametrize(
    "path", ["/stm32_updater.py", "/stm32_updater.mpy", "/stm32_updater/x", "/stm32_rom.py"]
)
def test_a_package_that_is_found_first_is_named(deployed, refused, path):
    deployed.file(path).parent.mkdir(exist_ok=True)
    deployed.file(path).write_text("")
    found = path.removesuffix("/x")
    line = refused()
    package = found.removesuffix(".py").removesuffix(".mpy")
    assert f"{found} is imported instead of /lib{package}" in line and f":{found}" in line


def test_a_frozen_updater_is_named_and_gets_its_settings_alone_when_asked(fake, refused, run):
    assert "no updater is frozen" in refused("--frozen")
    fake.frozen = True
    line = refused()
    assert ".frozen/stm32_updater is imported instead" in line and "--frozen" in line
    fake.file(MODULE).parent.mkdir(parents=True)
    fake.file(MODULE).write_text("hidden by the frozen one")
    assert run("--port", fake.port, "deploy", "--frozen").status == 0
    assert fake.files() == {"/board.json", MODULE}


def test_a_folder_with_the_name_of_a_module_is_named(deployed, refused):
    deployed.file("/lib/stm32_updater/flasher").mkdir()
    assert "folder /lib/stm32_updater/flasher is imported instead" in refused()


# Room


def test_what_does_not_fit_is_told_before_the_first_file(fake, refused):
    fake.block, fake.free = 4096, 12288
    fake.file("/updater").mkdir()
    for name, size in (("/big.bin", 9000), ("/small", 10), ("/updater/confirmed.img", 99_999)):
        fake.file(name).write_bytes(bytes(size))
    line = refused()
    assert "12288 bytes free, and deploying needs" in line
    assert "/big.bin (9000 bytes), /small (10 bytes)" in line and "confirmed" not in line


def test_a_host_without_room_needs_none_if_nothing_changes(deployed, run):
    deployed.block, deployed.free = 4096, 0
    assert run("--port", deployed.port, "deploy").status == 0


def test_a_replaced_file_needs_room_beside_the_old_one_only(deployed, run):
    deployed.file(MODULE).write_bytes(bytes(3000))
    deployed.block = 4096
    deployed.free = 4096 * (1 + deploy.SPARE_BLOCKS)
    assert run("--port", deployed.port, "deploy").status == 0


@pytest.mark.parametrize(
    "kind, text, said",
    [
        ("OSError", "28", "filesystem is full"),
        ("OSError", "[Errno 28] ENOSPC", "filesystem is full"),
        ("OSError", "[Errno 30] EROFS", "filesystem is read-only"),
        ("OSError", "[Errno 5] EIO", "stm32up doctor"),
        ("ValueError", "incompatible .mpy file", "compiled for another MicroPython"),
        ("ValueError", "incompatible .mpy arch", "compiled for another MicroPython"),
        ("ValueError", "syntax error in JSON", "stm32up doctor"),
        ("MemoryError", "memory allocation failed, allocating 28 bytes", "too little memory"),
        ("KeyError", "28", "stm32up doctor"),
    ],
)
def test_exceptions_of_the_host_come_with_what_to_do(kind, text, said):
    raised = f"the board raised {kind}: {text}"
    error = str(DeviceError(raised, kind=kind))
    assert said in error and raised in error and error.endswith((".", "fs rm."))


# What is replaced


def test_main_py_of_the_user_is_not_replaced(deployed, refused, run):
    deployed.file("/main.py").write_text("my product")
    assert "has another /main.py" in refused("--main", status=2)
    deployed.file("/main.py").unlink()
    for _ in range(2):
        assert run("--port", deployed.port, "deploy", "--main").status == 0


def test_files_are_removed_when_all_others_are_there(deployed, run):
    twin, wanted = "/lib/stm32_updater/flasher.py", deployed.file(MODULE).read_bytes()
    deployed.file(twin).write_text("")
    deployed.file(MODULE).write_text("")
    seen = []

    def watch(code: str) -> None:
        if "os.remove(" in code:
            seen.append(deployed.file(MODULE).read_bytes() == wanted)

    deployed.before_exec = watch
    result = run("--port", deployed.port, "--json", "deploy").result
    assert result["removed"] == [twin] and seen == [True]


def test_a_file_that_reads_back_otherwise_is_not_taken_for_copied(deployed, run):
    stale = deployed.file("/lib/stm32_updater/gone.mpy")
    stale.write_text("")
    deployed.file(MODULE).write_text("")

    def rot(code: str) -> None:
        if "_hash(p)" in code and deployed.file(MODULE).stat().st_size:
            deployed.file(MODULE).write_text("rotten")

    deployed.before_exec = rot
    line = one_line(run("--port", deployed.port, "deploy"), 1)
    assert f"{MODULE} differs from what was sent" in line
    assert stale.exists()


@pytest.mark.slow
def test_a_deployment_cut_at_any_command_takes_nothing_away_and_the_next_mends_it(
    deployed, run, key_files, tmp_path, contents
):
    """From a board for development to a product: at no instant does a product trust the
    development key."""
    text = (boards.BOARDS / "pico_nucleo_g071rb" / "board.toml").read_text()
    product = tmp_path / "product" / "board.toml"
    product.parent.mkdir()
    product.write_text(text.replace("unsigned = true", PRODUCT))
    assert PRODUCT in product.read_text()
    development = keys.device_key(keys.load(key_files[0]))
    assert run("--port", deployed.port, "deploy", "--key", key_files[0]).status == 0
    modules = {path for path in deployed.files() if path.startswith("/lib/stm32_")}
    command = ("--port", deployed.port, "--board", product, "deploy", "--key", key_files[1])
    start = contents()
    for cut in range(1, 99):
        for path in deployed.files():
            deployed.file(path).unlink()
        for path, content in start.items():
            deployed.file(path).write_bytes(content)
        deployed.file(MODULE).write_text("an older version")
        count = iter(range(1, 999))

        def unplug(code: str, cut: int = cut, count=count) -> None:
            if next(count) == cut:
                raise ConnectionResetError

        deployed.before_exec = unplug
        ended = run(*command).status
        assert modules <= deployed.files()
        is_product = json.loads(deployed.file("/board.json").read_bytes())["unsigned"] is False
        there = [path for path in deployed.files() if path.startswith("/updater/keys/")]
        assert there and not (is_product and any(development.name in path for path in there))
        if ended == 0:
            break
        deployed.before_exec = lambda code: None
        assert run(*command).status == 0
        assert deployed.file(MODULE).read_bytes() == start[MODULE]
        assert not [path for path in deployed.files() if path.endswith(".part")]
    assert 10 < cut < 98
