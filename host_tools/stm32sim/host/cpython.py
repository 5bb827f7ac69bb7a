"""Device code in this process, with a private importer for one simulated host.

`DevicePackages(call, [Path("firmware")]).imports("stm32_updater")` runs the package against the
shims of that host. Each `DevicePackages` is one boot: its modules are its RAM, and none of them is
in CPython's `sys.modules`. Discarding it and making another one is a reboot. Its calls end with
it: see `_Calls`.

Modules of MicroPython without a shim (json, struct, ...) are CPython's own. Modules that
MicroPython does not have raise ImportError.

Two things differ from a board, and code for both must not rely on them. `OSError(5).errno` is None
in CPython if device code raises it itself; `args[0]` is right in both, and errors from a `call`
have both. And integers, floats and strings have CPython's limits.
"""

from __future__ import annotations

import builtins
import contextlib
import errno
import hashlib
import importlib
import io
import os
import sys
import traceback
import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .seam import Call, HostPowerLost, HostReset

SHIMS = Path(__file__).with_name("shims")

_SHIMS = {path.stem: path for path in [*SHIMS.glob("*.py"), *(SHIMS / "cpython").glob("*.py")]}
_FROM_CPYTHON = frozenset(
    ["array", "binascii", "cmath", "collections", "errno", "heapq", "io", "json"]
    + ["math", "random", "re", "struct"]
)
_found: dict[tuple[Path, str], Path] = {}
_code_of: dict[Path, tuple[int, int, types.CodeType]] = {}


class _Executed(NamedTuple):
    """A module after its execution, and what it imported: names in order, with repetitions. One
    that calls the world is executed again, by its host."""

    module: types.ModuleType
    imports: list[str]
    calls: bool = False


class DevicePackages:
    """The modules of one boot of one host.

    `platform` is the value of `sys.platform` there.
    """

    def __init__(self, call: Call, search_path: Sequence[Path], platform: str = "rp2") -> None:
        self.modules: dict[str, types.ModuleType] = {}
        self._prepared: dict[str, _Executed] = {}
        self._imports: list[str] | None = None  # while preparing: of the module in execution
        self._refused: list[str] = []  # while preparing: the calls so far
        self._search_path = list(search_path)
        self._builtins = dict(vars(builtins), __import__=self._import)
        self._calls = _Calls(call)
        _ignore_the_dead()
        self._add("_host", call=self._calls)
        self._add("uhashlib", sha256=hashlib.sha256)
        self._builtins["pow"] = self._load("_cost").timed(pow)
        self._add("builtins", **self._builtins)
        self._add("sys", **self._sys_contents(platform))
        self._builtins["open"] = self.modules["builtins"].open = self._open  # type: ignore[attr-defined]

    def imports(self, name: str) -> types.ModuleType:
        """The module with this full dotted name, imported as this host's device code would."""
        module = self._load(name)
        for depth in range(1, name.count(".") + 1):
            self._load(name.rsplit(".", depth)[0])
        return module

    def prepare(self, folder: Path) -> None:
        """Execute now what hosts have imported from `folder` in this process so far. A fork of the
        process need not do that again when it runs this host.

        Device code sees no difference if these modules only define things: a module is there from
        its import on, and then so are the ones that it imports. A module that calls the world is
        executed when the host imports it. Nothing is prepared if one prints, or if a package has
        something else under the name of its module."""
        visible = dict(self.modules)
        self._imports = []
        printed = io.StringIO()
        with self._calls.refused() as self._refused, contextlib.redirect_stdout(printed):
            for name in known_modules(folder):
                with contextlib.suppress(Exception):
                    self._load(name)
        self._imports = None
        hidden = True
        for name in self.modules.keys() - visible.keys():
            package, _, leaf = name.rpartition(".")
            if package and vars(self.modules[package]).pop(leaf, None) is not self.modules[name]:
                hidden = False
        self.modules.clear()
        self.modules.update(visible)
        if printed.getvalue() or not hidden:
            self._prepared.clear()

    def end(self) -> None:
        """End the run, by a loss of supply or a reset between two calls."""
        self._calls.end(HostPowerLost())

    def run(self, path: Path) -> types.ModuleType:
        """Execute a file as `__main__`, as the board executes main.py."""
        module = self._new("__main__", path)
        exec(_compiled(path), module.__dict__)
        return module

    def _open(self, path: str, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        return self._load("os").open_file(path, mode)

    # The import statement of device code.

    def _import(
        self,
        name: str,
        globals: dict[str, Any] | None = None,
        locals: object = None,
        fromlist: Sequence[str] | None = None,
        level: int = 0,
    ) -> types.ModuleType:
        if level:
            name = self._absolute(name, globals or {}, level)
        module = self._load(name)
        if not fromlist:
            return module if level else self.modules[name.partition(".")[0]]
        if hasattr(module, "__path__"):
            for attribute in fromlist:
                if attribute != "*" and not hasattr(module, attribute):
                    self._load_submodule(name, attribute)
        return module

    def _absolute(self, name: str, globals: dict[str, Any], level: int) -> str:
        parts = str(globals.get("__package__") or "").split(".")
        if parts == [""] or level > len(parts):
            raise ImportError("can't perform relative import")
        base = ".".join(parts[: len(parts) - level + 1])
        return f"{base}.{name}" if name else base

    def _load_submodule(self, package: str, attribute: str) -> None:
        try:
            self._load(f"{package}.{attribute}")
        except ImportError:
            if f"{package}.{attribute}" in self.modules or self._find(f"{package}.{attribute}"):
                raise
            raise ImportError(f"can't import name {attribute}") from None

    # Modules.

    def _load(self, name: str) -> types.ModuleType:
        if self._imports is not None:
            self._imports.append(name)
        module = self.modules.get(name)
        if module is not None:
            return module
        package, _, leaf = name.rpartition(".")
        parent = self._load(package) if package else None
        module = (
            self.modules.get(name)
            or self._load_prepared(name)
            or self._load_file(name)
            or self._from_cpython(name)
        )
        if parent is not None:
            setattr(parent, leaf, module)
        return module

    def _load_prepared(self, name: str) -> types.ModuleType | None:
        if self._imports is not None or name not in self._prepared:
            return None
        module, imports, calls = self._prepared.pop(name)
        if calls:
            path = Path(str(module.__file__))
            vars(module).clear()
            vars(module).update(vars(self._new(name, path)))
            return self._execute(module, path)
        self.modules[name] = module
        for imported in imports:
            self._load(imported)
        return module

    def _load_file(self, name: str) -> types.ModuleType | None:
        path = self._find(name)
        if path is None:
            return None
        module = self._new(name, path)
        execute = self._execute if self._imports is None else self._execute_ahead
        return execute(module, path)

    def _execute(self, module: types.ModuleType, path: Path) -> types.ModuleType:
        self.modules[module.__name__] = module
        try:
            exec(_compiled(path), module.__dict__)
        except BaseException:
            del self.modules[module.__name__]
            raise
        return module

    def _execute_ahead(self, module: types.ModuleType, path: Path) -> types.ModuleType:
        """Execute a module while preparing. One that calls the world stays, as far as it came."""
        outer, self._imports = self._imports, []
        before = len(self._refused)
        try:
            with contextlib.suppress(HostPowerLost):
                self._execute(module, path)
            calls = len(self._refused) > before
            self.modules[module.__name__] = module
            self._prepared[module.__name__] = _Executed(module, self._imports, calls)
        finally:
            self._imports = outer
        return module

    def _find(self, name: str) -> Path | None:
        if name in _SHIMS:
            return _SHIMS[name]
        for folder in self._search_path:
            known = _found.get((folder, name))
            if known is not None and os.path.isfile(known):
                return known
            relative = name.replace(".", "/")
            for path in (folder / relative / "__init__.py", folder / f"{relative}.py"):
                if path.is_file():
                    _found[folder, name] = path
                    return path
        return None

    def _from_cpython(self, name: str) -> types.ModuleType:
        if name not in _FROM_CPYTHON:
            raise ImportError(f"no module named '{name}'")
        module = self.modules[name] = importlib.import_module(name)
        if self._imports is not None:
            self._prepared[name] = _Executed(module, [])
        return module

    def _new(self, name: str, path: Path) -> types.ModuleType:
        module = types.ModuleType(name)
        module.__file__ = str(path)
        if path.name == "__init__.py":
            module.__path__ = [str(path.parent)]
            module.__package__ = name
        else:
            module.__package__ = name.rpartition(".")[0]
        module.__dict__["__builtins__"] = self._builtins
        return module

    def _add(self, name: str, **contents: Any) -> None:
        module = self.modules[name] = types.ModuleType(name)
        module.__dict__.update(contents)

    def _sys_contents(self, platform: str) -> dict[str, Any]:
        return {
            "modules": self.modules,
            "path": ["", ".frozen", "/lib"],
            "platform": platform,
            "implementation": types.SimpleNamespace(name="micropython", version=(1, 29, 0, "")),
            "version": "3.4.0; MicroPython v1.29.0",
            "version_info": (3, 4, 0),
            "byteorder": "little",
            "maxsize": 0x7FFFFFFF,
            "argv": [],
            "exit": sys.exit,
            "stdin": sys.stdin,
            "stdout": sys.stdout,
            "stderr": sys.stderr,
            "print_exception": _print_exception,
        }


def _print_exception(error: BaseException, file: Any = None) -> None:
    text = "".join(traceback.format_exception(error))
    (sys.stdout if file is None else file).write(text)


class _Calls:
    """`call` for one run of a host, with OSErrors that carry the number in `errno` as well as in
    `args[0]`.

    After the end of the run every later call fails too: device code still runs while its stack
    unwinds (`finally`, `with`) or when one of its generators is deleted, and must not reach the
    world."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._ended_by: BaseException | None = None

    def end(self, reason: BaseException) -> None:
        if self._ended_by is None:
            self._ended_by = reason

    @contextlib.contextmanager
    def refused(self) -> Iterator[list[str]]:
        """In this block the host has no power. Yields the names of the calls that are tried."""
        names: list[str] = []

        def refuse(name: str, *args: Any) -> None:
            names.append(name)
            raise HostPowerLost

        call, self._call = self._call, refuse
        try:
            yield names
        finally:
            self._call, self._ended_by = call, None

    def __call__(self, name: str, *args: Any) -> Any:
        if self._ended_by is not None:
            raise self._ended_by.with_traceback(None)
        try:
            return self._call(name, *args)
        except OSError as error:
            if error.errno is not None or not error.args:
                raise
            number = error.args[0]
            raise OSError(number, errno.errorcode.get(number, "?")) from None
        except (HostPowerLost, HostReset) as reason:
            self.end(reason)
            raise


class _Unraisable:
    """A `sys.unraisablehook` that ignores deleted generators of a host that is off."""

    def __init__(self, otherwise: Callable[[sys.UnraisableHookArgs], Any]) -> None:
        self._otherwise = otherwise

    def __call__(self, unraisable: sys.UnraisableHookArgs) -> None:
        if not isinstance(unraisable.exc_value, (HostPowerLost, HostReset)):
            self._otherwise(unraisable)


def _ignore_the_dead() -> None:
    if not isinstance(sys.unraisablehook, _Unraisable):
        sys.unraisablehook = _Unraisable(sys.unraisablehook)


def known_modules(folder: Path) -> list[str]:
    """The names of all modules that were imported from a folder so far."""
    return [name for found_in, name in _found if found_in == folder]


def _compiled(path: Path) -> types.CodeType:
    """The code of a file, compiled once as long as the file does not change."""
    status = os.stat(path)
    known = _code_of.get(path)
    if known is not None and known[:2] == (status.st_mtime_ns, status.st_size):
        return known[2]
    code = compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
    _code_of[path] = (status.st_mtime_ns, status.st_size, code)
    return code
