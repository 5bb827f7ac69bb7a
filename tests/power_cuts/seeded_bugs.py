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

from stm32sim.bench import firmware_folder
from tests.power_cuts import scenarios


@dataclass(frozen=True)
class Bug:
    """What is wrong, where, and the scenarios that should show it."""

    name: str
    module: str
    old: str
    new: str
    shows_in: tuple[str, ...] = ("update",)


_ERASE_FIRST = (
    "        yield from self._attempt(first, payload, image, self._erase_first_vectors)\n"
)
_WRITE_FIRST = "        yield from self._attempt(first, payload, image, self._write_first_page)\n"
_REMOVE_FIRST = "        doubt.remove(first)\n"

BUGS = (
    Bug("page 0 is not erased first", "flasher", _ERASE_FIRST, ""),
    Bug(
        "page 0 is written first, like any other",
        "flasher",
        _ERASE_FIRST,
        "        yield from self._attempt(first, payload, image, self._write_page)\n",
    ),
    Bug(
        "old vectors stay while page 0 is erased",
        "flasher",
        "            self._target.loader.write(image.address, vectors)\n",
        "            pass\n",
        ("update", "few-pages"),
    ),
    Bug(
        "the vectors of faults stay while page 0 is erased",
        "flasher",
        "            self._target.loader.write(image.address, vectors)\n",
        "            self._target.loader.write(image.address, vectors[:GRANULE])\n",
        ("update", "few-pages"),
    ),
    Bug(
        "first granule is written with its page",
        "flasher",
        "        self._write(page, payload, image, _VECTORS)\n"
        "        self._verify(page, payload, image, _VECTORS)\n"
        "        for start in (GRANULE, 0):\n",
        "        self._write(page, payload, image, 0)\n        for start in ():\n",
        ("few-pages", "update"),
    ),
    Bug(
        "first granule is never written",
        "flasher",
        "        for start in (GRANULE, 0):\n",
        "        for start in (GRANULE,):\n",
    ),
    Bug("pages are not erased", "flasher", "        self._target.loader.erase_page(page)\n", ""),
    Bug(
        "an error is not tried again and not reported",
        "flasher",
        "                if not left:\n                    raise\n"
        "                yield _retry(page, error)\n",
        "                if left:\n                    return None\n"
        "                yield _retry(page, error)\n",
    ),
    Bug(
        "what differs is not looked for",
        "flasher",
        "if page in doubt or not self._holds(page, payload, image):",
        "if page in doubt:",
        ("update", "few-pages"),
    ),
    Bug(
        "a page in doubt is believed if it reads right",
        "flasher",
        "if page in doubt or not self._holds(page, payload, image):",
        "if not self._holds(page, payload, image):",
    ),
    Bug(
        "the intent is not recorded",
        "flasher",
        "        doubt.save()  # the intent: from here on these pages may be anything\n",
        "",
        ("few-pages", "update"),
    ),
    Bug(
        "changed pages are not put in doubt",
        "flasher",
        "            doubt.add(page)\n        doubt.add(first)\n",
        "            pass\n        doubt.add(first)\n",
        ("few-pages", "update"),
    ),
    Bug(
        "page 0 is vouched for before it is written",
        "flasher",
        _WRITE_FIRST + _REMOVE_FIRST + "        doubt.save()\n",
        _REMOVE_FIRST + "        doubt.save()\n" + _WRITE_FIRST,
    ),
    Bug(
        "checkpoint before verify",
        "flasher",
        "            yield from self._attempt(page, payload, image, self._write_page)\n"
        "            doubt.remove(page)\n",
        "            doubt.remove(page)\n"
        "            doubt.save()\n"
        "            yield from self._attempt(page, payload, image, self._write_page)\n",
    ),
    Bug(
        "a checkpoint vouches for all pages",
        "flasher",
        "            doubt.remove(page)\n",
        "            doubt.bits = 0\n            doubt.save()\n",
        ("few-pages", "update"),
    ),
    Bug(
        "a host that forgot trusts every page",
        "updater",
        "every_page = (1 << self._board.chip.pages) - 1",
        "every_page = 0",
        ("host-formatted",),
    ),
    Bug(
        "an application that is silent counts as proven",
        "updater",
        "        if (yield from self._proves_itself(record, image)):",
        "        if (yield from self._proves_itself(record, image)) or True:",
        ("roll-back",),
    ),
    Bug(
        "the candidate is not kept as the confirmed image",
        "updater",
        "        self._store.confirm(image)\n",
        "",
        ("roll-back",),
    ),
    Bug(
        "the record is saved before the last good image is replaced",
        "updater",
        "        self._store.confirm(image)\n        record.phase = phases.IDLE\n"
        "        record.image = None\n",
        "        record.installed = _hex(image.digest)\n"
        "        record.phase, record.image = phases.IDLE, None\n"
        "        self._store.save(record)\n        self._store.confirm(image)\n",
    ),
    Bug(
        "a record has one file instead of two",
        "store",
        "self._states[self._number % 2]",
        "self._states[0]",
        ("fat",),
    ),
    Bug(
        "each line of the log replaces the last",
        "event_log",
        '        mode = "a"\n',
        '        mode = "w"\n',
    ),
    Bug(
        "the supply is never switched",
        "target",
        "                self.power_cycle()  # the last resort",
        "                pass  # the last resort",
        ("supply-switch",),
    ),
    Bug(
        "a digest is not checked before installing",
        "admission",
        "        image.check_digest(clock)\n",
        "",
        ("damaged-push",),
    ),
    Bug(
        "what the signature check finds is ignored",
        "signature",
        "    if not verify(image.signature, image.digest, modulus):\n",
        "    if verify(image.signature, image.digest, modulus) is None:\n",
        ("signed",),
    ),
    Bug(
        "the security counter is not looked at",
        "admission",
        "        if image.security_counter < lowest:\n",
        "        if False:\n",
        ("downgrade-refused",),
    ),
    Bug(
        "the security counter is raised before the application has proven itself",
        "updater",
        "        record.phase = phases.INSTALLING\n",
        "        record.phase = phases.INSTALLING\n"
        "        record.counter = max(record.counter, image.security_counter)\n",
        ("after-roll-back",),
    ),
    Bug(
        "preserved regions are not looked at",
        "image",
        "if start < region_start + length and region_start < last_page_end:",
        "if False:",
        ("covers-preserved",),
    ),
    Bug(
        "one page more than the image covers is erased",
        "flasher",
        "        self._target.loader.erase_page(page)\n",
        "        self._target.loader.erase_page(page)\n"
        "        self._target.loader.erase_page(page + 1)\n",
        ("preserved-page",),
    ),
    Bug(
        "a reset is not looked for where the loader would not tell",
        "target",
        "            if self.pins.nrst is not None and not self.pins.nrst():\n",
        "            if False:\n",
        ("loader-11.3",),
    ),
    Bug(
        "Go is not tried when the loader is still there",
        "target",
        "        self._go()\n        if self.in_loader():\n            self.power_cycle()\n",
        "",
        ("first-install",),
    ),
    Bug(
        "BOOT0 stays high",
        "target",
        "        if self.pins.boot0 is not None:\n            self.pins.boot0(0)\n"
        "        if self.pins.nrst is not None:\n            self._reset()\n"
        "        if not",
        "        if self.pins.nrst is not None:\n            self._reset()\n        if not",
    ),
    Bug(
        "the target is not reset into its loader",
        "target",
        "            self.pins.boot0(1)\n            self._reset()\n",
        "            self.pins.boot0(1)\n",
    ),
    Bug(
        "a target without supply counts as one that takes the host down",
        "updater",
        "        record.starts = 0  # the host is still up: none of them has taken it down\n",
        "",
        ("long-outage",),
    ),
    Bug(
        "log lines are not flushed",
        "event_log",
        '        with open(path, mode) as file:\n            file.write(text + "\\n")\n',
        '        self._kept = open(path, mode)\n        self._kept.write(text + "\\n")\n',
        ("update", "first-install"),
    ),
)


@contextmanager
def planted(bug: Bug) -> Iterator[None]:
    """Scenarios run device code with this bug in it."""
    with TemporaryDirectory() as name:
        package = Path(name, "stm32_updater")
        shutil.copytree(firmware_folder() / "stm32_updater", package)
        module = package / f"{bug.module}.py"
        source = module.read_text()
        if source.count(bug.old) != 1:
            raise ValueError(f"the place for {bug.name!r} in {bug.module} is gone or not unique")
        module.write_text(source.replace(bug.old, bug.new))
        before, scenarios.packages = scenarios.packages, Path(name)
        try:
            yield
        finally:
            scenarios.packages = before
