"""The part of `stm32up doctor` that runs on the host. Changes neither flash nor files.

It is not installed: the desktop loads it into the host's RAM. host.py and target.py return facts,
dicts of JSON values; the desktop makes the diagnosis. flash.py is for `stm32up read` and `stm32up
verify`, walk.py for `stm32up doctor --wires`.
"""
