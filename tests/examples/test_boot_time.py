"""boot_time.py: an update at the start, then the product."""

from __future__ import annotations

import pytest

from stm32sim.chip.application import known_images
from stm32sim.host.seam import HostPowerLost
from tests.support import image, known, payload

OLD, NEW = payload(6000, 1), payload(8000, 2)
APPLICATIONS = known_images(known(OLD, "1.0.0"), known(NEW, "1.1.0"))


@pytest.fixture
def product(make_product):
    return make_product("boot_time.py", applications=APPLICATIONS)


def test_what_is_in_the_inbox_is_installed_at_the_start_and_the_product_works_on(product):
    product.bench.push(image(OLD, "1.0.0"))
    product.run(seconds=10)
    assert product.results() == ["installed"]
    assert product.bench.flash_holds(OLD)


def test_a_start_without_an_image_goes_on_at_once(product):
    product.bench.install(image(OLD, "1.0.0"))
    before = product.results()
    transactions, erases = len(product.bench.trace), product.bench.host_flash.erases
    product.run(seconds=2)
    assert product.results() == before
    written = product.bench.host_flash.erases - erases
    assert len(product.bench.trace) == transactions and written <= 1  # main.py of the test


def test_an_update_that_lost_its_power_is_finished_at_the_next_start(product):
    def cut(what: str, point: int) -> None:
        if what == "program":
            flash.tap = None
            raise HostPowerLost

    bench = product.bench
    bench.install(image(OLD, "1.0.0"))
    bench.push(image(NEW, "1.1.0"))
    flash = bench.target.flash
    flash.tap = cut
    product.run(seconds=10)
    assert product.results() == ["installed"] and not bench.flash_holds(NEW)
    product.run(seconds=10)
    assert product.results() == ["installed", "installed"] and bench.flash_holds(NEW)


def test_without_board_json_the_product_works_all_the_same(product):
    product.bench.files.fs_remove("/board.json")
    product.run(seconds=10)
