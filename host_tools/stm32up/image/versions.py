"""The version of an image: numbers only, as in MCUboot's header."""

from __future__ import annotations

import re

from imgtool.version import SemiSemVersion, decode_version

from stm32up.errors import UsageError


def parse(text: str) -> SemiSemVersion:
    """A leading "v", as in a tag, is skipped. Checks the limits that imgtool does not check: major
    and minor have 8 bits, revision 16, build 32. Raises UsageError.
    """
    numbers = re.sub("^[vV]", "", text)
    try:
        version = decode_version(numbers)
    except ValueError:
        raise UsageError(*_what_is_wrong(text, numbers)) from None
    for part, limit in zip(version, (0xFF, 0xFF, 0xFFFF, 0xFFFF_FFFF), strict=True):
        if part > limit:
            raise UsageError(f"version {text}: {part} is more than {limit}")
    return version


def _what_is_wrong(text: str, numbers: str) -> tuple[str, str]:
    """Why this text is not a version, and what to write."""
    known = re.match(r"(\d+\.\d+\.\d+|\d+\.\d+|\d+)(.*)", numbers, re.DOTALL)
    if known is None:
        return f"{text!r} is not a version", "Write it as 1.4.2 or 1.4.2+7."
    release, rest = known[1] + ".0" * (2 - known[1].count(".")), known[2]
    if re.fullmatch(r"\.\d+", rest):
        return (
            f"{text!r} is not a version: it has three numbers at most, and may have a "
            "build number after a +",
            f"Write it as {release}+{rest[1:]}.",
        )
    if re.match(r"[-._~]?[A-Za-z]|-\d", rest):
        return (
            f"{text!r} is not a version: images have numbers only, without a pre-release",
            f"Number the builds instead: {release}+1 for the first candidate, higher for the next "
            "ones, the highest for the release.",
        )
    return f"{text!r} is not a version", "Write it as 1.4.2 or 1.4.2+7."
