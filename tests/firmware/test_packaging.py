"""Other ways than `deploy` into a firmware or onto a host: manifest.py and package.json."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

from stm32up import device

MANIFEST = device.FIRMWARE / "manifest.py"
MANIFESTFILE = device.PROJECT / ".venv/manifestfile/stubber/tools/manifestfile.py"
OURS = {
    f"{package.name}/{path.name}"
    for package in device.product()
    for path in device.sources(package)
}
# What is in MicroPython where its ports say it is: ports/PORT/boards/manifest.py.
PORTS = {
    "rp2": {"_boot.py", "rp2.py"},
    "esp32": {"_boot.py", "flashbdev.py", "inisetup.py"},
}


@pytest.fixture(scope="module")
def manifestfile() -> ModuleType:
    """MicroPython's own reader of manifests."""
    if not MANIFESTFILE.exists():
        pytest.skip("`make test` installs manifestfile.py")
    spec = importlib.util.spec_from_file_location("manifestfile", MANIFESTFILE)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(params=PORTS)
def variables(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """A fake clone of MicroPython, and the variables of a build of one port."""
    root = tmp_path / "micropython"
    port = root / "ports" / request.param
    board = port / "boards" / "BOARD"
    files = {
        port / "boards" / "manifest.py": (
            'freeze("$(PORT_DIR)/modules")\n'
            'include("$(MPY_DIR)/extmod/asyncio")\n'
            'require("neopixel")\n'
        ),
        board / "manifest.py": 'include("$(PORT_DIR)/boards/manifest.py")\nrequire("mip")\n',
        root / "extmod/asyncio/manifest.py": (
            'package("asyncio", ("__init__.py",), base_path="..", opt=3)\n'
        ),
        root / "extmod/asyncio/__init__.py": "",
        root / "lib/micropython-lib/micropython/neopixel/manifest.py": 'module("neopixel.py")\n',
        root / "lib/micropython-lib/micropython/neopixel/neopixel.py": "",
        root / "lib/micropython-lib/micropython/mip/manifest.py": 'package("mip")\n',
        root / "lib/micropython-lib/micropython/mip/mip/__init__.py": "",
        **{port / "modules" / name: "" for name in PORTS[request.param]},
    }
    for path, content in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return {
        "MPY_DIR": str(root),
        "MPY_LIB_DIR": str(root / "lib/micropython-lib"),
        "PORT_DIR": str(port),
        "BOARD_DIR": str(board),
    }


def frozen(manifestfile: ModuleType, variables: dict[str, str], manifest: Path) -> dict[str, int]:
    """What a build would freeze: target path and optimisation level."""
    reader = manifestfile.ManifestFile(manifestfile.MODE_FREEZE, variables)
    reader.execute(str(manifest))
    found = [(file.target_path, file.opt) for file in reader.files()]
    assert len(found) == len(dict(found)), "a file is frozen twice"
    assert all(file.kind == manifestfile.KIND_FREEZE_AS_MPY for file in reader.files())
    return dict(found)


def test_a_frozen_build_has_the_updater_and_all_that_the_port_freezes(manifestfile, variables):
    found = frozen(manifestfile, variables, MANIFEST)
    port = Path(variables["PORT_DIR"]).name
    assert set(found) == OURS | PORTS[port] | {"asyncio/__init__.py", "neopixel.py"}
    assert {found[path] for path in OURS} == {2}


def test_a_board_with_a_manifest_of_its_own_keeps_it(manifestfile, variables, tmp_path):
    product = tmp_path / "product.py"
    product.write_text(f'include("$(BOARD_DIR)/manifest.py")\ninclude("{MANIFEST}")\n')
    found = frozen(manifestfile, variables, product)
    assert set(found) >= OURS and {"mip/__init__.py", "_boot.py"} <= set(found)


def test_mip_installs_every_module():
    package = json.loads((device.FIRMWARE / "package.json").read_text())
    assert {target for target, _ in package["urls"]} == OURS
    for target, source in package["urls"]:
        assert target == source and (device.FIRMWARE / source).is_file()
    assert package["version"] == device.module("stm32_updater").__version__
