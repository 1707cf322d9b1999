"""The resolver against a real DNS server on loopback, and what a hostile one may say."""

from collections.abc import Callable
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol
from twisted.trial.unittest import TestCase

from postroom.client.dns import Resolver, system_servers
from postroom.client.settings import DNSSettings
from postroom.errors import Refusal

Say = Callable[[dns.message.Message], "dns.message.Message | bytes | list[bytes] | None"]


def say(*rrsets: str, rcode: dns.rcode.Rcode = dns.rcode.NOERROR, flags: int = 0) -> Say:
    """Answer with these records, each ``name ttl IN type data``; of one kind on one line."""

    def answer(query: dns.message.Message) -> dns.message.Message:
        response = dns.message.make_response(query, recursion_available=True)
        response.set_rcode(rcode)
        response.flags |= flags
        for text in rrsets:
            for line in text.split("; "):
                name, ttl, _, kind, data = line.split(" ", 4)
                rrset = dns.rrset.from_text(name, int(ttl), "IN", kind, data)
                place = response.authority if kind == "SOA" else response.answer
                place.append(rrset)
        return response

    return answer


class Server(DatagramProtocol):
    """A DNS server whose answers a test chooses, for UDP and TCP."""

    def __init__(self) -> None:
        self.answers: dict[str, Say] = {}
        self.questions: list[str] = []

    def answer(self, octets: bytes, over: str) -> list[bytes]:
        query = dns.message.from_wire(octets)
        (question,) = query.question
        key = f"{dns.rdatatype.to_text(question.rdtype)} {question.name.to_text(True)}"
        self.questions.append(f"{over} {key}")
        found = self.answers.get(f"{over} {key}") or self.answers.get(key) or say()
        said = found(query)
        if said is None:
            return []
        if isinstance(said, list):
            return said
        return [said if isinstance(said, bytes) else said.to_wire(max_size=65535)]

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        for said in self.answer(datagram, "UDP"):
            self.transport.write(said, addr)


class StreamServer(Protocol):
    def dataReceived(self, data: bytes) -> None:
        for said in self.factory.server.answer(data[2:], "TCP"):
            for octet in len(said).to_bytes(2, "big") + said:
                self.transport.write(bytes([octet]))


class ResolverCase(TestCase):
    def setUp(self) -> None:
        self.server = Server()
        self.address = ("127.0.0.1", self.listen())
        self.resolver = self.make()

    def listen(self) -> int:
        """Listen on UDP and TCP ports of the same number, which may take a few tries."""
        factory = Factory.forProtocol(StreamServer)
        factory.server = self.server
        while True:
            streams = reactor.listenTCP(0, factory, interface="127.0.0.1")
            number = int(streams.getHost().port)
            self.addCleanup(streams.stopListening)
            try:
                port = reactor.listenUDP(number, self.server, interface="127.0.0.1")
            except CannotListenError:
                continue
            self.addCleanup(port.stopListening)
            return number

    def make(self, **settings: object) -> Resolver:
        defaults = {"servers": (self.address,), "timeout_seconds": 5, "rounds": 1}
        known = {"hosts_file": None} | settings
        return Resolver(reactor, DNSSettings(**(defaults | known)))  # type: ignore[arg-type]

    async def refused(self, looking: "Deferred[object]") -> tuple[int, str | None]:
        refusal = await self.assertFailure(looking, Refusal)
        return refusal.reply.code, refusal.reply.enhanced


class AnswerTests(ResolverCase):
    async def test_mx_records_come_as_they_are_in_lower_case(self) -> None:
        self.server.answers["MX d.example"] = say(
            "d.example. 60 IN MX 20 B.Example.; d.example. 60 IN MX 10 a_1.example."
        )
        found = await self.resolver.lookup_mx("D.Example")
        self.assertEqual(sorted(found), [(10, "a_1.example"), (20, "b.example")])

    async def test_names_with_underscores_and_outer_hyphens_are_looked_up(self) -> None:
        for name in ("foo_bar.example", "_x_.example", "-x-.example", "x-.y_.example"):
            self.server.answers[f"MX {name}"] = say(f"{name}. 60 IN MX 10 mx.{name}.")
            self.server.answers[f"A mx.{name}"] = say(f"mx.{name}. 60 IN A 192.0.2.1")
            (record,) = await self.resolver.lookup_mx(name)
            self.assertEqual(record, (10, f"mx.{name}"))
            self.assertEqual(await self.resolver.lookup_addresses(record[1]), ["192.0.2.1"])

    async def test_the_null_mx_has_an_empty_exchange(self) -> None:
        self.server.answers["MX d.example"] = say("d.example. 60 IN MX 0 .")
        self.assertEqual(await self.resolver.lookup_mx("d.example"), [(0, "")])

    async def test_no_mx_is_no_error(self) -> None:
        self.assertEqual(await self.resolver.lookup_mx("d.example"), [])

    async def test_both_families_are_asked(self) -> None:
        self.server.answers["A h.example"] = say("h.example. 60 IN A 192.0.2.1")
        self.server.answers["AAAA h.example"] = say("h.example. 60 IN AAAA 2001:db8::1")
        found = await self.resolver.lookup_addresses("h.example")
        self.assertEqual(found, ["192.0.2.1", "2001:db8::1"])

    async def test_cnames_are_followed_to_the_records(self) -> None:
        chain = "h.example. 60 IN CNAME i.example.; i.example. 60 IN CNAME j.example."
        self.server.answers["A h.example"] = say(chain, "j.example. 60 IN A 192.0.2.1")
        self.assertEqual(await self.resolver.lookup_addresses("h.example"), ["192.0.2.1"])

    async def test_a_name_that_does_not_exist_is_permanent(self) -> None:
        for key in ("MX", "A", "AAAA"):
            self.server.answers[f"{key} d.example"] = say(rcode=dns.rcode.NXDOMAIN)
        self.assertEqual(await self.refused(self.resolver.lookup_mx("d.example")), (550, "5.1.2"))
        self.assertEqual(
            await self.refused(self.resolver.lookup_addresses("d.example")), (550, "5.1.2")
        )
        for bad in ("a" * 64 + ".example", "a..b", "x" * 300):
            self.assertEqual(await self.refused(self.resolver.lookup_mx(bad)), (550, "5.1.2"))

    async def test_a_server_in_trouble_is_temporary(self) -> None:
        for rcode in (dns.rcode.SERVFAIL, dns.rcode.REFUSED, dns.rcode.NOTIMP):
            self.server.answers["MX d.example"] = say(rcode=rcode)
            self.assertEqual(
                await self.refused(self.resolver.lookup_mx("d.example")), (451, "4.4.3")
            )

    async def test_one_family_in_trouble_does_not_hide_the_other(self) -> None:
        self.server.answers["A h.example"] = say("h.example. 60 IN A 192.0.2.1")
        self.server.answers["AAAA h.example"] = say(rcode=dns.rcode.SERVFAIL)
        self.assertEqual(await self.resolver.lookup_addresses("h.example"), ["192.0.2.1"])
        self.server.answers["A i.example"] = say()
        self.server.answers["AAAA i.example"] = say(rcode=dns.rcode.SERVFAIL)
        looking = self.resolver.lookup_addresses("i.example")
        self.assertEqual(await self.refused(looking), (451, "4.4.3"))

    async def test_an_answer_that_was_cut_is_asked_for_over_tcp(self) -> None:
        self.server.answers["UDP MX d.example"] = say(flags=dns.flags.TC)
        records = "; ".join(f"d.example. 60 IN MX {n} h{n}.example." for n in range(90))
        self.server.answers["TCP MX d.example"] = say(records)
        self.assertEqual(len(await self.resolver.lookup_mx("d.example")), 90)
        self.assertEqual(self.server.questions, ["UDP MX d.example", "TCP MX d.example"])

    async def test_a_server_without_edns_is_asked_without(self) -> None:
        def old(query: dns.message.Message) -> dns.message.Message:
            if query.edns >= 0:
                return say(rcode=dns.rcode.FORMERR)(query)
            return say("d.example. 60 IN MX 1 a.example.")(query)

        self.server.answers["MX d.example"] = old
        self.assertEqual(await self.resolver.lookup_mx("d.example"), [(1, "a.example")])


class ServerTests(ResolverCase):
    async def test_a_silent_server_is_temporary_and_the_next_one_is_asked(self) -> None:
        self.server.answers["MX d.example"] = lambda _: None
        looking = self.make(timeout_seconds=0.1).lookup_mx("d.example")
        self.assertEqual(await self.refused(looking), (451, "4.4.3"))
        self.server.answers["MX e.example"] = say("e.example. 60 IN MX 1 a.example.")
        resolver = self.make(servers=(("127.0.0.1", 1), self.address), timeout_seconds=1)
        self.assertEqual(await resolver.lookup_mx("e.example"), [(1, "a.example")])

    async def test_every_server_is_asked_in_every_round(self) -> None:
        self.server.answers["MX d.example"] = say(rcode=dns.rcode.SERVFAIL)
        await self.refused(self.make(rounds=3).lookup_mx("d.example"))
        self.assertEqual(len(self.server.questions), 3)

    def test_servers_come_from_resolv_conf(self) -> None:
        path = self.mktemp()
        with open(path, "w") as file:
            file.write("# x\nnameserver 192.0.2.1\nsearch x\nnameserver 2001:db8::1\nnameserver\n")
        self.assertEqual(system_servers(path), (("192.0.2.1", 53), ("2001:db8::1", 53)))
        self.assertEqual(system_servers(self.mktemp()), (("127.0.0.1", 53),))

    async def test_names_in_the_hosts_file_are_known_without_dns(self) -> None:
        path = self.mktemp()
        with open(path, "w") as file:
            file.write("192.0.2.7 relay relay.example\n")
        resolver = self.make(hosts_file=Path(path))
        self.assertEqual(list(await resolver.lookup_addresses("relay.example")), ["192.0.2.7"])
        self.assertEqual(self.server.questions, [])


class CacheTests(ResolverCase):
    async def test_an_answer_is_kept_for_its_ttl(self) -> None:
        self.server.answers["MX d.example"] = say("d.example. 60 IN MX 1 a.example.")
        self.server.answers["MX e.example"] = say("e.example. 0 IN MX 1 a.example.")
        for _ in range(3):
            await self.resolver.lookup_mx("d.example")
            await self.resolver.lookup_mx("e.example")
        self.assertEqual(self.server.questions.count("UDP MX d.example"), 1)
        self.assertEqual(self.server.questions.count("UDP MX e.example"), 3)

    async def test_that_there_is_none_is_kept_as_the_zone_says(self) -> None:
        soa = "example. 60 IN SOA a. b. 1 2 3 4 60"
        self.server.answers["MX d.example"] = say(soa, rcode=dns.rcode.NXDOMAIN)
        self.server.answers["MX e.example"] = say(rcode=dns.rcode.NXDOMAIN)
        for _ in range(2):
            await self.refused(self.resolver.lookup_mx("d.example"))
            await self.refused(self.resolver.lookup_mx("e.example"))
        self.assertEqual(self.server.questions.count("UDP MX d.example"), 1)
        self.assertEqual(self.server.questions.count("UDP MX e.example"), 2)

    async def test_a_failure_is_not_kept(self) -> None:
        self.server.answers["MX d.example"] = say(rcode=dns.rcode.SERVFAIL)
        await self.refused(self.resolver.lookup_mx("d.example"))
        self.server.answers["MX d.example"] = say("d.example. 60 IN MX 1 a.example.")
        self.assertEqual(await self.resolver.lookup_mx("d.example"), [(1, "a.example")])

    async def test_the_cache_is_bounded(self) -> None:
        resolver = self.make(cache_entries=5)
        for n in range(20):
            self.server.answers[f"MX d{n}.example"] = say(f"d{n}.example. 60 IN MX 1 a.example.")
            await resolver.lookup_mx(f"d{n}.example")
        self.assertEqual(len(resolver._cache), 5)

    async def test_one_question_under_way_serves_all_who_ask(self) -> None:
        self.server.answers["MX d.example"] = say("d.example. 0 IN MX 1 a.example.")
        found = await gatherResults([self.resolver.lookup_mx("d.example") for _ in range(20)])
        self.assertEqual(found, [[(1, "a.example")]] * 20)
        self.assertEqual(len(self.server.questions), 1)
        self.server.answers["MX e.example"] = say(rcode=dns.rcode.SERVFAIL)
        looking = [self.resolver.lookup_mx("e.example") for _ in range(20)]
        self.assertEqual({await self.refused(each) for each in looking}, {(451, "4.4.3")})
        self.assertEqual(len(self.server.questions), 2)


class HostileTests(ResolverCase):
    async def test_what_is_no_answer_to_our_question_is_passed_over(self) -> None:
        good = say("d.example. 60 IN MX 1 good.example.")
        evil = say("d.example. 60 IN MX 1 evil.example.")

        def mixed(query: dns.message.Message) -> list[bytes]:
            wrong_id = evil(query)
            wrong_id.id ^= 1
            other = dns.message.make_query("e.example", "MX")
            other.id = query.id
            wrong_question = evil(query)
            wrong_question.question = other.question
            echo = query.to_wire()
            junk = [b"", b"x", echo[:11], echo[:12] + b"\xff" * 500, b"\xc0\x0c" * 100]
            forged = [wrong_id.to_wire(), wrong_question.to_wire(), echo, *junk]
            return [*forged, good(query).to_wire()]

        self.server.answers["MX d.example"] = mixed
        self.assertEqual(await self.resolver.lookup_mx("d.example"), [(1, "good.example")])

    async def test_only_the_server_is_heard(self) -> None:
        class Stranger(DatagramProtocol):
            pass

        port = reactor.listenUDP(0, Stranger(), interface="127.0.0.1")
        self.addCleanup(port.stopListening)

        def spoofed(query: dns.message.Message) -> None:
            asker = self.asker
            port.write(say("d.example. 60 IN MX 1 evil.example.")(query).to_wire(), asker)

        self.server.answers["MX d.example"] = spoofed
        received = self.server.datagramReceived

        def noting(datagram: bytes, addr: tuple[str, int]) -> None:
            self.asker = addr
            received(datagram, addr)

        self.server.datagramReceived = noting  # type: ignore[method-assign]
        looking = self.make(timeout_seconds=0.2).lookup_mx("d.example")
        self.assertEqual(await self.refused(looking), (451, "4.4.3"))

    async def test_every_question_has_an_id_and_a_port_of_its_own(self) -> None:
        seen = []
        received = self.server.datagramReceived

        def noting(datagram: bytes, addr: tuple[str, int]) -> None:
            seen.append((datagram[:2], addr[1]))
            received(datagram, addr)

        self.server.datagramReceived = noting  # type: ignore[method-assign]
        await gatherResults([self.resolver.lookup_mx(f"d{n}.example") for n in range(50)])
        self.assertGreater(len({number for number, _ in seen}), 45)
        self.assertGreater(len({port for _, port in seen}), 45)

    async def test_names_that_are_no_host_names_are_dropped(self) -> None:
        bad = ("a\\032b.example.", "a\\013\\010.example.", "\\000.", "*.example.", "a\\.b.example.")
        records = [f"d.example. 60 IN MX 1 {name}" for name in bad]
        self.server.answers["MX d.example"] = say(*records, "d.example. 60 IN MX 1 ok.example.")
        self.assertEqual(await self.resolver.lookup_mx("d.example"), [(1, "ok.example")])
        self.server.answers["MX e.example"] = say("e.example. 60 IN MX 1 a\\032b.")
        self.assertEqual(await self.refused(self.resolver.lookup_mx("e.example")), (550, "5.1.2"))

    async def test_a_thousand_records_are_capped(self) -> None:
        self.server.answers["UDP MX d.example"] = say(flags=dns.flags.TC)
        records = "; ".join(f"d.example. 60 IN MX {n} h{n}.example." for n in range(1000))
        self.server.answers["TCP MX d.example"] = say(records)
        self.assertEqual(len(await self.resolver.lookup_mx("d.example")), 100)

    async def test_a_chain_of_cnames_without_end_is_temporary(self) -> None:
        loop = "d.example. 60 IN CNAME e.example.; e.example. 60 IN CNAME d.example."
        self.server.answers["MX d.example"] = say(loop)
        looking = self.resolver.lookup_mx("d.example")
        self.assertEqual(await self.refused(looking), (451, "4.4.3"))

    async def test_a_stream_that_ends_or_lies_is_temporary(self) -> None:
        self.server.answers["UDP MX d.example"] = say(flags=dns.flags.TC)
        resolver = self.make(timeout_seconds=0.5)
        for said in (b"", b"junk"):
            self.server.answers["TCP MX d.example"] = lambda _, said=said: said
            looking = resolver.lookup_mx("d.example")
            self.assertEqual(await self.refused(looking), (451, "4.4.3"))
