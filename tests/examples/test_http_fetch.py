"""http_fetch.py: images from a server. `network` and `requests` are fakes."""

from __future__ import annotations

import pytest

from stm32sim.chip.application import known_images
from tests.support import image, known, payload, run_until_cut

OLD, NEW = payload(6000, 1), payload(8000, 2)
APPLICATIONS = known_images(known(OLD, "1.0.0"), known(NEW, "1.1.0"))


class Server:
    """Set the files that the fake `requests` serves."""

    def __init__(self, bench) -> None:
        self._bench = bench
        bench.files.fs_mkdir("/www")

    def offer(self, content: bytes, tag: str) -> None:
        self._bench.write_file("/www/app.img", content)
        self._bench.write_file("/www/etag", tag.encode())

    def answers(self) -> list[str]:
        """The status codes it answered."""
        return self._bench.read_file("/www/log").decode().split()


@pytest.fixture(params=["rp2", "esp32"])
def product(request, make_product):
    """It asks the server every 20 s instead of every hour."""
    made = make_product("http_fetch.py", applications=APPLICATIONS, host=request.param)
    made.change("60 * 60 * 1000", "20 * 1000")
    return made


@pytest.fixture
def server(product):
    return Server(product.bench)


def test_an_image_is_fetched_once_and_installed(product, server):
    server.offer(image(OLD, "1.0.0"), '"one"')
    product.run(seconds=50)
    assert server.answers() == ["200", "304", "304"]
    assert product.results().count("installed") == 1 and product.bench.flash_holds(OLD)


def test_the_next_image_is_found_while_the_product_works(product, server):
    server.offer(image(OLD, "1.0.0"), '"one"')
    product.run(seconds=10)
    server.offer(image(NEW, "1.1.0"), '"two"')
    product.run(seconds=10)
    assert server.answers() == ["200", "200"] and product.bench.flash_holds(NEW)


def test_half_an_image_never_reaches_the_inbox_and_is_fetched_again(product, server):
    server.offer(image(OLD, "1.0.0"), '"one"')
    product.bench.write_file("/www/broken", b"")
    product.run(seconds=10)
    assert not product.bench.exists("/updater/inbox/fetched.img")
    assert "refused" not in [line["event"] for line in product.log()]
    product.bench.files.fs_remove("/www/broken")
    product.run(seconds=10)
    assert product.bench.flash_holds(OLD)


def test_a_server_without_an_image_changes_nothing(product, server):
    product.bench.install(image(OLD, "1.0.0"))
    product.run(seconds=30)
    assert server.answers() == ["404", "404"] and product.bench.flash_holds(OLD)


def test_without_a_network_an_interrupted_update_is_finished(product):
    product.bench.push(image(OLD, "1.0.0"))
    run_until_cut(product.bench)
    product.run(seconds=30)
    assert product.results()[0] == "installed" and product.bench.flash_holds(OLD)
