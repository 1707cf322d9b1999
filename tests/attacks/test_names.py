"""Names that mean something to a database, a directory, a shell, a log or a file system.

Against the daemon: whoever logs in or gets mail under such a name is nobody, and the daemon says so
as it says it of anybody; it never fails, and never takes one name for another. What it tolerates in
an address it reads as the one name that is meant (`SAME`).
"""

import base64
from itertools import product

from postroom.wire.replies import Reply
from tests.attacks.attack import Attack, Client
from tests.conformance.daemon import DOMAIN, PASSWORD, USER
from tests.modes import REFUSE, STRICT

NAMES = [
    b"a'--", b"' OR '1'='1", b'" OR ""="', b"a'); DROP TABLE account;--", b"a' UNION SELECT 1--",
    b"*", b"*)(uid=*", b"user)(|(uid=*", b"\\", b"\\2a", b"admin*)((|userPassword=*)",
    b"%s%s%n", b"%(x)s", b"{0.__class__}", b"{log_level}", b"${jndi:ldap://x/}", b"$(id)", b"`id`",
    b"|id", b";id", b"&id", b"../../etc/passwd", b"/etc/passwd", b"..", b".", b"~root", b"-rf",
    b"a\0b", b"user\0", b"\0user", b"a\rb", b"a\nb", b"a\r\nMAIL FROM:<x@y>", b"\x1b[31mred",
    b"\xff\xfe", b"\xc3\x28", b"\xed\xa0\x80", b"\xc0\x80", "us\u0435r".encode(),
    "\uff35\uff33\uff25\uff32".encode(),
    "u\u202eser".encode(), "user\u200b".encode(), b"u" * 10_000, b" user", b"user ", b"USER\t",
    b"user@here.example@there.example", b"user@here.example..", b"user%here.example", b"@", b"",
    b"user@" + b"a" * 300, b"__class__", b"None", b"0", b"CON", b"user/../other",
]  # fmt: skip
WHERE = (b"", b"@here.example")
SAME = [b"user@here.example.", b"USER@HERE.EXAMPLE."]
"""Spellings of an account's own name, whatever a session tolerates."""


def encoded(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


class LoginTests(Attack):
    """Nobody logs in under such a name."""

    def setUp(self) -> None:
        self.peer = self.client("tls")

    def tearDown(self) -> None:
        self.peer.line.lose()

    def refused(self, code: int, name: bytes) -> None:
        self.assertIn(code, (535, 501, 500), name)
        self.assertEqual(self.peer.say("NOOP").code, 250)

    def test_plain(self) -> None:
        for name, where in product(NAMES, WHERE):
            response = b"\0" + name + where + b"\0" + PASSWORD.encode()
            if len(response) < 8000:
                self.refused(self.peer.say(f"AUTH PLAIN {encoded(response)}").code, name)

    def test_login(self) -> None:
        for name, where in product(NAMES, WHERE):
            code = self.peer.say("AUTH LOGIN").code
            for response in (name + where, PASSWORD.encode()):
                if code == 334:
                    code = self.peer.say(encoded(response)).code
            self.refused(code, name)

    def test_passwords(self) -> None:
        for password in NAMES:
            response = b"\0" + USER.encode() + b"\0" + password
            if len(response) < 8000:
                self.refused(self.peer.say(f"AUTH PLAIN {encoded(response)}").code, password)

    def test_on_behalf_of_another(self) -> None:
        for name in NAMES:
            response = name + b"\0" + USER.encode() + b"\0" + PASSWORD.encode()
            if name and len(response) < 8000:
                self.refused(self.peer.say(f"AUTH PLAIN {encoded(response)}").code, name)

    def test_the_right_name_still_logs_in(self) -> None:
        for name in (USER.encode(), *SAME):
            for acting in (b"", name, USER.encode()):
                response = acting + b"\0" + name + b"\0" + PASSWORD.encode()
                client = self.client("tls")
                self.assertEqual(client.say(f"AUTH PLAIN {encoded(response)}").code, 235, name)
                client.line.lose()


class MailboxTests(Attack):
    """No mail is for such a name, and no file is made for it."""

    def asked(self, client: Client, line: bytes) -> tuple[Reply, Client]:
        """Send a line; return the reply, and a client to go on with.

        A line that holds an LF ends the session.
        """
        reply = client.say(line)
        if b"\n" not in line:
            return reply, client
        self.assertEqual((reply.code, reply.enhanced), (500, "5.5.2"), line)
        self.assertTrue(client.line.closes(), line)
        return reply, self.client()

    def test_recipients(self) -> None:
        client = self.client()
        before = sorted(self.daemon.state.rglob("*"))
        for name, form in product(
            NAMES, ("<%s@here.example>", '<"%s"@here.example>', "%s@here.example", "<%s>")
        ):
            path = form.encode() % name
            if path.strip(b"< >\t").lower() in (b"user", USER.encode()) or len(name) > 3000:
                continue  # it is the user's, in a mode that tolerates blanks
            if b"\r\n" in path:
                continue
            client.say("RSET")
            client.say("MAIL FROM:<a@there.example>")
            reply, client = self.asked(client, b"RCPT TO:" + path)
            self.assertEqual(reply.code // 100, 5, (path, reply))
        self.assertEqual(client.say("RSET").code, 250)
        self.assertEqual(sorted(self.daemon.state.rglob("*")), before)

    def test_questions(self) -> None:
        client = self.client()
        for verb, name in product((b"VRFY", b"EXPN", b"ETRN", b"HELP", b"NOOP"), NAMES):
            if b"\r\n" in name or len(name) > 3000:
                continue
            reply, client = self.asked(client, verb + b" " + name)
            self.assertIn(reply.code, (214, 250, 252, 500, 501, 502, 504, 550, 553), (verb, reply))
            self.assertNotEqual((verb, reply.code), (b"VRFY", 250), name)

    def test_greetings(self) -> None:
        for name in NAMES:
            if b"\r\n" in name or len(name) > 3000:
                continue
            client = self.client()
            reply, client = self.asked(client, b"EHLO " + name)
            self.assertIn(reply.code, (250, 500 if b"\n" in name else 501), name)
            if reply.code == 250:
                self.assertEqual(reply.text[0].split()[0], f"mx.{DOMAIN}")
            client.line.lose()

    def test_the_daemon_has_not_failed(self) -> None:
        self.assertNotIn("Traceback", self.daemon.log())
        self.assertNotIn("receipt", self.daemon.log())


class StrictLoginTests(LoginTests):
    """Nothing is tolerated."""

    mode = STRICT


class RefuseLoginTests(LoginTests):
    """Bare newlines in content are refused."""

    mode = REFUSE


class StrictMailboxTests(MailboxTests):
    """Nothing is tolerated."""

    mode = STRICT


class RefuseMailboxTests(MailboxTests):
    """Bare newlines in content are refused."""

    mode = REFUSE
