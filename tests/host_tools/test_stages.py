"""A Ctrl-C says what it leaves: what the tool knows from the events so far."""

from __future__ import annotations

import pytest

from stm32up.events import progress
from stm32up.host import calls
from stm32up.say import stages

PUSHED = {"event": "pushed", "status": "pushed", "file": "a.img", "image": "/updater/inbox/a.img",
          "version": "1.4.2", "sha256": "00", "sent": 1}  # fmt: skip
IMAGE = {"image": "a.img", "version": "1.4.2", "bytes": 8}
CHECKED = {"event": "checked", **IMAGE, "hash_ms": 1, "signature_ms": 0, "key": None}
INSTALLING = {"event": "installing", **IMAGE}
RESUMING = {"event": "resuming", **IMAGE}
WRITTEN = {"event": "written", "bytes": 8, "verified": 8, "erased_pages": 1, "repeats": 0}
STARTING = {"event": "starting", "try": 1}
BACK = {"event": "rolling-back", **IMAGE, "reason": "it is silent"}


@pytest.fixture
def interrupt(run, fake, image, monkeypatch):
    """What `update` says if Ctrl-C comes after these events."""

    def interrupt(*events: object, options: tuple[str, ...] = ()):
        def update(connection, image, report, force=False):
            for event in events:
                report(event)
            raise KeyboardInterrupt

        monkeypatch.setattr(calls, "update", update)
        ran = run("--port", fake.port, *options, "update", image)
        assert ran.status == 130
        assert ran.err.endswith(
            "error: interrupted. Run it again: it continues where it stopped.\n"
        )
        return ran.out

    return interrupt


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ([progress("push", 1, 8)], "the next push goes on where it stopped"),
        ([PUSHED], "in the host's inbox, and not installed yet"),
        ([PUSHED, CHECKED], "in the host's inbox, and not installed yet"),
        ([PUSHED, INSTALLING], "half written"),
        ([RESUMING], "half written"),
        ([PUSHED, INSTALLING, progress("compare", 1, 8)], "half written"),
        ([PUSHED, INSTALLING, progress("write", 1, 8)], "the host has recorded that it installs"),
        ([PUSHED, INSTALLING, progress("verify", 1, 8)], "half written"),
        ([PUSHED, INSTALLING, WRITTEN], "has not proved itself yet"),
        ([PUSHED, INSTALLING, WRITTEN, STARTING], "has not proved itself yet"),
        ([INSTALLING, WRITTEN, STARTING, BACK], "the last good image is being put back"),
        ([INSTALLING, WRITTEN, BACK, WRITTEN, STARTING], "the last good image is being put back"),
        ([progress("deploy", 1, 8)], "run stm32up deploy again"),
        (
            [
                progress("deploy", 8, 8),
                {"event": "deployed", "needs": "x"},
                progress("push", 1, 8),
            ],
            "on where it stopped",
        ),
        ([progress("erase", 1, 8)], "a part of the flash is erased"),
        (
            [progress("erase", 8, 8), progress("blank check", 1, 8)],
            "a part of the flash is erased",
        ),
        ([progress("read", 1, 8)], "nothing was changed"),
        ([{"event": "sending", "what": "x"}], "leave its supply on"),
        ([{"event": "hands-off", "ms": 500}], "leave its supply on"),
    ],
    ids=str,
)
def test_the_stage_is_told(interrupt, events, said):
    assert said in " ".join(interrupt(*events).split())


def test_before_anything_was_done_nothing_is_told(interrupt):
    assert '"event": "stopped"' not in interrupt(options=("--json",))


def test_programs_get_the_stage_as_a_word(interrupt):
    out = interrupt(PUSHED, INSTALLING, options=("--json",))
    assert '{"event": "stopped", "stage": "installing", "text": "the target may be half' in out


def test_every_stage_has_its_words():
    named = {*stages._PHASES.values(), *stages._EVENTS.values()} - {stages.NOTHING}
    assert named == {*stages.LEFT}
