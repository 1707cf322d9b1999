"""Print what is tolerated: an input, the reply before, the reply now, Postfix's reply.

    python -m tests.interop.tolerance_table > table.rst
    python -m tests.interop.tolerance_table --before ../before > table.rst
    python -m tests.interop.tolerance_table --before ../before --short

The rows are those of `tests.interop.tolerance`; every reply is asked for when the table is made.
``--before`` names a checkout of an earlier Postroom. Needs root (Postfix does) and the Debian
package postfix.
"""

import argparse
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path

from tests.daemon import free_port
from tests.interop.certificates import make_certificates
from tests.interop.checkouts import CheckoutDaemon
from tests.interop.fixtures import new_folder, stopped_at_exit
from tests.interop.peers import Postfix
from tests.interop.raw import Peer, Sink
from tests.interop.tolerance import ANN, CONTENTS, DOMAIN, RELAY_CLIENT, ROWS, STRANGER, Row

_OPENING = (b"EHLO client.test\r\n", b"MAIL FROM:<sender@remote.test>\r\n")
_TO_ANN = (*_OPENING, b"RCPT TO:<" + ANN + b">\r\n", b"DATA\r\n")
PASSWORD = "correct-horse-battery"
Ask = Callable[[Row], bytes]


def postroom(settings: str = "", next_hop: int = 0, checkout: Path | None = None) -> CheckoutDaemon:
    """Start a daemon that all rows can be tried on, with an account that is called ann."""
    folder = new_folder("tolerance")
    daemon = CheckoutDaemon(
        folder,
        *make_certificates(folder).options,
        f"--relay-host=smtp://127.0.0.1:{next_hop or free_port()}",
        f"--relay-network={RELAY_CLIENT}/32",
        checkout=checkout,
        listeners=("mx", "submission", "lmtp"),
        settings=settings,
    )
    daemon.add_account(ANN.decode(), PASSWORD)
    stopped_at_exit(daemon).start()
    return daemon


def postfix() -> int:
    """Start a stock Postfix for the same rows, with TLS; return its port."""
    folder, port = new_folder("tolerance-postfix"), free_port()
    certificates = make_certificates(folder)
    sink = stopped_at_exit(Sink())
    more = f"""
myorigin = {DOMAIN.decode()}
mynetworks = {RELAY_CLIENT}/32
virtual_mailbox_domains = {DOMAIN.decode()}
virtual_transport = discard
relayhost = [127.0.0.1]:{sink.port}
smtp_tls_security_level = none
smtpd_tls_security_level = may
smtpd_tls_cert_file = {certificates.certificate}
smtpd_tls_key_file = {certificates.key}
"""
    stopped_at_exit(Postfix(port, folder, more))
    return port


def ask(port: int, row: Row) -> bytes:
    """Run a row's dialogue; return the reply to its last step."""
    return converse(port, row.steps, row.source)


def converse(port: int, steps: tuple[bytes, ...], source: str = STRANGER) -> bytes:
    """Send steps, each when the one before was answered; return the last reply."""
    answer = b""
    with Peer(port, 10, source) as peer:
        for step in steps:
            answer = peer.say(step)
    return answer


def _asker(port: int) -> Ask:
    return lambda row: ask(port, row)


def content_rows() -> Iterator[Row]:
    """Yield the rows of content as dialogues."""
    for row in CONTENTS:
        yield Row(row.name, (*_TO_ANN, row.sent + b"\r\n.\r\n"), 250, None, 250)


def shown(reply: bytes) -> str:
    """Return the code of a reply, with the text of one that is no success."""
    if not reply:
        return "none"
    text = reply.splitlines()[0].decode("ascii", "backslashreplace")
    return text[:3] if text[:1] in "23" else f"``{text[:60].strip()}``"


def code_alone(reply: bytes) -> str:
    """Return the code of a reply."""
    return reply[:3].decode("ascii", "replace") or "none"


def table(askers: dict[str, Ask], short: bool) -> Iterator[str]:
    """Yield the lines of the whole text, in reStructuredText.

    Args:
        askers: how each column's server is asked, by the column's title.
        short: put inputs with the same codes into one row, and leave out the replies' texts.
    """
    for kind, rows in groupby(sorted(ROWS, key=_order), lambda row: row.kind):
        yield from _section(kind, {_input(row): row for row in rows}, askers, short)
    yield from _section("Content", {row.kind: row for row in content_rows()}, askers, short)


def _order(row: Row) -> int:
    kinds = list(dict.fromkeys(each.kind for each in ROWS))
    return kinds.index(row.kind)


def _input(row: Row) -> str:
    client = " (from a relay network)" if row.source == RELAY_CLIENT else ""
    return f"``{row.shown}``{client}"


def _section(
    title: str, rows: dict[str, Row], askers: dict[str, Ask], short: bool
) -> Iterator[str]:
    yield from (title, "-" * len(title), "", ".. list-table::", "   :header-rows: 1", "")
    yield from _cells("Input", *askers)
    write = code_alone if short else shown
    answers = {name: tuple(write(a(row)) for a in askers.values()) for name, row in rows.items()}
    if short:
        together: dict[tuple[str, ...], list[str]] = {}
        for name, replies in answers.items():
            together.setdefault(replies, []).append(name)
        answers = {", ".join(names): replies for replies, names in together.items()}
    for name, replies in answers.items():
        yield from _cells(name, *replies)
    yield ""


def _cells(first: str, *others: str) -> Iterator[str]:
    yield f"   * - {first}"
    for other in others:
        yield f"     - {other}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--before", type=Path, help="a checkout of an earlier Postroom")
    parser.add_argument("--short", action="store_true", help="codes only, equal ones in one row")
    chosen = parser.parse_args()
    askers = {}
    if chosen.before is not None:
        askers["Before"] = _asker(postroom(checkout=chosen.before).port)
    askers["Now"] = _asker(postroom().port)
    askers["Postfix"] = _asker(postfix())
    for line in table(askers, chosen.short):
        print(line)


if __name__ == "__main__":
    main()
