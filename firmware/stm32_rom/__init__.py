"""One STM32 through its ROM loader. No files and no policy: those are for the packages above."""

import sys

# MicroPython looks for a file of the same name each time a built-in module is imported, six times
# 1.5 ms on an rp2, unless the module is here.
for _name in ("binascii", "hashlib", "json", "os", "struct", "time"):
    sys.modules[_name] = __import__(_name)
