"""stm32up.toml: what a project always gives as --port, --board and --key.

The file is in the current folder or in the nearest parent that has one. An option counts before an
environment variable, that before the file, and the file before the default.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from stm32up.errors import SettingsError, Stm32upError

NAME = "stm32up.toml"
PORT, BOARD, KEY = KEYS = ("port", "board", "key")
_SIMULATED = "sim:"


@dataclass(frozen=True)
class Settings:
    """The options that the file gives, by name. Paths in it begin at its folder; here they begin
    at the current one. `places`: where each stands, "stm32up.toml:2: key"."""

    file: str = ""
    given: dict[str, str] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)

    @property
    def defaults(self) -> dict[str, str | tuple[str, ...]]:
        """For click: the default of each option. --port can be given several times."""
        return {name: (value,) if name == PORT else value for name, value in self.given.items()}

    def blamed(self, error: Stm32upError, name: str, value: object) -> Stm32upError:
        """The error of using this value; its message begins with the place in the file, if the
        value is from there."""
        if self.given.get(name) == str(value):
            error.message = f"{self.places[name]}: {error.message}"
        return error


def load(folder: Path) -> Settings:
    """The settings that are valid in this folder. Raises SettingsError, UsageError."""
    folders = (folder, *folder.parents)
    path = next((up / NAME for up in folders if (up / NAME).is_file()), None)
    return Settings() if path is None else _read(path)


def _read(path: Path) -> Settings:
    from stm32up.board import toml_file

    shown, content, lines = toml_file.parsed(path, SettingsError)
    given: dict[str, str] = {}
    places: dict[str, str] = {}
    mistakes = []
    for name, value in content.items():
        line = lines.of(name) if isinstance(value, dict) else lines.of("", name)
        places[name] = f"{shown}:{line}: {name}"
        if name not in KEYS:
            trouble, _ = toml_file.meant(name, KEYS)
        elif not isinstance(value, str) or not value.strip() or not value.isprintable():
            trouble = "must be printable text"
        else:
            trouble = ""
            given[name] = _from_here(path.parent, name, value)
        if trouble:
            mistakes.append((line, f"{places[name]} {trouble}"))
    if mistakes:
        raise SettingsError(*[text for _, text in sorted(mistakes)])
    return Settings(shown, given, places)


def _from_here(folder: Path, name: str, value: str) -> str:
    """The value with its path, if it has one, from the current folder."""
    from stm32up.board.toml_file import relative

    if name == PORT:
        _, simulated, state = value.partition(_SIMULATED)
        return _SIMULATED + relative(folder / state) if simulated and state else value
    if name == BOARD and _is_known(value):
        return value
    return relative(folder / Path(value).expanduser())


def _is_known(board: str) -> bool:
    import stm32assets

    return (stm32assets.BOARDS / board / "board.toml").is_file()
