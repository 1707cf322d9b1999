"""Deliver the messages of a directory through Postfix and through Postroom, and compare.

    python -m tests.interop.corpora DIRECTORY
    python -m tests.interop.corpora DIRECTORY --as-is
    python -m tests.interop.corpora DIRECTORY --checkout ../before --names differences.txt

Every file is one message; the folders right below the directory are the corpora that are counted.
Public ones are the test messages of sisimai/set-of-emails, notmuch, rspamd, Exim, SpamAssassin,
mime4j, Thunderbird and of mail parsers. Fetch them with git into a directory outside of this
repository, and split mailboxes into messages first. They are data, and nobody commits them.

A sender does what it must and nothing else: it stuffs dots after CRLF, and ends the content with
CRLF "." CRLF. Files that have LF line ends throughout, as repositories keep them, get CRLF; with
``--as-is`` they go out with bare LF.

Postfix has its defaults, and is asked only whether it takes a message. Postroom is a daemon with an
mx listener and its defaults. It stores each message in a Maildir and relays it to a next hop that
keeps the octets. Both have to be what was sent, below the trace fields, except for what
`mended` does: line ends and NUL, mailbox lines above the header, and Return-Path fields, which
final delivery replaces.

Needs root (Postfix does) and the Debian package postfix. The status is 1 if Postroom refuses what
Postfix takes, or changes what it should not.
"""

import argparse
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.daemon import free_port
from tests.interop.checkouts import CheckoutDaemon
from tests.interop.fixtures import new_folder, stopped_at_exit
from tests.interop.peers import Postfix
from tests.interop.raw import END, Peer, Sink, code_of

ANN, DOMAIN = "ann@local.test", "local.test"
SENDER = b"sender@remote.test"

_TRACE = re.compile(
    rb"(?:(?:Return-Path|Delivered-To|X-Original-To|Received):[^\n]*\n(?:[ \t][^\n]*\n)*)*"
    rb"(?:\r?\n)?"  # stands between the trace fields and content that has no header
)
_HEADER = re.compile(rb"(?:(?:[!-9;-~]+[ \t]*:|[ \t])[^\n]*\n)*")
_RETURN_PATH = re.compile(rb"^return-path[ \t]*:[^\n]*\n(?:[ \t][^\n]*\n)*", re.I | re.M)
_MAILBOX_LINES = re.compile(rb"(?:>*From [^\n]*\n)*")


def outgoing(octets: bytes, as_is: bool) -> bytes:
    """Return the content that a sender makes of a file: as it is after dots are unstuffed."""
    if not as_is and b"\r" not in octets:
        octets = octets.replace(b"\n", b"\r\n")
    return octets if octets.endswith(b"\r\n") else octets + b"\r\n"


def stuffed(content: bytes) -> bytes:
    """Return content as it goes over the wire, its end included."""
    return (b"\r\n" + content).replace(b"\r\n.", b"\r\n..")[2:] + END[2:]


def mended(content: bytes) -> bytes:
    """Return what Postroom must make of content: NUL, line ends and mailbox lines."""
    lines = re.sub(rb"\r*\n", b"\n", content.replace(b"\0", b"")).replace(b"\r", b" ")
    above = _MAILBOX_LINES.match(lines)
    end = above.end() if above is not None else 0
    lines = re.sub(rb"(?m)^(?=.)", b"X-Mailbox-Line: ", lines[:end]) + lines[end:]
    return lines.replace(b"\n", b"\r\n")


def without_return_path(content: bytes) -> bytes:
    """Return content without the Return-Path fields of its header section."""
    match = _HEADER.match(content)
    end = match.end() if match is not None else 0
    return _RETURN_PATH.sub(b"", content[:end]) + content[end:]


def is_below_trace(whole: bytes, content: bytes) -> bool:
    """Tell whether a message is content with nothing but trace fields above it."""
    if not whole.endswith(content):
        return False
    return _TRACE.fullmatch(whole[: len(whole) - len(content)]) is not None


def is_stored(file: bytes, content: bytes) -> bool:
    """Tell whether a Maildir's file holds content, with line ends of either kind throughout."""
    content = without_return_path(content)
    if file.startswith(b"Return-Path:") and b"\r\n" not in file[: file.find(b"\n") + 1]:
        content = content.replace(b"\r\n", b"\n")
    return is_below_trace(file, content)


def describe(whole: bytes, content: bytes) -> str:
    """Say where a message first differs from what it should be, looking from its end."""
    for kind in (content, content.replace(b"\r\n", b"\n")):
        if whole.endswith(kind):
            above = whole[: len(whole) - len(kind)]
            rest = _TRACE.match(above)
            at = rest.end() if rest is not None else 0
            return f"something else above the content: {above[at : at + 60]!r}"
    wanted = content if b"\r\n" in whole else content.replace(b"\r\n", b"\n")
    size = min(len(whole), len(wanted))
    same = next((n for n in range(1, size + 1) if whole[-n] != wanted[-n]), size)
    from_end = slice(-same - 20, -same + 20 if same > 20 else None)
    return f"{same} octets before the end {whole[from_end]!r} instead of {wanted[from_end]!r}"


@dataclass
class Outcome:
    """What became of one message.

    Attributes:
        postfix: its last reply.
        postroom: its last reply.
        stored: what is wrong with what was stored; empty if nothing is.
        relayed: what is wrong with what was relayed.
    """

    postfix: bytes = b""
    postroom: bytes = b""
    stored: str = ""
    relayed: str = ""

    @property
    def taken(self) -> bool:
        """True if Postroom took it."""
        return code_of(self.postroom) == 250

    @property
    def differences(self) -> Iterator[str]:
        """What differs, in words."""
        if code_of(self.postfix) != code_of(self.postroom):
            yield f"Postfix {_shown(self.postfix)}, Postroom {_shown(self.postroom)}"
        if self.stored:
            yield f"stored: {self.stored}"
        if self.relayed:
            yield f"relayed: {self.relayed}"


def _shown(reply: bytes) -> str:
    text = reply.decode("ascii", "backslashreplace").strip()
    return "250" if text.startswith("250") else text or "(no reply)"


def _send(port: int, recipients: list[bytes], content: bytes) -> bytes:
    """Send one message; return the reply that decides."""
    body = b"" if content.isascii() else b" BODY=8BITMIME"
    commands = [b"EHLO corpora.test", b"MAIL FROM:<" + SENDER + b">" + body]
    commands += [b"RCPT TO:<" + each + b">" for each in recipients]
    with Peer(port, 60) as peer:
        for command in commands:
            answer = peer.say(command + b"\r\n")
            if code_of(answer) != 250:
                return answer
        answer = peer.say(b"DATA\r\n")
        if code_of(answer) == 354:
            answer = peer.say(stuffed(content))
        peer.say(b"QUIT\r\n")
    return answer


class PostfixSide:
    """A stock Postfix that takes mail for any domain of ours and throws it away."""

    def __init__(self) -> None:
        """Start it."""
        self._port = free_port()
        more = f"virtual_mailbox_domains = {DOMAIN}\nvirtual_transport = discard\n"
        stopped_at_exit(Postfix(self._port, new_folder("corpora-postfix"), more))

    def take(self, content: bytes) -> bytes:
        """Offer a message; return the reply."""
        return _send(self._port, [ANN.encode()], content)


class PostroomSide:
    """A daemon with its defaults; a relay host and an account get each message."""

    def __init__(self, checkout: Path | None, settings: str) -> None:
        """Start it, as this checkout's or another's code, and its next hop."""
        self._sink = stopped_at_exit(Sink())
        hop = f"smtp://127.0.0.1:{self._sink.port}"
        self.daemon = CheckoutDaemon(
            new_folder("corpora-postroom"),
            "--hostname=postroom.test",
            f"--relay-host={hop}",
            "--relay-network=127.0.0.0/8",
            checkout=checkout,
            settings=settings,
        )
        self.daemon.add_account(ANN, "correct-horse-battery")
        stopped_at_exit(self.daemon).start()
        self._new = self.daemon.maildir(ANN) / "new"
        self._sent = 0

    def take(self, content: bytes, outcome: Outcome) -> None:
        """Offer a message; note the reply and what is wrong with what came of it."""
        self._sent += 1
        remote = b"m%d@relay.test" % self._sent
        outcome.postroom = _send(self.daemon.port, [ANN.encode(), remote], content)
        files = list(self._new.iterdir()) if self._new.is_dir() else []
        if outcome.taken:
            good = mended(content)
            outcome.stored = self._stored(files, good)
            outcome.relayed = self._relayed(remote, good)
        for path in files:
            path.unlink()

    def _stored(self, files: list[Path], content: bytes) -> str:
        if len(files) != 1:
            return f"{len(files)} files"
        file = files[0].read_bytes()
        if is_stored(file, content):
            return ""
        return describe(file, without_return_path(content))

    def _relayed(self, recipient: bytes, content: bytes) -> str:
        message = self._sink.wait_for(recipient)
        if message is None:
            return "not relayed"
        if self._sink.strays:
            return f"more commands came out of the content: {self._sink.strays.pop()!r}"
        if is_below_trace(message.content, content):
            return ""
        return describe(message.content, content)


@dataclass
class Tally:
    """Numbers of one corpus."""

    messages: int = 0
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, outcome: Outcome) -> None:
        """Count one message."""
        self.messages += 1
        self.counts["postfix"] += code_of(outcome.postfix) == 250
        self.counts["postroom"] += outcome.taken
        self.counts["stored"] += outcome.taken and not outcome.stored
        self.counts["relayed"] += outcome.taken and not outcome.relayed

    def row(self, name: str) -> str:
        """Return a line of the table of totals."""
        figures = [self.counts[each] for each in ("postfix", "postroom", "stored", "relayed")]
        return f"{name:44.44}{self.messages:9}" + "".join(f"{figure:9}" for figure in figures)


def compare(directory: Path, postroom: PostroomSide, as_is: bool, limit: int) -> tuple[str, str]:
    """Deliver all messages; return the totals and the differences, as text."""
    postfix = PostfixSide()
    tallies: dict[str, Tally] = {"all": Tally()}
    differences = []
    for path in sorted(each for each in directory.rglob("*") if each.is_file())[:limit]:
        content = outgoing(path.read_bytes(), as_is)
        outcome = Outcome(postfix=postfix.take(content))
        postroom.take(content, outcome)
        name = path.relative_to(directory)
        corpus = tallies.setdefault(name.parts[0] if len(name.parts) > 1 else ".", Tally())
        for tally in (corpus, tallies["all"]):
            tally.add(outcome)
        differences += [f"{name}: {each}" for each in outcome.differences]
    head = f"{'corpus':44}{'messages':>9}{'Postfix':>9}{'Postroom':>9}{'stored':>9}{'relayed':>9}"
    rows = [tally.row(name) for name, tally in sorted(tallies.items(), key=_all_last)]
    return "\n".join([head, *rows]), "\n".join(differences)


def _all_last(item: tuple[str, Tally]) -> tuple[bool, str]:
    return item[0] == "all", item[0]


def main() -> int:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--as-is", action="store_true", help="send bare LF where files have it")
    parser.add_argument("--checkout", type=Path, help="run the Postroom of another checkout")
    parser.add_argument("--settings", type=Path, help="a TOML file for Postroom")
    parser.add_argument("--names", type=Path, help="write the differences to this file")
    parser.add_argument("--limit", type=int, default=None, help="deliver only so many messages")
    chosen = parser.parse_args()
    settings = chosen.settings.read_text() if chosen.settings is not None else ""
    postroom = PostroomSide(chosen.checkout, settings)
    totals, differences = compare(chosen.directory, postroom, chosen.as_is, chosen.limit)
    if chosen.names is not None:
        chosen.names.write_text(differences + "\n")
    else:
        print(differences)
    print(totals)
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
