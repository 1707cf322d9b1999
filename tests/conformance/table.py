"""Writes ``docs/conformance.rst``: ``python -m tests.conformance.table > docs/conformance.rst``.

Our server and client are tried on the spot. What other servers made of the same dialogues is read
from ``others.json``, which `tests.conformance.others` writes.
"""

import importlib
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path

from postroom.testing.conformance.catalogue import LEVELS, Requirement, order, requirements_of
from tests.conformance.ours import STRICT, requirements, try_on_ours
from tests.conformance.scripted import client_requirements, play

FOLDER = Path(__file__).parent
OTHERS = FOLDER / "others.json"

TITLES = {
    1870: "SIZE", 1985: "ETRN", 2033: "LMTP", 2034: "ENHANCEDSTATUSCODES", 2852: "DELIVERBY",
    2920: "PIPELINING", 3030: "CHUNKING and BINARYMIME", 3207: "STARTTLS", 3461: "DSN",
    3463: "enhanced status codes", 3464: "delivery status notifications",
    3865: "NO-SOLICITING", 4616: "PLAIN", 4865: "FUTURERELEASE", 4954: "AUTH", 5321: "SMTP",
    6152: "8BITMIME", 6409: "submission", 6531: "SMTPUTF8",
    6533: "international delivery status notifications", 6710: "MT-PRIORITY",
    7293: "RRVS", 7505: "null MX", 8314: "implicit TLS", 8689: "REQUIRETLS", 9422: "LIMITS",
}  # fmt: skip

_HEAD = """\
.. Made by "python -m tests.conformance.table > docs/conformance.rst"; not to be edited.

Conformance
===========

This page lists the requirements of the RFCs for a mail server, and whether Postroom keeps them. A
requirement with a dialogue is tried on the server in memory: in clear text, through STARTTLS and
within TLS, in whole groups and octet by octet. It is tried with the default settings and with the
strictest: ``session.tolerate = []``, ``session.bare_newline = "refuse"``,
``limits.text_line_octets = 998``. Most requirements are kept in both cases. The others, *if strict*
in the tables, are matters of form that are kept only with strict settings; they are listed below.

A requirement on clients is tried by a script, which a server in memory plays to our client. All
others name the test that shows them (``tests``). This page is generated from the results, and a
test fails when it differs.

The dialogues come with Postroom and work with any server::

    python -m postroom.testing.conformance HOST:PORT --domain DOMAIN --recipient USER@DOMAIN

``--help`` shows the other options: ``--lmtp``, ``--submission`` with ``--user`` and ``--password``,
``--starttls``, ``--implicit-tls``. The command sends mail to the recipient. Where a requirement is
not kept because the server is tolerant, the output names the tolerance. The exit status is 1 if a
MUST was not kept.

DANE (RFC 7672), MTA-STS (RFC 8461) and TLSRPT (RFC 8460) are not implemented, and so are not listed
here.

"""

_OTHERS = """\
The other servers were tried through sockets, by the same dialogues
(``python -m tests.conformance.others``), each with a simple configuration that accepts mail for one
domain. *n.o.*: the extension is not offered, so nothing is required; *n.t.*: not tried, because
the dialogue needs settings or an account that the server was not given, or a long time; —: there is
no dialogue. A dialogue tests the RFC as its title reads it; the dialogues are in
``src/postroom/testing/conformance/dialogues``. OpenSMTPD was tried without TLS, because the
handshakes of Debian 12's version fail.

"""

_STRICT = """\
What Postroom keeps only with strict settings
---------------------------------------------

By default Postroom tolerates deviations that honest mail software often sends;
``docs/tolerance.rst`` names the software, and why they are harmless. So these requirements are kept
only if ``session.tolerate`` lacks the name beside them.

"""

_SHORT = {
    "kept": "kept",
    "strict": "if strict",
    "broken": "**not**",
    "not offered": "n.o.",
    "not tried": "n.t.",
}


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        requirement: which.
        how: ``"dialogue"``, ``"script"`` or a test.
        ours: a key of `_SHORT`, or ``"deviates"``; ``"strict"`` is kept with strict settings alone.
        why: what differed.
    """

    requirement: Requirement
    how: str
    ours: str
    why: str = ""


@cache
def rows() -> list[Row]:
    """Try everything on ours, once."""
    made = [_server_row(each) for each in requirements()]
    made += [_client_row(each) for each in client_requirements()]
    made += [_test_row(each) for each in elsewhere()]
    names = Counter(row.requirement.name for row in made)
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        raise ValueError(f"there twice: {twice}")
    return sorted(made, key=lambda row: order(row.requirement))


def _server_row(requirement: Requirement) -> Row:
    why = try_on_ours(requirement, STRICT)
    if not (why or requirement.strict):
        why = try_on_ours(requirement)
    verdict = _verdict(requirement, why)
    if verdict == "kept" and requirement.strict:
        verdict = "strict"
    return Row(requirement, "dialogue", verdict, why)


def _client_row(requirement: Requirement) -> Row:
    why = play(requirement)
    return Row(requirement, "script", _verdict(requirement, why), why)


def _test_row(requirement: Requirement) -> Row:
    return Row(requirement, _existing_test(requirement), _verdict(requirement, ""))


def _verdict(requirement: Requirement, why: str) -> str:
    if "deviation" in requirement.dialogue.notes:
        return "deviates"
    return "broken" if why else "kept"


def elsewhere() -> Iterator[Requirement]:
    """Give the requirements that tests show."""
    return requirements_of((FOLDER / "elsewhere.txt").read_text("utf-8"), {})


def _existing_test(requirement: Requirement) -> str:
    """Give the test that shows a requirement.

    Raises:
        ValueError: there is none of that name.
    """
    module, name = requirement.dialogue.notes["test"].split()
    classes = vars(importlib.import_module(module)).values()
    if not any(isinstance(item, type) and hasattr(item, name) for item in classes):
        raise ValueError(f"{requirement.name}: {module} has no {name}")
    return module


def _others() -> dict[str, dict[str, object]]:
    return json.loads(OTHERS.read_text("utf-8")) if OTHERS.exists() else {}


def _cell(results: object, name: str) -> str:
    assert isinstance(results, dict)
    result = results.get(name)
    return _SHORT[result["verdict"]] if result else "—"


def _csv(header: Sequence[str], lines: Iterable[Sequence[str]], widths: str = "auto") -> str:
    def line(cells: Sequence[str]) -> str:
        return "   " + ", ".join('"' + cell.replace('"', '""') + '"' for cell in cells)

    head = [".. csv-table::", f"   :header: {line(header).strip()}", f"   :widths: {widths}", ""]
    return "\n".join([*head, *map(line, lines), ""]) + "\n"


def _score(verdicts: Sequence[str], *, strictly: bool = False) -> str:
    count = Counter(verdicts)
    kept = count["kept"] + (count["strict"] if strictly else 0)
    tried = count["kept"] + count["strict"] + count["broken"] + count["deviates"]
    return f"{kept} of {tried}" if tried else "—"


def _scores(table: Sequence[Row]) -> str:
    """Count what each server keeps, by level."""
    server = [row for row in table if row.how == "dialogue"]
    lines = [
        ("Postroom: server, as it comes", *_by_level(server)),
        ("Postroom: server, strict", *_by_level(server, strictly=True)),
    ]
    for name, other in _others().items():
        results = other["results"]
        assert isinstance(results, dict)
        lines.append((f"{name} {other['version']}", *_other_by_level(table, results)))
    rest = [row for row in table if row.how != "dialogue"]
    lines.append(("Postroom: client, queue, delivery", *_by_level(rest)))
    return _csv(("", *LEVELS), lines)


def _by_level(table: Sequence[Row], *, strictly: bool = False) -> list[str]:
    return [
        _score([row.ours for row in table if row.requirement.level == level], strictly=strictly)
        for level in LEVELS
    ]


def _other_by_level(table: Sequence[Row], results: dict[str, dict[str, str]]) -> list[str]:
    levels = {row.requirement.name: row.requirement.level for row in table}
    return [
        _score([each["verdict"] for name, each in results.items() if levels.get(name) == level])
        for level in LEVELS
    ]


def _section(rfc: int, table: Sequence[Row]) -> str:
    title = f"RFC {rfc}: {TITLES[rfc]}" if rfc else "draft-hall-prdr: PRDR"
    others = _others()
    header = ("Section", "", "Requirement", "Shown by", "Postroom", *others)
    lines = [
        (
            row.requirement.name.partition("-")[2],
            row.requirement.level,
            row.requirement.text,
            row.how.removeprefix("tests."),
            _SHORT.get(row.ours, row.ours),
            *(_cell(other["results"], row.requirement.name) for other in others.values()),
        )
        for row in table
    ]
    return f"{title}\n{'-' * len(title)}\n\n{_csv(header, lines)}\n"


def _only_strictly(table: Sequence[Row]) -> str:
    lines = [
        (each.name, each.level, each.text, " ".join(f"``{name}``" for name in each.strict))
        for each in (row.requirement for row in table if row.ours == "strict")
    ]
    return f"{_STRICT}{_csv(('Line', '', 'Requirement', 'Kept without'), lines)}\n"


def _deviations(table: Sequence[Row]) -> str:
    found = [row for row in table if row.ours == "deviates"]
    lines = [
        f"{row.requirement.name} ({row.requirement.level}: {row.requirement.text})\n"
        f"   {row.requirement.dialogue.notes['deviation']}\n"
        for row in found
    ]
    text = "\n".join(lines) if lines else "None.\n"
    return f"Where Postroom deviates\n-----------------------\n\n{text}\n"


def page() -> str:
    """Give the page."""
    table = rows()
    broken = [f"{row.requirement.name}: {row.why}" for row in table if row.ours == "broken"]
    if broken:
        raise ValueError("not kept, and no deviation that gives a reason: " + "; ".join(broken))
    parts = [_HEAD, _scores(table), "\n", _OTHERS if _others() else ""]
    parts += [_only_strictly(table), _deviations(table)]
    parts += [
        _section(rfc, list(of)) for rfc, of in groupby(table, lambda row: row.requirement.rfc)
    ]
    return "".join(parts).rstrip() + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
