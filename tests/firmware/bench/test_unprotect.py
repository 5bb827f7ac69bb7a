"""Readout Unprotect: whatever the loader answers, and however long it takes, the target is not
touched before it has ended."""

from __future__ import annotations

from itertools import product

import pytest

from stm32sim.chip.application import known_images
from stm32sim.chip.option_bytes import OPTR
from stm32sim.chip.quirks import FOREVER, LOADERS
from stm32sim.chip.stm32 import DISCHARGE, Running
from stm32sim.faults import KINDS, Fault, FaultyTarget
from stm32sim.wires.clock import NS_PER_S
from tests.firmware.bench.test_provision import BY_COMMAND
from tests.firmware.bench.verbs import (
    NOTE,
    PROTECTED,
    SMALL,
    WANTED_OPTR,
    Moments,
    apply,
    commands,
    option_writes,
    plan,
    procedure,
    quirks,
    run,
)
from tests.support import image, known, payload

pytestmark = pytest.mark.slow

OLD, NEW = payload(5000, 1), payload(3000, 2)
LONGEST = 130 * NS_PER_S
ACKS, ANSWERS = ("late", "early", "never"), ("busy", "stretch", "nack")
KNOWN = known_images(known(OLD, "1.0.0"), known(NEW, "1.1.0"))


@pytest.fixture
def protected(make_bench):
    """A provisioned part with an application, at level 1."""

    def make(version=4, applications=KNOWN, settings=SMALL, **how):
        bench = make_bench(
            quirks=quirks(version, **how),
            options=PROTECTED,
            settings=settings,
            applications=applications,
        )
        bench.target.flash.load(OLD)
        power_cycle(bench)
        return bench

    return make


def power_cycle(bench):
    bench.target.power(False)
    bench.clock.advance(DISCHARGE)
    bench.target.power(True)
    bench.clock.advance(NS_PER_S)


def blank(bench):
    return not any(byte != 0xFF for byte in bench.target.flash.data)


def is_open_and_blank(bench):
    assert bench.target.option_bytes.word(0) == WANTED_OPTR
    assert bench.target.options.rdp_level == 0
    assert blank(bench)
    assert not bench.exists(NOTE)


@pytest.mark.parametrize(
    ("ack", "answer", "erases_first"), list(product(ACKS, ANSWERS, (True, False)))
)
def test_every_way_of_answering_ends_well(protected, ack, answer, erases_first):
    bench = protected(unprotect_ack=ack, unprotect_answer=answer, erases_first=erases_first)
    began = bench.clock.now
    result = run(bench, "Unprotect")
    assert result["ok"] and result["status"] == "unprotected" and result["blank"], result
    is_open_and_blank(bench)
    assert bench.clock.now - began < LONGEST
    assert len(commands(bench, 0x92, 0x93)) == 1
    assert result["stages"] and all(ms >= 0 for ms, _ in result["stages"])
    seen = {what for _, what in result["stages"]}
    assert seen <= {"ack", "nack", "busy", "no answer", "line held", "0xFF"}


@pytest.mark.parametrize("version", [1, 2, 3])
def test_every_loader_version_is_served(protected, version):
    bench = protected(version)
    assert run(bench, "Unprotect")["ok"]
    is_open_and_blank(bench)


@pytest.mark.parametrize("name", LOADERS)
def test_a_loader_that_lists_a_command_less_is_served_too(make_bench, name):
    """Get's reply is a byte shorter if the checksum command is not listed."""
    bench = make_bench(quirks=LOADERS[name], options=PROTECTED, settings=SMALL, applications=KNOWN)
    bench.target.flash.load(OLD)
    power_cycle(bench)
    result = run(bench, "Unprotect")
    assert result["ok"] and result["status"] == "unprotected", result
    is_open_and_blank(bench)
    assert commands(bench, 0x92, 0x93) == [0x93]


@pytest.mark.parametrize("ack", ACKS)
@pytest.mark.parametrize("erases_first", [True, False])
def test_busy_for_40_seconds_is_waited_for(protected, ack, erases_first):
    """The case from the field."""
    bench = protected(unprotect_ack=ack, erases_first=erases_first, unprotect_delay=40 * NS_PER_S)
    result = run(bench, "Unprotect")
    assert result["ok"], result
    is_open_and_blank(bench)
    assert any(what == "busy" for _, what in result["stages"])


@pytest.mark.parametrize(
    ("ack", "answer"), [("late", "nack"), ("never", "nack"), ("early", "nack")]
)
def test_a_silence_of_40_seconds_is_waited_for(protected, ack, answer):
    bench = protected(unprotect_ack=ack, unprotect_answer=answer, unprotect_delay=40 * NS_PER_S)
    result = run(bench, "Unprotect")
    if ack == "late" and not result["ok"]:  # whether the last status is seen depends on when
        assert result["error"] == "not-done"
        switched_off_and_on(bench)
        run(bench, "Unprotect")
    else:
        assert result["ok"]
    is_open_and_blank(bench)


def test_stretching_for_40_seconds_ends_without_damage(protected):
    """The last status is missed, so the loader does not load what it programmed: a second run, or
    a power-on, does."""
    bench = protected(unprotect_answer="stretch", unprotect_delay=40 * NS_PER_S)
    first = run(bench, "Unprotect")
    assert first["ok"] or first["error"] == "not-done"
    assert not bench.target.bricked
    switched_off_and_on(bench)
    run(bench, "Unprotect")
    is_open_and_blank(bench)


def switched_off_and_on(bench):
    bench.target.power(False)
    bench.clock.advance(DISCHARGE)
    bench.target.power(True)
    bench.clock.advance(NS_PER_S)
    bench.boot()


@pytest.mark.parametrize("ack", ACKS)
@pytest.mark.parametrize("answer", ANSWERS)
def test_always_busy_ends_in_time_and_the_target_is_never_reset(protected, ack, answer):
    bench = protected(unprotect_ack=ack, unprotect_answer=answer, unprotect_delay=FOREVER)
    planned = plan(bench, "Unprotect")[-1]
    began = bench.clock.now
    result = apply(bench, "Unprotect", planned)[-1]
    assert result["error"] == "not-finished" and "supply on" in result["next_step"]
    assert bench.clock.now - began < LONGEST
    assert bench.exists(NOTE)
    boots = len(bench.target.boots)
    bench.boot()
    assert run(bench, "Unprotect")["error"] == "not-finished"
    assert len(bench.target.boots) == boots
    assert not bench.target.bricked


@pytest.mark.parametrize("delay", [150, 300])
@pytest.mark.parametrize("ack", ACKS)
def test_a_silent_target_is_reset_only_once_it_was_given_up(protected, ack, delay):
    bench = protected(unprotect_ack=ack, unprotect_answer="nack", unprotect_delay=delay * NS_PER_S)
    assert "--power-cycled" in run(bench, "Unprotect")["next_step"]
    bench.boot()
    run(bench, "Unprotect")
    assert not bench.target.bricked
    bench.clock.advance(delay * NS_PER_S)
    bench.target.power(False)
    bench.clock.advance(DISCHARGE)
    bench.target.power(True)
    bench.clock.advance(NS_PER_S)
    bench.boot()
    assert run(bench, "Unprotect", power_cycled=True)["ok"]
    is_open_and_blank(bench)


def test_without_its_note_a_busy_target_is_left_alone_all_the_same(protected):
    bench = protected(unprotect_delay=40 * NS_PER_S)
    for event in procedure(bench, "Unprotect").apply(plan(bench, "Unprotect")[-1]):
        if event["event"] == "seen":
            break
    bench.files.fs_remove(NOTE)
    bench.boot()
    result = run(bench, "Unprotect")
    assert result["error"] == "not-finished" and "supply on" in result["next_step"]
    assert "wiring" not in result["next_step"]
    bench.clock.advance(5 * NS_PER_S)
    assert not bench.target.bricked and bench.exists(NOTE)


def failing(bench, name, after):
    """From the `after`th time on, this operation on the note fails: the disk is full."""
    serve, count = bench.world.call, [0]

    def call(what, *arguments):
        if what == name and arguments[0] == NOTE and arguments[-1] != "r":
            count[0] += 1
            if count[0] > after:
                raise OSError(28)
        return serve(what, *arguments)

    bench.world.call = call
    bench.boot()


def test_a_note_that_cannot_be_rewritten_hides_no_danger(protected):
    bench = protected(unprotect_delay=FOREVER)
    failing(bench, "fs_open", 1)
    result = run(bench, "Unprotect")
    assert result["error"] == "not-finished" and "supply on" in result["next_step"]
    assert bench.exists(NOTE)


def test_a_note_that_cannot_be_removed_is_a_warning(protected):
    bench = protected()
    failing(bench, "fs_remove", 0)
    result = run(bench, "Unprotect")
    assert result["ok"] and result["status"] == "unprotected"
    assert "cannot be removed" in result["warning"]


@pytest.mark.parametrize("pin, counts", [(3, False), (None, None)])
def test_it_says_whether_boot0_counts_afterwards(make_bench, pin, counts):
    protected_factory = {OPTR: 0xFFFF_FEBB}
    settings = {**SMALL, "pins": {"boot0": pin}, **({} if pin else BY_COMMAND)}
    applications = known_images(known(OLD, enters_loader=True))
    bench = make_bench(
        provisioned=False, options=protected_factory, settings=settings, applications=applications
    )
    result = run(bench, "Unprotect", power_cycled=True)
    assert result["status"] == "unprotected" and result["boot0_counts"] is counts


def test_a_busy_target_is_told_about_at_least_every_10_seconds(protected):
    """The desktop gives up if a host is silent for 60 s."""
    bench = protected(unprotect_delay=FOREVER)
    planned = plan(bench, "Unprotect")[-1]
    instants = [bench.clock.now for _ in procedure(bench, "Unprotect").apply(planned)]
    gaps = [later - now for now, later in zip(instants, instants[1:], strict=False)]
    assert max(gaps) < 11 * NS_PER_S


def test_nothing_reaches_the_target_while_it_works(protected):
    bench = protected()
    moments = Moments(bench)
    began: list[float] = []
    bench.target.flash.tap = lambda what, point: began.append(bench.clock.now / NS_PER_S)
    run(bench, "Unprotect")
    assert len(began) == 3 * 16  # one erase, and the option bytes twice
    assert moments.longest_silence_after(began[0]) > began[-1] - began[0] + 0.4


def test_a_part_without_protection_is_left_alone(make_bench):
    bench = make_bench(applications=KNOWN)
    bench.install(image(OLD, "1.0.0"))
    bench.boot()
    result = run(bench, "Unprotect")
    assert result["ok"] and result["status"] == "not-protected"
    assert commands(bench, 0x92, 0x93) == [] and not bench.exists(NOTE)
    assert bench.target.running is Running.APPLICATION and bench.flash_holds(OLD)


def test_the_plan_changes_nothing(protected):
    bench = protected()
    planned = plan(bench, "Unprotect")[-1]
    assert planned["status"] == "planned" and planned["command"] == "0x93"
    assert commands(bench, 0x92, 0x93) == [] and not bench.exists(NOTE)
    assert bench.flash_holds(OLD) and bench.target.options.rdp_level == 1


def test_the_stretching_command_is_used_only_where_no_other_is_listed(protected):
    bench = protected()
    made = procedure(bench, "Unprotect")
    made._loader.get_commands = lambda version: bytes([0x00, 0x92])
    assert list(made.plan())[-1]["command"] == "0x92"
    made = procedure(bench, "Unprotect")
    made._loader.get_commands = lambda version: bytes([0x00])
    assert list(made.plan())[-1]["error"] == "not-allowed"


def test_the_older_command_works_as_well(protected):
    bench = protected()
    planned = {**plan(bench, "Unprotect")[-1], "command": "0x92"}
    made = procedure(bench, "Unprotect")
    made._loader.get_commands = lambda version: bytes([0x00, 0x92])
    assert list(made.apply(planned))[-1]["ok"]
    is_open_and_blank(bench)


def test_all_of_the_flash_is_looked_at(protected):
    bench = protected(settings=None)
    assert run(bench, "Unprotect")["blank"]
    read = {
        int.from_bytes(data[:4], "big")
        for address, reading, data in bench.trace.transactions
        if not reading and len(data) == 5 and data[0] == 0x08
    }
    assert {0x0800_0000 + 256 * n for n in range(512)} <= read


def test_what_is_not_blank_afterwards_is_named(protected):
    bench = protected()
    launch = bench.target.launch_options

    def launch_and_leave_something():
        launch()
        bench.target.flash.load(b"left", 0x1234)

    bench.target.launch_options = launch_and_leave_something
    result = run(bench, "Unprotect")
    assert result["error"] == "not-done" and "0x08001200 is not blank" in result["message"]
    assert not bench.exists(NOTE)  # its option bytes are sound


# --- the note ---


def test_the_updater_leaves_the_target_alone_until_it_was_looked_at(protected):
    bench = protected(unprotect_delay=FOREVER)
    run(bench, "Unprotect")
    bench.boot()
    before, boots = len(bench.trace), len(bench.target.boots)
    bench.push(image(NEW, "1.1.0"))
    result = bench.run()[-1]
    assert not result["ok"] and result["error"] == "hands-off"
    assert len(bench.trace) == before and len(bench.target.boots) == boots


def test_an_update_goes_on_where_unprotect_has_ended(protected):
    bench = protected()
    assert run(bench, "Unprotect")["ok"]
    bench.boot()
    assert bench.install(image(NEW, "1.1.0"))["status"] == "installed"
    assert bench.target.running is Running.APPLICATION


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b'{"what": "provision"}'])
def test_a_note_that_cannot_be_read_is_a_note(make_bench, content):
    bench = make_bench(provisioned=False)
    bench.files.fs_mkdir("/updater")
    bench.write_file(NOTE, content)
    began = bench.clock.now
    events = plan(bench, "Provision")
    assert events[0]["event"] == "interrupted" and events[1]["event"] == "hands-off"
    assert bench.clock.now - began > 5 * NS_PER_S
    assert all(boot.running is Running.LOADER for boot in bench.target.boots)
    assert events[-1]["status"] == "planned" and not bench.exists(NOTE)


def test_a_plan_is_not_applied_over_a_note(protected):
    bench = protected()
    planned = plan(bench, "Unprotect")[-1]
    bench.files.fs_mkdir("/updater")
    bench.write_file(NOTE, b"{}")
    assert apply(bench, "Unprotect", planned)[-1]["error"] == "not-allowed"
    assert commands(bench, 0x92, 0x93) == []


# --- the bus ---


@pytest.mark.parametrize("host", ["rp2"])  # the link of both is in tests/firmware
@pytest.mark.parametrize("kind", KINDS)
def test_any_transaction_may_fail(protected, kind):
    """At most one command, no locked chip, and the next run removes the protection."""
    bench = protected()
    counter = FaultyTarget(bench.world.bus, bench.target, Fault("none", -1))
    run(bench, "Unprotect")
    before_the_look = counter.transactions - 64 * 7
    for at in range(KINDS.index(kind) % 7, before_the_look, 7):
        bench = protected()
        faulty = FaultyTarget(bench.world.bus, bench.target, Fault(kind, at))
        first = run(bench, "Unprotect")
        case = f"{kind} at transaction {at}: {first}"
        assert not bench.target.bricked, case
        assert len(commands(bench, 0x92, 0x93)) <= 1, case
        faulty.repair()
        bench.boot()
        second = run(bench, "Unprotect")
        if first.get("error") == second.get("error") == "not-finished":
            # The command itself was lost: that looks like a busy chip, which is not touched.
            power_cycle(bench)
            second = run(bench, "Unprotect", power_cycled=True)
        assert second["ok"], f"{case}, then {second}"
        is_open_and_blank(bench)
        assert option_writes(bench) == []


# Faults of the chip or the wires in the middle of a read, which no host can handle.
CUTS = (
    *("loader resets itself", "supply fails in an answer"),
    *("data held low", "clock held low"),
)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in CUTS])
def test_any_look_at_a_slow_chip_may_fail(protected, kind):
    for nth in range(2, 8):
        bench = protected(unprotect_delay=40 * NS_PER_S)
        planned = plan(bench, "Unprotect")[-1]
        for event in procedure(bench, "Unprotect").apply(planned):
            if event["event"] == "sending":
                FaultyTarget(bench.world.bus, bench.target, Fault(kind, nth))
        assert not bench.target.bricked, f"{kind} at status read {nth}: {event}"


def test_a_slow_chip_is_looked_at_seldom(protected):
    bench = protected(unprotect_delay=40 * NS_PER_S)
    planned = plan(bench, "Unprotect")[-1]
    begun = len(bench.trace)
    apply(bench, "Unprotect", planned)
    busy = [data for _, reading, data in bench.trace.transactions[begun:] if data == b"\x76"]
    assert len(busy) <= 5
