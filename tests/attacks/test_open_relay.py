"""The open-relay set: nobody sends through us to elsewhere, however the recipient is written.

Against the daemon as it is installed, through a socket: every form of a recipient, each with every
sender, in clear text, through STARTTLS and within TLS; and after a login that failed. No answer but
a refusal will do, for no mailbox has any of these names. What is tolerated makes none of them ours:
an address without a domain is one of our own domain, and nobody has that name there.
"""

from collections.abc import Iterator
from itertools import product

from tests.attacks.attack import TRANSPORTS, Attack, Client
from tests.conformance.daemon import DOMAIN, USER
from tests.modes import REFUSE, STRICT

HOST, ADDRESS = f"mx.{DOMAIN}", "127.0.0.1"
ELSEWHERE = "there.example"

RECIPIENTS = [
    f"<u@{ELSEWHERE}>",
    f"<u%{ELSEWHERE}@[{ADDRESS}]>",
    f"<u%{ELSEWHERE}@{HOST}>",
    f"<u%{ELSEWHERE}@{DOMAIN}>",
    f"<u%{ELSEWHERE}>",
    f'<"u@{ELSEWHERE}">',
    f'<"u%{ELSEWHERE}">',
    f"<u@{ELSEWHERE}@[{ADDRESS}]>",
    f"<u@{ELSEWHERE}@{HOST}>",
    f"<u@{ELSEWHERE}@{DOMAIN}>",
    f'<"u@{ELSEWHERE}"@[{ADDRESS}]>',
    f'<"u@{ELSEWHERE}"@{DOMAIN}>',
    f"<@[{ADDRESS}]:u@{ELSEWHERE}>",
    f"<@{HOST}:u@{ELSEWHERE}>",
    f"<@{DOMAIN}:u@{ELSEWHERE}>",
    f"<{ELSEWHERE}!u>",
    f"<{ELSEWHERE}!u@[{ADDRESS}]>",
    f"<{ELSEWHERE}!u@{HOST}>",
    f"<{ELSEWHERE}!u@{DOMAIN}>",
    "<u@[198.51.100.1]>",
    f"<u@{ELSEWHERE}.>",
    f"<u@{DOMAIN}@{ELSEWHERE}>",
    f'<"x+u@{ELSEWHERE}"@{DOMAIN}>',
    f"u@{ELSEWHERE}",
    f"<u@{ELSEWHERE}> NOTIFY=SUCCESS",
    f"<u@sub.{DOMAIN}>",
    f"<u@{DOMAIN}\0.{ELSEWHERE}>",
    f"<u@{ELSEWHERE}\0.{DOMAIN}>",
    "<user@xn--here-qoa.example>",
    f"<@{ELSEWHERE},@{DOMAIN}:u@{ELSEWHERE}>",
    f"<u@{DOMAIN},u@{ELSEWHERE}>",
    f"<u@{DOMAIN}> <u@{ELSEWHERE}>",
    f'<"{USER}" u@{ELSEWHERE}>',
    f"<u@{ELSEWHERE}(@{DOMAIN})>",
    f"< u@{ELSEWHERE} >",
    f"\t<u@{ELSEWHERE}>",
    f"u@{ELSEWHERE} NOTIFY=NEVER",
    f"u@{ELSEWHERE}.",
    f"u%{ELSEWHERE}",
    f"{ELSEWHERE}!u",
    f"u%{ELSEWHERE}@[{ADDRESS}]",
    f"{ELSEWHERE}!u@[{ADDRESS}].",
    f'"u@{ELSEWHERE}"@[{ADDRESS}]',
    f"<u.@{ELSEWHERE}>",
    f"<.u..u@{ELSEWHERE}>",
    f"<u@_.{ELSEWHERE}>",
    f"<u@-{ELSEWHERE}->",
    f"<{'u' * 100}@{ELSEWHERE}>",
    f"<@{DOMAIN}.:u@{ELSEWHERE}>",
    f"<@_{DOMAIN}:u%{ELSEWHERE}@[{ADDRESS}]>",
    f"< @[{ADDRESS}]:u@{ELSEWHERE}>",
    f"u@{DOMAIN} u@{ELSEWHERE}",
    f"u@{DOMAIN} <u@{ELSEWHERE}>",
    f"<u@{ELSEWHERE}@[{ADDRESS}]>",
    "u@[198.51.100.1]",
    "<u@[IPv6:::ffff:198.51.100.1]>",
    "<u@[x:198.51.100.1]>",
]
SENDERS = [
    "<>",
    f"<a@{ELSEWHERE}>",
    f"<a@{DOMAIN}>",
    f"<{USER}>",
    f"<a@[{ADDRESS}]>",
    "<a@localhost>",
    f"<a@{HOST}>",
    "<a>",
    "<@here.example:a@there.example>",
    f"<a@{'d' * 300}>",
    f"{USER}",
    f" < {USER}. >",
    f"<{USER}> AUTH=<{USER}>",
    f"<a.@{DOMAIN}>",
    "a",
]


def recipients() -> Iterator[str]:
    yield from RECIPIENTS
    for each in RECIPIENTS:  # in capitals the domain is no other
        yield each.upper()


class OpenRelayTests(Attack):
    """Nothing goes elsewhere for a stranger."""

    def refused(self, client: Client, sender: str) -> int:
        client.say("RSET")
        client.say(f"MAIL FROM:{sender}")
        for recipient in recipients():
            reply = client.say(f"RCPT TO:{recipient}")
            self.assertIn(reply.code // 100, (4, 5), f"{sender} {recipient}: {reply}")
        reply = client.say("DATA")
        self.assertIn(reply.code, (503, 554), sender)
        return len(RECIPIENTS)

    def test_no_form_of_a_recipient_relays(self) -> None:
        count = 0
        for transport in TRANSPORTS:
            client = self.client(transport)
            for sender in SENDERS:
                count += self.refused(client, sender)
            client.line.lose()
        self.assertEqual(count, len(RECIPIENTS) * len(SENDERS) * 3)
        self.assertEqual(self.daemon.queued(), 0)

    def test_a_local_recipient_first_changes_nothing(self) -> None:
        for transport, sender in product(TRANSPORTS, ("<>", f"<{USER}>")):
            client = self.client(transport)
            client.say(f"MAIL FROM:{sender}")
            self.assertEqual(client.say(f"RCPT TO:<{USER}>").code, 250)
            for recipient in recipients():
                self.assertIn(client.say(f"RCPT TO:{recipient}").code // 100, (4, 5), recipient)
            self.assertEqual(client.say("DATA").code, 354)
            self.assertEqual(client.say("Subject: x\r\n\r\nx\r\n.").code, 250)
            client.line.lose()
        self.assertEqual(self.daemon.queued(), 0)

    def test_a_failed_login_gives_no_rights(self) -> None:
        client = self.client("tls")
        self.assertIn(client.say("AUTH PLAIN AHVzZXJAaGVyZS5leGFtcGxlAHdyb25n").code, (454, 535))
        self.refused(client, f"<{USER}>")

    def test_what_only_listed_peers_may_say_gives_no_rights(self) -> None:
        for command in (
            "XCLIENT ADDR=127.0.0.1 LOGIN=user",
            "XFORWARD ADDR=127.0.0.1",
            "PROXY TCP4 127.0.0.1 127.0.0.1 1 25",
        ):
            client = self.client()
            self.assertIn(client.say(command).code // 100, (5,), command)
            self.refused(client, f"<{USER}>")


class StrictOpenRelayTests(OpenRelayTests):
    """Nothing is tolerated."""

    mode = STRICT


class RefuseOpenRelayTests(OpenRelayTests):
    """Bare newlines in content are refused."""

    mode = REFUSE
