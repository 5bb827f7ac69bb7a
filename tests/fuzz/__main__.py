"""Fuzzes the readers of files from other sources.

    python -m tests.fuzz                              all targets, 1,000,000 inputs
    python -m tests.fuzz state --runs 50000           one target
    python -m tests.fuzz state build/fuzz/state-*     replay saved inputs
    python -m tests.fuzz --document build/fuzz.json   the numbers of a run, for docs/security.md

If atheris is installed (by `make fuzz`), coverage guides the fuzzer; otherwise inputs are random
mutations of real files. A finding does not end the run: findings are counted, and the first input
of each kind is saved as build/fuzz/TARGET-KIND.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import random
import re
import subprocess
import sys
import time
import traceback
import tracemalloc
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

PROJECT = Path(__file__).parents[2]
RUNS = 1_000_000
MAX_BYTES = 2048  # of an input; real images for fuzzing have some 900
MEMORY_EVERY = 61  # inputs between two traces of memory, which are slow
# For 2 KB of input. CPython needs more memory than MicroPython: 120 KB for the table of families
# alone, which is loaded for each look-up. An RP2040 has some 200 KB.
MEMORY_BOUND = 256 * 1024
SECONDS_PER_INPUT = 10
KEEP_EVERY = 500  # inputs between two saved outcomes


@dataclass
class Outcome:
    """The outcome of a run of one target."""

    target: str
    inputs: int = 0
    seconds: float = 0.0
    findings: dict[str, int] = field(default_factory=dict)  # kind: how often
    saved: list[str] = field(default_factory=list)
    first: int = 0  # the number of the input that made the first finding
    peak: int = 0  # bytes, the traced maximum
    ended: str = ""  # why the fuzzer ended early, if it did


class Checked:
    """A target that saves and counts its findings and continues."""

    def __init__(self, name: str, runs: int, folder: Path) -> None:
        from tests.fuzz import targets

        self.target = targets.ALL[name]()
        self.outcome = Outcome(name)
        self._folder = folder
        self._random = random.Random(name)
        self._runs = runs
        self._begun = time.perf_counter()
        folder.mkdir(parents=True, exist_ok=True)

    def __call__(self, data: bytes) -> None:
        self.outcome.inputs += 1
        if self.outcome.inputs >= self._runs or self.outcome.inputs % KEEP_EVERY == 0:
            self.keep()
        try:
            if self.outcome.inputs % MEMORY_EVERY:
                self.target(data)
            else:
                self._traced(data)
        except Exception as error:
            self._found(data, error)

    def _traced(self, data: bytes) -> None:
        from tests.fuzz.finding import Finding

        peak = self._peak(data)
        if peak > MEMORY_BOUND:  # the first input of its kind may import a module
            peak = self._peak(data)
        self.outcome.peak = max(self.outcome.peak, peak)
        if peak > MEMORY_BOUND:
            raise Finding(f"{peak} bytes of memory for an input of {len(data)}")

    def _peak(self, data: bytes) -> int:
        """Bytes that the target allocates for this input at most."""
        tracemalloc.start()
        try:
            self.target(data)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    def _found(self, data: bytes, error: Exception) -> None:
        kind = kind_of(error)
        counts = self.outcome.findings
        counts[kind] = counts.get(kind, 0) + 1
        if counts[kind] == 1:
            self.outcome.first = self.outcome.first or self.outcome.inputs
            name = f"{self.outcome.target}-{hashlib.sha256(kind.encode()).hexdigest()[:8]}"
            path = self._folder / name
            path.write_bytes(data)
            self.outcome.saved.append(str(path))
            self.keep()

    def random_runs(self) -> None:
        """Random mutations of the seeds, the same in every run."""
        from tests.fuzz import mutation

        seeds = self.target.seeds()
        for seed in seeds:
            self(seed)
        for _ in range(self._runs - len(seeds)):
            self(mutation.mutated(self._random.choice(seeds), self._random))
        self.keep()

    def guided_runs(self, corpus: Path) -> None:
        """Inputs from atheris (libFuzzer), which ends the process."""
        import atheris

        from tests.fuzz import mutation

        corpus.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(self.target.seeds()):
            (corpus / f"seed-{number}").write_bytes(seed)
        options = [f"-runs={self._runs}", f"-max_len={MAX_BYTES}", "-seed=1", "-verbosity=0"]
        options += [f"-timeout={SECONDS_PER_INPUT}", "-rss_limit_mb=1024"]
        tokens = self._folder / "tokens"
        tokens.write_text("".join(f'"{_escaped(token)}"\n' for token in mutation.TOKENS))
        options += [f"-dict={tokens}"]
        options += [f"-artifact_prefix={self._folder}/{self.outcome.target}-"]
        atheris.Setup([sys.argv[0], *options, str(corpus)], self, custom_mutator=_mutator)
        atheris.Fuzz()

    def keep(self) -> None:
        """Save the outcome so far, because libFuzzer ends the process without notice."""
        self.outcome.seconds = time.perf_counter() - self._begun
        text = json.dumps(asdict(self.outcome))
        (self._folder / f"{self.outcome.target}.json").write_text(text)


def _mutator(data: bytes, most: int, seed: int) -> bytes:
    """Half of the inputs are mutated by our rules for formats, half by libFuzzer."""
    import atheris

    from tests.fuzz import mutation

    if seed % 2:
        return mutation.mutated(data, random.Random(seed))[:most]
    changed: bytes = atheris.Mutate(data, most)
    return changed


def _escaped(token: bytes) -> str:
    """The token in the syntax of a libFuzzer dictionary."""
    return "".join(f"\\x{byte:02X}" for byte in token)


def kind_of(error: Exception) -> str:
    """Place and text of an error, without numbers."""
    frames = traceback.extract_tb(error.__traceback__)
    place = next(
        (f"{Path(f.filename).name}:{f.lineno}" for f in reversed(frames) if "stm32" in f.filename),
        "harness",
    )
    what = re.sub(r"0x[0-9A-F]+|\d+|'[^']*'|b?\"[^\"]*\"", "N", str(error).split("\n")[0])
    return f"{type(error).__name__} at {place}: {what[:80]}"


def fuzz(name: str, runs: int, folder: Path, guided: bool) -> None:
    """One target in this process. Guided, it does not return."""
    if not guided:
        Checked(name, runs, folder).random_runs()
        return
    import atheris

    with atheris.instrument_imports(include=["stm32_rom", "stm32_updater", "stm32up"]):
        checked = Checked(name, runs, folder)
    checked.guided_runs(folder / "corpus" / name)


def in_process(name: str, runs: int, folder: Path, guided: bool, source: Path | None) -> Outcome:
    """One target in a separate process; `source` is a tree with other firmware/ and
    host_tools/."""
    command = [sys.executable, "-m", "tests.fuzz", name, "--runs", str(runs), "--alone"]
    command += ["--folder", str(folder), *([] if guided else ["--unguided"])]
    tree = source or PROJECT
    paths = [str(tree / "firmware"), str(tree / "host_tools"), str(PROJECT)]
    kept = folder / f"{name}.json"
    kept.unlink(missing_ok=True)
    ran = subprocess.run(
        command,
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
    )
    outcome = Outcome(**json.loads(kept.read_text())) if kept.exists() else Outcome(name)
    if ran.returncode:  # too slow, too much memory, or the process died
        outcome.ended = (ran.stderr.strip().splitlines() or ["?"])[-1]
    return outcome


def replay(name: str, inputs: Sequence[Path]) -> int:
    """Run the target on saved inputs; 1 if one of them is still a finding."""
    from tests.fuzz import targets

    target, status = targets.ALL[name](), 0
    for path in inputs:
        try:
            print(f"{path}: {target(path.read_bytes())!r}")
        except Exception as error:
            traceback.print_exception(error)
            print(f"{path}: {kind_of(error)}")
            status = 1
    return status


def report(outcomes: Sequence[Outcome]) -> int:
    """Prints a table; 1 if anything was found."""
    print(f"{'target':15}{'inputs':>9}{'inputs/s':>10}{'peak KB':>9}  findings")
    for one in outcomes:
        rate = one.inputs / one.seconds if one.seconds else 0
        print(f"{one.target:15}{one.inputs:9}{rate:10.0f}{one.peak / 1024:9.0f}", end="  ")
        print(one.ended or len(one.findings))
        for kind, path in zip(one.findings, one.saved, strict=False):
            print(f"  {one.findings[kind]} x {kind}")
            print(f"    python -m tests.fuzz {one.target} {path}")
    inputs, found = sum(o.inputs for o in outcomes), sum(len(o.findings) for o in outcomes)
    ended = sum(bool(o.ended) for o in outcomes)
    print(f"{inputs} inputs, {found} kinds of findings, {ended} targets ended early")
    return 1 if found or ended else 0


def document(outcomes: Sequence[Outcome], guided: bool) -> None:
    """Write the numbers of a run into docs/security.md, between its two marks."""
    from tests.support import between_marks

    lines = ["| reader | inputs | kinds of findings | most memory, KB |", "|---|---:|---:|---:|"]
    for one in outcomes:
        found = one.ended or len(one.findings)
        lines.append(f"| {one.target} | {one.inputs} | {found} | {one.peak / 1024:.0f} |")
    inputs = sum(one.inputs for one in outcomes)
    found = sum(len(one.findings) for one in outcomes)
    lines += [f"| all | {inputs} | {found} | |", ""]
    lines.append(f"- {'guided by coverage (atheris)' if guided else 'random mutations'}")
    between_marks(PROJECT / "docs" / "security.md", "fuzz", lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("target", nargs="?", help="default: all")
    parser.add_argument("inputs", nargs="*", type=Path, help="saved inputs to replay")
    parser.add_argument("--runs", type=int, default=RUNS, help="inputs, for all targets together")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=PROJECT / "build" / "fuzz")
    parser.add_argument("-o", "--output", type=Path, default=PROJECT / "build" / "fuzz.json")
    parser.add_argument("--document", type=Path, metavar="FILE.json", help="fuzz nothing")
    parser.add_argument("--unguided", action="store_true", help="random mutations, no atheris")
    parser.add_argument("--alone", action="store_true", help="in this process; prints nothing")
    given = parser.parse_args(arguments)
    if given.inputs:
        return replay(given.target, given.inputs)
    if given.document is not None:
        kept = json.loads(given.document.read_text())
        document([Outcome(**one) for one in kept["targets"]], kept["guided"])
        return 0
    guided = not given.unguided and importlib.util.find_spec("atheris") is not None
    if given.alone:
        fuzz(given.target, given.runs, given.folder, guided)
        return 0
    from tests.fuzz import targets

    names = [given.target] if given.target else list(targets.ALL)
    share = -(-given.runs // len(names))
    with ThreadPoolExecutor(given.jobs) as pool:
        waiting = [
            pool.submit(in_process, name, share, given.folder, guided, None) for name in names
        ]
        outcomes = [one.result() for one in waiting]
    kept = {"guided": guided, "targets": [asdict(one) for one in outcomes]}
    given.output.parent.mkdir(parents=True, exist_ok=True)
    given.output.write_text(json.dumps(kept, indent=1))
    return report(outcomes)


if __name__ == "__main__":
    sys.exit(main())
