"""`push` and `update` build an image of a compiler's output, and `--version auto` asks git."""

from __future__ import annotations

import dataclasses
import subprocess

import pytest

from stm32up.board import boards
from stm32up.errors import UsageError
from stm32up.host.deploy import board_json
from stm32up.image import git_version, images, keys
from tests.host_tools.test_cli import one_line


@pytest.fixture
def app(tmp_path, payload, monkeypatch):
    """app.bin in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "app.bin").write_bytes(payload)
    return tmp_path / "app.bin"


@pytest.fixture
def git(tmp_path, monkeypatch):
    """git in a new repository in the folder of `app`, with one commit."""
    for name, value in (("AUTHOR", "a"), ("COMMITTER", "c")):
        monkeypatch.setenv(f"GIT_{name}_NAME", value)
        monkeypatch.setenv(f"GIT_{name}_EMAIL", f"{value}@example.com")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", "/dev/null")

    class Git:
        def __call__(self, *words: str) -> None:
            command = ["git", "-C", str(tmp_path), *words]
            subprocess.run(command, check=True, capture_output=True)

        def commits(self, number: int) -> None:
            for _ in range(number):
                self("commit", "--allow-empty", "-m", "a change")

    git = Git()
    git("init")
    (tmp_path / "main.c").write_text("int main;")
    (tmp_path / ".gitignore").write_text("*.bin\n")
    git("add", "main.c", ".gitignore")
    git.commits(1)
    return git


def built(ran):
    (event,) = [event for event in ran.events if event["event"] == "built"]
    return event


@pytest.mark.parametrize("verb", ["push", "update"])
def test_a_binary_becomes_an_image_for_the_board_and_its_key(run, fake, app, key_files, verb):
    ran = run("--port", fake.port, "--json", verb, "app.bin", "--version", "1.4.2", "--key",
              key_files[0])  # fmt: skip
    assert ran.status == 0, ran.err
    assert built(ran)["version"] == "1.4.2" and built(ran)["file"] == "app.bin"
    pushed = fake.file("/updater/inbox/app.img")
    shown = images.verify(pushed, keys.load(key_files[0]))
    assert shown["signature"] == "valid"
    assert shown["class_id"] == images.class_id("nucleo-demo").hex
    assert [path.name for path in app.parent.glob("*.img")] == []


@pytest.mark.parametrize("verb", ["push", "update"])
def test_it_may_count_as_newer_than_its_version(run, fake, app, verb):
    options = ("--version", "1.4.2", "--security-counter", "17000000")
    assert run("--port", fake.port, verb, "app.bin", *options).status == 0
    assert images.show(fake.file("/updater/inbox/app.img"))["security_counter"] == 17000000


def test_without_a_key_it_is_not_signed(run, fake, app):
    ran = run("--port", fake.port, "update", "app.bin", "--version", "1.4.2")
    assert "built an image of app.bin: version 1.4.2, not signed\n" in ran.out


def test_an_error_names_the_file_that_was_given_and_the_missing_key(run, fake, app):
    product = dataclasses.replace(boards.load("pico_nucleo_g071rb"), unsigned=False)
    fake.file("/board.json").write_bytes(board_json(product))
    ran = run("--port", fake.port, "update", "app.bin", "--version", "1.4.2")
    assert ran.status == 1
    assert "the image of app.bin has no RSA signature. Give the key" in ran.err


def test_it_is_the_image_of_the_named_board(run, fake, app, tmp_path):
    toml = (boards.BOARDS / "pico_nucleo_g071rb" / "board.toml").read_text()
    (tmp_path / "kettle.toml").write_text(toml.replace('"nucleo-demo"', '"kettle"'))
    ran = run("--port", fake.port, "--board", "kettle.toml", "--json", "push", "app.bin",
              "--version", "1.0.0")  # fmt: skip
    assert built(ran)["class_id"] == images.class_id("kettle").hex


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (
            ["app.bin"],
            1,
            "Build one on the way (--version 1.0.0), or make one: stm32up image",
        ),
        (["app.img", "--version", "1.4.2"], 2, "is an image already, and --version is for a file"),
        (["app.img", "--key", "k.pem"], 2, "is an image already, and --key is for a file"),
        (["app.img", "--security-counter", "0"], 2, "and --security-counter is for a file"),
        (["app.bin", "--version", "1.4.2-rc1"], 2, "images have numbers only"),
        (["app.bin", "--version", "1.4.2", "--key", "no.pem"], 2, "cannot read the key no.pem"),
        (["none.hex", "--version", "1.4.2"], 2, "cannot read none.hex: No such file"),
        (["none.hex", "--version", "auto"], 2, "cannot read none.hex: No such file"),
        (["bad.hex", "--version", "1.4.2"], 1, "bad.hex:1: not a record of Intel hex"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
@pytest.mark.parametrize("verb", ["push", "update"])
def test_what_is_wrong_is_said_before_a_board_is_looked_for(
    run, app, image, verb, arguments, status, message
):
    (app.parent / "bad.hex").write_text("hello\n")
    assert message in one_line(run("--port", "/dev/none", verb, *arguments), status)


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("v1.4.2-0-g0123abc", "1.4.2"),
        ("1.4.2-0-g0123abc", "1.4.2"),
        ("v1.4.2-7-g0123abc", "1.4.2+7"),
        ("v1.4-7-g0123abc", "1.4.0+7"),
        ("v1.4.2+3-0-g0123abc", "1.4.2+3"),
    ],
)
def test_commits_after_a_tag_are_the_build_number(app, said, version):
    from stm32up.image import versions

    told = git_version.of_description(said, app)
    assert versions.parse(told) == versions.parse(version)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("v1.4.2-0-g0123abc-dirty", "has changes that are not committed"),
        ("v1.4.2-7-g0123abc-dirty", "has changes that are not committed"),
        ("v1.4.2+3-7-g0123abc", "has a build number already, and 7 commits follow"),
        ("v1.4.2-rc1-0-g0123abc", "without a pre-release"),
        ("v300.0.0-0-g0123abc", "300 is more than 255"),
        ("2026-11-26-0-g0123abc", "'2026-11-26' is not a version"),
        ("v1.4.2", "git describe says 'v1.4.2'"),
    ],
)
def test_what_is_no_version_is_an_error(app, said, message):
    with pytest.raises(UsageError, match=message.replace("+", r"\+")):
        git_version.of_description(said, app)


def test_auto_takes_the_version_from_git(run, fake, app, git):
    git("tag", "v1.4.2")
    git("tag", "nightly")
    command = ("--port", fake.port, "--json", "push", "app.bin", "--version", "auto")
    assert built(run(*command))["version"] == "1.4.2"
    git.commits(3)
    assert built(run(*command))["version"] == "1.4.2+3"
    target = app.parent / "x.img"
    ran = run("--json", "image", "build", app, "--version", "auto", "-o", target)
    assert ran.result["version"] == "1.4.2+3"


def test_auto_needs_a_tag_and_a_clean_tree(run, app, git):
    update = ("--port", "/dev/none", "update", "app.bin", "--version", "auto")
    assert "has no tag of a version" in one_line(run(*update), 2)
    git("tag", "nightly")
    assert "has no tag of a version" in one_line(run(*update), 2)
    git("tag", "v1.4.2")
    (app.parent / "main.c").write_text("int other;")
    assert "has changes that are not committed" in one_line(run(*update), 2)


def test_auto_needs_a_repository_and_git(run, app, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(app.parent.parent))
    update = ("--port", "/dev/none", "update", "app.bin", "--version", "auto")
    assert "app.bin lies in no git repository. Give the version" in one_line(run(*update), 2)
    monkeypatch.setenv("PATH", "")
    assert "git cannot be run" in one_line(run(*update), 2)
