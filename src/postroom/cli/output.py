"""Output of the command: tables for people, one JSON document for programs, and notes.

On a terminal rich draws the tables, and leaves the colours out where ``NO_COLOR`` is set. Anywhere
else they are plain columns, as wide as their longest cell, one line a row, for ``cut`` and
``awk``.

Cells may hold what strangers sent. Each character that is not printable (control, bidirectional,
surrogate) is replaced before it is shown, so that no subject can drive a terminal.
"""

import json
import sys
import unicodedata
from collections.abc import Collection, Sequence
from typing import Any

import click

from postroom.errors import UserError


def table(
    titles: Sequence[str], rows: Sequence[Sequence[object]], right: Collection[str] = ()
) -> None:
    """Print rows under titles, or on standard error that there are none.

    Args:
        titles: of the columns.
        rows: a cell for each title.
        right: the titles of columns that are set flush right.
    """
    cells = [[printable(str(cell)) for cell in row] for row in rows]
    if not cells:
        note("nothing to list")
    elif sys.stdout.isatty():
        _draw(titles, cells, right)
    else:
        _write(titles, cells, right)


def document(value: Any) -> None:
    """Print one JSON document."""
    click.echo(json.dumps(value, indent=2))


def note(text: str) -> None:
    """Print something on standard error that belongs to no result."""
    click.echo(f"note: {printable(text)}", err=True)


def confirm(question: str, yes: bool) -> None:
    """Ask for confirmation; "no" ends the command.

    Raises:
        UserError: there is no terminal.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise UserError("there is no terminal to ask for confirmation: use --yes")
    click.confirm(printable(question), abort=True, err=True)


def counted(number: int, thing: str) -> str:
    """Write a number of things: ``1 message``, ``2 messages``."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def printable(text: str) -> str:
    """Replace what must not reach a terminal."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else " " if unicodedata.category(each) == "Zs" else "\ufffd"
        for each in text
    )


def octets(size: int) -> str:
    """Write a size for people: ``512 B``, ``1.4 MiB``."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{size} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def _write(titles: Sequence[str], rows: list[list[str]], right: Collection[str]) -> None:
    lines = [[title.upper() for title in titles], *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = [
            cell.rjust(width) if title in right else cell.ljust(width)
            for title, cell, width in zip(titles, line, widths, strict=True)
        ]
        click.echo("  ".join(cells).rstrip())


def _draw(titles: Sequence[str], rows: list[list[str]], right: Collection[str]) -> None:
    # Only a terminal pays for the import.
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for title in titles:
        drawn.add_column(
            title.upper(), justify="right" if title in right else "left", overflow="fold"
        )
    for row in rows:
        drawn.add_row(*(Text(cell) for cell in row))
    Console(highlight=False).print(drawn)
