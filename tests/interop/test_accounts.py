"""What the administrator sets up, in a daemon that runs meanwhile, as peers see it."""

import smtplib
from functools import cache

from twisted.trial.unittest import SynchronousTestCase

from tests.daemon import Daemon, free_port, wait_until
from tests.interop.fixtures import new_folder, stopped_at_exit
from tests.interop.peers import Aiosmtpd

PASSWORD = "correct horse battery"
JOE, ANN = "joe@here.example", "ann@here.example"
_AWAY = ("away.example", "relayed.example", "sender.example")
_CONTENT = "From: {}\r\nSubject: {}\r\n\r\nHello.\r\n"


@cache
def _servers() -> tuple[Daemon, Aiosmtpd]:
    port = free_port()
    hop = stopped_at_exit(Aiosmtpd(port))
    routes = "".join(f'"{name}" = "smtp://127.0.0.1:{port}"\n' for name in _AWAY)
    settings = (
        'domains = ["here.example"]\n[auth]\nclear_text_networks = ["127.0.0.0/8"]\n'
        f"[routes]\n{routes}"
    )
    daemon = Daemon(new_folder("accounts"), listeners=("mx", "submission"), settings=settings)
    stopped_at_exit(daemon).start()
    for address in (JOE, ANN):
        daemon.add_account(address, PASSWORD)
    return daemon, hop


class AccountCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.daemon, self.hop = _servers()

    def admin(self, *words: str) -> None:
        self.daemon.admin(*words)

    def code(self, recipient: str, user: str | None = None) -> int:
        """Ask for a recipient, logged in or not; give the reply code."""
        with self.session(user) as client:
            client.mail(user or "stranger@sender.example")
            return client.rcpt(recipient)[0]

    def session(self, user: str | None = None) -> smtplib.SMTP:
        port = self.daemon.ports["submission" if user else "mx"]
        client = smtplib.SMTP("127.0.0.1", port, timeout=30)
        client.ehlo("client.example")
        if user:
            client.login(user, PASSWORD)
        return client

    def send(self, recipient: str, subject: str, sender: str = "stranger@sender.example") -> None:
        with self.session() as client:
            client.sendmail(sender, [recipient], _CONTENT.format(sender, subject))

    def takes(self, recipient: str, code: int = 250) -> None:
        """Wait until the daemon has taken a change up."""
        self.assertTrue(wait_until(lambda: self.code(recipient) == code, 10), recipient)

    def hop_got(self, subject: str) -> tuple[str, list[str]]:
        """Wait for a message at the next hop; give its envelope."""

        def index() -> int | None:
            found = [n for n, each in enumerate(self.hop.messages) if subject.encode() in each]
            return found[0] if found else None

        self.assertTrue(wait_until(lambda: index() is not None, 20), subject)
        at = index() or 0
        return self.hop.senders[at], self.hop.recipients[at]

    def new(self, address: str, folder: str = "") -> list[str]:
        directory = self.daemon.maildir(address) / folder / "new"
        return [path.read_text() for path in directory.iterdir()] if directory.exists() else []


class Forwarding(AccountCase):
    def test_off_site_mail_has_a_sender_of_ours_and_reports_find_their_way_back(self) -> None:
        self.admin("alias", "add", "away@here.example", "x@away.example")
        self.takes("away@here.example")
        self.send("away@here.example", "there")
        sender, recipients = self.hop_got("there")
        self.assertEqual(recipients, ["x@away.example"])
        self.assertTrue(sender.startswith("SRS0="), sender)
        self.assertTrue(sender.endswith("=sender.example=stranger@here.example"), sender)
        self.send(sender, "back", sender="")
        self.assertEqual(self.hop_got("back"), ("<>", ["stranger@sender.example"]))
        self.assertEqual(self.code("SRS0=AAAA=2W=sender.example=stranger@here.example"), 550)

    def test_an_account_forwards_with_a_copy_or_without(self) -> None:
        self.daemon.add_account("fwd@here.example", PASSWORD)
        probes = [f"probe{number}@here.example" for number in range(2)]
        for probe in probes:
            self.daemon.add_account(probe, PASSWORD)
        for number, options in enumerate(((), ("--no-copy",))):
            target = f"copy{number}@away.example"
            self.admin("account", "forward", "fwd@here.example", target, *options)
            # It is known when a later change of somebody is who was taken, and so remembered.
            self.takes(probes[number])
            self.admin("account", "disable", probes[number])
            self.takes(probes[number], 450)
            self.send("fwd@here.example", f"copy{number}")
            self.assertEqual(self.hop_got(f"copy{number}")[1], [target])
            kept = [each for each in self.new("fwd@here.example") if f"copy{number}" in each]
            self.assertEqual(len(kept), 1 - number)


class Domains(AccountCase):
    def test_a_relay_only_one_passes_on_what_is_for_listed_recipients(self) -> None:
        self.admin("domain", "add", "relayed.example", "--relay", "listed")
        self.admin("domain", "recipient", "add", "known@relayed.example")
        self.takes("known@relayed.example")
        self.send("Known@relayed.example", "passed")
        sender = "stranger@sender.example"
        self.assertEqual(self.hop_got("passed"), (sender, ["Known@relayed.example"]))
        self.assertEqual(self.code("who@relayed.example"), 550)
        self.assertEqual(self.code("postmaster@relayed.example"), 250)

    def test_an_alias_delivers_to_the_accounts_of_the_other(self) -> None:
        self.admin("domain", "add", "too.example", "--alias-of", "here.example")
        self.takes("joe@too.example")
        self.send("joe@too.example", "by another name")
        self.assertTrue(any("by another name" in each for each in self.new(JOE)))
        self.assertEqual(self.code("who@too.example"), 550)

    def test_postmaster_and_abuse_reach_somebody(self) -> None:
        self.admin("domain", "add", "bare.example")
        for name in ("postmaster@bare.example", "Abuse@bare.example", "postmaster"):
            self.takes(name)
        self.assertEqual(self.code("who@bare.example"), 550)

    def test_one_beyond_ascii_takes_mail_under_either_name(self) -> None:
        self.daemon.add_account("jörg@xn--bcher-kva.example", PASSWORD)
        for recipient in ("jörg@bücher.example", "JÖRG@xn--bcher-kva.example"):
            with self.session() as client:
                client.command_encoding = "utf-8"
                mailed = client.docmd("MAIL FROM:<a@sender.example> SMTPUTF8")
                self.assertEqual(mailed[0], 250)
                self.assertTrue(
                    wait_until(lambda to=recipient: client.docmd(f"RCPT TO:<{to}>")[0] == 250, 10)  # type: ignore[misc]
                )
        with self.session() as client:
            client.command_encoding = "utf-8"
            client.docmd("MAIL FROM:<a@sender.example> SMTPUTF8")
            self.assertEqual(client.docmd("RCPT TO:<jorg@bücher.example>")[0], 550)


class Groups(AccountCase):
    def test_one_for_members_takes_mail_of_members_only(self) -> None:
        self.admin("alias", "add", "team@here.example", JOE, "--writers", "members")
        self.assertTrue(wait_until(lambda: self.code("team@here.example", JOE) == 250, 10))
        self.assertEqual(self.code("team@here.example"), 550)
        self.assertEqual(self.code("team@here.example", ANN), 550)


class Limits(AccountCase):
    def test_hold_an_account_to_a_number_of_messages_and_to_their_size(self) -> None:
        user = "few@here.example"
        self.daemon.add_account(user, PASSWORD)
        limits = ("--messages-per-day", "2", "--message-octets", "2000")
        self.admin("account", "limit", user, *limits)
        self.takes(user)
        with self.session(user) as client:
            code, text = client.mail(user, ["SIZE=2001"])
            self.assertEqual((code, text[:5]), (552, b"5.3.4"))
            for expected in (250, 250, 451):
                client.mail(user)
                client.rcpt(ANN)
                try:
                    code, _ = client.data(_CONTENT.format(user, "few"))
                except smtplib.SMTPDataError as error:
                    code = error.smtp_code
                self.assertEqual(code, expected)
                client.rset()

    def test_hold_for_content_that_was_announced_smaller(self) -> None:
        user = "small@here.example"
        self.daemon.add_account(user, PASSWORD)
        self.admin("account", "limit", user, "--message-octets", "2000")
        self.takes(user)
        with self.session(user) as client:
            client.mail(user)
            client.rcpt(ANN)
            code, _ = client.data(_CONTENT.format(user, "small") + "x" * 70 + "\r\n" * 1000)
            self.assertEqual(code, 552)


class Owners(AccountCase):
    def test_a_new_one_is_told_from_the_one_whom_the_sender_knew(self) -> None:
        with self.session() as client:
            client.mail("stranger@sender.example")
            code, text = client.rcpt(JOE, ["RRVS=2001-01-01T00:00:00Z"])
            self.assertEqual((code, text[:6]), (550, b"5.7.17"))
            self.assertEqual(client.rcpt(JOE, ["RRVS=2100-01-01T00:00:00Z"])[0], 250)
