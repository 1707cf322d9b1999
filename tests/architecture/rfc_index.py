"""The index from requirement to code: which function answers for which section of which RFC.

    python -m tests.architecture.rfc_index

It is read from the last paragraph of docstrings, which has the form ``RFC 5321 s4.1.1.2, s6.1; RFC
1870 s6``.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tests.architecture.sources import ROOT, Module, docstrings, modules

_SECTION = r"s(?:[0-9]+|[A-Z])(?:\.[0-9A-Z]+)*"
_SOURCE = rf"RFC [0-9]{{1,5}}(?: {_SECTION}(?:, {_SECTION})*)?"
WELL_FORMED = re.compile(rf"{_SOURCE}(?:; {_SOURCE})*")
_LOOKS_LIKE_ONE = re.compile(r"RFC ?[0-9]+")


@dataclass(frozen=True, order=True)
class Entry:
    """One section, and code that answers for it."""

    rfc: int
    section: tuple[tuple[int, str], ...]
    name: str
    place: str

    def __str__(self) -> str:
        section = "s" + ".".join(text for _, text in self.section) if self.section else "-"
        return f"RFC {self.rfc:<5} {section:<12} {self.name}  ({self.place})"


def source_line(docstring: str) -> str | None:
    """Give the last paragraph of a docstring if it is meant to name RFCs, on one line."""
    paragraphs = docstring.strip().split("\n\n")
    if len(paragraphs) < 2 or not _LOOKS_LIKE_ONE.match(paragraphs[-1].strip()):
        return None
    return " ".join(paragraphs[-1].split())


def malformed(module: Module) -> Iterator[str]:
    """Give each line that names RFCs in another form than the one above."""
    for name, line, docstring in docstrings(module):
        source = source_line(docstring)
        if source is not None and not WELL_FORMED.fullmatch(source):
            yield f"{name} (line {line}): {source!r}"


def _sort_key(section: str) -> tuple[tuple[int, str], ...]:
    return tuple((int(part) if part.isdigit() else 10_000, part) for part in section.split("."))


def entries(module: Module) -> Iterator[Entry]:
    """Give the index of one module."""
    for name, line, docstring in docstrings(module):
        source = source_line(docstring)
        if source is None or not WELL_FORMED.fullmatch(source):
            continue
        place = f"{module.path.relative_to(ROOT)}:{line}"
        for item in source.split("; "):
            number, _, sections = item.removeprefix("RFC ").partition(" ")
            for section in sections.split(", ") if sections else [""]:
                key = _sort_key(section[1:]) if section else ()
                yield Entry(int(number), key, name, place)


def main() -> None:
    for entry in sorted(entry for module in modules() for entry in entries(module)):
        print(entry)


if __name__ == "__main__":
    main()
