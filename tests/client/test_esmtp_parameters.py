"""What a host is told of a message: each extension, offered and not."""

from twisted.trial.unittest import SynchronousTestCase

from postroom.client.esmtp_parameters import (
    ESMTPParameters,
    NextHop,
    hides_sender,
    parameters_for,
    rcpt_parameters,
    recipient_refusal,
)
from postroom.client.model import Outgoing
from postroom.client.settings import Chunking, ClientSettings, ForeignExtension
from postroom.envelope import Trait
from postroom.errors import Refusal
from postroom.wire.commands import Rcpt
from postroom.wire.offers import HostCapabilities
from postroom.wire.paths import parse_mailbox
from tests.client.parts import CONTENT, MemorySource, outgoing

UTF8 = "jörg@there.example"


def hop(*offers: str, **more: bool) -> NextHop:
    extensions = {offer.split(" ")[0]: offer.partition(" ")[2] for offer in offers}
    return NextHop("host[192.0.2.1]:25", HostCapabilities(extensions), **more)


class ParametersCase(SynchronousTestCase):
    now = 0.0

    def terms(self, message: Outgoing, *offers: str, **more: bool) -> ESMTPParameters:
        first = message.source.chunk(0)
        assert isinstance(first, bytes)
        return parameters_for(message, first, hop(*offers, **more), ClientSettings("us"), self.now)

    def refusal(self, message: Outgoing, *offers: str, **more: bool) -> tuple[int, str | None]:
        with self.assertRaises(Refusal) as caught:
            self.terms(message, *offers, **more)
        return caught.exception.reply.code, caught.exception.reply.enhanced


class ParameterTests(ParametersCase):
    """Tests for parameters that go on, or do not."""

    def test_what_is_passed_on_is_passed_on_only_where_it_is_offered(self) -> None:
        sent = {
            "RET": "HDRS",
            "ENVID": "a+2Bb",
            "MT-PRIORITY": "-3",
            "SOLICIT": "org.example:ADV:ADLT",
            "HOLDFOR": "60",
            "SIZE": "1",
        }
        message = outgoing(parameters=sent)
        self.assertEqual(self.terms(message).mail, {})
        self.assertEqual(self.terms(message, "DSN").mail, {"RET": "HDRS", "ENVID": "a+2Bb"})
        every = self.terms(message, "DSN", "MT-PRIORITY", "NO-SOLICITING", "FUTURERELEASE 9 x")
        self.assertEqual(
            every.mail,
            {
                "RET": "HDRS",
                "ENVID": "a+2Bb",
                "MT-PRIORITY": "-3",
                "SOLICIT": "org.example:ADV:ADLT",
            },
        )

    def test_the_size_is_that_of_what_is_sent(self) -> None:
        message = outgoing(parameters={"SIZE": "1"})
        self.assertEqual(self.terms(message, "SIZE 1000").mail, {"SIZE": str(len(CONTENT))})

    def test_the_size_covers_what_folding_adds_but_not_beyond_what_the_host_takes(self) -> None:
        folding = ClientSettings("us", text_line_octets=998)
        for size, offer, told in (
            (900, "SIZE", 900),
            (10_000, "SIZE", 10_030),
            (10_000, "SIZE 0", 10_030),
            (10_000, "SIZE 10010", 10_010),
        ):
            message = outgoing(content=b"x" * size)
            parameters = parameters_for(message, b"x" * size, hop(offer), folding, 0.0)
            self.assertEqual(parameters.mail, {"SIZE": str(told)})

    def test_a_limit_that_no_line_could_keep_is_refused(self) -> None:
        for octets in (-1, 1, 77):
            with self.assertRaisesRegex(ValueError, "less than 78 octets"):
                ClientSettings("us", text_line_octets=octets)

    def test_recipients_keep_their_parameters(self) -> None:
        rcpt = Rcpt(
            parse_mailbox(b"a@b.example"),
            {
                "NOTIFY": "SUCCESS,DELAY",
                "ORCPT": "rfc822;a+2Bb@c.example",
                "RRVS": "2014-04-03T23:01:00Z;C",
                "X-OTHER": "1",
            },
        )
        settings = ClientSettings("us")
        self.assertEqual(rcpt_parameters(rcpt, hop(), settings), {})
        told = rcpt_parameters(rcpt, hop("DSN", "RRVS"), settings)
        self.assertEqual(told, {k: v for k, v in rcpt.parameters.items() if k != "X-OTHER"})

    def test_the_sender_is_hidden_where_a_host_would_report_in_spite_of_never(self) -> None:
        rcpt = outgoing(rcpt={"NOTIFY": "never"}).message.recipients[0]
        self.assertTrue(hides_sender(rcpt, hop("SIZE")))
        self.assertFalse(hides_sender(rcpt, hop("DSN")))
        self.assertFalse(hides_sender(rcpt, hop(lmtp=True)))
        self.assertFalse(hides_sender(rcpt, hop(logged_in=True)))
        for other in ({"NOTIFY": "SUCCESS"}, {"ORCPT": "rfc822;a@b.example"}, None):
            self.assertFalse(hides_sender(outgoing(rcpt=other).message.recipients[0], hop()))

    def test_an_original_recipient_in_utf8_is_written_in_ascii(self) -> None:
        rcpt = Rcpt(parse_mailbox(b"a@b.example"), {"ORCPT": f"utf-8;{UTF8}"})
        told = rcpt_parameters(rcpt, hop("DSN"), ClientSettings("us"))
        self.assertEqual(told, {"ORCPT": "utf-8;j\\x{F6}rg@there.example"})

    def test_auth_goes_to_hosts_where_we_logged_in_and_tells_only_what_we_trust(self) -> None:
        strange = outgoing(parameters={"AUTH": "a@b.example"})
        trusted = outgoing(parameters={"AUTH": "a@b.example"}, traits=Trait.TRUSTED)
        self.assertEqual(self.terms(trusted, "AUTH PLAIN").mail, {})
        for message, value in ((strange, "<>"), (trusted, "a@b.example")):
            told = self.terms(message, "AUTH PLAIN", logged_in=True).mail
            self.assertEqual(told, {"AUTH": value})

    def test_a_plugins_parameters_go_with_its_keyword(self) -> None:
        needed = False
        settings = ClientSettings(
            "us", extensions={"X-COLOUR": ForeignExtension("X-PAINT", lambda _: needed)}
        )
        message = outgoing(parameters={"X-COLOUR": "red"}, rcpt={"X-COLOUR": "blue"})

        def terms(*offers: str) -> ESMTPParameters:
            return parameters_for(message, CONTENT, hop(*offers), settings, 0.0)

        self.assertEqual(terms().mail, {})
        self.assertEqual(terms("X-PAINT").mail, {"X-COLOUR": "red"})
        told = rcpt_parameters(message.message.recipients[0], hop("X-PAINT"), settings)
        self.assertEqual(told, {"X-COLOUR": "blue"})
        needed = True
        self.assertRaises(Refusal, terms)
        self.assertEqual(terms("X-PAINT").mail, {"X-COLOUR": "red"})


class ContentTests(ParametersCase):
    """Tests for what the content asks of a host."""

    def test_binary_content_goes_by_bdat_or_not_at_all(self) -> None:
        message = outgoing(parameters={"BODY": "BINARYMIME"}, content=b"\0\n\r")
        for offers in ((), ("8BITMIME",), ("CHUNKING",), ("BINARYMIME",)):
            self.assertEqual(self.refusal(message, *offers), (554, "5.6.3"))
        parameters = self.terms(message, "CHUNKING", "BINARYMIME")
        self.assertEqual(parameters, ESMTPParameters({"BODY": "BINARYMIME"}, False, True, True))

    def test_text_goes_by_bdat_as_the_settings_say(self) -> None:
        small, large = outgoing(), outgoing(source=MemorySource(CONTENT, CONTENT))
        for chunking, expected in (
            (Chunking.BINARY, (False, False)),
            (Chunking.LARGE, (False, True)),
            (Chunking.ALWAYS, (True, True)),
        ):
            settings = ClientSettings("us", chunking=chunking)
            for message, chunked in zip((small, large), expected, strict=True):
                for offers, offered in ((("CHUNKING",), True), ((), False)):
                    parameters = parameters_for(message, CONTENT, hop(*offers), settings, 0.0)
                    self.assertIs(parameters.chunked, chunked and offered)

    def test_utf8_is_asked_for_where_it_is_needed_and_nothing_is_downgraded(self) -> None:
        declared = {"SMTPUTF8": None}
        header = {"parameters": declared, "traits": Trait.UTF8_HEADER}
        eight_bit = "Subject: a\r\n\r\nü\r\n".encode()
        for message, needs in (
            (outgoing(), False),
            (outgoing(parameters=declared), False),
            (outgoing(sender=UTF8, parameters=declared), True),
            (outgoing(**header), True),  # type: ignore[arg-type]
            (outgoing(traits=Trait.UTF8_HEADER), False),
        ):
            self.assertIs(self.terms(message, "SMTPUTF8", "8BITMIME").utf8, needs)
            if needs:
                self.assertEqual(self.refusal(message, "8BITMIME"), (553, "5.6.7"))
            else:
                self.assertEqual(self.terms(message).mail, {})
        # A part of it may have a header in UTF-8: who declared it knows.
        message = outgoing(parameters=declared, content=eight_bit)
        self.assertTrue(self.terms(message, "SMTPUTF8", "8BITMIME").utf8)
        self.assertFalse(self.terms(message, "8BITMIME").utf8)

    def test_a_recipient_that_needs_utf8_fails_alone(self) -> None:
        message = outgoing("a@b.example", UTF8, parameters={"SMTPUTF8": None})
        plain, other = message.message.recipients
        self.assertTrue(self.terms(message, "SMTPUTF8").utf8)
        self.assertFalse(self.terms(message).utf8)
        self.assertIsNone(recipient_refusal(plain, hop()))
        refused = recipient_refusal(other, hop())
        assert refused is not None
        self.assertEqual((refused.code, refused.enhanced), (553, "5.6.7"))
        self.assertIsNone(recipient_refusal(other, hop("SMTPUTF8")))


class PromiseTests(ParametersCase):
    """Tests for what a host has to promise."""

    def test_requiretls_goes_only_where_tls_is_and_it_is_offered(self) -> None:
        message = outgoing(parameters={"REQUIRETLS": None})
        self.assertEqual(self.refusal(message, "REQUIRETLS"), (550, "5.7.30"))
        self.assertEqual(self.refusal(message, secure=True), (550, "5.7.30"))
        told = self.terms(message, "REQUIRETLS", secure=True).mail
        self.assertEqual(told, {"REQUIRETLS": None})

    def test_a_deadline_goes_on_with_the_seconds_that_are_left(self) -> None:
        notify, give_up = (outgoing(parameters={"BY": by}) for by in ("100;N", "100;RT"))
        self.now = 40.9
        self.assertEqual(self.terms(notify, "DELIVERBY").mail, {"BY": "60;N"})
        self.assertEqual(self.terms(give_up, "DELIVERBY 60").mail, {"BY": "60;RT"})
        self.assertEqual(self.refusal(give_up, "DELIVERBY 61"), (550, "5.4.7"))
        self.assertEqual(self.terms(notify, "DELIVERBY 61").mail, {"BY": "60;N"})
        self.assertEqual(self.terms(notify).mail, {})
        self.assertEqual(self.refusal(give_up), (550, "5.3.3"))
        self.now = 150
        self.assertEqual(self.terms(notify, "DELIVERBY").mail, {"BY": "-50;N"})
        self.assertEqual(self.refusal(give_up, "DELIVERBY"), (550, "5.4.7"))

    def test_a_clock_that_was_set_back_makes_no_deadline_longer(self) -> None:
        self.now = -1000
        told = self.terms(outgoing(parameters={"BY": "100;N"}), "DELIVERBY").mail
        self.assertEqual(told, {"BY": "100;N"})

    def test_who_must_be_the_same_since_goes_only_where_that_is_checked(self) -> None:
        for value, refused in (
            ("2014-04-03T23:01:00Z", True),
            ("2014-04-03T23:01:00Z;R", True),
            ("2014-04-03T23:01:00Z;C", False),
        ):
            rcpt = Rcpt(parse_mailbox(b"a@b.example"), {"RRVS": value})
            reply = recipient_refusal(rcpt, hop())
            self.assertIs(reply is not None, refused)
            if reply is not None:
                self.assertEqual((reply.code, reply.enhanced), (550, "5.7.19"))
            self.assertIsNone(recipient_refusal(rcpt, hop("RRVS")))
