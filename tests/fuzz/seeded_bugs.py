"""Bugs put into copies of the sources, to check that fuzzing finds them.

python -m tests.fuzz.seeded_bugs
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from tests.fuzz.__main__ import PROJECT, Outcome, in_process

RUNS = 20_000
QUICK = 300  # inputs that random mutations need to find the marked bugs


class Bug(NamedTuple):
    target: str
    name: str
    file: str
    old: str
    new: str
    quick: bool = False


DEVICE, DESKTOP = "firmware/stm32_updater", "host_tools/stm32up"
BUGS = [
    Bug(
        "device-image",
        "a read that fails is not expected",
        f"{DEVICE}/image.py",
        'return StoreError("%s cannot be read',
        'return OSError("%s cannot be read',
    ),
    Bug(
        "device-image",
        "a chunk is as long as the image",
        f"{DEVICE}/image.py",
        "_CHUNK = const(1024)",
        "_CHUNK = const(1024 * 1024)",
    ),
    Bug(
        "agreement",
        "the device bears bytes after the end",
        f"{DEVICE}/image.py",
        "if end != size:",
        "if False:",
    ),
    Bug(
        "agreement",
        "the desktop bears a damaged digest",
        f"{DESKTOP}/device.py",
        'image.check_digest(module("stm32_rom.clock").Clock())',
        "pass",
        quick=True,
    ),
    Bug(
        "state",
        "the fields of a record are not looked at",
        f"{DEVICE}/record.py",
        "phase >= len(PHASES)",
        "False",
        quick=True,
    ),
    Bug(
        "board-json",
        "a missing key is not expected",
        f"{DEVICE}/settings.py",
        "if key not in self._content:",
        "if False:",
    ),
    Bug(
        "device-keys",
        "a key of any length is taken",
        f"{DEVICE}/signature.py",
        "whole = len(modulus) in _SIZES and",
        "whole =",
        quick=True,
    ),
    Bug(
        "device-log",
        "a line that is not JSON is not expected",
        f"{DEVICE}/event_log.py",
        "except (ValueError, ",
        "except (",
    ),
    Bug(
        "device-log",
        "the whole log is read",
        f"{DEVICE}/event_log.py",
        "file.seek(max(0, size_of(path) - _TAIL))",
        "file.seek(0)",
        quick=True,
    ),
    Bug(
        "desktop-log",
        "a line without a number is an entry",
        f"{DESKTOP}/host/logs.py",
        'not is_count(entry.get("n"))',
        '"n" not in entry',
    ),
    Bug(
        "desktop-image",
        "imgtool reads on behind the end of the file",
        f"{DESKTOP}/image/image_format.py",
        "except (struct.error, IndexError):",
        "except IndexError:",
    ),
    Bug(
        "desktop-input",
        "digits that are none are not expected",
        f"{DESKTOP}/image/records.py",
        "if not _DIGITS.fullmatch(digits):",
        "if False:",
        quick=True,
    ),
    Bug(
        "desktop-key",
        "a file without a key is not expected",
        f"{DESKTOP}/image/keys.py",
        "load_pem_public_key(pem)\n        except (ValueError, UnsupportedAlgorithm):",
        "load_pem_public_key(pem)\n        except UnsupportedAlgorithm:",
        quick=True,
    ),
    Bug(
        "board-toml",
        "a file that is no text is not expected",
        f"{DESKTOP}/board/toml_file.py",
        "except (OSError, UnicodeDecodeError) as error:",
        "except OSError as error:",
        quick=True,
    ),
]


def run_with(bug: Bug | None, target: str, runs: int, folder: Path, guided: bool) -> Outcome:
    """The target's outcome on a copy of the sources with this bug."""
    source = folder / "source"
    for part in (DEVICE, DESKTOP):
        shutil.copytree(
            PROJECT / part, source / part, ignore=shutil.ignore_patterns("__pycache__")
        )
    if bug is not None:
        path = source / bug.file
        text = path.read_text()
        if text.count(bug.old) != 1:
            raise ValueError(f"{bug.name}: {bug.file} does not hold {bug.old!r} once")
        path.write_text(text.replace(bug.old, bug.new))
    return in_process(target, runs, folder / "found", guided, source)


def new_kinds(bug: Bug, runs: int, folder: Path, guided: bool) -> tuple[Outcome, set[str]]:
    """The outcome with the bug, and the kinds of findings that the source does not have."""
    with_bug = run_with(bug, bug.target, runs, folder / "bug", guided)
    if not with_bug.findings:
        return with_bug, set()
    without = run_with(None, bug.target, runs, folder / "plain", guided)
    return with_bug, {_what(k) for k in with_bug.findings} - {_what(k) for k in without.findings}


def _what(kind: str) -> str:
    """A kind without its line number, which a bug may change."""
    error, _, rest = kind.partition(" at ")
    return f"{error}: {rest.partition(': ')[2]}"


def main() -> int:
    guided = importlib.util.find_spec("atheris") is not None
    missed = 0
    for bug in BUGS:
        with tempfile.TemporaryDirectory() as folder:
            runs = QUICK if bug.quick else RUNS
            outcome, kinds = new_kinds(bug, runs, Path(folder), guided)
        missed += not kinds
        found = f"input {outcome.first}: {min(kinds)}" if kinds else "NOT FOUND"
        print(f"{bug.target:14} {bug.name}: {found}", flush=True)
    print(f"{len(BUGS) - missed} of {len(BUGS)} seeded bugs found, with {RUNS} inputs at most")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
