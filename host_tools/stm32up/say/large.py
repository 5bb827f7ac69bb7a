"""PASS and FAIL in letters that can be read across a workshop."""

from __future__ import annotations

_LETTERS = {
    "P": ("####  ", "#   # ", "####  ", "#     ", "#     "),
    "A": (" ###  ", "#   # ", "##### ", "#   # ", "#   # "),
    "S": (" #### ", "#     ", " ###  ", "    # ", "####  "),
    "F": ("##### ", "#     ", "####  ", "#     ", "#     "),
    "I": ("##### ", "  #   ", "  #   ", "  #   ", "##### "),
    "L": ("#     ", "#     ", "#     ", "#     ", "##### "),
}


def large(word: str) -> list[str]:
    """The word in lines; two characters for each point, so that the letters are not narrow."""
    return [
        "".join(
            _LETTERS[letter][row].replace("#", "##").replace(" ", "  ") for letter in word
        ).rstrip()
        for row in range(5)
    ]
