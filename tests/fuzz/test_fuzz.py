"""Every file leads to a result or an error of our own, whatever its content; and the fuzzing finds
seeded bugs."""

from __future__ import annotations

import hashlib
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from stm32sim.chip.application import KnownImage, known_images
from stm32sim.in_process import Bench
from tests.fuzz import device_readers, material, mutation, seeded_bugs, targets
from tests.fuzz.__main__ import MEMORY_BOUND, PROJECT, Checked, main

LIMITS = settings(
    max_examples=200,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)


class Replayable:
    """A target whose errors contain the command that replays them."""

    def __init__(self, name: str, folder: Path) -> None:
        self._name = name
        self._target = targets.ALL[name]()
        self._input = folder / name
        self.seeds = self._target.seeds()

    def __call__(self, data: bytes) -> None:
        try:
            self._target(data)
        except Exception as error:
            self._input.write_bytes(data)
            error.add_note(f"python -m tests.fuzz {self._name} {self._input}")
            raise


@pytest.fixture(scope="module", params=targets.ALL)
def target(request, tmp_path_factory):
    return Replayable(request.param, tmp_path_factory.mktemp("inputs"))


@LIMITS
@given(st.data())
def test_any_change_of_a_real_file_is_borne(target, data):
    seed = data.draw(st.sampled_from(target.seeds))
    target(mutation.mutated(seed, data.draw(st.randoms(use_true_random=False))))


@LIMITS
@given(content=st.binary(max_size=600))
def test_any_bytes_are_borne(target, content):
    target(content)


def test_real_files_are_accepted():
    """Otherwise all mutations would be of files that are refused at the first byte."""
    image = device_readers.DeviceImage()
    assert isinstance(image.outcome(image.seeds()[1]), tuple)
    for name in ("board-json", "board-toml", "desktop-key", "desktop-image", "desktop-input"):
        target = targets.ALL[name]()
        outcomes = [target.outcome(seed) for seed in target.seeds()]
        assert not all(isinstance(outcome, Exception) for outcome in outcomes), name
    state = device_readers.State()
    assert state.read(state.seeds()[0]) is not None


def test_real_files_are_the_same_in_every_process():
    """Otherwise a finding could not be replayed, and tests would use other files each time."""
    code = (
        "import hashlib\nfrom tests.fuzz import targets\nfor target in targets.ALL.values():\n"
        " print(hashlib.sha256(repr(target().seeds()).encode()).hexdigest())"
    )
    here = [hashlib.sha256(repr(t().seeds()).encode()).hexdigest() for t in targets.ALL.values()]
    there = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True)
    assert there.stdout.decode().split() == here


@pytest.mark.parametrize("name", targets.ALL)
def test_memory_is_bounded(name, tmp_path):
    checked = Checked(name, 200, tmp_path)
    checked.random_runs()
    assert 0 < checked.outcome.peak < MEMORY_BOUND


@pytest.fixture(scope="module")
def product():
    """A product with an application; its trace has the traffic from now on."""
    image = device_readers.DeviceImage()
    content = image.seeds()[1]
    start = struct.unpack_from("<H", content, 8)[0]
    known = KnownImage(content[start : start + 256], bytes.fromhex("01 04 0200 07000000"))
    settings = {"unsigned": False, "class_id": image.class_id.hex()}
    bench = Bench(applications=known_images(known), settings=settings)
    bench.updater()  # makes its folders
    bench.files.fs_mkdir("/updater/keys")
    for name, key in image.key.items():
        bench.write_file("/updater" + name, key)
    assert bench.install(content)["status"] == "installed"
    return bench


@LIMITS
@given(choose=st.randoms(use_true_random=False))
def test_no_change_of_a_signed_image_reaches_the_target(product, choose):
    signed = material.real_images()[1]
    changed = mutation.mutated(signed, choose)
    assume(changed != signed)
    passed, boots = len(product.trace), len(product.target.boots)
    result = product.install(changed)
    assert not result["ok"] and result["error"].startswith("image")
    assert (len(product.trace), len(product.target.boots)) == (passed, boots)


@pytest.mark.parametrize("bug", seeded_bugs.BUGS, ids=lambda bug: f"{bug.target}: {bug.name}")
def test_a_seeded_bug_changes_the_code_as_it_is(bug):
    assert (PROJECT / bug.file).read_text().count(bug.old) == 1


QUICK = [bug for bug in seeded_bugs.BUGS if bug.quick]


@pytest.mark.parametrize("bug", QUICK, ids=lambda bug: f"{bug.target}: {bug.name}")
def test_a_seeded_bug_is_found(bug, tmp_path):
    """The others take more inputs: python -m tests.fuzz.seeded_bugs."""
    _, kinds = seeded_bugs.new_kinds(bug, seeded_bugs.QUICK, tmp_path, guided=False)
    assert kinds


def test_an_input_that_fails_here_is_replayed_by_the_command_that_is_told(
    tmp_path, capsys, monkeypatch
):
    def broken(data: bytes) -> None:
        raise KeyError("x")

    broken.seeds = list  # type: ignore[attr-defined]
    monkeypatch.setitem(targets.ALL, "broken", lambda: broken)
    with pytest.raises(KeyError) as caught:
        Replayable("broken", tmp_path)(b"boom")
    (note,) = caught.value.__notes__
    assert main(note.removeprefix("python -m tests.fuzz ").split()) == 1
    assert "KeyError" in capsys.readouterr().out


def test_a_finding_is_saved_and_one_command_replays_it(tmp_path, capsys, monkeypatch):
    def broken(data: bytes) -> None:
        if data.startswith(b"boom"):
            raise KeyError("x")

    monkeypatch.setitem(targets.ALL, "broken", lambda: broken)
    checked = Checked("broken", 1, tmp_path)
    checked(b"boom!")
    (saved,) = checked.outcome.saved
    assert main(["broken", saved]) == 1
    assert "KeyError" in capsys.readouterr().out
    (tmp_path / "harmless").write_bytes(b"no")
    assert main(["broken", str(tmp_path / "harmless")]) == 0
