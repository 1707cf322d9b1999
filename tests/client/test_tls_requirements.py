"""REQUIRETLS and ``TLS-Required: No``, with real TLS over loopback sockets. RFC 8689."""

from ipaddress import ip_network
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.protocol import Factory

from postroom.client.model import Destination, Sent, TLSMode, TLSRequirement
from postroom.client.sender import Sender
from postroom.client.settings import ClientSettings
from tests.client.parts import TableResolver, outgoing
from tests.client.test_tls import NAME, Behaviour, ServerProtocol, TLSCase

OFFER = ("PIPELINING", "REQUIRETLS")


class WishCase(TLSCase):
    async def give(
        self, *hosts: Behaviour, requirement: TLSRequirement, tls: TLSMode = TLSMode.OPPORTUNISTIC
    ) -> Sent:
        """Send to a domain whose MX are these hosts, each on an address of its own."""
        port, ports, records, addresses = 0, [], [], {}
        for number, how in enumerate(hosts, 1):
            factory = Factory.forProtocol(ServerProtocol)
            factory.how = how
            address = f"127.0.0.{number}"
            ports.append(reactor.listenTCP(port, factory, interface=address))
            port = ports[0].getHost().port
            name = NAME if number == len(hosts) else "other.example"
            records.append((number, name))
            addresses[name] = [address]
        settings = ClientSettings(
            "us.example",
            ca_file=Path(self.ca_file),
            allowed_networks=(ip_network("127.0.0.0/8"),),
            port=port,
            tls=tls,
        )
        sender = Sender(reactor, TableResolver({"d.example": records}, addresses), settings)
        parameters = {"REQUIRETLS": None} if requirement is TLSRequirement.REQUIRED else {}
        try:
            destination = Destination("d.example", None, requirement)
            return await sender.send(destination, outgoing(parameters=parameters))
        finally:
            await sender.stop(1)
            for each in ports:
                await each.stopListening()

    def assert_returned(self, sent: Sent, how: Behaviour, enhanced: str) -> None:
        (reply,) = sent.replies
        self.assertEqual((reply.code, reply.enhanced), (550, enhanced), reply)
        self.assertFalse([line for line in how.commands if "MAIL" in line])


class RequiredTests(WishCase):
    """Tests for REQUIRETLS. RFC 8689 s4.2.1."""

    async def test_it_goes_to_a_host_that_proves_itself_and_promises_the_same(self) -> None:
        how = Behaviour(inside=OFFER)
        sent = await self.give(how, requirement=TLSRequirement.REQUIRED)
        self.assert_sent(sent, how, secure=True)
        self.assertIn("TLS MAIL FROM:<from@here.example> REQUIRETLS", how.commands)

    async def test_a_promise_made_in_clear_text_is_none(self) -> None:
        how = Behaviour(outside=("STARTTLS", "REQUIRETLS"))
        self.assert_returned(
            await self.give(how, requirement=TLSRequirement.REQUIRED), how, "5.7.30"
        )

    async def test_without_tls_or_proof_it_goes_nowhere(self) -> None:
        for how in (
            Behaviour(outside=("REQUIRETLS",)),
            Behaviour("wrong name", inside=OFFER),
            Behaviour("unknown root", inside=OFFER),
            Behaviour(starttls="502 5.5.1 what"),
        ):
            self.assert_returned(
                await self.give(how, requirement=TLSRequirement.REQUIRED), how, "5.7.10"
            )

    async def test_the_next_host_may_do(self) -> None:
        first, second = Behaviour("wrong name"), Behaviour(inside=OFFER)
        sent = await self.give(first, second, requirement=TLSRequirement.REQUIRED)
        self.assert_sent(sent, second, secure=True)
        self.assertEqual(first.contents, [])

    async def test_a_host_that_fails_for_now_is_tried_again(self) -> None:
        first, second = Behaviour(outside=()), Behaviour(ehlo_inside="451 4.3.0 later")
        (reply,) = (await self.give(first, second, requirement=TLSRequirement.REQUIRED)).replies
        self.assertEqual(reply.code, 451)


class OptionalTests(WishCase):
    """Tests for the header that waives what the settings ask for. RFC 8689 s4.2.2."""

    async def test_tls_is_tried_and_its_failure_is_none(self) -> None:
        for how, secure in (
            (Behaviour("wrong name"), True),
            (Behaviour(outside=()), False),
            (Behaviour(starttls="454 4.7.0 later"), False),
        ):
            sent = await self.give(how, requirement=TLSRequirement.OPTIONAL, tls=TLSMode.REQUIRED)
            self.assert_sent(sent, how, secure=secure)

    async def test_without_it_the_settings_stand(self) -> None:
        how = Behaviour("wrong name")
        self.assert_held(
            await self.give(how, requirement=TLSRequirement.NONE, tls=TLSMode.REQUIRED), how
        )
