"""What is tolerated, row by row: by us with three kinds of settings, and by a stock Postfix."""

import base64
from collections.abc import Callable, Iterable
from functools import cache

from twisted.trial.unittest import SynchronousTestCase

from tests.interop.checkouts import CheckoutDaemon
from tests.interop.corpora import is_below_trace, is_stored, mended
from tests.interop.fixtures import stopped_at_exit
from tests.interop.mail import Folder
from tests.interop.raw import END, Peer, Received, Sink, code_of
from tests.interop.tolerance import (
    ANN,
    COMMAND_ENDS,
    CONTENTS,
    NAMES,
    RECIPIENTS,
    RELAY_CLIENT,
    ROWS,
    SENDERS,
    ContentRow,
    Row,
    show,
)
from tests.interop.tolerance_table import PASSWORD, ask, postfix, postroom

_STRICT = "[session]\ntolerate = []\n"
_REFUSE = '[session]\nbare_newline = "refuse"\n'
_SPARED = f'[session]\nbare_newline_networks = ["{RELAY_CLIENT}/32"]\n'
_CLEAR_TEXT = '[auth]\nclear_text_networks = ["127.0.0.0/8"]\n'
_RELAYED = b"far@relay.test"


@cache
def _sink() -> Sink:
    return stopped_at_exit(Sink())


@cache
def _daemon(settings: str = "") -> CheckoutDaemon:
    return postroom(settings, _sink().port)


@cache
def _postfix() -> int:
    return postfix()


class _Refused(Exception):
    """A command before the content was refused."""


def _open(peer: Peer, mail: bytes, *recipients: bytes) -> None:
    commands = [b"EHLO client.test", b"MAIL FROM:" + mail]
    commands += [b"RCPT TO:<" + each + b">" for each in recipients]
    for command in commands:
        answer = peer.say(command + b"\r\n")
        if code_of(answer) != 250:
            raise _Refused(f"{command!r}: {answer!r}")


def _mail_for(content: bytes) -> bytes:
    return b"<sender@remote.test>" + (b"" if content.isascii() else b" BODY=8BITMIME")


class RowTests(SynchronousTestCase):
    """Every row gets the reply that it should."""

    maxDiff = None

    def check(self, port: int, wanted: Callable[[Row], int | None]) -> None:
        expected = {row: wanted(row) for row in ROWS}
        found = {row: code_of(ask(port, row)) for row in ROWS if expected[row] is not None}
        wrong = [
            f"{row.kind}: {row.shown} from {row.source}: {found[row]} instead of {expected[row]}"
            for row in found
            if expected[row] not in (found[row], found[row] // 100)
        ]
        self.assertEqual(wrong, [])

    def test_names_are_unique(self) -> None:
        self.assertEqual(len(ROWS), len({(row.kind, row.shown, row.source) for row in ROWS}))

    def test_default(self) -> None:
        self.check(_daemon().port, lambda row: row.default)

    def test_strict(self) -> None:
        self.check(_daemon(_STRICT).port, lambda row: row.strict)

    def test_postfix(self) -> None:
        self.check(_postfix(), lambda row: row.postfix)

    def test_nothing_went_wrong_inside(self) -> None:
        for row in ROWS:
            ask(_daemon().port, row)
        self.assertNotIn("Traceback", _daemon().log())


class CommandEndTests(SynchronousTestCase):
    """A command that ends with a bare LF ends the session, unless the host is spared."""

    def test_session_ends(self) -> None:
        for row in ROWS:
            if row.kind != COMMAND_ENDS or row.default != 500:
                continue
            with Peer(_daemon().port) as peer:
                answers = [peer.say(step) for step in row.steps]
                self.assertTrue(answers[-1].startswith(b"500 5.5.2 "), answers[-1])
                self.assertTrue(peer.closed(), row.shown)

    def test_octet_by_octet(self) -> None:
        with Peer(_daemon().port) as peer:
            for octet in b"EHLO client.test":
                self.assertEqual(peer.say(bytes([octet]), 0.01), b"")
            self.assertEqual(code_of(peer.say(b"\n", 10)), 500)
            self.assertTrue(peer.closed())

    def test_spared_host(self) -> None:
        daemon = _daemon(_SPARED)
        inbox = Folder(daemon.maildir(ANN.decode()) / "new")
        with Peer(daemon.port, source=RELAY_CLIENT) as peer:
            for command in (b"EHLO client.test", b"MAIL FROM:<a@b.test>", b"RCPT TO:<%s>" % ANN):
                self.assertEqual(code_of(peer.say(command + b"\n")), 250)
            self.assertEqual(code_of(peer.say(b"DATA\n")), 354)
            self.assertEqual(code_of(peer.say(b"Subject: spared\n\none\n.\n")), 250)
            self.assertEqual(code_of(peer.say(b"QUIT\n")), 221)
        (file,) = inbox.wait()
        self.assertTrue(is_stored(file, b"Subject: spared\r\n\r\none\r\n"), file)

    def test_others_are_not_spared(self) -> None:
        with Peer(_daemon(_SPARED).port) as peer:
            self.assertEqual(code_of(peer.say(b"EHLO client.test\n")), 500)


class ContentTests(SynchronousTestCase):
    """Content is mended in one way, however it comes, and goes on like that."""

    def deliver(self, row: ContentRow, *steps: bytes) -> bytes:
        """Send a message's content in some steps; return the last reply."""
        with Peer(_daemon().port, source=RELAY_CLIENT) as peer:
            _open(peer, _mail_for(row.sent), ANN, _RELAYED)
            answer = b""
            for step in steps:
                answer = peer.say(step)
            self.assertEqual(peer.code(b"NOOP"), 250, f"{row.name}: out of step")
        return answer

    def check(self, send: Callable[[ContentRow], tuple[bytes, bytes]]) -> None:
        inbox = Folder(_daemon().maildir(ANN.decode()) / "new")
        wrong = []
        for row in CONTENTS:
            answer, wanted = send(row)
            files = inbox.wait() if code_of(answer) == 250 else []
            relayed = _sink().wait_for(_RELAYED) if files else None
            if len(files) != 1 or not is_stored(files[0], wanted):
                wrong.append(f"{row.name}: {answer!r} stored {files!r}"[:600])
            elif relayed is None or not is_below_trace(relayed.content, wanted):
                wrong.append(f"{row.name}: relayed {relayed!r}"[:600])
        self.assertEqual(wrong, [])
        self.assertEqual(_sink().strays, [])

    def test_rows_follow_the_rules(self) -> None:
        for row in CONTENTS:
            sent = row.sent + b"\r\n"
            chunked = row.stored if row.in_chunks is None else row.in_chunks
            self.assertEqual(mended((b"\r\n" + sent).replace(b"\r\n.", b"\r\n")[2:]), row.stored)
            self.assertEqual(mended(sent), chunked)

    def test_data(self) -> None:
        self.check(lambda row: (self.deliver(row, b"DATA\r\n", row.sent + END), row.stored))

    def test_chunks(self) -> None:
        def send(row: ContentRow) -> tuple[bytes, bytes]:
            sent = row.sent + b"\r\n"
            half = len(sent) // 2
            first, last = b"BDAT %d\r\n" % half, b"BDAT %d LAST\r\n" % (len(sent) - half)
            answer = self.deliver(row, first + sent[:half], last + sent[half:])
            return answer, row.stored if row.in_chunks is None else row.in_chunks

        self.check(send)

    def test_refuse(self) -> None:
        wanted = {row.name: row.refuse for row in CONTENTS if row.refuse is not None}
        found = {}
        for row in CONTENTS:
            with Peer(_daemon(_REFUSE).port) as peer:
                _open(peer, _mail_for(row.sent), ANN)
                peer.say(b"DATA\r\n")
                found[row.name] = code_of(peer.say(row.sent + END))
        self.assertEqual({name: found[name] for name in wanted}, wanted)

    def test_postfix(self) -> None:
        self.assertEqual(dict(self.answers_of_postfix()), {row.name: 250 for row in CONTENTS})

    def answers_of_postfix(self) -> Iterable[tuple[str, int]]:
        for row in CONTENTS:
            with Peer(_postfix()) as peer:
                _open(peer, _mail_for(row.sent), ANN)
                peer.say(b"DATA\r\n")
                yield row.name, code_of(peer.say(row.sent + END))


class PathTests(SynchronousTestCase):
    """Whatever was tolerated, the next hop gets valid syntax, and the same mailbox."""

    def relayed(self, sender: bytes, recipient: bytes, written: bytes) -> Received:
        with Peer(_daemon().port, source=RELAY_CLIENT) as peer:
            for command in (b"EHLO x", b"MAIL FROM:" + sender, b"RCPT TO:" + recipient):
                self.assertEqual(peer.code(command), 250, show(command))
            self.assertEqual(peer.code(b"DATA"), 354)
            self.assertEqual(code_of(peer.say(b"Subject: x\r\n\r\nx" + END)), 250)
        message = _sink().wait_for(written)
        assert message is not None, show(recipient)
        return message

    def test_senders(self) -> None:
        for path, written in SENDERS.items():
            message = self.relayed(path, b"<" + _RELAYED + b">", _RELAYED)
            argument = message.commands[0].removeprefix(b"MAIL FROM:")
            self.assertEqual(argument[: len(written) + 1].strip(), written)

    def test_recipients(self) -> None:
        for path, written in RECIPIENTS.items():
            message = self.relayed(b"<sender@remote.test>", path, written[1:-1])
            argument = message.commands[1].removeprefix(b"RCPT TO:")
            self.assertEqual(argument[: len(written) + 1].strip(), written)


class GreetingTests(SynchronousTestCase):
    """A greeting that is no name is shown to nobody."""

    def test_received(self) -> None:
        inbox = Folder(_daemon().maildir(ANN.decode()) / "new")
        for name, known_as in NAMES.items():
            with Peer(_daemon().port) as peer:
                for command in (b"EHLO " + name, b"MAIL FROM:<>", b"RCPT TO:<" + ANN + b">"):
                    self.assertEqual(peer.code(command), 250, show(command))
                self.assertEqual(peer.code(b"DATA"), 354)
                self.assertEqual(code_of(peer.say(b"Subject: x\r\n\r\nx" + END)), 250)
            (file,) = inbox.wait()
            self.assertIn(b"\nReceived: from " + known_as + b" ", file.replace(b"\n\t", b" "))

    def test_lmtp(self) -> None:
        daemon = _daemon()
        for name in NAMES:
            with Peer(daemon.ports["lmtp"]) as peer:
                self.assertEqual(peer.code(b"LHLO " + name), 250, show(name))


class OtherListenerTests(SynchronousTestCase):
    """What mx takes, LMTP and submission take."""

    def test_lmtp(self) -> None:
        paths = (b" <ann@local.test>", b"ann@local.test", b"<ann+a..b@local.test>", b"<ann>")
        for path in paths:
            with Peer(_daemon().ports["lmtp"]) as peer:
                commands = (b"LHLO x", b"MAIL FROM: a..b@c_d.test.", b"RCPT TO:" + path)
                self.assertEqual([peer.code(each) for each in commands], [250] * 3, show(path))

    def login(self) -> Peer:
        peer = Peer(_daemon(_CLEAR_TEXT).ports["submission"])
        self.addCleanup(peer.close)
        token = base64.b64encode(b"\0" + ANN + b"\0" + PASSWORD.encode())
        self.assertEqual(peer.code(b"EHLO x"), 250)
        self.assertEqual(peer.code(b"AUTH PLAIN " + token), 235)
        return peer

    def test_login_without_domain(self) -> None:
        peer = self.login()
        self.assertEqual(peer.code(b"MAIL FROM:ann"), 250)
        self.assertEqual(peer.code(b"RCPT TO:ann"), 250)
        self.assertEqual(peer.code(b"RCPT TO:<a..b@relay.test>"), 250)

    def test_login_in_bare_lf(self) -> None:
        for mechanism in (b"PLAIN", b"LOGIN"):
            with Peer(_daemon(_CLEAR_TEXT).ports["submission"]) as peer:
                self.assertEqual(peer.code(b"EHLO x"), 250)
                self.assertEqual(peer.code(b"AUTH " + mechanism), 334)
                self.assertTrue(peer.say(b"YW5u\n").startswith(b"500 5.5.2 "))
                self.assertTrue(peer.closed())
