"""From factory option bytes to provisioned ones: one write, shown and confirmed before."""

from __future__ import annotations

import pytest

from stm32sim.chip.application import known_images
from stm32sim.chip.option_bytes import OPTR, SECR
from stm32sim.chip.quirks import FOREVER
from stm32sim.chip.stm32 import DISCHARGE, Running
from stm32sim.faults import KINDS, Fault, FaultyTarget
from stm32sim.in_process import Bench
from stm32sim.wires.clock import NS_PER_S
from tests.firmware.bench.verbs import (
    FACTORY_OPTR,
    NOTE,
    OPTION_ACKS,
    PROTECTED,
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

APPLICATION = payload(3000)
DANGEROUS = (0x63, 0x64, 0x73, 0x74, 0x82, 0x83, 0x92, 0x93)
BY_COMMAND = {
    "pins": {"boot0": None},
    "enter": {"method": "command", "address": 0x2A, "command": "10424f4f54"},
}


@pytest.fixture
def factory(make_bench):
    """A blank part from ST, switched on: it ignores BOOT0."""

    def make(version: int = 4, ack: str = "before", **arguments) -> Bench:
        arguments = {"provisioned": False, **arguments}
        return make_bench(quirks=quirks(version, option_ack=ack), **arguments)

    return make


def test_a_word_written_is_the_word_planned(factory):
    bench = factory()
    planned = plan(bench, "Provision")[-1]
    assert (planned["before"], planned["after"]) == ("0xFFFFFEAA", "0xFEFFFEAA")
    changed = [field for field in planned["fields"] if field["before"] != field["after"]]
    assert changed == [{"name": "nBOOT_SEL", "low": 24, "width": 1, "before": 1, "after": 0}]
    assert option_writes(bench) == []
    result = apply(bench, "Provision", planned)[-1]
    assert result["ok"] and result["status"] == "provisioned"
    assert option_writes(bench) == [bytes.fromhex("03aafefffe56")]


@pytest.mark.parametrize("ack", OPTION_ACKS)
@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_every_loader_is_provisioned_by_exactly_one_write(factory, version, ack):
    bench = factory(version, ack)
    # V11.3 would leave its loader by the first status read
    assert run(bench, "Provision", power_cycled=version == 3)["status"] == "provisioned"
    assert bench.target.options.optr == WANTED_OPTR
    assert len(option_writes(bench)) == 1
    assert commands(bench, *DANGEROUS) == []
    assert not bench.exists(NOTE)
    assert run(bench, "Provision")["status"] == "nothing-to-do"
    assert len(option_writes(bench)) == 1


@pytest.mark.parametrize("version", [1, 3, 4])
def test_what_was_provisioned_can_be_updated(factory, version):
    bench = factory(version, applications=known_images(known(APPLICATION)))
    run(bench, "Provision", power_cycled=version == 3)
    bench.boot()
    assert bench.install(image(APPLICATION))["status"] == "installed"


def test_a_provisioned_part_is_only_read(make_bench):
    bench = make_bench()
    result = run(bench, "Provision")
    assert result["ok"] and result["status"] == "nothing-to-do"
    assert option_writes(bench) == []
    assert commands(bench, 0x31, 0x32, 0x44, 0x45, *DANGEROUS) == []


def test_a_plan_for_nothing_writes_nothing_even_when_applied(make_bench):
    bench = make_bench()
    assert apply(bench, "Provision", plan(bench, "Provision")[-1])[-1]["ok"]
    assert option_writes(bench) == []


@pytest.mark.parametrize(
    ("bor", "after"),
    [(None, 0xFEFF_FEAA), (0, 0xFEFF_FEAA), (1, 0xFEFF_E1AA), (2, 0xFEFF_EBAA), (4, 0xFEFF_FFAA)],
)
def test_brown_out_levels_are_set_on_demand(factory, bor, after):
    bench = factory()
    assert run(bench, "Provision", bor=bor)["ok"]
    assert bench.target.options.optr == after


def test_boot_bits_that_stand_wrong_are_put_right(make_bench):
    bench = make_bench(options={OPTR: 0xFCFF_FEAA & ~(1 << 26)})  # nBOOT1 and nBOOT0 are 0
    assert run(bench, "Provision")["ok"]
    assert bench.target.options.optr == WANTED_OPTR


def test_nothing_reaches_the_target_while_it_programs(factory):
    bench = factory()
    moments = Moments(bench)
    began: list[float] = []
    bench.target.flash.tap = lambda what, point: began.append(bench.clock.now / NS_PER_S)
    run(bench, "Provision")
    assert len(began) == 16
    # The STOP of the frame comes just after the first point. At most 42 ms are needed.
    assert moments.longest_silence_after(began[1]) > 0.49


def test_a_target_that_has_changed_since_is_refused(factory):
    bench = factory()
    planned = plan(bench, "Provision")[-1]
    bench.target.option_bytes.store(OPTR, FACTORY_OPTR & ~(1 << 13))
    result = apply(bench, "Provision", planned)[-1]
    assert result["error"] == "plan-outdated"
    assert option_writes(bench) == [] and not bench.exists(NOTE)


@pytest.mark.parametrize("key", ["after", "what", "chip", "wishes"])
def test_a_plan_that_was_tampered_with_is_refused(factory, key):
    bench = factory()
    planned = plan(bench, "Provision")[-1]
    planned[key] = {"after": "0xFEFFFECC", "wishes": {"bor": 1}}.get(key, "another")
    result = apply(bench, "Provision", planned)[-1]
    assert result["error"] == "plan-outdated"
    assert option_writes(bench) == []


def test_a_protected_part_is_not_written(make_bench):
    bench = make_bench(options=PROTECTED)
    result = run(bench, "Provision")
    assert result["error"] == "read-protected" and "unprotect" in result["next_step"]
    assert option_writes(bench) == []


@pytest.mark.parametrize("chip", ["STM32G431RB", "STM32L432KC"])
def test_a_part_whose_option_bytes_are_not_known_is_not_even_asked(make_bench, chip):
    for verb in ("Provision", "Unprotect"):
        bench = make_bench(settings={"chip": chip})
        before = len(bench.trace)
        assert run(bench, verb)["error"] == "layout-unknown"
        assert len(bench.trace) == before


def test_another_chip_than_the_board_says_is_refused(make_bench):
    bench = make_bench(provisioned=False, quirks=quirks(4, product_id=0x466))
    assert run(bench, "Provision")["error"] == "wrong-chip"
    assert option_writes(bench) == []


def test_brown_out_levels_are_refused_where_they_are_not_known(factory):
    bench = factory(settings={"chip": "STM32G070RB"})
    assert run(bench, "Provision", bor=2)["error"] == "not-allowed"
    assert run(bench, "Provision")["ok"]


@pytest.mark.parametrize(
    "after", [0xFEFF_FECC, 0xFEFF_FEBB, 0xFEFE_FEAA, 0xEEFF_FEAA, 0xFFFF_FEAA]
)
def test_no_other_bit_can_be_written_whoever_asks(factory, after):
    bench = factory()
    loader = procedure(bench, "Provision")._loader
    loader._target.loader.get_version()
    with pytest.raises(ValueError):
        loader.write_optr(0x1FFF_7800, FACTORY_OPTR, after)
    assert option_writes(bench) == []


def test_an_application_that_enters_the_loader_opens_a_factory_part(make_bench):
    """It holds an application and ignores BOOT0: only that application can help."""
    applications = known_images(known(APPLICATION, enters_loader=True))
    bench = make_bench(
        provisioned=False, applications=applications, settings=BY_COMMAND, quirks=quirks(4)
    )
    loaded(bench)
    assert run(bench, "Provision")["status"] == "provisioned"
    assert bench.target.options.optr == WANTED_OPTR
    assert bench.target.running is Running.APPLICATION


def test_without_such_an_application_there_is_no_way_and_it_is_said(make_bench):
    bench = make_bench(provisioned=False, applications=known_images(known(APPLICATION)))
    loaded(bench)
    result = run(bench, "Provision")
    assert result["error"] == "loader-silent"
    assert "ST-LINK" in result["next_step"] and "no way over I2C" in result["next_step"]
    assert bench.target.running is Running.APPLICATION


def loaded(bench: Bench) -> None:
    """Write the application as a factory would, and switch the target off and on."""
    bench.target.flash.load(APPLICATION)
    bench.target.power(False)
    bench.clock.advance(DISCHARGE)
    bench.target.power(True)
    bench.clock.advance(NS_PER_S)


def test_a_blank_factory_part_is_not_reset_before_it_is_provisioned(factory):
    """V11.3 clears the EMPTY flag as it starts: a reset would lead into blank flash."""
    bench = factory(3)
    boots = len(bench.target.boots)
    plan(bench, "Provision", power_cycled=True)
    assert len(bench.target.boots) == boots
    assert bench.target.running is Running.LOADER


def test_where_the_status_read_ended_its_loader_a_power_on_is_the_advice(factory):
    bench = factory(3, settings={"pins": {"boot0": None}})
    result = run(bench, "Provision")
    assert result["error"] == "loader-silent"
    assert "switch it off and on" in result["next_step"]
    assert "--power-cycled" in result["next_step"] and "locked" not in result["next_step"]
    bench.target.power(False)
    bench.clock.advance(DISCHARGE)
    bench.target.power(True)
    bench.clock.advance(NS_PER_S)
    boots = len(bench.target.boots)
    plan(bench, "Provision", power_cycled=True)
    assert len(bench.target.boots) == boots and bench.target.running is Running.LOADER


@pytest.mark.parametrize("ack", OPTION_ACKS)
def test_a_part_kicked_out_of_its_loader_is_not_said_to_be_locked(factory, ack):
    bench = factory(3, ack, settings={"pins": {"boot0": None}})
    result = run(bench, "Provision", power_cycled=True)
    if not result["ok"] and result["error"] != "not-finished":  # silent at once: may be busy
        assert "off and on once" in result["next_step"] and "locked" not in result["next_step"]


@pytest.mark.parametrize("offset", [0x00, 0x08, 0x18, 0x70])
def test_torn_option_bytes_are_neither_reset_nor_written(factory, offset):
    bench = factory()
    planned = plan(bench, "Provision")[-1]
    bench.target.option_bytes.data[offset + 4] ^= 1
    boots = len(bench.target.boots)
    for result in (
        plan(bench, "Provision", power_cycled=True)[-1],
        apply(bench, "Provision", planned)[-1],
    ):
        assert result["error"] == "option-bytes-torn"
    assert len(bench.target.boots) == boots and option_writes(bench) == []


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({SECR: 1 << 16}, "BOOT_LOCK"),
        ({OPTR: FACTORY_OPTR & ~(1 << 16)}, "IWDG_SW"),
        ({OPTR: FACTORY_OPTR & ~(1 << 27)}, "NRST_MODE"),
    ],
)
def test_option_bits_that_stand_in_the_way_are_refused(factory, options, what):
    bench = factory()
    for offset, value in options.items():  # not loaded, because their effect is not modelled
        bench.target.option_bytes.store(offset, value)
    result = run(bench, "Provision", power_cycled=True)
    assert result["error"] == "not-allowed" and what in result["message"]
    assert result["next_step"] and option_writes(bench) == []


def test_a_chip_at_work_is_not_even_planned_for(make_bench):
    """There is no note, but the command of another program is running."""
    bench = make_bench(options=PROTECTED, quirks=quirks(4, unprotect_delay=FOREVER))
    target = bench.updater()._board.target
    with pytest.raises(Exception, match="protection level 1"):
        target.enter_loader()
    target.loader.command(0x93, "Readout Unprotect")
    boots = len(bench.target.boots)
    result = plan(bench, "Provision")[-1]
    assert result["error"] == "not-finished" and bench.exists(NOTE)
    bench.files.fs_remove(NOTE)
    with pytest.raises(Exception, match="busy"):
        bench.updater().probe()
    bench.clock.advance(5 * NS_PER_S)
    assert len(bench.target.boots) == boots and not bench.target.bricked


def test_the_application_runs_again_after_a_refusal(make_bench):
    bench = make_bench(applications=known_images(known(APPLICATION)))
    bench.install(image(APPLICATION))
    bench.boot()
    plan(bench, "Provision", bor=2)
    assert bench.target.running is Running.APPLICATION


# --- the supply ---


def measured(make_bench, millivolts, min_mv=3000):
    settings = {"bench": {"supply_adc": 26, "divider": 2, "min_mv": min_mv}}
    bench = make_bench(provisioned=False, settings=settings)
    bench.world.analog[26] = millivolts // 2
    return bench


def test_a_good_supply_is_no_obstacle(make_bench):
    bench = measured(make_bench, 3300)
    assert plan(bench, "Provision")[-1]["supply"]
    assert run(bench, "Provision")["status"] == "provisioned"


def test_a_low_supply_stops_it_before_anything_was_written(make_bench):
    bench = measured(make_bench, 2900)
    result = run(bench, "Provision")
    assert result["error"] == "supply-poor" and "less than 3000 mV" in result["message"]
    assert option_writes(bench) == [] and not bench.exists(NOTE)


def test_an_unsteady_supply_stops_it(make_bench):
    bench = measured(make_bench, 3300)
    planned = plan(bench, "Provision")[-1]
    bench.clock.after(NS_PER_S // 5, lambda: bench.world.analog.update({26: 1550}))
    result = apply(bench, "Provision", planned)[-1]
    assert result["error"] == "supply-poor" and "not steady" in result["message"]


def test_a_brown_out_level_above_the_supply_is_refused(make_bench):
    """The part would never start again."""
    bench = measured(make_bench, 2950, min_mv=2000)
    result = run(bench, "Provision", bor=4)
    assert result["error"] == "supply-poor" and option_writes(bench) == []
    assert run(bench, "Provision", bor=1)["ok"]


@pytest.mark.parametrize("host", ["esp32"])
def test_the_calibrated_adc_of_an_esp32_is_used(make_bench):
    bench = measured(make_bench, 3300)
    bench.device.imports("machine").ADC.read_uv = lambda self: 1_400_000
    result = run(bench, "Provision")
    assert "2800 mV" in result["message"]


# --- the bus ---


@pytest.mark.parametrize("host", ["rp2"])  # the link of both is in tests/firmware
@pytest.mark.parametrize("kind", KINDS)
def test_any_transaction_may_fail(host, kind):
    """At most one write in any case, and after the next run the part is provisioned. A part that
    ignores BOOT0 and has cleared its EMPTY flag may have to be switched off and on for that."""

    def world():
        return Bench(host=host, provisioned=False, quirks=quirks(4))

    bench = world()
    counter = FaultyTarget(bench.world.bus, bench.target, Fault("none", -1))
    run(bench, "Provision")
    for at in range(KINDS.index(kind) % 4, counter.transactions, 4):
        bench = world()
        faulty = FaultyTarget(bench.world.bus, bench.target, Fault(kind, at))
        first = run(bench, "Provision")
        case = f"{kind} at transaction {at} on {host}: {first}"
        assert not bench.target.bricked, case
        assert len(option_writes(bench)) <= 1, case
        if not first["ok"]:
            assert first["message"] and first["next_step"], case
        faulty.repair()
        bench.boot()
        second = run(bench, "Provision")
        if second.get("error") == "not-finished":  # it was silent after the write
            bench.target.power(False)
            bench.clock.advance(NS_PER_S)
            bench.target.power(True)
            bench.clock.advance(NS_PER_S)
            second = run(bench, "Provision", power_cycled=True)
        assert second["ok"], f"{case}, then {second}"
        assert bench.target.option_bytes.word(OPTR) == WANTED_OPTR, case
        assert bench.target.option_bytes.word(SECR) == 0, case
        assert not bench.exists(NOTE), case


def test_a_c031_has_its_boot_bits_in_the_same_place_and_two_options_more(make_bench):
    bench = make_bench(chip="STM32C031C6", provisioned=False)
    planned = plan(bench, "Provision")[-1]
    assert (planned["before"], planned["after"]) == ("0xFFFFFEAA", "0xFEFFFEAA")
    names = {field["name"]: field["low"] for field in planned["fields"]}
    assert (names["HSE_NOT_REMAPPED"], names["SECURE_MUXING_EN"]) == (21, 23)
    result = apply(bench, "Provision", planned)[-1]
    assert result["ok"] and result["status"] == "provisioned"
    assert bench.target.option_bytes.word(OPTR) == WANTED_OPTR
    bench.target.boot0(True)
    bench.target.nrst(False)
    bench.clock.advance(NS_PER_S // 1000)
    bench.target.nrst(True)
    bench.clock.advance(NS_PER_S // 50)
    assert bench.target.running is Running.LOADER
