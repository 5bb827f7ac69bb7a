"""Device packages in the RAM of a host, for code that is used once and must not be installed.

A filesystem in a dict is mounted and comes first in sys.path. Its modules are imported instead of
the installed ones, until the next soft reset.
"""

from __future__ import annotations

from base64 import b64encode

from stm32up.host.transport import CHUNK, Connection

_ROOT = "/ram"
_FILESYSTEM = f"""
import io, sys, vfs
from binascii import a2b_base64
class _Ram:
 def __init__(self): self.files = {{}}
 def mount(self, readonly, mkfs): pass
 def umount(self): pass
 def open(self, path, mode):
  return io.BytesIO(self.files[path.lstrip('/')])
 def stat(self, path):
  path = path.lstrip('/')
  if path in self.files: return (0x8000, 0, 0, 0, 0, 0, len(self.files[path]), 0, 0, 0)
  if any(name.startswith(path + '/') for name in self.files):
   return (0x4000, 0, 0, 0, 0, 0, 0, 0, 0, 0)
  raise OSError(2)
_ram = _Ram()
vfs.mount(_ram, {_ROOT!r})
sys.path.insert(0, {_ROOT!r})
"""


def send(connection: Connection, modules: dict[str, bytes]) -> None:
    """Make modules importable until the next soft reset: {"package/module.mpy": bytecode}."""
    connection.exec(_FILESYSTEM)
    for name, code in modules.items():
        for start in range(0, len(code), CHUNK):
            chunk = b64encode(code[start : start + CHUNK])
            connection.exec(
                f"_ram.files[{name!r}] = _ram.files.get({name!r}, b'') + a2b_base64({chunk!r})"
            )
