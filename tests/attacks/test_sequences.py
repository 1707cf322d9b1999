"""Commands in any order, cut anywhere, answered at once or late: the same replies and mail.

Sessions are drawn from what a client could say, sensible or not, with content and chunks that look
like commands, and had in several ways. However the octets are cut and however late a verdict is,
each command has one reply, in order, and what is stored is the same. All begin with EHLO, and none
has HELO, after which BDAT is an unknown command whose octets are nobody's.
"""

from collections.abc import Sequence
from random import Random

from postroom.wire.replies import Reply
from tests.attacks.attack import Attack
from tests.modes import REFUSE, STRICT, Mode
from tests.server.scene import Scene

PIECES = [
    b"EHLO client.example\r\n",
    b"EHLO\r\n",
    b"MAIL FROM:<a@there.example>\r\n",
    b"MAIL FROM:<a@there.example>\r\n",
    b"MAIL FROM:<b@there.example> SIZE=100 BODY=8BITMIME\r\n",
    b"MAIL FROM:<unwelcome@there.example>\r\n",
    b"MAIL FROM:<>\r\n",
    b"MAIL FROM:<@>\r\n",
    b"MAIL FROM:<c@there.example> SIZE=99999999999\r\n",
    b"RCPT TO:<user@here.example>\r\n",
    b"RCPT TO:<user@here.example>\r\n",
    b"RCPT TO:<other@here.example>\r\n",
    b"RCPT TO:<unknown@here.example>\r\n",
    b"RCPT TO:<user@there.example>\r\n",
    b"RCPT TO:<>\r\n",
    b"MAIL FROM: tolerated@there.example.\r\n",
    b"MAIL FROM:\r\n",
    b"RCPT TO:\t< ot..her@here.example >\r\n",
    b"RCPT TO:user\r\n",
    b"RCPT TO:<user> <evil@here.example>\r\n",
    b"DATA\r\nSubject: x\r\n\r\ntext\r\n..\r\n.\r\n",
    b"DATA\r\n.\r\n",
    b"DATA\r\nNOOP\r\nMAIL FROM:<evil@there.example>\r\n.\r\n",
    b"DATA\r\nbare\nLF\r\n.\r\n",
    b"DATA\r\nNUL\0\r\n.\r\n",
    b"DATA\r\n\r\r\n\r.\n.\r\0\n..\n\0\r\n\r\n.\r\n",
    b"BDAT 9 LAST\r\n\r\r\0\n.\n\r.\r",
    b"DATA now\r\n",
    b"BDAT 6\r\nNOOP\r\n",
    b"BDAT 6\r\nRSET\r\n",
    b"BDAT 6 LAST\r\nQUIT\r\n",
    b"BDAT 0 LAST\r\n",
    b"BDAT 3 LAST\r\n\r\n\n",
    b"RSET\r\n",
    b"RSET now\r\n",
    b"NOOP\r\n",
    b"VRFY user\r\n",
    b"VRFY \xc3\xa4\r\n",
    b"HELP\r\n",
    b"EXPN list\r\n",
    b"ETRN here.example\r\n",
    b"XCLIENT ADDR=127.0.0.1\r\n",
    b"AUTH PLAIN\r\n",
    b"STARTTLS now\r\n",
    b"FOOBAR\r\n",
    b"\r\n",
    b"NO\0OP\r\n",
    b"NOOP\nNOOP\r\n",
    b"\xff\xfe\r\n",
    b"x" * 5000 + b"\r\n",
    b"LHLO client.example\r\n",
]
# Most of the time a client does what leads on.
LEADING_ON = [
    b"MAIL FROM:<a@there.example>\r\n",
    b"RCPT TO:<user@here.example>\r\n",
    b"DATA\r\nSubject: x\r\n\r\ntext\r\n..\r\n.\r\n",
    b"BDAT 6 LAST\r\nQUIT\r\n",
]
SESSIONS, PIECES_EACH = 200, 14


def is_content(piece: bytes) -> bool:
    return piece.startswith(b"DATA\r\n")


class Run:
    """One way to have one session."""

    def __init__(self, mode: Mode, late: bool) -> None:
        self.scene = Scene(mode.listener(origin="here.example"))
        if late:
            self.scene.answer_late()
        self.peer = self.scene.connect()
        self.replies: list[Reply] = []

    def send(self, octets: bytes) -> None:
        self.peer.send(octets)
        self.peer.settle()
        self.replies += self.peer.hear_all()

    def result(self) -> tuple[list[str], list[tuple[str, bytes]]]:
        self.peer.lose()
        stored = [
            (f"{each.sender} {' '.join(map(str, each.recipients))}", each.content)
            for each in self.scene.world.stored
        ]
        return [str(reply) for reply in self.replies], stored


def session_of(mode: Mode, random: Random) -> list[bytes]:
    """Draw a session; content stands only where DATA gets 354, for else it would be commands."""
    probe, session = Run(mode, late=False), []
    pieces = PIECES + LEADING_ON * 6
    for piece in (PIECES[0], *random.choices(pieces, k=PIECES_EACH)):
        command = piece
        if is_content(piece):
            probe.send(b"DATA\r\n")
            accepted = probe.replies[-1].code == 354
            command = piece if accepted else b"DATA\r\n"
            if accepted:
                probe.send(piece.removeprefix(b"DATA\r\n"))
        else:
            probe.send(piece)
        session.append(command)
    return session


def cut_anywhere(octets: bytes, random: Random) -> list[bytes]:
    places = sorted(random.sample(range(1, len(octets)), min(12, len(octets) - 1)))
    return [octets[a:b] for a, b in zip([0, *places], [*places, len(octets)], strict=True)]


class SequenceTests(Attack):
    """One meaning for a session."""

    def run_with(self, segments: Sequence[bytes], late: bool) -> object:
        run = Run(self.mode, late)
        for segment in segments:
            run.send(segment)
        return run.result()

    def test_neither_cuts_nor_late_verdicts_change_anything(self) -> None:
        random = Random(20)
        stored = 0
        for number in range(SESSIONS):
            session = session_of(self.mode, random)
            octets = b"".join(session)
            once = Run(self.mode, late=False)
            for piece in session:
                once.send(piece)
            wanted = once.result()
            stored += len(wanted[1])
            for late in (False, True):
                for segments in (
                    session,
                    [octets],
                    cut_anywhere(octets, random),
                    [octets[at : at + 1] for at in range(len(octets))],
                ):
                    if len(segments) > 3000:
                        continue
                    self.assertEqual(self.run_with(segments, late), wanted, (number, session))
        self.assertGreater(stored, 50)

    def test_nothing_is_stored_but_what_a_client_meant_to_send(self) -> None:
        random = Random(21)
        for _ in range(SESSIONS):
            session = session_of(self.mode, random)
            run = Run(self.mode, late=False)
            for piece in session:
                run.send(piece)
            _, stored = run.result()
            for envelope, _content in stored:
                self.assertNotIn("evil", envelope)
                self.assertNotIn("unwelcome", envelope)
                self.assertNotIn("unknown", envelope)
                for recipient in envelope.split()[1:]:
                    self.assertTrue(recipient.endswith("@here.example"), envelope)
            self.assertEqual(b"evil@there" in b"".join(run.peer.transport.writes), False)

    def test_each_command_has_one_reply(self) -> None:
        random = Random(22)
        for _ in range(SESSIONS):
            session = session_of(self.mode, random)
            run = Run(self.mode, late=False)
            for piece in session:
                before = len(run.replies)
                run.send(piece)
                if run.peer.closed:
                    break
                count = len(run.replies) - before
                self.assertEqual(count, 2 if is_content(piece) and len(piece) > 6 else 1, piece)


class StrictSequenceTests(SequenceTests):
    """Nothing is tolerated."""

    mode = STRICT


class RefuseSequenceTests(SequenceTests):
    """Bare CRs and LFs in content are refused."""

    mode = REFUSE
