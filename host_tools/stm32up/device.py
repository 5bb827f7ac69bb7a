"""The device packages as the desktop sees them: only this module imports them and knows their
sources.

The chip table exists once, in stm32_rom.chips, and serves the desktop as well.
"""

from __future__ import annotations

import ast
import contextlib
import difflib
import functools
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Protocol, cast

import stm32assets
from stm32up.errors import ImageError, Stm32upError, UsageError

PROJECT = stm32assets.ROOT
FIRMWARE = stm32assets.FIRMWARE
ROM = FIRMWARE / "stm32_rom"  # what `deploy` compiles: this, and the packages that import it
PACKAGE = FIRMWARE / "stm32_updater"
BENCH = FIRMWARE / "stm32_bench"  # what `deploy --bench` compiles too
DOCTOR = FIRMWARE / "stm32_doctor"  # what `doctor` sends into the host's RAM
CYCLES = FIRMWARE / "stm32_cycles"  # what `bench` sends there
MAIN = FIRMWARE / "main.py"


AGAIN = "Build it again, or copy it again."


def product() -> tuple[Path, ...]:
    """The packages of a product, each before those that import it."""
    return ROM, PACKAGE


def sources(package: Path) -> list[Path]:
    """The modules of a device package. Raises Stm32upError if this installation lacks them, so
    that a missing package is not mistaken for an empty one.
    """
    found = sorted(package.glob("*.py"))
    if package / "__init__.py" not in found:
        raise _not_installed(package)
    return found


def updater_version() -> str:
    """The version of the updater that `deploy` installs."""
    return str(module("stm32_updater").__version__)


def main_program() -> bytes:
    """firmware/main.py. Raises Stm32upError as `sources` does."""
    if not MAIN.is_file():
        raise _not_installed(MAIN)
    return MAIN.read_bytes()


def _not_installed(path: Path) -> Stm32upError:
    return Stm32upError(
        f"this stm32up was installed without {path.name}, which the host needs: there is no "
        f"{path}",
        "Install stm32up again.",
    )


@functools.cache
def uses() -> dict[str, list[str]]:
    """The built-in modules that the code on the host imports, and the names it uses of each."""
    names: dict[str, set[str]] = {}
    for package in (*product(), BENCH):
        for path in sources(package):
            _collect_uses(ast.parse(path.read_bytes()), names)
    ours = {package.name for package in (*product(), BENCH, DOCTOR, CYCLES)}
    return {name: sorted(used) for name, used in sorted(names.items()) if name not in ours}


def _collect_uses(tree: ast.Module, names: dict[str, set[str]]) -> None:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names.setdefault(alias.name, set())
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.setdefault(node.module.partition(".")[0], set()).update(
                alias.name for alias in node.names if "." not in node.module
            )
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id=name), attr=used) if name in names:
                names[name].add(used)


@functools.cache
def limits() -> dict[str, tuple[int, int]]:
    """The lowest and the highest value of each number in board.json, by key: the constants
    _KEY_MIN and _KEY_MAX in the modules that read it on the host. Raises Stm32upError as `sources`
    does.
    """
    modules = [path for package in (PACKAGE, BENCH) for path in sources(package)]
    text = "\n".join(path.read_text("utf-8") for path in modules if path.name == "board.py")
    ends = {
        (key.lower(), end): int(number, 0)
        for key, end, number in re.findall(r"^_(\w+)_(MIN|MAX) = const\((\w+)\)", text, re.M)
    }
    return {key: (lowest, ends[key, "MAX"]) for (key, end), lowest in ends.items() if end == "MIN"}


class Chip(Protocol):
    """The part of a row of the chip table that the desktop needs. Addresses and sizes in bytes."""

    name: str
    product_id: int
    flash_start: int
    flash_size: int
    page_size: int
    loader_address: int  # 7 bits
    bus_limit: int  # Hz


AUTO = "auto"  # in board.toml: the chip is identified when the board is deployed


class _NotIdentified:
    """The chip of a board.toml that says "auto", before it is known. Its name is all that it
    has."""

    name = AUTO

    def __getattr__(self, attribute: str) -> object:
        raise UsageError(
            'board.toml says chip = "auto", and the chip is not known here',
            "Name the part: --chip for an image, chip in board.toml for all else.",
        )


NOT_IDENTIFIED = cast(Chip, _NotIdentified())


class _Image(Protocol):
    product_id: int
    signature: bytes | None
    key_hash: bytes

    def check_digest(self, clock: object) -> None: ...
    def check_fit(self, chip: Chip, preserved: Sequence[tuple[int, int]]) -> None: ...
    def check_product(self, class_id: bytes | None) -> None: ...
    def check_vectors(self, chip: Chip) -> None: ...


def chip(name: str) -> Chip:
    """The chip with this part number, such as "STM32G071RB". Raises UsageError if it is not in the
    table.
    """
    chips = module("stm32_rom.chips")
    errors = module("stm32_rom.errors")
    try:
        return cast(Chip, chips.by_name(name))
    except errors.UnknownChip as error:
        said = str(error)
    if "; supported: " in said:  # no part begins like this name: a slip of the pen?
        known = [row.split()[1].split(",") for row in families().SUPPORTED]
        end = name.upper()[-2:]  # pins and flash size
        like = [f"STM32{part}{end}" for parts in known for part in parts]
        if close := difflib.get_close_matches(name.upper(), like, n=4, cutoff=0.9):
            said = f"{name} is not a supported chip; did you mean {' or '.join(close)}?"
    raise UsageError(said)


def family(product_id: int) -> str:
    """The parts that have this product ID, such as "STM32G070/STM32G071/STM32G081"; and why they
    are not supported, if they are only recognised."""
    return str(module("stm32_rom.chips").family_name(product_id))


@functools.cache
def loaders() -> dict[int, str]:
    """The I2C addresses of the loaders of the supported families, and the parts that have them."""
    found: dict[int, str] = {}
    for row in families().SUPPORTED:
        product_id, _, address = row.split()[:3]
        parts = [found[at]] if (at := int(address, 16)) in found else []
        found[at] = "/".join([*parts, family(int(product_id, 16))])
    return found


def part_of(product_id: int, flash_size: int) -> Chip | None:
    """The part of a family with so much flash, in bytes; None if there is none. Parts with the
    same flash cannot be told apart."""
    chips = module("stm32_rom.chips")
    for letter in chips.SIZE_LETTERS:
        first = family(product_id).partition("/")[0]
        with contextlib.suppress(UsageError):
            if (part := chip(f"{first}x{letter}")).flash_size == flash_size:
                return part
    return None


def families() -> ModuleType:
    """The table of families."""
    return module("stm32_rom.families")


def check_image(
    content: bytes, name: object, chip: Chip | None, preserve: Sequence[tuple[int, int]]
) -> None:
    """Run the updater's own checks of an image, except those of signature and product.

    `name` is for messages. `chip` None: the largest of the family that the image is for. Raises
    ImageError.
    """
    with _opened(content, name) as image:
        _check_digest(image, name)
        if chip is None and not knows(image.product_id):
            raise ImageError(f"{name} is for chip 0x{image.product_id:03X}, which is not known")
        target = chip or largest(image.product_id)
        image.check_fit(target, preserve)
        image.check_vectors(target)


def check_for_host(
    content: bytes,
    name: object,
    chip_name: str,
    preserve: Sequence[tuple[int, int]],
    class_id: str | None,
    unsigned: bool,
    keys: Sequence[str],
) -> None:
    """Run the updater's checks that depend only on board.json and on the file names of `keys`.
    Raises ImageError; ValueError or TypeError for values that the updater would refuse.
    """
    try:
        chip = module("stm32_rom.chips").by_name(chip_name)
    except module("stm32_rom.errors").UnknownChip:
        raise ValueError(chip_name) from None
    signature = module("stm32_updater.signature")
    names = [str(key).removesuffix(".pub") for key in keys]
    with _opened(content, name) as image:
        image.check_fit(chip, [(int(start), int(length)) for start, length in preserve])
        image.check_product(None if class_id is None else bytes.fromhex(class_id))
        image.check_vectors(chip)
        if image.signature is None or signature.key_id(image.key_hash) not in names:
            signature.check(image, _NoneOf(names), unsigned)


class _NoneOf:
    """The keys of a host for an image that is signed with none of them; see signature.Keys."""

    def __init__(self, names: list[str]) -> None:
        self._names = names

    def find(self, wanted: bytes) -> None:
        return None

    def ids(self) -> list[str]:
        return self._names


@contextlib.contextmanager
def _opened(content: bytes, name: object) -> Iterator[_Image]:
    """The updater's Image of this content. Its errors become ImageError and name `name`."""
    reader, errors = module("stm32_updater.image"), module("stm32_updater.errors")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "image")
        file.write_bytes(content)
        try:
            yield reader.open_image(str(file))
        except errors.UpdaterError as error:
            damaged = isinstance(error, errors.ImageDamaged)
            next_step = AGAIN if damaged else error.next_step
            refused = ImageError(error.message.replace(str(file), str(name)), next_step)
            refused.code = error.code
            raise refused from None


def _check_digest(image: _Image, name: object) -> None:
    try:
        image.check_digest(module("stm32_rom.clock").Clock())
    except module("stm32_updater.errors").ImageDamaged:
        raise ImageError(f"{name} is damaged: its digest does not match", AGAIN) from None


def knows(product_id: int) -> bool:
    """Whether the chip table has a supported family with this product ID."""
    return module("stm32_rom.chips").largest(product_id) is not None


def largest(product_id: int) -> Chip:
    """The part of this family with the most flash, because an image names only the family."""
    return cast(Chip, module("stm32_rom.chips").largest(product_id))


def version_text(raw: bytes) -> str:
    """ "1.4.2", or "1.4.2+7" with a build number, from the 8 bytes that an application answers."""
    return str(module("stm32_updater.image").version_text(raw))


def option_bytes(data: bytes) -> dict[str, object]:
    """The 128 bytes of a G0's or C0's option area, decoded: names to numbers."""
    decoded: dict[str, object] = module("stm32_rom.option_bytes").OptionBytes(data).as_dict()
    return decoded


def module(name: str) -> ModuleType:
    """A module of a device package, such as "stm32_rom.chips". CPython has no `micropython.const`,
    so the module gets a replacement.
    """
    if str(FIRMWARE) not in sys.path:
        sys.path.append(str(FIRMWARE))
    if "micropython" not in sys.modules:
        stand_in = ModuleType("micropython")
        stand_in.__dict__["const"] = lambda value: value
        sys.modules["micropython"] = stand_in
    return import_module(name)
