"""Facts about the host, read before anything is installed: its interpreter, its filesystem, and
where `import` finds the updater and the built-in modules that the updater uses.

MicroPython looks for a module NAME in each folder of sys.path in turn: as folder NAME, NAME.py or
NAME.mpy. Most built-in modules (json, time, os ...) come last, so a user's file can hide them. The
code that asks uses no module that such a file could hide.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from stm32up import device
from stm32up.errors import DeviceError, HostUnfit, NoBoard
from stm32up.host.paths import BENCH_LIBRARY, FROZEN, LIB, LIBRARY, ROM_LIBRARY
from stm32up.host.transport import BUILT_IN, Connection

OLDEST = (1, 24)  # MicroPython; as the README says
MPY = 6  # version of the .mpy files that mpy-cross makes
LIMIT_S = 20.0  # importing all of the updater takes a second or two
_OURS = {path.rpartition("/")[2]: path for path in (LIBRARY, ROM_LIBRARY, BENCH_LIBRARY)}
PRODUCT = ("stm32_updater", "stm32_rom")  # what may be frozen into a firmware
_INSTALL = "Install MicroPython 1.24 or newer on it (micropython.org/download), then deploy again."

_NOT_MOUNTED = (
    "nothing is mounted at /: the host has no filesystem",
    "Most likely its MicroPython is built for another flash size: erase the host's flash, install "
    "the right MicroPython, then deploy again.",
)

_ASK = (
    BUILT_IN
    + """
def _ask(names, ours, folders):
 os = _built_in('os')
 def kind(path):
  try: return os.stat(path)[0] & 0xF000
  except OSError: return 0
 def frozen(name):
  path = sys.path[:]
  forget(name)
  sys.path[:] = ['.frozen']
  try: __import__(name); return True
  except ImportError: return False
  except Exception: return True
  finally:
   sys.path[:] = path
   forget(name)
 def forget(name):
  for n in [n for n in sys.modules if n == name or n.startswith(name + '.')]: del sys.modules[n]
 here = os.getcwd().rstrip('/')
 found = {}
 for name in names:
  for entry in sys.path:
   if entry == '.frozen':
    if name in ours and frozen(name): found.setdefault(name, []).append((entry, '.frozen/' + name))
    continue
   folder = (entry if entry[:1] == '/' else here + '/' + entry).rstrip('/')
   path = folder + '/' + name
   if kind(path) != 0x4000:
    path = [p for p in (path + '.py', path + '.mpy') if kind(p) == 0x8000]
    if not path: continue
    path = path[0]
   found.setdefault(name, []).append((entry, path))
 try: space = os.statvfs('/')
 except OSError: space = (0, 0, 0, 0)
 i = sys.implementation
 return {
  'platform': sys.platform, 'implementation': i.name, 'version': i.version[:3],
  'mpy': getattr(i, '_mpy', None), 'path': sys.path, 'found': found,
  'block': space[0], 'free': space[0] * space[3],
  'missing': [f for f in folders if not kind(f)],
  'files': [f for f in folders if kind(f) == 0x8000]}
"""
)

# Imports modules that may be hidden, as the updater would: which file is imported, and which names
# it lacks.
_TRY = """
def _try(name, uses):
 had = sys.modules.pop(name, None)
 try:
  m = __import__(name)
  f = getattr(m, '__file__', None) or getattr(m, '__path__', None)
  return f, [u for u in uses if not hasattr(m, u)]
 except BaseException as e:
  return '', [type(e).__name__ + ': ' + str(e)]
 finally:
  sys.modules.pop(name, None)
  if had: sys.modules[name] = had
"""

# Imports every module of the deployed packages, as the product does, then removes them again.
_IMPORT_ALL = (
    BUILT_IN
    + """
def _import_all(packages):
 names = [n for n, _ in packages] + [n + '.' + e[0].rsplit('.', 1)[0] for n, folder in packages
  for e in _built_in('os').ilistdir(folder) if e[1] == 0x8000 and e[0][:2] != '__']
 try:
  for n in names: __import__(n)
 except BaseException as e: return 'import ' + n + ': ' + type(e).__name__ + ': ' + str(e)
 finally:
  ours = [n for n, _ in packages]
  for n in [n for n in sys.modules if n.split('.')[0] in ours]: del sys.modules[n]
  _built_in('gc').collect()
 return ''
"""
)

# From here on no file of the user is imported.
ALONE = f"""
import sys
sys.path[:] = [{FROZEN!r}]
for n, f in {{files!r}}:
 m = sys.modules.get(n)
 if m and f in (getattr(m, '__file__', 0), getattr(m, '__path__', 0)): del sys.modules[n]
"""


@dataclass(frozen=True)
class HostFacts:
    """The answers. `found` lists for each module name all places where `import` would find it, in
    order: (entry of sys.path, path)."""

    platform: str = "rp2"
    implementation: str = "micropython"
    version: tuple[object, ...] = (*OLDEST, 0)
    mpy: int | None = MPY
    path: list[str] = field(default_factory=lambda: ["", FROZEN, LIB])
    found: Mapping[str, list[tuple[str, str]]] = field(default_factory=dict)
    block: int = 4096  # bytes; 0 where nothing is mounted at /
    free: int = 1 << 20  # bytes
    missing: tuple[str, ...] = ()  # those of the requested folders
    files: tuple[str, ...] = ()  # ... those that are files
    hidden: tuple[Hidden, ...] = ()  # built-in modules

    @property
    def updater(self) -> bool:
        """Whether there is an updater to import, deployed or frozen."""
        return "stm32_updater" in self.found

    @property
    def interpreter_trouble(self) -> str:
        """Why this interpreter cannot run the updater; empty if it can."""
        version = ".".join(map(str, self.version))
        if self.implementation != "micropython":
            return f"the host runs {self.implementation} {version}, not MicroPython"
        if self.version < OLDEST:
            oldest = ".".join(map(str, OLDEST))
            return f"the host runs MicroPython {version}, and the updater needs {oldest} or newer"
        if self.mpy is None:
            return f"this build of MicroPython {version} loads no .mpy files"
        if self.mpy & 0xFF != MPY:
            return (
                f"the host's MicroPython {version} loads .mpy files of version {self.mpy & 0xFF}, "
                f"and the updater's are of version {MPY}"
            )
        return ""

    def in_the_way(self, name: str) -> list[str]:
        """The paths that `import` finds before the deployed package of this name."""
        paths = []
        for entry, path in self.found.get(name, []):
            if entry == LIB or path == _OURS[name]:
                break
            paths.append(path)
        return paths


@dataclass(frozen=True)
class Hidden:
    """A built-in module that a user's file hides. `lacks`: the names that the updater uses and the
    file lacks, or the exception that importing it raises."""

    name: str
    path: str
    lacks: tuple[str, ...] = ()
    imported: str = ""  # the module's own file name; empty if it cannot be imported

    @property
    def text(self) -> str:
        lacks = f" and lacks {', '.join(self.lacks)}" if self.lacks else ""
        return f"{self.path} is imported instead of the built-in module {self.name}{lacks}"


def look(connection: Connection, folders: Iterable[str] = ()) -> HostFacts:
    """Ask the host. Raises DeviceError, NoBoard."""
    uses = device.uses()
    names = [*_OURS, *uses]
    answer = _answer(connection, _ASK + f"print(_ask({names!r}, {[*_OURS]!r}, {[*folders]!r}))")
    try:
        facts = HostFacts(
            **{
                **answer,
                "version": tuple(answer["version"]),
                "missing": tuple(answer["missing"]),
                "files": tuple(answer["files"]),
            }
        )
    except (TypeError, KeyError) as error:
        raise _not_understood(str(answer)) from error
    hidden = _hidden(connection, facts, uses)
    return HostFacts(**{**vars(facts), "hidden": hidden})


def check(facts: HostFacts, *, frozen: bool = False) -> None:
    """Raise HostUnfit if the updater could not run there, or another one would run instead.

    `frozen`: the updater in the firmware is the one to run.
    """
    if facts.interpreter_trouble:
        raise HostUnfit(facts.interpreter_trouble, _INSTALL)
    if not facts.block:
        raise HostUnfit(*_NOT_MOUNTED)
    for name, place in _OURS.items():
        before = facts.in_the_way(name)
        if frozen and name in PRODUCT:
            if before[-1:] != [f"{FROZEN}/{name}"]:
                what = "updater" if name == PRODUCT[0] else name
                raise HostUnfit(
                    f"no {what} is frozen into the host's firmware", "Deploy without --frozen."
                )
            before.pop()
        if before:
            raise HostUnfit(
                f"{' and '.join(before)} {'is' if len(before) == 1 else 'are'} imported instead "
                f"of {place}",
                out_of_the_way(before),
            )
    if LIB not in facts.path:
        raise HostUnfit(
            f"{LIB} is not in the host's sys.path ({', '.join(map(repr, facts.path))}), so "
            "nothing that is deployed there is found",
            "Correct boot.py, then deploy again.",
        )
    for hidden in facts.hidden:
        if hidden.lacks:
            raise HostUnfit(hidden.text, out_of_the_way([hidden.path]))


def check_filesystem(connection: Connection) -> None:
    """Raise HostUnfit if nothing is mounted at /."""
    code = "try: print(_built_in('os').statvfs('/')[0])\nexcept OSError: print(0)"
    if not _answer(connection, BUILT_IN + code):
        raise HostUnfit(*_NOT_MOUNTED)


def cause(connection: Connection, error: DeviceError) -> DeviceError:
    """The host itself, if it is the cause of an exception there; else the exception."""
    if error.kind == "MemoryError":
        return error
    try:
        check(look(connection))
    except HostUnfit as unfit:
        return unfit
    except (DeviceError, NoBoard):
        pass  # the first exception says more
    return error


def import_trouble(connection: Connection, facts: HostFacts) -> str:
    """Why the deployed updater cannot be imported; empty if it can, or if it is not deployed."""
    packages = [
        (name, _OURS[name])
        for name in reversed(PRODUCT)
        if [path for _, path in facts.found.get(name, [])][:1] == [_OURS[name]]
    ]
    if "stm32_updater" not in dict(packages):
        return ""
    return str(_answer(connection, _IMPORT_ALL + f"print(repr(_import_all({packages!r})))"))


def alone(connection: Connection, facts: HostFacts) -> None:
    """Import nothing from the host's files until the next soft reset."""
    connection.exec(ALONE.format(files=[(h.name, h.imported) for h in facts.hidden]))


def out_of_the_way(paths: list[str]) -> str:
    """The next step for files that hide others."""
    steps = []
    for path in paths:
        if path.startswith(FROZEN):
            steps.append(
                "if the updater is frozen on purpose, deploy with --frozen; otherwise install a "
                "firmware without it"
            )
        else:
            how = "rm" if path.endswith((".py", ".mpy")) else "rm -r"
            steps.append(f"rename or remove it (mpremote fs {how} :{path})")
    text = "; ".join(steps)
    return f"{text[0].upper()}{text[1:]}, then deploy again."


def _hidden(
    connection: Connection, facts: HostFacts, uses: Mapping[str, list[str]]
) -> tuple[Hidden, ...]:
    """Check whether a file is really imported instead of a built-in module: some built-in modules
    cannot be hidden, and frozen ones come before /lib."""
    hidden = []
    for name, places in facts.found.items():
        if name not in uses:
            continue
        entry, path = places[0]
        call = f"print(repr(_try({name!r}, {uses[name]!r})))"
        try:
            file, lacks = _answer(connection, BUILT_IN + _TRY + call)
        except NoBoard:
            raise HostUnfit(
                f"{path} is imported instead of the built-in module {name}, and the import does "
                "not end",
                f"Rename or remove it (mpremote resume fs rm :{path}), then deploy again.",
            ) from None
        if file == "" or (file or "").startswith(f"{entry}/{name}" if entry else name):
            hidden.append(Hidden(name, path, tuple(lacks), file))
    return tuple(hidden)


# Any: its form depends on the code that was sent.
def _answer(connection: Connection, code: str, silence_s: float = LIMIT_S) -> Any:
    """The value whose repr is the last line: an imported module may print other lines before
    it."""
    output = connection.exec(code, silence_s=silence_s)
    last = (output.strip().splitlines() or [""])[-1]
    try:
        return ast.literal_eval(last)
    except (ValueError, SyntaxError):
        raise _not_understood(last) from None


def _not_understood(text: str) -> DeviceError:
    return DeviceError(
        f"the host's answer is invalid: {text[:80]!r}",
        "Reset the host and try again; if a program prints by itself, stop it.",
    )
