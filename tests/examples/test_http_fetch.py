"""http_fetch.py on a simulated board: images from a real web server. `network` and `requests` are
fakes; test_http_download.py has micropython-lib's `requests`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from stm32sim.chip.application import known_images
from tests.examples.web_server import WebServer
from tests.support import image, known, payload, run_until_cut

OLD, NEW = payload(6000, 1), payload(8000, 2)
BIG = payload(100_000, 3)
APPLICATIONS = known_images(known(OLD, "1.0.0"), known(NEW, "1.1.0"), known(BIG, "2.0.0"))
PART = "/updater/inbox/fetched.part"


@pytest.fixture
def server() -> Iterator[WebServer]:
    with WebServer() as started:
        yield started


@pytest.fixture(params=["rp2", "esp32"])
def product(request, make_product, server):
    """It asks the server every 20 s instead of every hour, and 10 s after a failure."""
    made = make_product("http_fetch.py", applications=APPLICATIONS, host=request.param)
    made.change("60 * 60 * 1000", "20 * 1000")
    made.change("AGAIN_MS = 60 * 1000", "AGAIN_MS = 10 * 1000")
    made.change("http://updates.example/app.img", server.url)
    made.web = server
    return made


def test_an_image_is_fetched_once_and_installed(product, server):
    server.offer(image(OLD, "1.0.0"), '"one"')
    product.run(seconds=50)
    assert server.statuses == [200, 304, 304]
    assert product.results().count("installed") == 1 and product.bench.flash_holds(OLD)


def test_the_next_image_is_found_while_the_product_works(product, server):
    server.offer(image(OLD, "1.0.0"), '"one"')
    product.run(seconds=10)
    server.offer(image(NEW, "1.1.0"), '"two"')
    product.run(seconds=10)
    assert server.statuses == [200, 200] and product.bench.flash_holds(NEW)


def test_half_an_image_never_reaches_the_inbox_and_the_rest_is_fetched_later(product, server):
    built = image(OLD, "1.0.0")
    server.offer(built, '"one"')
    server.breaks = [3000]
    product.run(seconds=8)
    assert not product.bench.exists("/updater/inbox/fetched.img")
    assert "refused" not in [line["event"] for line in product.log()]
    product.run(seconds=10)
    assert server.answers == [(200, 3000), (206, len(built) - 3000)]
    assert product.bench.flash_holds(OLD)


def test_after_a_power_cut_a_download_goes_on_with_what_was_written(product, server):
    built = image(BIG, "2.0.0")
    server.offer(built, '"big"')
    product.pieces_until_cut = 50
    product.run(seconds=30)
    there = len(product.bench.read_file(PART))
    assert there == 48 * 1024
    product.run(seconds=30)
    assert server.answers[1] == (206, len(built) - there)
    assert product.bench.flash_holds(BIG)


def test_an_image_that_was_damaged_on_its_way_is_fetched_again(product, server):
    built = image(OLD, "1.0.0")
    server.offer(built[:3000] + b"?" + built[3001:], '"one"')
    product.run(seconds=5)
    assert not product.bench.flash_holds(OLD)
    server.offer(built, '"one"')
    product.run(seconds=10)
    assert server.statuses == [200, 200] and product.bench.flash_holds(OLD)


def test_a_download_that_would_fill_the_filesystem_is_not_begun(product, server):
    server.offer(b"?" * 2_000_000, '"huge"')
    product.run(seconds=5)
    assert server.statuses == [200]
    assert len(product.bench.read_file(PART)) == 0


def test_a_server_without_an_image_changes_nothing(product, server):
    product.bench.install(image(OLD, "1.0.0"))
    product.run(seconds=15)
    assert server.statuses == [404, 404] and product.bench.flash_holds(OLD)


def test_without_a_network_an_interrupted_update_is_finished(product):
    product.web = None
    product.bench.push(image(OLD, "1.0.0"))
    run_until_cut(product.bench)
    product.run(seconds=30)
    assert product.results()[0] == "installed" and product.bench.flash_holds(OLD)
