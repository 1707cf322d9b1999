"""A session once more, against a server on loopback."""

import contextlib
import socket
import threading
from collections.abc import Callable
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from postroom.capture.replay import Step, replay
from postroom.capture.sessions import Session
from postroom.errors import UserError
from tests.capture.wire import Line, sessions_in, write_pcap


class Server:
    """Says what it is told to: each reply once octets have come that end in its cue.

    After a reply that ends in no line end it closes.
    """

    def __init__(self, *script: tuple[bytes, bytes]) -> None:
        self.heard = b""
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
                if not reply.endswith(b"\n"):
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

    def session(self, line: Line) -> Session:
        path = write_pcap(Path(self.mktemp()), line.frames)
        return sessions_in(path, keep_octets=True)[0]

    def replay(self, line: Line, *script: tuple[bytes, bytes], seconds: float = 10) -> list[Step]:
        self.server = Server(*script)
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
