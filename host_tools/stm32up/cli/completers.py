"""What a shell completes for the values of options."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem


def complete_ports(
    context: click.Context, option: click.Parameter, begun: str
) -> list[CompletionItem]:
    """The serial ports of this computer, and the names that stand for one."""
    from serial.tools import list_ports

    items = [CompletionItem("auto", help="the only board on USB")]
    items.append(CompletionItem("sim", help="a simulated board"))
    items += [
        CompletionItem(str(port.device), help=port.description)
        for port in sorted(list_ports.comports())
    ]
    return [item for item in items if item.value.startswith(begun)]


def complete_boards(
    context: click.Context, option: click.Parameter, begun: str
) -> list[CompletionItem]:
    """The boards of this project; files, where no name begins like that."""
    from stm32up.board import boards

    names = [CompletionItem(name) for name in boards.names() if name.startswith(begun)]
    return names or [CompletionItem(begun, type="file")]
