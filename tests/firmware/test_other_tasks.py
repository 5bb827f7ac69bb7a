"""How long another asyncio task waits while an update goes on, on the calibrated rp2, and what it
may do meanwhile."""

from __future__ import annotations

import contextlib
import json
from types import ModuleType
from typing import Any

import pytest

from stm32sim.chip.application import known_images
from stm32sim.chip.stm32 import Running
from stm32sim.host.host_flash import BLOCK_ERASE
from stm32sim.host.seam import HostPowerLost
from stm32sim.in_process import Bench
from stm32sim.wires.clock import NS_PER_MS
from tests.support import image, in_micropython, known, payload, signing_key, trust

KB = 1024
OLD, NEW, NEWER = payload(20 * KB, 1), payload(40 * KB, 2), payload(30 * KB, 3)
APPLICATIONS = known_images(known(OLD, "1.0.0"), known(NEW, "1.1.0"), known(NEWER, "1.2.0"))
# An erase of the host's own flash, during which its CPU stands still, and the files around it.
ONE_ERASE = BLOCK_ERASE + 25 * NS_PER_MS
# A record and its line in the log are one step. A line that begins another block, and a record or
# a rename that fills a folder's block, erase one more.
TWO_ERASES = 2 * BLOCK_ERASE + 60 * NS_PER_MS
SELDOM = 3
MOST_STEPS = 300  # of a run of a small image
PUSHED = "/updater/inbox/app.img"

EACH_STEP = """
import machine
mark = machine.ADC(26).read_u16
from stm32_updater import Updater
updater = Updater.from_board("/board.json")
result = []
events = updater.events()._generator
mark()
for event in events:
    mark()
    result.append(event and event["event"])
"""


def steps(bench: Bench) -> list[tuple[int, str | None]]:
    """The steps of a run in real MicroPython: how long each took, and the event that it led to."""
    marks: list[int] = []
    serve = bench.world.call

    def watch(name: str, *arguments: Any) -> Any:
        if name == "adc_read":
            marks.append(bench.clock.now)
        return serve(name, *arguments)

    bench.world.call = watch  # type: ignore[method-assign]
    told = in_micropython(bench, EACH_STEP)
    took = [after - before for before, after in zip(marks, marks[1:], strict=False)]
    return list(zip(took, told, strict=True))


def too_long(found: list[tuple[int, str | None]]) -> list[tuple[int, str | None]]:
    """The steps that take longer than two erases, and those longer than one beyond SELDOM."""
    longer = sorted((step for step in found if step[0] >= ONE_ERASE), key=lambda step: step[0])
    return [step for step in longer[SELDOM:] if step[0] < TWO_ERASES] + [
        step for step in longer if step[0] >= TWO_ERASES
    ]


@pytest.fixture
def bench() -> Bench:
    """OLD is installed, NEW is pushed."""
    made = Bench(applications=APPLICATIONS)
    assert made.install(image(OLD, "1.0.0"))["ok"]
    made.boot()
    made.push(image(NEW, "1.1.0"))
    return made


@pytest.mark.slow
@pytest.mark.parametrize("verify", ["checksum", "read"])
def test_another_task_waits_no_longer_than_an_erase_of_the_hosts_flash(bench, verify):
    bench.settings["verify"] = verify
    bench.write_file("/board.json", json.dumps(bench.settings).encode())
    found = steps(bench)
    assert found[-1][1] == "result" and bench.flash_holds(NEW)
    assert not too_long(found)


@pytest.mark.slow
def test_only_the_check_of_a_signature_takes_longer(bench):
    bench.settings["unsigned"] = False
    bench.write_file("/board.json", json.dumps(bench.settings).encode())
    key = signing_key()
    trust(bench, key)
    bench.push(image(NEW, "1.1.0", key=key))
    found = steps(bench)
    assert found[-1][1] == "result" and bench.flash_holds(NEW)
    longer = too_long(found)
    assert len(longer) == 1 and longer[0][1] is None
    assert found.index(longer[0]) < [what for _, what in found].index("checked")


def step_by_step(bench: Bench) -> Any:
    return bench.updater().events()._generator


def checking(bench: Bench) -> Any:
    """A run that hashes the pushed image just now, and the run's other steps."""
    run = step_by_step(bench)
    for _ in run:
        if bench.exists("/updater/candidate.img"):
            return run
    raise AssertionError("the image was not checked")


def test_an_image_that_is_pushed_while_another_is_checked_is_installed_by_the_next_run(bench):
    run = checking(bench)
    assert not bench.exists(PUSHED)
    bench.push(image(NEWER, "1.2.0"))  # under the same name
    events = [event for event in run if event]
    assert events[-1]["status"] == "installed" and bench.flash_holds(NEW)
    assert bench.read_file(PUSHED) == image(NEWER, "1.2.0")
    assert bench.run()[-1]["version"] == "1.2.0" and bench.flash_holds(NEWER)


def test_what_replaced_a_superseded_image_stays(bench):
    bench.push(image(OLD, "1.0.5"), "older")
    run = checking(bench)
    bench.push(image(NEWER, "1.2.0"), "older")
    events = [event for event in run if event]
    assert events[-1]["version"] == "1.1.0"
    assert "superseded" not in [event["event"] for event in events]
    assert bench.run()[-1]["version"] == "1.2.0"


def test_a_good_image_that_is_pushed_while_a_bad_one_is_refused_stays(bench):
    """Under the same name, at each step of the run that refuses."""
    for stop in range(100):
        bench.push(b"no image")
        run = step_by_step(bench)
        for number, _ in enumerate(run):
            if number == stop:
                bench.push(image(NEWER, "1.2.0"))
                break
        else:
            break
        list(run)
        assert bench.run()[-1]["ok"] and bench.flash_holds(NEWER), stop
        bench.forget("candidate.img")
        bench.push(image(OLD, "1.3.0"))
        bench.run()
    assert 10 < stop < 99


def test_a_refused_image_is_named_as_it_was_pushed_and_is_removed(bench):
    damaged = bytearray(image(NEW, "1.1.0"))
    damaged[3000] ^= 1
    bench.push(bytes(damaged))
    events = bench.run()
    assert events[0]["event"] == "refused" and events[0]["image"] == PUSHED
    assert PUSHED in events[0]["message"] and "candidate" not in str(events)
    assert not bench.exists("/updater/candidate.img") and not bench.exists(PUSHED)
    assert bench.flash_holds(OLD)


def test_the_image_under_way_is_not_replaced_by_one_that_was_not_checked(bench):
    for event in bench.updater().events():
        if event["event"] == "progress" and event["phase"] == "write":
            break
    bench.boot()
    damaged = bytearray(image(NEWER, "1.2.0"))
    damaged[3000] ^= 1
    bench.push(bytes(damaged), "damaged")
    for event in bench.updater().events():
        assert bench.read_file("/updater/candidate.img") == image(NEW, "1.1.0")
        if event["event"] == "resuming":
            break
    bench.boot()
    assert bench.run()[-1]["status"] == "installed" and bench.flash_holds(NEW)


def test_a_run_that_another_one_overtakes_while_it_checks_ends(bench):
    run = checking(bench)
    assert bench.run()[-1]["status"] == "installed"
    frames = len(bench.trace)
    assert [event["error"] for event in run if event] == ["another-run"]
    assert len(bench.trace) == frames


def last_lines(bench: Bench) -> list[str]:
    lines = map(json.loads, bench.read_file("/updater/log.0").splitlines())
    told = [(line["n"], line["event"]) for line in lines]
    assert [n for n, _ in told] == list(range(len(told)))
    return [event for _, event in told]


def test_what_is_committed_is_in_the_log_whichever_step_another_run_starts_at(make_bench):
    for stop in range(MOST_STEPS):
        bench = make_bench(applications=APPLICATIONS)
        bench.push(image(OLD, "1.0.5"), "older")
        bench.push(image(NEW, "1.1.0"))
        run = step_by_step(bench)
        if len([None for _, _ in zip(range(stop), run, strict=False)]) < stop:
            break
        other = bench.run()
        list(run)
        events = last_lines(bench)
        assert events.count("superseded") == 1, stop
        assert events.count("installing") == 1 and "result" in events, stop
        assert bench.flash_holds(NEW) and other[-1]["ok"]
    assert 30 < stop < MOST_STEPS - 1


def test_the_application_starts_again_if_all_runs_are_closed_while_the_last_loads_its_code(bench):
    first = bench.updater().events()
    for event in first:
        if event["event"] == "loader":
            break
    assert bench.target.running is not Running.APPLICATION
    second, third = bench.updater().events(), bench.updater().events()
    next(second._generator)
    next(third._generator)
    for run in (third, second, first):
        run.close()
    bench.clock.advance(100 * NS_PER_MS)
    assert bench.target.running is Running.APPLICATION and bench.flash_holds(OLD)


def test_a_run_that_is_overtaken_while_it_loads_its_code_makes_no_flow_and_logs_nothing(bench):
    run = step_by_step(bench)
    next(run)
    assert bench.run()[-1]["status"] == "installed"
    bench.device.imports("stm32_updater.flow").Flow = None
    before = last_lines(bench)
    assert [event["error"] for event in run if event] == ["another-run"]
    assert last_lines(bench) == before


@pytest.mark.parametrize("answers", [True, False])
@pytest.mark.parametrize("end", ["closed", "overtaken", "an error"])
def test_a_run_that_ends_early_does_not_count_as_a_start_that_took_the_host_down(
    make_bench, answers, end
):
    apps = known_images(known(OLD, "1.0.0"), known(NEW, "1.1.0", answers=answers))
    for stop in range(7):
        bench = make_bench(applications=apps)
        assert bench.install(image(OLD, "1.0.0"))["ok"]
        bench.push(image(NEW, "1.1.0"))
        run = step_by_step(bench)
        since = 0
        for event in run:
            since += bool(since) or bool(event) and event["event"] == "starting"
            if since > stop:
                break
        else:
            break
        if end == "overtaken":
            next(step_by_step(bench))
            run = step_by_step(bench)
            for event in run:
                if event and event["event"] == "starting":
                    break
            assert starts(bench) <= 1, stop
        elif end == "an error":
            bench.device.imports("stm32_updater.image").Image.checking_digest = None
            with contextlib.suppress(TypeError):
                list(run)
            assert starts(bench) == 0, stop
        else:
            run.close()
            assert starts(bench) == 0, stop
    assert stop > 2


def starts(bench: Bench) -> int:
    store = bench.device.imports("stm32_updater.store").Store("/updater")
    record = store.load()
    return int(record.tries) if record.phase in ("confirming", "rolling back") else 0


def test_a_run_that_a_bench_operation_refuses_does_not_reset_the_target(bench):
    run = step_by_step(bench)
    for event in run:
        if event and event["event"] == "loader":
            break
    bench.write_file("/updater/hands-off", b'{"what": "unprotect", "stage": "sending"}')
    frames, running = len(bench.trace), bench.target.running
    assert bench.run()[-1]["error"] == "hands-off"
    run.close()
    assert (len(bench.trace), bench.target.running) == (frames, running)


def test_the_newest_image_stays_if_it_cannot_be_read_just_now(bench):
    bench.push(image(NEWER, "1.0.5"), "older")
    real = bench.world.file_calls["fs_read"]
    left = [1]

    def fails(handle: int, count: int) -> Any:
        if bench.exists("/updater/candidate.img") and left[0]:
            left[0] -= 1
            raise OSError(5)
        return real(handle, count)

    bench.world.file_calls["fs_read"] = fails
    events = bench.run()
    assert not left[0] and events[0]["error"] == "store"
    assert bench.read_file(PUSHED) == image(NEW, "1.1.0")
    bench.boot()
    assert bench.run()[-1]["version"] == "1.1.0" and bench.flash_holds(NEW)


def test_a_run_that_overtakes_another_answers_a_desktop_alone(bench):
    """And the last one leaves the watchdog's `feed` as it was."""
    answers = ModuleType("stm32_updater.answers")  # the real one needs a serial port
    bench.device.modules[answers.__name__] = answers
    made: list[Any] = []

    class Answers:
        def __init__(self, clock: Any) -> None:
            self._clock, self._feed = clock, clock.feed
            clock.feed = lambda: None
            self.is_closed = False
            made.append(self)

        def tell(self, event: Any) -> None:
            assert not self.is_closed

        def close(self) -> None:
            self._clock.feed = self._feed
            self.is_closed = True

    answers.Answers = Answers  # type: ignore[attr-defined]
    updater = bench.updater(answers=True)
    feed = updater._clock.feed
    first = updater.events()._generator
    for event in first:
        if event:
            break
    second = updater.events()
    for event in second:
        if event["event"] == "loader":
            break
    assert [event["error"] for event in first if event] == ["another-run"]
    assert [one.is_closed for one in made] == [True, False]
    list(second)
    assert made[1].is_closed and updater._clock.feed is feed


@pytest.mark.parametrize("host", ["rp2", "esp32", "fat"])
def test_an_older_image_stays_superseded_if_power_fails_while_the_newest_is_moved(host):
    """littlefs hides other files of the inbox until it has finished an interrupted move."""
    kind: dict[str, Any] = {"fat": True} if host == "fat" else {"host": host}
    for cut in range(1, 12):
        bench = Bench(applications=APPLICATIONS, **kind)
        assert bench.install(image(OLD, "1.0.0", counter=1))["ok"]
        bench.push(image(NEWER, "1.0.5", counter=1), "older")
        bench.push(image(NEW, "1.1.0", counter=1))
        bench.boot()
        cut_at_operation(bench, cut)
        for _ in range(3):
            bench.boot()
            assert bench.run()[-1]["ok"]
        assert bench.flash_holds(NEW), cut


def cut_at_operation(bench: Bench, number: int) -> None:
    """Run until the host loses its power at this operation of its flash."""
    left = [number]

    def tap(what: str, block: int) -> None:
        left[0] -= 1
        if not left[0]:
            raise HostPowerLost

    bench.host_flash.tap = tap
    with pytest.raises(HostPowerLost):
        bench.run()
    bench.host_flash.tap = None
