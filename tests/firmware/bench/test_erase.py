"""Erase: every page but those that are preserved, and the updater knows about it."""

from __future__ import annotations

import pytest

from stm32sim.chip.application import known_images
from stm32sim.chip.option_bytes import WRP1AR
from stm32sim.host.seam import HostPowerLost
from tests.firmware.bench.test_unprotect import power_cycle
from tests.firmware.bench.verbs import PROTECTED, commands, plan, run
from tests.support import image, known, over_uart, payload, reset_in_erase

APP = payload(50_000, 1)
KNOWN = known_images(known(APP, "1.0.0"))
PAGE = 2048
LAST = [0x0801_F800, PAGE]
# AN4221 table 2: commands that change option bytes or protection
DANGEROUS = (0x63, 0x64, 0x73, 0x74, 0x82, 0x83, 0x92, 0x93)


@pytest.fixture
def installed(make_bench):
    """A board whose last page is preserved, with an application; that page holds data."""
    bench = make_bench(applications=KNOWN, settings={"preserve": [LAST]})
    assert bench.install(image(APP))["ok"]
    bench.target.flash.data[-PAGE:] = bytes(PAGE)
    return bench


def is_blank(data) -> bool:
    return not any(byte != 0xFF for byte in data)


def test_all_is_erased_but_what_is_preserved(installed):
    result = run(installed, "Erase", everything=False)
    assert result["ok"] and result["pages"] == 63, result
    flash = installed.target.flash.data
    assert is_blank(flash[:-PAGE]) and flash[-PAGE:] == bytes(PAGE)
    assert commands(installed, *DANGEROUS) == []


@pytest.mark.parametrize("states", [(), ("state.0", "state.1")], ids=["no record", "damaged"])
def test_a_host_that_knows_nothing_can_erase(installed, states):
    """It is in doubt about every page already."""
    installed.forget("state.0", "state.1")
    for name in states:
        installed.write_file(f"/updater/{name}", b"?" * 200)
    installed.boot()
    assert run(installed, "Erase", everything=False)["pages"] == 63
    assert is_blank(installed.target.flash.data[:-PAGE])
    installed.boot()
    assert installed.run()[-1]["status"] == "installed" and installed.flash_holds(APP)


def test_what_is_preserved_is_erased_where_that_was_asked_for(installed):
    assert run(installed, "Erase", everything=True)["pages"] == 64
    assert is_blank(installed.target.flash.data)


def test_the_plan_says_what_is_kept_and_changes_nothing(installed):
    before = bytes(installed.target.flash.data)
    planned = plan(installed, "Erase", everything=False)[-1]
    assert (planned["pages"], planned["of"], planned["kept"]) == (63, 64, [LAST])
    assert plan(installed, "Erase", everything=True)[-1]["kept"] == []
    assert bytes(installed.target.flash.data) == before
    assert installed.has_nothing_to_do()


def test_the_next_run_installs_the_last_good_image_again(installed):
    run(installed, "Erase", everything=False)
    assert not installed.has_nothing_to_do()
    assert installed.run()[-1]["status"] == "installed"
    assert installed.flash_holds(APP)


@pytest.mark.parametrize("page", [0, 1, 30, 62])
def test_an_erase_that_is_cut_is_repaired_by_the_next_run(installed, page):
    begun = []

    def tap(what, point):
        if what == "erase" and point == 1:
            begun.append(point)
            if len(begun) > page:
                installed.target.power(False)
                raise HostPowerLost

    flash = installed.target.flash
    flash.tap = tap
    with pytest.raises(HostPowerLost):
        run(installed, "Erase", everything=False)
    flash.tap = None
    power_cycle(installed)
    installed.boot()
    assert installed.run()[-1]["status"] == "installed"
    assert installed.flash_holds(APP)


@pytest.mark.parametrize("link", [{}, over_uart(confirm={"method": "none"})], ids=["i2c", "uart"])
def test_a_page_is_erased_again_if_loader_11_3_was_reset_meanwhile(make_bench, link):
    """It acknowledges an erase that it has only begun."""
    bench = make_bench(loader=3, applications=KNOWN, **link)
    assert bench.install(image(APP))["ok"]
    begun = reset_in_erase(bench, 2, 8)
    assert run(bench, "Erase", everything=True)["ok"]
    assert len(begun) == 64 + 1 and not bench.target.flash.weak_granules()


def test_a_protected_part_is_refused(make_bench):
    bench = make_bench(options=PROTECTED, applications=KNOWN)
    power_cycle(bench)
    result = run(bench, "Erase", everything=True)
    assert result["error"] == "read-protected" and "stm32up unprotect" in result["next_step"]


def test_a_write_protected_page_is_named_before_anything_is_erased(make_bench):
    bench = make_bench(options={WRP1AR: 5 << 16 | 5}, applications=KNOWN)
    bench.target.flash.load(APP)
    power_cycle(bench)
    result = run(bench, "Erase", everything=True)
    assert result["error"] == "page-protected" and "page 5" in result["message"]
    assert bench.flash_holds(APP)


def test_over_uart_pages_are_erased_but_no_option_bytes_changed(make_bench):
    bench = make_bench(applications=KNOWN, **over_uart(confirm={"method": "none"}))
    assert bench.install(image(APP))["ok"]
    result = run(bench, "Erase", everything=True)
    assert result["ok"] and result["pages"] == 64 and is_blank(bench.target.flash.data)
    for verb in ("Provision", "Unprotect"):
        refused = run(bench, verb)
        assert refused["error"] == "not-allowed" and "over UART" in refused["message"]
        assert "ST-LINK" in refused["next_step"]
    assert commands(bench, *DANGEROUS) == []
