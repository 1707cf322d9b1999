"""Names that mean something to a database, a directory, a shell, a log or a file system.

Against the daemon: whoever logs in or gets mail under such a name is nobody, and the daemon says so
as it says it of anybody; it never fails, and never takes one name for another.
"""

import base64
from itertools import product

from twisted.trial.unittest import SynchronousTestCase

from tests.attacks.test_open_relay import Client
from tests.conformance.daemon import DOMAIN, PASSWORD, USER, daemon

NAMES = [
    b"a'--", b"' OR '1'='1", b'" OR ""="', b"a'); DROP TABLE account;--", b"a' UNION SELECT 1--",
    b"*", b"*)(uid=*", b"user)(|(uid=*", b"\\", b"\\2a", b"admin*)((|userPassword=*)",
    b"%s%s%n", b"%(x)s", b"{0.__class__}", b"{log_level}", b"${jndi:ldap://x/}", b"$(id)", b"`id`",
    b"|id", b";id", b"&id", b"../../etc/passwd", b"/etc/passwd", b"..", b".", b"~root", b"-rf",
    b"a\0b", b"user\0", b"\0user", b"a\rb", b"a\nb", b"a\r\nMAIL FROM:<x@y>", b"\x1b[31mred",
    b"\xff\xfe", b"\xc3\x28", b"\xed\xa0\x80", b"\xc0\x80", "us\u0435r".encode(),
    "\uff35\uff33\uff25\uff32".encode(),
    "u\u202eser".encode(), "user\u200b".encode(), b"u" * 10_000, b" user", b"user ", b"USER\t",
    b"user@here.example@there.example", b"user@here.example.", b"user%here.example", b"@", b"",
    b"user@" + b"a" * 300, b"__class__", b"None", b"0", b"CON", b"user/../other",
]  # fmt: skip
WHERE = (b"", b"@here.example")


def encoded(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


class LoginTests(SynchronousTestCase):
    """Nobody logs in under such a name."""

    def setUp(self) -> None:
        self.client = Client("tls")

    def tearDown(self) -> None:
        self.client.line.lose()

    def refused(self, code: int, name: bytes) -> None:
        self.assertIn(code, (535, 501, 500), name)
        self.assertEqual(self.client.say("NOOP").code, 250)

    def test_plain(self) -> None:
        for name, where in product(NAMES, WHERE):
            response = b"\0" + name + where + b"\0" + PASSWORD.encode()
            if len(response) < 8000:
                self.refused(self.client.say(f"AUTH PLAIN {encoded(response)}").code, name)

    def test_login(self) -> None:
        for name, where in product(NAMES, WHERE):
            code = self.client.say("AUTH LOGIN").code
            for response in (name + where, PASSWORD.encode()):
                if code == 334:
                    code = self.client.say(encoded(response)).code
            self.refused(code, name)

    def test_passwords(self) -> None:
        for password in NAMES:
            response = b"\0" + USER.encode() + b"\0" + password
            if len(response) < 8000:
                self.refused(self.client.say(f"AUTH PLAIN {encoded(response)}").code, password)

    def test_on_behalf_of_another(self) -> None:
        for name in NAMES:
            response = name + b"\0" + USER.encode() + b"\0" + PASSWORD.encode()
            if name and len(response) < 8000:
                self.refused(self.client.say(f"AUTH PLAIN {encoded(response)}").code, name)

    def test_the_right_name_still_logs_in(self) -> None:
        response = f"\0{USER}\0{PASSWORD}".encode()
        self.assertEqual(self.client.say(f"AUTH PLAIN {encoded(response)}").code, 235)


class MailboxTests(SynchronousTestCase):
    """No mail is for such a name, and no file is made for it."""

    def test_recipients(self) -> None:
        client = Client("clear")
        before = sorted(daemon().state.rglob("*"))
        client.say("MAIL FROM:<a@there.example>")
        for name, form in product(NAMES, ("<%s@here.example>", '<"%s"@here.example>')):
            if name.strip().lower() == b"user" or len(name) > 3000:
                continue
            path = form.encode() % name
            if b"\r\n" in path:
                continue
            client.line.send(b"RCPT TO:" + path + b"\r\n")
            reply = client.line.hear()
            self.assertEqual(reply.code // 100, 5, (path, reply))
        self.assertEqual(client.say("RSET").code, 250)
        self.assertEqual(sorted(daemon().state.rglob("*")), before)

    def test_questions(self) -> None:
        client = Client("clear")
        for verb, name in product(("VRFY", "EXPN", "ETRN", "HELP", "NOOP"), NAMES):
            if b"\r\n" in name or len(name) > 3000:
                continue
            client.line.send(verb.encode() + b" " + name + b"\r\n")
            reply = client.line.hear()
            self.assertIn(reply.code, (214, 250, 252, 500, 501, 502, 504, 550, 553), (verb, reply))
            self.assertNotEqual((verb, reply.code), ("VRFY", 250), name)

    def test_greetings(self) -> None:
        for name in NAMES:
            if b"\r\n" in name or len(name) > 3000:
                continue
            client = Client("clear")
            client.line.send(b"EHLO " + name + b"\r\n")
            reply = client.line.hear()
            self.assertIn(reply.code, (250, 501), name)
            if reply.code == 250:
                self.assertEqual(reply.text[0].split()[0], f"mx.{DOMAIN}")
            client.line.lose()

    def test_the_daemon_has_not_failed(self) -> None:
        self.assertNotIn("Traceback", daemon().log())
        self.assertNotIn("receipt", daemon().log())
