"""asyncio_own_proof.py: an update in parallel to other tasks, confirmed by the product itself."""

from __future__ import annotations

import pytest

from stm32sim.chip.cortex_m import emulated
from stm32up import device
from stm32up.image import inputs
from tests.support import image

APPLICATION = device.PROJECT / "boards" / "nucleo_g071rb_app"


def application(version: str) -> bytes:
    """The demo application, whose machine code is executed."""
    path = APPLICATION / f"app-{version}.hex"
    return bytes(inputs.read(path, device.chip("STM32G071RB"), None).data)


OLD, NEW = application("1.0.0"), application("1.1.0")


@pytest.fixture
def product(make_product):
    """1.0.0 is installed."""
    made = make_product("asyncio_own_proof.py")
    made.bench.target.applications = emulated
    assert made.bench.install(image(OLD, "1.0.0"))["status"] == "installed"
    return made


def test_a_new_application_is_confirmed_when_it_has_run_for_half_a_second(product):
    product.bench.push(image(NEW, "1.1.0"))
    product.run(seconds=10)
    starting, result = product.log()[-2:]
    assert starting["event"] == "starting" and result["status"] == "installed"
    assert 500 <= result["t"] - starting["t"] < 1000
    assert product.bench.flash_holds(NEW)


def test_one_that_answers_another_version_is_rolled_back(product):
    product.bench.push(image(NEW, "2.0.0"))
    product.run(seconds=30)
    assert product.results()[-1] == "rolled-back" and product.bench.flash_holds(OLD)


NOTE = """
def note(word):
    with open("/told", "a") as file:
        file.write(word + " ")
"""


def test_the_other_task_works_during_the_update(product):
    product.change("import asyncio\n", f"import asyncio\n{NOTE}")
    product.change("print(event)", "note(event['event'])")
    product.change("await asyncio.sleep_ms(100)", "await asyncio.sleep_ms(10); note('working')")
    product.bench.push(image(NEW, "1.1.0"))
    product.run(seconds=10)
    told = product.bench.read_file("/told").decode().split()
    update = told[told.index("installing") : told.index("result")]
    assert update.count("working") >= 3
