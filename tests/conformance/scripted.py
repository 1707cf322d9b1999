r"""Our client, and a scripted server: the dialogues of ``client/`` read from the other side.

``C:`` is what the client must send (a line that ends in ``...`` may go on), ``S:`` what it hears.
The message goes from ``from@here.example`` to ``to0@there.example``, ``to1@…`` and so on. DNS has
two hosts for the domain: ``192.0.2.1`` comes first, then ``192.0.2.2``. Settings (``with:``) are

- of the message: ``sender``, ``recipients`` (how many) or ``to`` (which, with commas), ``content``,
  in several ``pieces``, ``mail`` (the parameters that it came with, with blanks as ``\x20``),
  ``rcpt`` (those of each recipient), ``rcpt0``, ``rcpt1`` and so on (of one), and ``traits``;
- of the client: ``tls``, ``chunking``, ``prdr`` and ``eight_bit_anyway``;
- of a smarthost: ``user`` and ``password``, or ``lmtp=yes``;
- of the server: the name in its ``certificate``, if it is not the host's.

``outcome:`` is the pattern of each recipient's reply at the end, ``554`` or ``554/5.6.3``.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

from twisted.internet import error
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from postroom.client.model import Destination, Outgoing, SmartHost, TLSMode, TLSRequirement
from postroom.client.sender import Sender
from postroom.client.settings import Chunking, ClientSettings
from postroom.envelope import NO_TRAITS, Trait
from postroom.testing.conformance.catalogue import Requirement, requirements_of
from postroom.testing.transcript import (
    Closed,
    Dialogue,
    Expect,
    OpenConnection,
    Say,
    Send,
    StartTLS,
    Step,
    Wait,
    unescape,
)
from postroom.wire.commands import Rcpt
from tests.client.parts import CONTENT, MemorySource, TableResolver, outgoing
from tests.conformance.wire import AUTHORITY, Wire

CLIENT = Path(__file__).parent / "client"
NAMES = {"192.0.2.1": "mx1.there.example", "192.0.2.2": "mx2.there.example"}
_OPEN_ENDED = b"...\r\n"


def client_requirements() -> Iterator[Requirement]:
    """Give the dialogues for clients."""
    for path in sorted(CLIENT.glob("*.txt")):
        yield from requirements_of(path.read_text("utf-8"), {})


class Deviation(AssertionError):
    """The client did something else than the script says."""


class Script:
    """One script, played to our client once."""

    def __init__(self, dialogue: Dialogue, whole: bool) -> None:
        """Take the script; without `whole` the client hears it octet by octet."""
        self.dialogue = dialogue
        self.whole = whole
        self.reactor = MemoryReactorClock()
        known = TableResolver(
            {"there.example": [(1, "mx1.there.example"), (2, "mx2.there.example")]},
            {name: [address] for address, name in NAMES.items()},
        )
        with AUTHORITY.cert_pem.tempfile() as ca_file:
            settings = self._client(ca_file)
            self.sender = Sender(self.reactor, known, settings, Random(1))
        self._transport: Wire | None = None
        self._sent = b""

    def _tls(self) -> TLSMode:
        return TLSMode(self.dialogue.settings.get("tls", "opportunistic"))

    def _client(self, ca_file: str) -> ClientSettings:
        given = self.dialogue.settings
        return ClientSettings(
            "us.example",
            tls=self._tls(),
            ca_file=Path(ca_file),
            chunking=Chunking(given.get("chunking", "large")),
            prdr=given.get("prdr") != "no",
            eight_bit_anyway=given.get("eight_bit_anyway") != "no",
        )

    def _destination(self) -> Destination:
        given = self.dialogue.settings
        parameters = _parameters(given.get("mail", ""))
        requirement = TLSRequirement.REQUIRED if "REQUIRETLS" in parameters else TLSRequirement.NONE
        if given.get("traits") == "TLS_OPTIONAL":
            requirement = TLSRequirement.OPTIONAL
        if "lmtp" in given:
            return Destination("", SmartHost("127.0.0.1", 24, TLSMode.NEVER, lmtp=True))
        if "user" not in given:
            return Destination("there.example", None, requirement)
        login = given["user"], given["password"]
        return Destination("", SmartHost("127.0.0.1", 587, self._tls(), *login))

    def _message(self) -> Outgoing:
        given = self.dialogue.settings
        several = (f"to{number}@there.example" for number in range(int(given.get("recipients", 1))))
        addresses = given["to"].split(",") if "to" in given else several
        content = unescape(given["content"]) if "content" in given else CONTENT
        size = -(-len(content) // int(given.get("pieces", 1)))
        pieces = [content[start : start + size] for start in range(0, len(content), size)]
        message = outgoing(
            *addresses,
            source=MemorySource(*pieces),
            sender=given.get("sender", "from@here.example") or None,
            parameters=_parameters(given.get("mail", "")),
            traits=Trait[given["traits"]] if "traits" in given else NO_TRAITS,
        )
        recipients = tuple(
            Rcpt(
                rcpt.forward_path,
                _parameters(given.get(f"rcpt{number}", given.get("rcpt", ""))),
            )
            for number, rcpt in enumerate(message.message.recipients)
        )
        return replace(message, message=replace(message.message, recipients=recipients))

    def play(self) -> None:
        """Play it.

        Raises:
            Deviation: where the client differs from it.
        """
        sending = self.sender.send(self._destination(), self._message())
        for step in self.dialogue.steps:
            self.reactor.advance(0)
            if self._transport is None and not isinstance(step, OpenConnection):
                self._connect(step, "")
            self._take(step)
        self.reactor.advance(0)
        if not sending.called:
            raise Deviation("the client has not made up its mind")
        found = [f"{reply.code}/{reply.enhanced or ''}" for reply in sending.result.replies]
        wanted = self.dialogue.notes["outcome"].split()
        fits = len(found) == len(wanted) and all(map(_fits, wanted, found))
        if not fits:
            raise Deviation(f"the outcome was {found}, not {wanted}")

    def _take(self, step: Step) -> None:
        if isinstance(step, OpenConnection):
            self._connect(step, step.address)
        elif isinstance(step, Send):
            self._must_have_sent(step)
        elif isinstance(step, Expect):
            self._say(_reply(step))
        elif isinstance(step, Say):
            self._say(step.octets)
        elif isinstance(step, Wait):
            for _ in range(int(step.seconds)):
                self.reactor.advance(1)
        elif isinstance(step, Closed):
            self._close(step)
        elif isinstance(step, StartTLS):
            self._start_tls(step)
        else:
            raise ValueError(f"line {step.line}: not for a scripted server")

    def _connect(self, step: Step, address: str) -> None:
        """Take the connection that the client opens next; ``refused`` after the address."""
        host, _, refused = address.partition(" ")
        if not self.reactor.tcpClients:
            raise Deviation(f"line {step.line}: the client opens no connection")
        found, _, factory, _, _ = self.reactor.tcpClients.pop(0)
        if host and found != host:
            raise Deviation(f"line {step.line}: the client connects to {found}")
        if refused:
            factory.clientConnectionFailed(None, Failure(error.ConnectionRefusedError()))
            return
        protocol = factory.buildProtocol(None)
        self._transport, self._sent = Wire(protocol, self.reactor), b""
        self._address = found
        protocol.makeConnection(self._transport)

    def _read(self) -> bytes:
        assert self._transport is not None
        self.reactor.advance(0)
        self._sent += self._transport.said()
        return self._sent

    def _must_have_sent(self, step: Send) -> None:
        sent, wanted = self._read(), step.octets
        if not wanted and sent:
            raise Deviation(f"line {step.line}: the client went on with {sent!r}")
        if wanted.endswith(_OPEN_ENDED):
            line, mark, _ = sent.partition(b"\r\n")
            if mark and line.startswith(wanted.removesuffix(_OPEN_ENDED)):
                wanted = line + mark
        if not sent.startswith(wanted):
            raise Deviation(f"line {step.line}: expected {wanted!r}, the client sent {sent!r}")
        self._sent = sent[len(wanted) :]

    def _say(self, octets: bytes) -> None:
        assert self._transport is not None
        pieces = [octets] if self.whole else [bytes([each]) for each in octets]
        for piece in pieces:
            if not self._transport.closed:
                self._transport.hear(piece)
                self.reactor.advance(0)

    def _start_tls(self, step: StartTLS) -> None:
        assert self._transport is not None
        if not self._transport.asked:
            raise Deviation(f"line {step.line}: the client does not begin TLS")
        self._transport.join(self.dialogue.settings.get("certificate", NAMES[self._address]))

    def _close(self, step: Closed) -> None:
        assert self._transport is not None
        if not step.by_client:
            self._transport.close()
        elif not self._transport.closed:
            raise Deviation(f"line {step.line}: the client should have closed")
        elif self._read():
            raise Deviation(f"line {step.line}: the client went on with {self._sent!r}")


def _fits(pattern: str, found: str) -> bool:
    code, _, enhanced = pattern.partition("/")
    digits = zip(code, found.partition("/")[0], strict=True)
    if enhanced and enhanced != found.partition("/")[2]:
        return False
    return all(wanted in ("x", digit) for wanted, digit in digits)


def _parameters(text: str) -> dict[str, str | None]:
    r"""Read parameters: ``RET=HDRS\x20SMTPUTF8``."""
    words = (word.partition("=") for word in unescape(text).decode().split())
    return {keyword: value if mark else None for keyword, mark, value in words}


def _reply(step: Expect) -> bytes:
    """Give the octets of a reply as the script has it."""
    prefix = f"{step.enhanced} " if step.enhanced else ""
    *first, last = step.lines or (step.text,)
    lines = [f"{step.code}-{prefix}{line}\r\n" for line in first]
    return "".join([*lines, f"{step.code} {prefix}{last}\r\n"]).encode("latin-1")


def play(requirement: Requirement) -> str:
    """Play a script to our client, whole and octet by octet; say what differed."""
    for whole in (True, False):
        try:
            Script(requirement.dialogue, whole).play()
        except Deviation as deviation:
            return str(deviation)
    return ""
