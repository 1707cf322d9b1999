"""A session once more, against a server on loopback."""

import contextlib
import socket
import threading
from collections.abc import Callable
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from postroom.capture.replay import ReplayStep, _Replay, replay
from postroom.capture.sessions import CapturedSession
from postroom.errors import UserError
from postroom.wire.replies import Reply, reply
from tests.capture.wire import Line, sessions_in, write_pcap


class Server:
    """Says what it is told to: each reply once octets have come that end in its cue.

    After a reply that ends in no line end it closes, and after the last one if it is told to: by a
    reset if octets are left that it has not read, as every server does.
    """

    def __init__(self, *script: tuple[bytes, bytes], closes: bool = False) -> None:
        self.heard = b""
        self._closes = closes
        self._script = script
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        connection.settimeout(10)
        with connection, self._listener:
            for cue, reply in self._script:
                while not self.heard.endswith(cue):
                    octets = connection.recv(4096)
                    if not octets:
                        return
                    self.heard += octets
                connection.sendall(reply)
                if not reply.endswith(b"\n"):
                    return
            if self._closes:
                return
            with contextlib.suppress(ConnectionResetError):
                while octets := connection.recv(4096):
                    self.heard += octets

    def stop(self) -> None:
        self._thread.join(10)


def begin() -> Line:
    line = Line().open().server(b"220 old\r\n").client(b"EHLO c\r\n")
    return line.server(b"250-old\r\n250 PIPELINING\r\n")


class ReplayTests(SynchronousTestCase):
    """What is sent, and what is compared."""

    def session(self, line: Line) -> CapturedSession:
        path = write_pcap(Path(self.mktemp()), line.frames)
        return sessions_in(path, keep_octets=True)[0]

    def replay(
        self, line: Line, *script: tuple[bytes, bytes], seconds: float = 10, closes: bool = False
    ) -> list[ReplayStep]:
        self.server = Server(*script, closes=closes)
        self.addCleanup(self.server.stop)
        return list(replay(self.session(line), "127.0.0.1", self.server.port, seconds))

    def test_the_same_again(self) -> None:
        line = begin().client(b"MAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nDATA\r\n")
        line.server(b"250 ok\r\n250 ok\r\n354 go\r\n").client(b"..x\r\n").client(b".\r\n")
        line.server(b"250 2.0.0 kept as 1\r\n").client(b"QUIT\r\n").server(b"221 bye\r\n").close()
        steps = self.replay(
            line,
            *((b"", b"220 new\r\n"), (b"c\r\n", b"250-new\r\n250 PIPELINING\r\n")),
            *((b"DATA\r\n", b"250 ok\r\n250 ok\r\n354 go\r\n"), (b"\r\n.\r\n", b"250 2.0.0 2\r\n")),
            (b"QUIT\r\n", b"221 bye\r\n"),
        )
        self.assertEqual([step.differs for step in steps], [False] * len(steps))
        self.server.stop()
        self.assertEqual(
            self.server.heard,
            b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nDATA\r\n..x\r\n.\r\nQUIT\r\n",
        )

    def test_differences_and_what_was_not_asked_for(self) -> None:
        line = begin().client(b"MAIL FROM:<>\r\n").server(b"250 2.1.0 ok\r\n")
        line.client(b"DATA\r\n").server(b"354 go\r\n").client(b"x\r\n.\r\n").server(b"250 a\r\n")
        line.client(b"QUIT\r\n").server(b"221 bye\r\n").close()
        steps = self.replay(
            line,
            *((b"", b"220 new\r\n"), (b"EHLO c\r\n", b"250 new\r\n")),
            *((b"MAIL FROM:<>\r\n", b"250 2.5.0 ok\r\n"), (b"DATA\r\n", b"503 no\r\n")),
            (b"QUIT\r\n", b"221 bye\r\n"),
        )
        different = [(step.lines, str(step.heard)) for step in steps if step.differs]
        self.assertEqual(different, [(("250 2.1.0 ok",), "250 2.5.0 ok"), (("354 go",), "503 no")])
        self.server.stop()
        self.assertTrue(self.server.heard.endswith(b"DATA\r\nQUIT\r\n"))
        self.assertIn("left out", " ".join(line for step in steps for line in step.lines))

    def test_responses_are_sent_where_they_are_asked_for_and_never_shown(self) -> None:
        line = begin().client(b"AUTH LOGIN\r\n").server(b"334 YQ==\r\n").client(b"c2VjcmV0\r\n")
        line.server(b"235 ok\r\n").client(b"QUIT\r\n").server(b"221 bye\r\n")
        greeting = ((b"", b"220 new\r\n"), (b"EHLO c\r\n", b"250 new\r\n"))
        bye = (b"QUIT\r\n", b"221 bye\r\n")
        steps = self.replay(
            line, *greeting, (b"LOGIN\r\n", b"334 YQ==\r\n"), (b"V0\r\n", b"235 ok\r\n"), bye
        )
        self.assertNotIn("c2VjcmV0", repr(steps))
        self.server.stop()
        self.assertIn(b"c2VjcmV0\r\n", self.server.heard)
        self.replay(line, *greeting, (b"LOGIN\r\n", b"502 no\r\n"), bye)
        self.server.stop()
        self.assertNotIn(b"c2VjcmV0\r\n", self.server.heard)

    def test_content_that_did_not_wait_for_354_does_not_wait_now(self) -> None:
        line = begin().client(b"DATA\r\nx\r\n.\r\n").server(b"354 go\r\n250 kept\r\n")
        line.client(b"QUIT\r\n").server(b"221 bye\r\n")
        greeting = ((b"", b"220 new\r\n"), (b"EHLO c\r\n", b"250 new\r\n"))
        data = ((b"\r\n.\r\n", b"354 go\r\n250 kept\r\n"), (b"QUIT\r\n", b"221 bye\r\n"))
        steps = self.replay(line, *greeting, *data, seconds=2)
        self.assertEqual([step.differs for step in steps if step.speaker == "S"], [False] * 5)

    def test_chunks_are_sent_whatever_the_reply_was(self) -> None:
        line = begin().client(b"BDAT 3 LAST\r\na\0b").server(b"250 ok\r\n")
        greeting = ((b"", b"220 new\r\n"), (b"EHLO c\r\n", b"250 new\r\n"))
        self.replay(line, *greeting, (b"BDAT 3 LAST\r\na\0b", b"503 no\r\n"))

    def test_nothing_after_starttls(self) -> None:
        line = begin().client(b"STARTTLS\r\n").server(b"220 go\r\n").client(b"\x16\x03\x01")
        steps = self.replay(
            line,
            (b"", b"220 new\r\n"),
            (b"EHLO c\r\n", b"250 new\r\n"),
            (b"QUIT\r\n", b"221 a\r\n"),
        )
        self.assertIn("STARTTLS", steps[-1].lines[0])
        self.server.stop()
        self.assertEqual(self.server.heard, b"EHLO c\r\nQUIT\r\n")

    def test_a_server_that_closes(self) -> None:
        steps = self.replay(begin(), (b"", b"220 new\r\n"), (b"EHLO c\r\n", b"421"))
        self.assertEqual(steps[-1].lines, ("[the server has closed]",))
        self.assertTrue(steps[-2].differs)

    def assert_cut_short(self, steps: list[ReplayStep], *heard: str) -> None:
        """Check what the server said where it said something else, and how it ended."""
        different = [str(step.heard) for step in steps if step.differs]
        self.assertEqual(different, [*heard, "None"])
        self.assertEqual([step.cut_short for step in steps], [False] * (len(steps) - 1) + [True])

    def test_an_unsolicited_421(self) -> None:
        line = begin()
        for _ in range(5):
            line.client(b"RSET\r\n").server(b"250 ok\r\n")
        greeting = ((b"", b"220 new\r\n"), (b"EHLO c\r\n", b"250 new\r\n421 4.3.2 bye\r\n"))
        steps = self.replay(line.client(b"QUIT\r\n").server(b"221 a\r\n"), *greeting, closes=True)
        self.assert_cut_short(steps, "421 4.3.2 bye")

    def test_421_for_a_greeting(self) -> None:
        line = begin().client(b"QUIT\r\n").server(b"221 bye\r\n")
        self.assert_cut_short(
            self.replay(line, (b"", b"421 4.7.0 no\r\n"), closes=True), "421 4.7.0 no"
        )

    def test_a_connection_that_breaks_within_content(self) -> None:
        line = begin().client(b"MAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nDATA\r\n")
        line.server(b"250 ok\r\n250 ok\r\n354 go\r\n")
        for _ in range(4000):
            line.client(b"x" * 998 + b"\r\n")
        line.client(b".\r\n").server(b"250 2.0.0 kept\r\n").client(b"QUIT\r\n").server(b"221 a\r\n")
        greeting = ((b"", b"220 new\r\n"), (b"c\r\n", b"250-new\r\n250 PIPELINING\r\n"))
        data = b"250 ok\r\n250 ok\r\n354 go\r\n"
        for last, heard in ((b"421 4.3.2 down\r\n", ["421 4.3.2 down"]), (b"", [])):
            steps = self.replay(line, *greeting, (b"DATA\r\n", data + last), closes=True)
            self.assert_cut_short(steps, *heard)
            self.assertRegex(
                " ".join(line for step in steps for line in step.lines), "not all of it"
            )

    def test_a_connection_that_breaks_where_nothing_is_waited_for(self) -> None:
        line = begin().client(b"RSET\r\n").server(b"250 a\r\n")
        for _ in range(200):
            line.client(b"NOOP " + b"x" * 400 + b"\r\n")
        session = self.session(line)

        class Deaf:
            """Says two things and cannot be sent to."""

            broken: str | None = None
            lost = None

            def __init__(self) -> None:
                self.replies = [reply(220, None, "a"), reply(250, None, "a"), reply(421, None, "b")]

            def send(self, octets: bytes) -> str | None:
                self.broken = "Broken pipe" if octets.startswith(b"RSET") else None
                return self.broken

            def read_reply(self) -> Reply | None:
                return self.replies.pop(0) if self.replies else None

        del session.conversation.entries[4:5]
        steps = list(_Replay(Deaf(), session.conversation.entries).steps())  # type: ignore[arg-type]
        self.assertEqual(
            [line for step in steps[-3:] for line in step.lines],
            [
                "[not sent, or not all of it: Broken pipe]",
                "[further reply: 421 b]",
                "[the server has closed]",
            ],
        )

    def test_421_that_was_unsolicited_in_the_capture_is_not_waited_for(self) -> None:
        line = begin().server(b"421 4.4.2 idle too long\r\n").close()
        steps = self.replay(line, (b"", b"220 new\r\n"), (b"EHLO c\r\n", b"250 new\r\n"))
        self.assertEqual([step.differs for step in steps], [False] * 4)
        self.assertIn("421 4.4.2 idle too long", steps[-1].lines[0])

    def test_after_starttls_that_was_refused_the_replay_goes_on(self) -> None:
        line = begin().client(b"STARTTLS\r\n").server(b"454 no\r\n")
        line.client(b"QUIT\r\n").server(b"221 bye\r\n")
        greeting = ((b"", b"220 new\r\n"), (b"EHLO c\r\n", b"250 new\r\n"))
        steps = self.replay(
            line, *greeting, (b"STARTTLS\r\n", b"502 no\r\n"), (b"QUIT\r\n", b"221 a\r\n")
        )
        self.assertEqual([str(step.heard) for step in steps if step.differs], ["502 no"])
        steps = self.replay(line, *greeting, (b"STARTTLS\r\n", b"220 go\r\n"))
        self.server.stop()
        self.assertEqual(self.server.heard, b"EHLO c\r\nSTARTTLS\r\n")
        self.assertTrue(steps[-1].cut_short)

    LMTP = (*((b"", b"220 new\r\n"), (b"LHLO c\r\n", b"250 new\r\n"), (b"<>\r\n", b"250 ok\r\n")),)

    def lmtp(self) -> Line:
        line = Line().open().server(b"220 a\r\n").client(b"LHLO c\r\n").server(b"250 a\r\n")
        line.client(b"MAIL FROM:<>\r\n").server(b"250 a\r\n")
        for name in (b"a", b"b", b"c"):
            line.client(b"RCPT TO:<" + name + b"@d.example>\r\n")
            line.server(b"550 no\r\n" if name == b"c" else b"250 ok\r\n")
        line.client(b"DATA\r\n").server(b"354 go\r\n").client(b".\r\n")
        line.server(b"250 1\r\n250 2\r\n").client(b"QUIT\r\n").server(b"221 bye\r\n")
        return line

    def test_lmtp_answers_for_the_recipients_that_this_server_accepts(self) -> None:
        bye = (b"QUIT\r\n", b"221 bye\r\n")
        for accepted, differing in (("abc", 1), ("ab", 0), ("a", 1), ("c", 3)):
            rcpts = tuple(
                (
                    b"TO:<%c@d.example>\r\n" % ord(name),
                    b"250 a\r\n" if name in accepted else b"550 a\r\n",
                )
                for name in "abc"
            )
            kept = b"250 kept\r\n" * len(accepted)
            data = ((b"DATA\r\n", b"354 go\r\n"), (b".\r\n", kept))
            steps = self.replay(self.lmtp(), *self.LMTP, *rcpts, *data, bye, seconds=2)
            self.assertEqual(sum(step.differs for step in steps), differing, accepted)
            self.assertEqual(str(steps[-1].heard), "221 bye")

    def test_messages_that_are_pipelined_in_chunks(self) -> None:
        for hello, ended in ((b"EHLO", b"250 kept\r\n"), (b"LHLO", b"250 kept\r\n" * 2)):
            message = b"MAIL FROM:<>\r\nRCPT TO:<a@b>\r\nRCPT TO:<c@b>\r\nBDAT 1 LAST\r\nx"
            replies = (b"250 ok\r\n" * 3 + ended) * 2 + b"221 bye\r\n"
            offer = b"250-a\r\n250-PIPELINING\r\n250 CHUNKING\r\n"
            line = Line().open().server(b"220 a\r\n").client(hello + b" c\r\n").server(offer)
            line.client(message * 2 + b"QUIT\r\n").server(replies)
            greeting = ((b"", b"220 new\r\n"), (b"LO c\r\n", offer))
            steps = self.replay(line, *greeting, (b"QUIT\r\n", replies), seconds=2)
            self.assertEqual(str(steps[-1].heard), "221 bye")
            self.assertEqual([step for step in steps if step.differs or step.speaker == "-"], [])

    def test_the_replies_of_prdr(self) -> None:
        line = begin().client(b"MAIL FROM:<> PRDR\r\n").server(b"250 a\r\n")
        for name in (b"a", b"b"):
            line.client(b"RCPT TO:<" + name + b"@d.example>\r\n").server(b"250 ok\r\n")
        line.client(b"DATA\r\n").server(b"354 go\r\n").client(b".\r\n")
        line.server(b"353 see\r\n250 1\r\n550 2\r\n250 all\r\n")
        line.client(b"QUIT\r\n").server(b"221 bye\r\n")
        script = (
            *((b"", b"220 new\r\n"), (b"EHLO c\r\n", b"250 new\r\n"), (b"PRDR\r\n", b"250 a\r\n")),
            *((b"<a@d.example>\r\n", b"250 a\r\n"), (b"<b@d.example>\r\n", b"250 a\r\n")),
            (b"DATA\r\n", b"354 go\r\n"),
        )
        for ended, differing in (
            (b"353 x\r\n250 1\r\n250 2\r\n250 all\r\n", 1),
            (b"250 all\r\n", 1),
        ):
            more = ((b".\r\n", ended), (b"QUIT\r\n", b"221 bye\r\n"))
            steps = self.replay(line, *script, *more, seconds=2)
            self.assertEqual(str(steps[-1].heard), "221 bye")
            self.assertEqual(sum(step.differs for step in steps), differing)

    def test_lmtp_whose_content_is_left_out(self) -> None:
        rcpts = tuple((b"TO:<%c@d.example>\r\n" % name, b"550 no\r\n") for name in b"abc")
        data = ((b"DATA\r\n", b"503 no\r\n"), (b"QUIT\r\n", b"221 bye\r\n"))
        steps = self.replay(self.lmtp(), *self.LMTP, *rcpts, *data, seconds=2)
        self.assertEqual(str(steps[-1].heard), "221 bye")

    def assert_error(self, text: str, call: Callable[[], object]) -> None:
        with self.assertRaises(UserError) as caught:
            call()
        self.assertIn(text, str(caught.exception))

    def test_a_server_that_says_nothing(self) -> None:
        self.assert_error("no reply in time", lambda: self.replay(begin(), seconds=0.2))

    def test_a_server_of_something_else(self) -> None:
        self.assert_error("no reply", lambda: self.replay(begin(), (b"", b"SSH-2.0-x\r\n")))
        self.assert_error("longer than", lambda: self.replay(begin(), (b"", b"x" * 9000)))

    def test_no_server(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as unused:
            port = unused.getsockname()[1]
        session = self.session(begin())
        self.assert_error("refused", lambda: list(replay(session, "127.0.0.1", port, 1)))

    def test_a_session_that_is_not_whole(self) -> None:
        line = begin()
        del line.frames[4]
        session = self.session(line.client(b"QUIT\r\n").server(b"221 bye\r\n"))
        self.assert_error("not whole", lambda: list(replay(session, "127.0.0.1", 1, 1)))
