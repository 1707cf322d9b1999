"""TLS and login, with real TLS over loopback sockets and certificates good and bad."""

import base64
import datetime
from collections.abc import Sequence
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import CertificateOptions, PrivateCertificate
from twisted.trial.unittest import SynchronousTestCase, TestCase

from postroom.client.model import Destination, Sent, SmartHost, TLSMode
from postroom.client.sender import Sender
from postroom.client.settings import ClientSettings
from postroom.errors import UserError
from tests.client.parts import STUFFED, MemorySource, TableResolver, World, outgoing

PAST = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
NAME = "mail.example"
AUTHORITY = trustme.CA()
STRANGER = trustme.CA()
GOOD = AUTHORITY.issue_cert(NAME)
CERTIFICATES = {
    "good": GOOD,
    "wrong name": AUTHORITY.issue_cert("other.example"),
    "expired": AUTHORITY.issue_cert(NAME, not_after=PAST),
    "unknown root": STRANGER.issue_cert(NAME),
}
MODES = (TLSMode.OPPORTUNISTIC, TLSMode.REQUIRED, TLSMode.IMPLICIT)


def odd_certificate(name: str) -> trustme.LeafCert:
    """Make a certificate for a name that trustme takes for none."""
    key = ec.generate_private_key(ec.SECP256R1())
    authority = x509.load_pem_x509_certificate(AUTHORITY.cert_pem.bytes())
    signer = serialization.load_pem_private_key(AUTHORITY.private_key_pem.bytes(), None)
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=True)
        .sign(signer, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return trustme.LeafCert(private, certificate.public_bytes(serialization.Encoding.PEM), [])


def options_of(leaf: trustme.LeafCert) -> CertificateOptions:
    pem = leaf.private_key_and_cert_chain_pem.bytes()
    return PrivateCertificate.loadPEM(pem).options()


class ServerProtocol(Protocol):
    """An SMTP server that does what the test's `Behaviour` says."""

    def connectionMade(self) -> None:
        self.how = self.factory.how
        self.how.connections += 1
        self.number = self.how.connections
        self.secure = False
        self.buffer = b""
        self.content = False
        self.asked = False
        if self.how.implicit:
            self.start_tls()
        self.say("220 peer")

    def start_tls(self) -> None:
        options = options_of(self.how.certificate)
        options.getContext().set_tlsext_servername_callback(self.note_name)
        self.transport.startTLS(options)
        self.secure = True

    def note_name(self, connection: SSL.Connection) -> None:
        self.how.server_names.append((connection.get_servername() or b"").decode())

    def say(self, line: str) -> None:
        self.transport.write(line.encode() + b"\r\n")

    def dataReceived(self, data: bytes) -> None:
        self.buffer += data
        while True:
            if self.content:
                content, end, rest = self.buffer.partition(b"\r\n.\r\n")
                if not end:
                    return
                self.how.contents.append(content + end)
                self.content = False
                self.say("250 queued")
            else:
                line, end, rest = self.buffer.partition(b"\r\n")
                if not end:
                    return
                self.command(line.decode("ascii", "replace"))
            self.buffer = rest

    def command(self, line: str) -> None:
        self.how.commands.append(("TLS " if self.secure else "") + line)
        verb = line.split()[0] if line else line
        if verb == "EHLO" and self.secure and self.how.ehlo_inside == "close":
            self.transport.loseConnection()
        elif verb == "EHLO" and self.secure and self.how.ehlo_inside:
            self.say(self.how.ehlo_inside)
        elif verb == "EHLO":
            offers = self.how.inside if self.secure else self.how.outside
            lines = ["peer", *offers]
            self.say(
                "\r\n".join(
                    f"250{'-' if n < len(offers) else ' '}{each}" for n, each in enumerate(lines)
                )
            )
        elif verb == "STARTTLS":
            self.starttls()
        elif verb == "AUTH" or self.asked:
            reply = self.how.auth.pop(0)
            self.asked = reply.startswith("334")
            self.say(reply)
        elif verb == "DATA":
            self.content = True
            self.say("354 go")
        elif verb == "QUIT":
            self.say("221 bye")
            self.transport.loseConnection()
        else:
            self.say("250 ok")

    def starttls(self) -> None:
        reply = self.how.starttls
        if reply == "close":
            self.transport.loseConnection()
        elif reply == "garbage":
            self.say("220 go")
            reactor.callLater(0.05, self.say, "this is no TLS at all")
        elif reply.startswith("220"):
            self.say(reply)
            if "\r\n" not in reply:
                self.start_tls()
        else:
            self.say(reply)


class Behaviour:
    """What a server does, and what it saw."""

    def __init__(
        self,
        certificate: str = "good",
        *,
        starttls: str = "220 go",
        outside: Sequence[str] = ("STARTTLS", "PIPELINING"),
        inside: Sequence[str] = ("PIPELINING",),
        auth: Sequence[str] = (),
        implicit: bool = False,
        ehlo_inside: str = "",
    ) -> None:
        self.certificate = CERTIFICATES[certificate]
        self.starttls, self.outside, self.inside = starttls, outside, inside
        self.auth, self.implicit = list(auth), implicit
        self.ehlo_inside = ehlo_inside
        self.connections = 0
        self.commands: list[str] = []
        self.contents: list[bytes] = []
        self.server_names: list[str] = []


class TLSCase(TestCase):
    def setUp(self) -> None:
        self.ca_file = self.mktemp()
        with open(self.ca_file, "wb") as file:
            file.write(AUTHORITY.cert_pem.bytes())

    async def send(
        self,
        how: Behaviour,
        mode: TLSMode,
        user: str | None = None,
        host: str = NAME,
        source: MemorySource | None = None,
    ) -> Sent:
        factory = Factory.forProtocol(ServerProtocol)
        factory.how = how
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        resolver = TableResolver({}, {host: ["127.0.0.1"]})
        sender = Sender(reactor, resolver, ClientSettings("us.example", ca_file=Path(self.ca_file)))
        password = "pass word" if user else None
        smarthost = SmartHost(host, port.getHost().port, mode, user, password)
        try:
            return await sender.send(Destination("", smarthost), outgoing(source=source))
        finally:
            await sender.stop(1)
            await port.stopListening()

    def assert_sent(self, sent: Sent, how: Behaviour, *, secure: bool) -> None:
        self.assertEqual([reply.code for reply in sent.replies], [250], sent)
        self.assertEqual(how.contents, [STUFFED])
        self.assertEqual(sent.tls is not None, secure)
        self.assertEqual(any(line.startswith("TLS MAIL") for line in how.commands), secure)

    def assert_held(self, sent: Sent, how: Behaviour) -> None:
        (reply,) = sent.replies
        self.assertEqual((reply.code, reply.enhanced), (451, "4.7.5"), reply)
        self.assertEqual(how.contents, [])
        self.assertFalse([line for line in how.commands if "MAIL" in line])


class CertificateTests(TLSCase):
    async def test_a_good_certificate_serves_every_mode(self) -> None:
        for mode in MODES:
            how = Behaviour(implicit=mode is TLSMode.IMPLICIT)
            sent = await self.send(how, mode)
            self.assert_sent(sent, how, secure=True)
            assert sent.tls is not None
            self.assertEqual(sent.tls.version, "TLSv1.3")

    async def test_opportunistic_tls_takes_any_certificate(self) -> None:
        for certificate in CERTIFICATES:
            how = Behaviour(certificate)
            sent = await self.send(how, TLSMode.OPPORTUNISTIC)
            self.assert_sent(sent, how, secure=True)
            self.assertEqual(how.connections, 1)

    async def test_where_tls_is_required_the_certificate_must_be_right(self) -> None:
        for certificate in ("wrong name", "expired", "unknown root"):
            for mode in (TLSMode.REQUIRED, TLSMode.IMPLICIT):
                how = Behaviour(certificate, implicit=mode is TLSMode.IMPLICIT)
                self.assert_held(await self.send(how, mode), how)

    async def test_a_certificate_for_an_address_is_checked_too(self) -> None:
        CERTIFICATES["address"] = AUTHORITY.issue_cert("127.0.0.1")
        how = Behaviour("address")
        self.assert_sent(await self.send(how, TLSMode.REQUIRED, host="127.0.0.1"), how, secure=True)
        how = Behaviour("good")
        self.assert_held(await self.send(how, TLSMode.REQUIRED, host="127.0.0.1"), how)

    async def test_a_host_may_have_an_underscore_or_outer_hyphens_in_its_name(self) -> None:
        for host in ("foo_bar.example", "-x-.example"):
            CERTIFICATES["odd"] = odd_certificate(host)
            for mode in MODES:
                how = Behaviour("odd", implicit=mode is TLSMode.IMPLICIT)
                self.assert_sent(await self.send(how, mode, host=host), how, secure=True)
                self.assertEqual(how.server_names, [host])
            how = Behaviour("good")
            self.assert_held(await self.send(how, TLSMode.REQUIRED, host=host), how)

    async def test_a_name_that_no_certificate_can_have_proves_nothing(self) -> None:
        how = Behaviour("good")
        self.assert_held(await self.send(how, TLSMode.REQUIRED, host="1234"), how)


class StarttlsTests(TLSCase):
    async def test_never_is_never(self) -> None:
        how = Behaviour()
        self.assert_sent(await self.send(how, TLSMode.NEVER), how, secure=False)
        self.assertNotIn("STARTTLS", how.commands)

    async def test_starttls_that_is_not_offered_is_done_without_unless_required(self) -> None:
        how = Behaviour(outside=["PIPELINING"])
        self.assert_sent(await self.send(how, TLSMode.OPPORTUNISTIC), how, secure=False)
        how = Behaviour(outside=["PIPELINING"])
        self.assert_held(await self.send(how, TLSMode.REQUIRED), how)

    async def test_starttls_that_fails_is_tried_again_in_clear_text_unless_required(self) -> None:
        for reply in ("454 4.7.0 not now", "502 5.5.1 what", "354 go", "close", "garbage"):
            how = Behaviour(starttls=reply)
            self.assert_sent(await self.send(how, TLSMode.OPPORTUNISTIC), how, secure=False)
            self.assertEqual(how.connections, 2)
            how = Behaviour(starttls=reply)
            sent = await self.send(how, TLSMode.REQUIRED)
            self.assertEqual(sent.replies[0].code, 451)
            self.assertFalse([line for line in how.commands if "MAIL" in line])

    async def test_tls_that_breaks_before_a_word_was_said_inside_has_failed(self) -> None:
        how = Behaviour(ehlo_inside="close")
        self.assert_sent(await self.send(how, TLSMode.OPPORTUNISTIC), how, secure=False)

    async def test_what_is_said_inside_tls_is_no_failure_of_tls(self) -> None:
        for reply in ("421 4.3.2 closing", "451 4.3.0 later"):
            how = Behaviour(ehlo_inside=reply)
            sent = await self.send(how, TLSMode.OPPORTUNISTIC)
            self.assertEqual(sent.replies[0].code, int(reply[:3]))
            self.assertEqual(how.connections, 1)

    async def test_text_after_220_is_an_attack_and_ends_it(self) -> None:
        for mode in (TLSMode.OPPORTUNISTIC, TLSMode.REQUIRED):
            for injected in ("250-evil\r\n250 AUTH LOGIN", "250 evil", "250-evil\r\n250"):
                how = Behaviour(starttls="220 go\r\n" + injected)
                sent = await self.send(how, mode)
                self.assertEqual(sent.replies[0].enhanced, "4.5.0")
                self.assertEqual(how.commands, ["EHLO us.example", "STARTTLS"])

    async def test_what_was_offered_outside_tls_is_forgotten_inside(self) -> None:
        how = Behaviour(outside=["STARTTLS", "SIZE 100000", "8BITMIME"], inside=["HELP"])
        self.assert_sent(await self.send(how, TLSMode.REQUIRED), how, secure=True)
        self.assertEqual(how.commands[:2], ["EHLO us.example", "STARTTLS"])
        self.assertEqual(
            how.commands[2:4], ["TLS EHLO us.example", "TLS MAIL FROM:<from@here.example>"]
        )

    async def test_a_server_that_knows_no_ehlo_cannot_be_required_to_secure_itself(self) -> None:
        world = World(peers=lambda _: {"answers": {"EHLO": "502 what"}})
        destination = Destination("", SmartHost("192.0.2.1", 25, TLSMode.REQUIRED))
        (reply,) = self.successResultOf(world.send(destination)).replies
        self.assertEqual((reply.code, reply.enhanced), (451, "4.7.5"))
        self.assertNotIn("HELO us.example", world.peers[0].commands)


class ContentTests(TLSCase):
    async def test_long_content_goes_through_tls_in_pieces(self) -> None:
        piece = b".a line\r\n" * 20_000
        how = Behaviour()
        sent = await self.send(how, TLSMode.REQUIRED, source=MemorySource(*[piece] * 8))
        self.assertEqual(sent.replies[0].code, 250)
        self.assertEqual(how.contents, [piece.replace(b".a", b"..a") * 8 + b".\r\n"])


class LoginTests(TLSCase):
    PLAIN = "TLS AUTH PLAIN " + base64.b64encode(b"\0secret user\0pass word").decode()

    async def test_plain_is_used_inside_tls(self) -> None:
        how = Behaviour(inside=["AUTH LOGIN PLAIN"], auth=["235 ok"])
        self.assert_sent(await self.send(how, TLSMode.REQUIRED, "secret user"), how, secure=True)
        self.assertIn(self.PLAIN, how.commands)

    async def test_login_is_used_where_it_is_all_there_is(self) -> None:
        how = Behaviour(inside=["AUTH LOGIN X"], auth=["334 VXNlcg==", "334 UGFzcw==", "235 ok"])
        self.assert_sent(await self.send(how, TLSMode.REQUIRED, "secret user"), how, secure=True)
        answers = [base64.b64encode(each).decode() for each in (b"secret user", b"pass word")]
        at = how.commands.index("TLS AUTH LOGIN")
        self.assertEqual(how.commands[at + 1 : at + 3], [f"TLS {each}" for each in answers])

    async def test_a_refused_login_is_temporary_for_the_mail(self) -> None:
        for reply in ("535 5.7.8 wrong", "454 4.7.0 later", "504 5.5.4 what"):
            how = Behaviour(inside=["AUTH PLAIN"], auth=[reply])
            (answer,) = (await self.send(how, TLSMode.REQUIRED, "secret user")).replies
            self.assertEqual((answer.code, answer.enhanced), (451, "4.7.8"))
            self.assertEqual(how.contents, [])

    async def test_without_a_mechanism_of_ours_there_is_no_login_and_no_mail(self) -> None:
        how = Behaviour(inside=["AUTH GSSAPI"])
        (answer,) = (await self.send(how, TLSMode.REQUIRED, "secret user")).replies
        self.assertEqual((answer.code, answer.enhanced), (451, "4.7.8"))

    async def test_clear_text_will_do_for_a_server_on_loopback(self) -> None:
        how = Behaviour(outside=["AUTH PLAIN"], auth=["235 ok"])
        self.assert_sent(
            await self.send(how, TLSMode.OPPORTUNISTIC, "secret user"), how, secure=False
        )


class SecretTests(SynchronousTestCase):
    def test_no_password_crosses_a_network_in_clear_text(self) -> None:
        for mode in (TLSMode.NEVER, TLSMode.OPPORTUNISTIC, TLSMode.REQUIRED):
            for starttls in ("454 4.7.0 not now", "close", None):
                offers = ["AUTH PLAIN LOGIN", *(["STARTTLS"] if starttls else [])]
                how = {
                    "extensions": offers,
                    "answers": {"STARTTLS": starttls or "500 what", "AUTH": "235 ok"},
                }
                world = World(peers=lambda _, how=how: how)
                smarthost = SmartHost("192.0.2.1", 25, mode, "secret user", "pass word")
                (reply,) = self.successResultOf(world.send(Destination("", smarthost))).replies
                self.assertEqual(reply.code, 451)
                self.assertEqual(len(world.peers), 1)
                for line in world.peers[0].commands:
                    self.assertFalse(line.startswith(("AUTH", "MAIL")), line)


class TrustTests(SynchronousTestCase):
    def test_a_ca_file_that_cannot_be_used_is_named(self) -> None:
        path = self.mktemp()
        with open(path, "w") as file:
            file.write("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")
        for bad in (path, "/nonexistent/ca.pem"):
            with self.assertRaisesRegex(UserError, bad):
                World(ca_file=Path(bad))

    def test_a_ca_file_without_certificates_is_refused(self) -> None:
        path = self.mktemp()
        with open(path, "w") as file:
            file.write("nothing here\n")
        with self.assertRaisesRegex(UserError, path):
            World(ca_file=Path(path))

    def test_old_tls_is_not_spoken(self) -> None:
        context = World().sender._context.contexts._any
        self.assertIsInstance(context, SSL.Context)
        options = SSL.OP_NO_SSLv3 | SSL.OP_NO_TLSv1 | SSL.OP_NO_TLSv1_1
        self.assertEqual(context.set_options(0) & options, options)
