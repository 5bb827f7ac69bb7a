"""sleeping.py: the host sleeps between two looks into its inbox."""

from __future__ import annotations

import pytest

from stm32sim.chip.application import known_images
from stm32sim.wires.clock import NS_PER_S
from stm32sim.world import DEEPSLEEP_RESET, SLEEP, WDT_RESET
from tests.support import image, known, payload, run_until_cut

OLD, NEW = payload(6000, 1), payload(8000, 2)
APPLICATIONS = known_images(known(OLD, "1.0.0"), known(NEW, "1.1.0"))
MINUTE = 60
NOTE = """
    with open("/woken", "a") as file:
        file.write(".")
"""


@pytest.fixture(params=["rp2", "esp32"])
def product(request, make_product):
    return make_product("sleeping.py", applications=APPLICATIONS, host=request.param)


def test_it_wakes_every_half_hour_and_sleeps_nearly_all_of_the_time(product):
    product.bench.install(image(OLD, "1.0.0"))
    began, slept = product.bench.clock.now, product.bench.world.spent[SLEEP]
    product.program = product.program.replace("time.sleep_ms(100)", NOTE)
    product.run(seconds=100 * MINUTE)
    assert product.bench.read_file("/woken") == b"...."
    share = (product.bench.world.spent[SLEEP] - slept) / (product.bench.clock.now - began)
    assert share > 0.999
    cause = WDT_RESET if product.bench.world.port == "rp2" else DEEPSLEEP_RESET
    assert product.bench.world.reset_cause == cause


def test_what_was_pushed_while_it_slept_is_installed_when_it_wakes(product):
    product.bench.install(image(OLD, "1.0.0"))
    bench = product.bench
    bench.clock.after(10 * MINUTE * NS_PER_S, lambda: bench.push(image(NEW, "1.1.0")))
    product.run(seconds=35 * MINUTE)
    assert product.results()[-1] == "installed" and bench.flash_holds(NEW)


def test_the_application_runs_while_the_host_sleeps(product):
    product.bench.install(image(OLD, "1.0.0"))
    bench, seen = product.bench, []
    bench.clock.after(20 * MINUTE * NS_PER_S, lambda: seen.append(bench.target.running.name))
    product.run(seconds=25 * MINUTE)
    assert seen == ["APPLICATION"]


def test_an_interrupted_update_is_finished_by_the_next_start(product):
    product.bench.push(image(OLD, "1.0.0"))
    run_until_cut(product.bench)
    product.run(seconds=MINUTE)
    assert product.results()[-1] == "installed" and product.bench.flash_holds(OLD)


def test_a_failed_update_is_tried_again_earlier_and_then_less_and_less_often(product):
    bench = product.bench
    bench.push(image(OLD, "1.0.0"))
    bench.target.power(False)
    product.run(seconds=50 * MINUTE)
    assert product.results() == ["failed"] * 5  # at 0, 2, 6, 14 and 30 minutes
    bench.target.power(True)
    product.run(seconds=30 * MINUTE)
    assert product.results()[-1] == "installed"
    assert not bench.exists("/failures")
