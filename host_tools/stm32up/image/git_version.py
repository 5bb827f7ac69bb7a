"""`--version auto`: the version of a build, from the tags of the git repository that it lies in.

`git describe` names the last tag of a version, and the number of commits since. That number is the
build number of the version, so later commits have higher versions:

    v1.4.2-0-gabc1234      1.4.2      the commit with the tag v1.4.2
    v1.4.2-7-gabc1234      1.4.2+7    the seventh commit after it
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from stm32up.errors import UsageError
from stm32up.image import versions

AUTO = "auto"
_DESCRIBE = ("describe", "--tags", "--long", "--dirty")
_TAGS = ("v[0-9]*", "[0-9]*")
_GIVE_IT = "give the version itself: --version 1.4.2"


def resolved(version: str, source: Path) -> str:
    """The version as it is, or for "auto" the one that git knows. Raises UsageError."""
    return of_description(describe(source), source) if version == AUTO else version


def describe(source: Path) -> str:
    """What `git describe` says of the folder of this file: tag, commits since, commit."""
    if not source.exists():
        raise UsageError(f"cannot read {source}: No such file or directory")
    matching = [part for tag in _TAGS for part in ("--match", tag)]
    command = ["git", "-C", str(source.resolve().parent), *_DESCRIBE, *matching]
    try:
        ran = subprocess.run(
            command, capture_output=True, text=True, errors="replace", env=_in_english()
        )
    except OSError as error:
        raise _unknown(
            f"git cannot be run ({error.strerror})", f"Install git, or {_GIVE_IT}"
        ) from None
    if not ran.returncode:
        return ran.stdout.strip()
    said = (ran.stderr.strip().splitlines() or ["it failed"])[0]
    if "not a git repository" in said:
        raise _unknown(f"{source} lies in no git repository", f"G{_GIVE_IT[1:]}")
    if re.search("[Nn]o (names|tags|annotated)", said):
        raise _unknown(
            f"the git repository of {source} has no tag of a version, such as v1.0.0, before "
            "this commit",
            "Make one (git tag v1.0.0), or fetch them (git fetch --tags --unshallow).",
        )
    raise _unknown(f"git describe: {said}", f"Correct that, or {_GIVE_IT}")


def of_description(text: str, source: Path) -> str:
    """The version that this output of `git describe --long --dirty` stands for. `source` is for
    messages."""
    found = re.fullmatch(r"(.+)-(\d+)-g[0-9a-f]+(-dirty)?", text)
    if found is None:
        raise _unknown(f"git describe says {text!r}", f"G{_GIVE_IT[1:]}")
    tag, commits, dirty = found[1], int(found[2]), found[3]
    if dirty:
        raise _unknown(
            f"the git repository of {source} has changes that are not committed, so no commit "
            "stands for this build",
            f"Commit them, or {_GIVE_IT}",
        )
    version = versions.parse(tag)  # a tag such as v1.4.2-rc1 is refused with the reason
    if not commits:
        return tag
    if version.build:
        raise _unknown(
            f"the last tag {tag} has a build number already, and {commits} commits follow",
            "Tag this commit, or tag releases without a build number.",
        )
    return f"{version.major}.{version.minor}.{version.revision}+{commits}"


def _unknown(why: str, next_step: str) -> UsageError:
    return UsageError(f"--version {AUTO}: {why}", next_step.rstrip(".") + ".")


def _in_english() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C", "LANGUAGE": "C"}
