"""Bugs put into the device code, one at a time: a rig that does not catch them proves nothing.

Each is a small replacement in one module of a copy of the product package.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from stm32assets import FIRMWARE
from stm32up import device
from tests.power_cuts import scenarios


@dataclass(frozen=True)
class Bug:
    """What is wrong, where, and the scenarios that should show it."""

    name: str
    module: str
    old: str
    new: str
    shows_in: tuple[str, ...] = ("update",)


BUGS = (
    Bug(
        "page 0 is not erased first",
        "stm32_updater/flasher",
        "                if todo[0] == first:  # later rounds, too: the new vectors may be there\n"
        "                    yield from self._remove_first_vectors(first, image, at_once)\n"
        "                    at_once = False\n"
        "                yield from self._write_pages(todo, first, image, payload, doubt)\n",
        "                write = self._write_pages\n"
        "                pages = [page for page in todo if page != first]\n"
        "                if pages:\n"
        "                    yield from write(pages, first, image, payload, doubt)\n"
        "                if todo[0] == first:\n"
        "                    yield from self._remove_first_vectors(first, image, False)\n"
        "                    yield from write([first], first, image, payload, doubt)\n",
    ),
    Bug(
        "the first vectors are written before the other pages",
        "stm32_updater/flasher",
        "                yield from self._write_pages(todo, first, image, payload, doubt)\n"
        '                self._ended("write_ms")\n'
        "                todo = yield from self._compare(image, payload, (), True)\n"
        '                self._ended("verify_ms")\n'
        "                if not todo and self._restore_first_vectors(image):\n",
        "                write = self._write_pages\n"
        "                yield from write([first], first, image, payload, doubt)\n"
        "                self._restore_first_vectors(image)\n"
        "                pages = [page for page in todo if page != first]\n"
        "                if pages:\n"
        "                    yield from write(pages, first, image, payload, doubt)\n"
        "                todo = yield from self._compare(image, payload, (), False)\n"
        "                if not todo:\n",
    ),
    Bug(
        "old vectors stay while page 0 is erased",
        "stm32_updater/flasher",
        "            self._write_short(address + begin, _ZEROS[begin:end])\n",
        "            pass\n",
        ("update", "few-pages"),
    ),
    Bug(
        "the vectors of faults stay while page 0 is erased",
        "stm32_updater/flasher",
        "        if begin < end:\n            self._target.may_be_blank = True\n"
        "            self._write_short(address + begin, _ZEROS[begin:end])\n",
        "        if begin < GRANULE:\n            self._target.may_be_blank = True\n"
        "            self._write_short(address + begin, _ZEROS[begin:GRANULE])\n",
        ("update", "few-pages"),
    ),
    Bug(
        "the vectors of faults are written last",
        "stm32_updater/flasher",
        "            for start in (GRANULE, 0):\n",
        "            for start in (0, GRANULE):\n",
        ("few-pages", "update"),
    ),
    Bug(
        "first granule is never written",
        "stm32_updater/flasher",
        "            for start in (GRANULE, 0):\n",
        "            for start in (GRANULE,):\n",
    ),
    Bug(
        "pages are not erased",
        "stm32_updater/flasher",
        "        self._target.erase_page(page)\n",
        "",
    ),
    Bug(
        "an error is not tried again",
        "stm32_updater/flasher",
        "                    if not left:\n                        raise\n"
        "                    yield retry(page, error)\n                is_blank = False\n",
        "                    yield retry(page, error)\n                    break\n"
        "                is_blank = False\n",
    ),
    Bug(
        "what differs is not looked for",
        "stm32_updater/flasher",
        "same = yield from self._page_matches(\n"
        "                            page, index, image, payload, written, is_final or written\n"
        "                        )",
        "same = True",
        ("update", "few-pages"),
    ),
    Bug(
        "a page in doubt is believed if it reads right",
        "stm32_updater/flasher",
        "todo = yield from self._compare(image, payload, doubt, False, installed)\n",
        "todo = yield from self._compare(image, payload, (), False)\n",
        ("few-pages", "read-back"),
    ),
    Bug(
        "the intent is not recorded",
        "stm32_updater/flasher",
        "        doubt.add(page)\n    doubt.save()\n",
        "        doubt.add(page)\n",
        ("few-pages", "update"),
    ),
    Bug(
        "changed pages are not put in doubt",
        "stm32_updater/flasher",
        "    for page in pages:\n        doubt.add(page)\n",
        "    doubt.add(pages[0])\n",
        ("few-pages", "update"),
    ),
    Bug(
        "page 0 is vouched for before its vectors are written",
        "stm32_updater/flasher",
        "                    yield from self._remove_first_vectors(first, image, at_once)\n",
        "                    yield from self._remove_first_vectors(first, image, at_once)\n"
        "                    doubt.remove(first)\n                    doubt.save()\n",
        ("tiny",),
    ),
    Bug(
        "checkpoint before a page is written",
        "stm32_updater/flasher",
        "                    yield from self._write_page(page, is_blank)\n",
        "                    doubt.remove(page)\n                    doubt.save()\n"
        "                    yield from self._write_page(page, is_blank)\n",
        ("checkpoints",),
    ),
    Bug(
        "pages that are erased at once are not put in doubt",
        "stm32_updater/flasher",
        "            if at_once:\n                todo = pages\n"
        "            _put_in_doubt(todo, doubt)\n",
        "            _put_in_doubt(todo[:1] if at_once else todo, doubt)\n"
        "            if at_once:\n                todo = pages\n",
        ("erase-all",),
    ),
    Bug(
        "a page in doubt is believed if its checksum is right",
        "stm32_updater/flasher",
        "                if page not in doubt:\n",
        "                if page not in doubt or image.checksum(index):\n",
        ("few-pages",),
    ),
    Bug(
        "a checkpoint vouches for all pages",
        "stm32_updater/flasher",
        "                doubt.remove(page)\n",
        "                doubt.bits = 0\n                doubt.save()\n",
        ("host-forgot",),
    ),
    Bug(
        "a host that forgot trusts every page",
        "stm32_updater/updater",
        "        record.doubt &= (1 << self._board.chip.pages) - 1\n",
        "        record.doubt &= 0 if record.phase == 'unknown' else -1\n",
        ("host-formatted",),
    ),
    Bug(
        "an application that is silent counts as proven",
        "stm32_updater/flow",
        "            if (yield from self._proof.attempts(image)):",
        "            if (yield from self._proof.attempts(image)) or True:",
        ("roll-back",),
    ),
    Bug(
        "the candidate is not kept as the confirmed image",
        "stm32_updater/flow",
        "        self._store.confirm(image)\n",
        "",
        ("roll-back",),
    ),
    Bug(
        "a record has one file instead of two",
        "stm32_updater/store",
        "with open(self._states[self._number % 2],",
        "with open(self._states[0],",
        ("fat",),
    ),
    Bug(
        "each line of the log replaces the last",
        "stm32_updater/event_log",
        '        mode = "a"\n',
        '        mode = "w"\n',
    ),
    Bug(
        "the supply is never switched",
        "stm32_rom/target",
        "        if self.power_cycle() or self.pins.boot0",
        "        if self.pins.boot0",
        ("supply-switch",),
    ),
    Bug(
        "digests are not compared",
        "stm32_updater/image",
        "        if self._hasher.digest() != image.digest:\n",
        "        if False:\n",
        ("damaged-push",),
    ),
    Bug(
        "what the signature check finds is ignored",
        "stm32_updater/signature",
        "    if not verify(image.signature, image.digest, modulus):\n",
        "    if verify(image.signature, image.digest, modulus) is None:\n",
        ("signed",),
    ),
    Bug(
        "the security counter is not looked at",
        "stm32_updater/admission",
        "        if image.security_counter < lowest:\n",
        "        if False:\n",
        ("downgrade-refused",),
    ),
    Bug(
        "the security counter is raised before the application has proven itself",
        "stm32_updater/flow",
        "        record.phase = phase\n        record.image = image.digest\n",
        "        record.phase = phase\n        record.image = image.digest\n"
        "        record.counter = max(record.counter, image.security_counter)\n",
        ("after-roll-back",),
    ),
    Bug(
        "preserved regions are not looked at",
        "stm32_updater/image",
        "if start < region + length and region < end:",
        "if False:",
        ("covers-preserved",),
    ),
    Bug(
        "one page more than the image covers is erased",
        "stm32_updater/flasher",
        "        self._target.erase_page(page)\n",
        "        self._target.erase_page(page)\n        self._target.erase_page(page + 1)\n",
        ("preserved-page",),
    ),
    Bug(
        "a reset is not looked for where the loader would not tell",
        "stm32_rom/target",
        "            if nrst is not None and not nrst():\n",
        "            if False:\n",
        ("loader-11.3",),
    ),
    Bug(
        "Go is not tried when the loader is still there",
        "stm32_rom/target",
        "        for _ in range(_GO_TRIES):  # a damaged frame is refused\n"
        "            self._go()\n            if not self.in_loader():\n                return\n"
        "        if not self._left_by_code():\n            self.power_cycle()\n",
        "",
        ("by-command",),
    ),
    Bug(
        "BOOT0 stays high",
        "stm32_rom/target",
        "            self.pins.boot0(0)\n        if stays",
        "            pass\n        if stays",
    ),
    Bug(
        "the target is not reset into its loader",
        "stm32_rom/target",
        "            self.reset()\n            self.loader.recover()\n",
        "            self.loader.recover()\n",
    ),
    Bug(
        "a target without supply counts as one that takes the host down",
        "stm32_updater/proof",
        "            record.tries -= 1  # the host is still up: this start does not count\n"
        "        self.count(0)  # the host is still up\n",
        "",
        ("long-outage",),
    ),
    Bug(
        "log lines are not flushed",
        "stm32_updater/event_log",
        "        with open(path, mode) as file:\n            file.write(lines)\n",
        "        self._kept = open(path, mode)\n        self._kept.write(lines)\n",
        ("update", "first-install"),
    ),
)


def plant(bug: Bug, folder: Path) -> None:
    """Copy the product package into a folder, with this bug in it."""
    for package in device.product():
        shutil.copytree(FIRMWARE / package.name, folder / package.name)
    module = folder / f"{bug.module}.py"
    source = module.read_text()
    if source.count(bug.old) != 1:
        raise ValueError(f"the place for {bug.name!r} in {bug.module} is missing or not unique")
    module.write_text(source.replace(bug.old, bug.new))


@contextmanager
def planted(bug: Bug) -> Iterator[None]:
    """Scenarios run device code with this bug in it."""
    with TemporaryDirectory() as name:
        plant(bug, Path(name))
        before, scenarios.packages = scenarios.packages, Path(name)
        try:
            yield
        finally:
            scenarios.packages = before
