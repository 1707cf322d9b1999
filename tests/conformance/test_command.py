"""The command that tries any server: on ours through real sockets, and on servers that err."""

import json
import socket
import threading
from pathlib import Path

from click.testing import CliRunner
from twisted.trial.unittest import SynchronousTestCase

from postroom.testing.conformance.__main__ import main
from postroom.testing.conformance.catalogue import ServerUnderTest, requirements_of, shipped
from postroom.testing.transcript import TranscriptError
from tests.conformance.daemon import DOMAIN, OTHER, PASSWORD, USER, daemon
from tests.conformance.ours import requirements
from tests.daemon import free_port
from tests.modes import DEFAULT, LETTER, Mode

MAIL = ("--domain", DOMAIN, "--recipient", USER, "--other", OTHER)


DEVIATIONS = {each.name for each in requirements() if "deviation" in each.dialogue.notes}
TOLERATED = {each.name for each in requirements() if each.strict}


def run(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, list(words))
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.output


class DaemonTests(SynchronousTestCase):
    """Our daemon keeps all that can be seen from outside, but for what it tolerates."""

    mode: Mode = DEFAULT
    tolerated = TOLERATED

    def try_on(self, listener: str, *options: str) -> dict[str, dict[str, str]]:
        results = Path(self.mktemp())
        login = ("--user", USER, "--password", PASSWORD)
        place = f"127.0.0.1:{daemon(self.mode).ports[listener]}"
        status, output = run(place, *MAIL, *login, *options, "--json", str(results))
        self.assertEqual(status, 0, output)
        found: dict[str, dict[str, str]] = json.loads(results.read_text())
        broken = {name for name, each in found.items() if each["verdict"] == "broken"}
        tried = {name for name, each in found.items() if not each["verdict"].startswith("not ")}
        self.assertEqual(broken, tried & (DEVIATIONS | self.tolerated))
        return found

    def test_in_clear_text_where_it_may_be(self) -> None:
        found = self.try_on("mx")
        kept = [name for name, each in found.items() if each["verdict"] == "kept"]
        self.assertGreater(len(kept), 200)
        self.assertIn("RFC3207-4-f", kept)
        self.assertIn("RFC4954-4-a", kept)

    def test_through_starttls(self) -> None:
        self.try_on("mx", "--starttls")

    def test_through_tls_from_the_start(self) -> None:
        found = self.try_on("mx-tls", "--implicit-tls")
        self.assertEqual(found["RFC3207-4-b"]["verdict"], "not tried")

    def test_submission(self) -> None:
        self.assertEqual(self.try_on("submission", "--submission")["RFC6409-4.3-a"]["why"], "")
        self.try_on("submission-tls", "--submission", "--implicit-tls")

    def test_lmtp(self) -> None:
        self.assertEqual(self.try_on("lmtp", "--lmtp")["RFC2033-4.2-a"]["verdict"], "kept")


class StrictDaemonTests(DaemonTests):
    """To the letter, it keeps everything."""

    mode = LETTER
    tolerated: set[str] = set()

    def test_binary_content(self) -> None:
        self.assertEqual(self.try_on("mx")["RFC3030-3-b"]["verdict"], "kept")


class Parrot(threading.Thread):
    """A server that answers every line with the same."""

    def __init__(self, answer: bytes) -> None:
        super().__init__(daemon=True)
        self.answer = answer
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.start()

    def run(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as lines:
                try:
                    connection.sendall(b"220 parrot.example\r\n")
                    for _ in lines:
                        connection.sendall(self.answer)
                except OSError:
                    continue

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.listener.getsockname()[1]}"


class CommandTests(SynchronousTestCase):
    """What the command says of servers that do otherwise, and of nonsense."""

    def try_on(self, answer: bytes, *options: str) -> tuple[int, str]:
        parrot = Parrot(answer)
        self.addCleanup(parrot.listener.close)
        return run(parrot.place, "--timeout", "1", *options)

    def test_a_must_that_is_not_kept_is_told_and_is_the_exit_status(self) -> None:
        status, output = self.try_on(b"250 parrot\r\n", "--only", "RFC5321-3.3-c")
        self.assertEqual(status, 1)
        self.assertIn("RFC5321-3.3-c MUST broken: RCPT before MAIL gets 503", output)
        self.assertIn("expected 503", output)
        self.assertIn("MUST: 0 of 1 kept", output)

    def test_what_a_server_tolerates_is_told_as_that(self) -> None:
        status, output = self.try_on(b"250 parrot\r\n", "--only", "RFC5321-3.3-n")
        self.assertEqual(status, 0)
        self.assertIn("RFC5321-3.3-n SHOULD broken (tolerates blanks): There is no space", output)
        self.assertIn("SHOULD: 0 of 1 kept", output)

    def test_what_is_kept_is_counted_and_shown_if_wanted(self) -> None:
        answer = b"250 parrot\r\n"
        status, output = self.try_on(answer, "--only", "RFC5321-2.2.1-a", "-v")
        self.assertEqual(status, 1)  # it does not answer QUIT as it should
        self.assertIn("the server said nothing", output)

    def test_what_is_no_reply_is_told(self) -> None:
        status, output = self.try_on(b"hello?\r\n")
        self.assertEqual(status, 2)
        self.assertIn("could not be tried: no reply", output)

    def test_nobody_there(self) -> None:
        status, output = run(f"127.0.0.1:{free_port()}")
        self.assertEqual(status, 2)
        self.assertIn("refused", output)

    def test_a_place_that_is_none(self) -> None:
        for place in ("", "x", "host:", ":25", "host:0", "host:65536", "host:\u0661"):
            status, output = run(place)
            self.assertEqual(status, 2, place)
            self.assertIn("is not HOST:PORT", output)


class CatalogueTests(SynchronousTestCase):
    """Tests for the reader of requirements."""

    def test_titles_and_variables(self) -> None:
        text = "needs: SIZE user\n== RFC1870-6.1-a MUST It is so\nC: RCPT TO:<$RECIPIENT>\nS: 250"
        (found,) = requirements_of(text, {"RECIPIENT": "a@b"})
        self.assertEqual((found.name, found.rfc, found.section), ("RFC1870-6.1-a", 1870, "6.1"))
        self.assertEqual((found.level, found.text), ("MUST", "It is so"))
        self.assertEqual((found.extensions, found.needs_user), (("SIZE",), True))
        self.assertEqual(found.dialogue.steps[0].octets, b"RCPT TO:<a@b>\r\n")  # type: ignore[union-attr]

    def test_what_is_none_is_said(self) -> None:
        for text in ("== Title\nC: a", "== RFC1-1-a OUGHT x\nC: a", "== RFC1-1-a MUST x\nC: $NO"):
            self.assertRaises(TranscriptError, list, requirements_of(text, {}))

    def test_every_file_can_be_read_for_any_server(self) -> None:
        found = shipped(ServerUnderTest("d.example", "a@d.example", "b@d.example", "c@d.example"))
        self.assertGreater(len(found), 200)
        self.assertEqual(len({each.name for each in found}), len(found))
