"""Relay hosts as they are written."""

from twisted.trial.unittest import SynchronousTestCase

from postroom.client.model import SmartHost, TLSMode
from postroom.service.relay_host import parse_relay_host, relay_host_text


class ParseTests(SynchronousTestCase):
    """Tests for `parse_relay_host`."""

    def test_what_is_written_is_what_is_meant(self) -> None:
        opportunistic, required, implicit = (
            TLSMode.OPPORTUNISTIC,
            TLSMode.REQUIRED,
            TLSMode.IMPLICIT,
        )
        for text, expected in {
            "smtp://mail.example.net": SmartHost("mail.example.net", 25, opportunistic),
            "smtp://mail.example.net:2525/": SmartHost("mail.example.net", 2525, opportunistic),
            "smtps://mail.example.net": SmartHost("mail.example.net", 465, implicit),
            "smtp://[2001:db8::25]:26": SmartHost("2001:db8::25", 26, opportunistic),
            "smtp://me:pw@mail.example.net:587": SmartHost(
                "mail.example.net", 587, required, "me", "pw"
            ),
            "smtps://me%40example.org:p%3Aw%2F%25%C3%A9@h": SmartHost(
                "h", 465, implicit, "me@example.org", "p:w/%é"
            ),
            "smtp://me:pw@h?tls=opportunistic": SmartHost("h", 25, opportunistic, "me", "pw"),
            "smtp://Mail_1.-x-.example.net.:26": SmartHost(
                "mail_1.-x-.example.net", 26, opportunistic
            ),
            "smtp://h?tls=never": SmartHost("h", 25, TLSMode.NEVER),
            "lmtp://h": SmartHost("h", 24, opportunistic, lmtp=True),
            "lmtp://127.0.0.1:2424": SmartHost("127.0.0.1", 2424, opportunistic, lmtp=True),
            "lmtp+unix:/run/dovecot/lmtp": SmartHost(
                "", 0, TLSMode.NEVER, lmtp=True, path="/run/dovecot/lmtp"
            ),
            "lmtp+unix:///run/a%20b": SmartHost("", 0, TLSMode.NEVER, lmtp=True, path="/run/a b"),
        }.items():
            self.assertEqual(parse_relay_host(text), expected, text)

    def test_this_machine_needs_no_certificate_to_get_a_password(self) -> None:
        for host in ("127.0.0.1", "[::1]", "localhost"):
            self.assertIs(parse_relay_host(f"smtp://a:b@{host}:25").tls, TLSMode.OPPORTUNISTIC)

    def test_what_is_wrong_is_said(self) -> None:
        for text, reason in {
            "mail.example.net:25": "it does not begin with",
            "lmtp+unix:run/lmtp": "the absolute path of a socket",
            "lmtp+unix:/" + 107 * "x": "at most 107 octets",
            "http://mail.example.net": "it does not begin with",
            "smtp://": "there is no host",
            "smtp://me:pw@": "there is no host",
            "smtp://mail..example.net": "neither a name nor an IP address",
            "smtp://mail_1.example.net!": "neither a name nor an IP address",
            "smtp://h:0": "the port is not a number from 1 to 65535",
            "smtp://h:65536": "the port is not a number from 1 to 65535",
            "smtp://h:smtp": "the port is not a number from 1 to 65535",
            "smtp://h/queue": "nothing but",
            "smtp://h#x": "nothing but",
            "smtp://me:p/w@h": "",
            "smtp://me@h": "user and password come together",
            "smtp://me:@h": "the password is empty",
            "smtp://me:%00@h": "the password is empty or holds NUL",
            "smtp://me:%ff@h": "the password is not UTF-8",
            "smtp://h?tls=maybe": "tls is one of never",
            "smtp://h?starttls=1": 'after "?" only tls=',
            "smtp://h\r\n": "control characters",
            "smtp://a b": "blanks",
        }.items():
            error = self.assertRaises(ValueError, parse_relay_host, text)
            self.assertIn(reason, str(error), text)

    def test_a_password_is_not_in_the_error(self) -> None:
        error = self.assertRaises(ValueError, parse_relay_host, "smtp://me:geheim@h:99999")
        self.assertNotIn("geheim", str(error))


class TextTests(SynchronousTestCase):
    """Tests for `relay_host_text`."""

    def test_the_password_is_blotted_out(self) -> None:
        host = parse_relay_host("smtps://me%40a:geheim@[2001:db8::1]:465")
        self.assertEqual(relay_host_text(host), "smtps://me%40a:***@[2001:db8::1]:465")
        self.assertEqual(relay_host_text(SmartHost("h")), "smtp://h:25")
        for text in ("lmtp://h:24", "lmtp+unix:/run/a%20b"):
            self.assertEqual(relay_host_text(parse_relay_host(text)), text)
