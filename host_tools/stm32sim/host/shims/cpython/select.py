"""MicroPython's `select`, on a serial port on which nothing arrives."""

POLLIN = 1


class _Poll:
    def register(self, stream: object, flags: int = POLLIN) -> None:
        pass

    def poll(self, timeout: int = -1) -> list[tuple[object, int]]:
        return []


def poll() -> _Poll:
    return _Poll()
