"""What the host would refuse for its board.json is refused before it is pushed, in its words."""

from __future__ import annotations

import json

import pytest

from stm32up.errors import ImageError
from stm32up.host import push, transport
from tests.support import FLASH, image, payload, signing_key, trust

GOOD = payload(4000, 6)
CLASS_ID = "00" * 16


def pushed(fake, path, content):
    path.write_bytes(content)
    with transport.connected(fake.port) as connection:
        return push.push(connection, path, lambda event: None)


def stands_on(fake, bench, keys=()):
    """The fake board has the files of this bench that say what it accepts."""
    fake.file("/board.json").write_bytes(bench.read_file("/board.json"))
    fake.file("/updater/keys").mkdir(parents=True)
    for key in keys:
        fake.file(f"/updater/keys/{key}").write_bytes(bench.read_file(f"/updater/keys/{key}"))


REFUSED = {
    "another chip": ({}, lambda: image(GOOD, chip="STM32L431RC"), "image-chip"),
    "a preserved region": (
        {"preserve": [[FLASH + 2048, 2048]]},
        lambda: image(GOOD),
        "image-fit",
    ),
    "larger than the flash": (
        {"chip": "STM32G071R6"},
        lambda: image(payload(40 * 1024)),
        "image-fit",
    ),
    "another product": (
        {"class_id": CLASS_ID},
        lambda: image(GOOD, product="kettle"),
        "image-product",
    ),
    "no product": ({"class_id": CLASS_ID}, lambda: image(GOOD), "image-product"),
    "not signed": ({"unsigned": False}, lambda: image(GOOD), "image-unsigned"),
    "an unknown key": (
        {"unsigned": False},
        lambda: image(GOOD, key=signing_key(2048, 1)),
        "image-key",
    ),
}


@pytest.mark.parametrize(("settings", "content", "code"), REFUSED.values(), ids=REFUSED.keys())
def test_desktop_and_host_refuse_with_the_same_words(
    fake, make_bench, tmp_path, settings, content, code
):
    bench = make_bench(settings=settings)
    trust(bench, signing_key())
    keys = [name for name, *_ in bench.files.fs_list("/updater/keys")]
    stands_on(fake, bench, keys)
    path = tmp_path / "app.img"
    with pytest.raises(ImageError) as refused:
        pushed(fake, path, content())
    error = refused.value
    assert not fake.file("/updater/inbox/app.img").exists()
    assert not fake.file("/updater/inbox/app.part").exists()
    assert not any("_receive(" in call for call in fake.executed if "def" not in call)
    told = bench.install(content())
    assert told["error"] == error.code == code
    assert told["message"].replace("/updater/inbox/app.img", str(path)) == error.message
    assert told["next_step"] == error.next_step


@pytest.mark.parametrize(
    ("settings", "content"),
    [
        ({}, lambda: image(GOOD)),
        ({"preserve": [[FLASH + 4096, 2048]]}, lambda: image(GOOD)),
        ({"unsigned": False}, lambda: image(GOOD, key=signing_key())),
        ({}, lambda: image(GOOD, key=signing_key(2048, 1))),
    ],
    ids=["plain", "beside a preserved region", "a known key", "an unknown key that is not needed"],
)
def test_what_the_host_accepts_is_pushed(fake, make_bench, tmp_path, settings, content):
    bench = make_bench(settings=settings)
    trust(bench, signing_key())
    stands_on(fake, bench, [name for name, *_ in bench.files.fs_list("/updater/keys")])
    assert pushed(fake, tmp_path / "app.img", content())["status"] == "pushed"


@pytest.mark.parametrize(
    "board", [None, b"", b"[]", b'{"chip": 1}', {"chip": "STM32X"}, {"preserve": [1]}]
)
def test_a_board_json_that_says_nothing_refuses_nothing(fake, make_bench, tmp_path, board):
    """The updater itself reports it."""
    stands_on(fake, make_bench())
    file = fake.file("/board.json")
    if board is None:
        file.unlink()
    elif isinstance(board, bytes):
        file.write_bytes(board)
    else:
        file.write_text(json.dumps({**json.loads(file.read_bytes()), **board}))
    assert pushed(fake, tmp_path / "app.img", image(GOOD))["status"] == "pushed"
