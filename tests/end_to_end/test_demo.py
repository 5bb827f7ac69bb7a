"""The demo, as a newcomer sees it in a terminal."""

from __future__ import annotations

from tests.terminal import on_a_terminal


def test_the_demo_fits_80_columns_and_ends_with_what_happened():
    program = "import sys; from stm32up.cli import demo; sys.exit(demo.main())"
    lines = on_a_terminal(80, program, NO_COLOR="1")
    assert max(map(len, lines)) <= 80
    story = lines[lines.index("11. The events in that log") :]
    assert story[1:7] == [
        "- 1.0.0 was installed: 1096 bytes",
        "- the installation of 1.1.0 was interrupted; the next start continued it",
        "- 1.1.0 was installed: 131072 bytes",
        "- 2.0.0 did not prove itself (it is silent)",
        "- 1.1.0 was restored",
        "The application now running, read over I2C: 1.1.0.",
    ]
    assert story[8].startswith("That was the whole path, in ")
    assert len(story) < 14  # no table after it
