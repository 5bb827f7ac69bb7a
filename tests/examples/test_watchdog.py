"""watchdog.py: the updater and the product feed one watchdog."""

from __future__ import annotations

import pytest

from stm32sim.chip.application import known_images
from stm32sim.wires.clock import NS_PER_S
from stm32sim.world import PWRON_RESET, WDT_RESET
from tests.support import image, known, payload

CONTENT = payload(100_000, 1)


@pytest.fixture
def product(make_product):
    return make_product("watchdog.py", applications=known_images(known(CONTENT)))


def test_an_update_longer_than_the_watchdogs_time_is_not_cut(product):
    product.bench.push(image(CONTENT))
    product.run(seconds=20)
    assert product.results() == ["installed"]
    assert product.log()[-1]["target_ms"] > 5000
    assert product.bench.world.reset_cause == PWRON_RESET


def test_work_that_hangs_resets_the_host(product):
    product.change("time.sleep_ms(100)", "time.sleep_ms(100_000)")
    product.bench.install(image(CONTENT))
    product.run(seconds=20)
    assert product.bench.world.reset_cause == WDT_RESET


def test_an_update_that_failed_is_tried_again_while_the_product_works(product):
    bench = product.bench
    bench.push(image(CONTENT))
    bench.target.power(False)
    bench.clock.after(30 * NS_PER_S, lambda: bench.target.power(True))
    product.run(seconds=90)
    assert product.results()[0] == "failed" and product.results()[-1] == "installed"
    assert bench.world.reset_cause == PWRON_RESET
