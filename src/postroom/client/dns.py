"""DNS: MX and address records, asked of the configured servers.

dnspython builds and parses the messages, Twisted sends and receives them. Each question is sent
from a socket of its own, connected to the server, so that port and id are both unpredictable. If
the answer was truncated the question is asked again over TCP. The servers are asked in turn, in two
rounds. Answers are cached for their TTL, in a cache of bounded size. A question that is waiting for
its answer is not asked a second time.

The meaning of an answer follows from the resolver's reply code alone; DNSSEC is left to the
resolver.

Who controls the input: everyone on the way, and the owner of the domain. A message that does not
answer our question (by id, question and server) is ignored, and so is one that cannot be parsed.
Names that are not host names are dropped, and at most 100 records of an answer are read.

Known limits: no search domains, no options of resolv.conf but `nameserver`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
from dns.message import Message, QueryMessage
from dns.rdatatype import RdataType
from dns.rdtypes.ANY.MX import MX
from dns.rdtypes.IN.A import A
from dns.rdtypes.IN.AAAA import AAAA
from twisted.internet import defer
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.interfaces import (
    IReactorTCP,
    IReactorTime,
    IReactorUDP,
    ITransport,
    IUDPTransport,
)
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol
from twisted.logger import Logger
from twisted.names.hosts import searchFileForAll
from twisted.python.failure import Failure
from twisted.python.filepath import FilePath
from zope.interface import implementer

from postroom.client.settings import DNSSettings, Server
from postroom.errors import Refusal
from postroom.interfaces import IResolver
from postroom.wire.paths import is_domain
from postroom.wire.replies import reply

_RECORDS: Final = 100
"""How many records of one answer are read."""

_UDP_OCTETS: Final = 1232
"""The size of a datagram that we announce, so that none is fragmented (RFC 9715 s3.2)."""

_UDP_BUFFER: Final = 8192

_Record = tuple[int, str]
_Question = tuple[str, RdataType]


class IDNSReactor(IReactorTCP, IReactorUDP, IReactorTime):
    """The reactor, as the resolver needs it."""


@dataclass(frozen=True, slots=True)
class _DNSAnswer:
    """The answer to one question: records of preference and text; 0 for addresses."""

    exists: bool
    records: tuple[_Record, ...]
    ttl_seconds: float


class _NoAnswer(Exception):
    """A server has sent no usable answer."""


def system_servers(path: str = "/etc/resolv.conf") -> tuple[Server, ...]:
    """Return the system's DNS servers; a server on this machine if none are configured."""
    try:
        lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    words = [line.split() for line in lines]
    found = tuple((each[1], 53) for each in words if each[:1] == ["nameserver"] and len(each) > 1)
    return found or (("127.0.0.1", 53),)


@implementer(IResolver)
class Resolver:
    """Asks recursive DNS servers."""

    _log = Logger()

    def __init__(self, reactor: IDNSReactor, settings: DNSSettings | None = None) -> None:
        """Create a resolver with an empty cache.

        Args:
            reactor: sends the messages, and is the clock of time-outs and TTLs.
            settings: the defaults if None.
        """
        self._reactor = reactor
        self._settings = settings or DNSSettings()
        self._servers = self._settings.servers or system_servers()
        self._cache: dict[_Question, tuple[float, _DNSAnswer]] = {}
        self._waiting: dict[_Question, list[Deferred[_DNSAnswer]]] = {}

    def lookup_mx(self, domain: str) -> "Deferred[Sequence[tuple[int, str]]]":
        """Return the MX records of a domain; see `IResolver.lookup_mx`.

        RFC 5321 s5.1; RFC 1035 s3.3.9
        """
        return Deferred.fromCoroutine(self._mx(domain))

    def lookup_addresses(self, host: str) -> "Deferred[Sequence[str]]":
        """Return the IPv4 and IPv6 addresses of a host; see `IResolver.lookup_addresses`.

        RFC 5321 s5.2; RFC 3596 s2.1
        """
        return Deferred.fromCoroutine(self._addresses(host))

    async def _mx(self, domain: str) -> Sequence[_Record]:
        answer = await self._find(domain, RdataType.MX)
        if not answer.exists:
            raise _no_such(domain)
        usable = [each for each in answer.records if not each[1] or is_domain(each[1])]
        if answer.records and not usable:
            # Not "no MX", or mail would go to the domain's own address.
            text = f"The MX records of {domain} hold no host name"
            raise Refusal(reply(550, "5.1.2", text))
        return usable

    async def _addresses(self, host: str) -> Sequence[str]:
        known = self._from_hosts_file(host)
        if known:
            return known
        questions = [self._find(host, family) for family in (RdataType.A, RdataType.AAAA)]
        results = await DeferredList(
            [Deferred.fromCoroutine(question) for question in questions], consumeErrors=True
        )
        answers = [result for success, result in results if success]
        addresses = [text for answer in answers for _, text in answer.records]
        if addresses:
            return addresses
        for success, result in results:
            if not success:
                cast(Failure, result).raiseException()
        if not any(answer.exists for answer in answers):
            raise _no_such(host)
        return []

    def _from_hosts_file(self, host: str) -> Sequence[str]:
        if self._settings.hosts_file is None:
            return ()
        found = searchFileForAll(FilePath(str(self._settings.hosts_file)), host.encode("ascii"))
        return cast(Sequence[str], found)

    async def _find(self, name: str, kind: RdataType) -> _DNSAnswer:
        """Return an answer from the cache or a server; ask no question twice at a time."""
        question = (name.lower().rstrip("."), kind)
        expires, answer = self._cache.get(question, (0.0, None))
        if answer is not None and self._reactor.seconds() < expires:
            return answer
        others = self._waiting.get(question)
        if others is not None:
            turn: Deferred[_DNSAnswer] = Deferred()
            others.append(turn)
            return await turn
        self._waiting[question] = []
        try:
            answer = await self._ask(question)
        except BaseException:
            for each in self._waiting.pop(question):
                each.errback(Failure())
            raise
        self._keep(question, answer)
        for each in self._waiting.pop(question):
            each.callback(answer)
        return answer

    def _keep(self, question: _Question, answer: _DNSAnswer) -> None:
        """Store an answer in the cache; if that is full, drop the oldest one."""
        if answer.ttl_seconds <= 0:
            return
        self._cache.pop(question, None)
        if len(self._cache) >= self._settings.cache_entries:
            del self._cache[next(iter(self._cache))]
        self._cache[question] = self._reactor.seconds() + answer.ttl_seconds, answer

    async def _ask(self, question: _Question) -> _DNSAnswer:
        """Ask the servers in turn.

        Raises:
            Refusal: 550 5.1.2, it is not a domain name; 451 4.4.3, no server has answered.
        """
        name, kind = question
        try:
            asked = dns.name.from_text(name)
        except dns.exception.DNSException:
            raise _no_such(name) from None
        for _ in range(self._settings.rounds):
            for server in self._servers:
                try:
                    return self._read(await self._ask_server(asked, kind, server), kind)
                except (_NoAnswer, dns.exception.DNSException) as error:
                    self._log.debug(
                        "DNS server {server}: {error} ({name})",
                        server=server[0],
                        error=error,
                        name=name,
                    )
        raise Refusal(reply(451, "4.4.3", f"DNS has no answer for {name} now"))

    async def _ask_server(
        self, name: dns.name.Name, kind: RdataType, server: Server
    ) -> QueryMessage:
        """Ask one server, and ask again over TCP if the answer does not fit into a datagram."""
        query = dns.message.make_query(name, kind, use_edns=0, payload=_UDP_OCTETS)
        message = await self._over_udp(query, server)
        if message.rcode() == dns.rcode.FORMERR:  # a server from before EDNS: RFC 6891 s7
            query = dns.message.make_query(name, kind, use_edns=False)
            message = await self._over_udp(query, server)
        if message.flags & dns.flags.TC:
            message = await self._over_tcp(query, server)
        if message.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            raise _NoAnswer(dns.rcode.to_text(message.rcode()))
        return cast(QueryMessage, message)

    def _read(self, message: QueryMessage, kind: RdataType) -> _DNSAnswer:
        """Return the records of an answer, at the end of its CNAMEs."""
        if message.rcode() == dns.rcode.NXDOMAIN:
            ttl = min(_soa_ttl(message), self._settings.longest_negative_ttl_seconds)
            return _DNSAnswer(False, (), ttl)
        chain = message.resolve_chaining()
        if chain.answer is None:
            ttl = min(_soa_ttl(message), self._settings.longest_negative_ttl_seconds)
            return _DNSAnswer(True, (), ttl)
        records = []
        for data in list(chain.answer)[:_RECORDS]:
            if kind is RdataType.MX:
                mx = cast(MX, data)
                root = mx.exchange == dns.name.root
                exchange = "" if root else mx.exchange.to_text(omit_final_dot=True).lower()
                records.append((int(mx.preference), exchange))
            else:
                records.append((0, cast("A | AAAA", data).address))
        ttl = min(float(chain.minimum_ttl), self._settings.longest_ttl_seconds)
        return _DNSAnswer(True, tuple(records), ttl)

    async def _over_udp(self, query: QueryMessage, server: Server) -> Message:
        question = _DatagramQuestion(query, server)
        interface = "::" if ":" in server[0] else ""
        port = self._reactor.listenUDP(0, question, interface, _UDP_BUFFER)
        try:
            return await self._in_time(question.answered)
        finally:
            port.stopListening()

    async def _over_tcp(self, query: QueryMessage, server: Server) -> Message:
        question = _StreamQuestion(query)
        kind = TCP6ClientEndpoint if ":" in server[0] else TCP4ClientEndpoint
        endpoint = kind(self._reactor, server[0], server[1], timeout=self._settings.timeout_seconds)
        try:
            await endpoint.connect(Factory.forProtocol(lambda: question))
            return await self._in_time(question.answered)
        except Exception as error:  # whatever prevents a connection: the next server may answer
            raise _NoAnswer(str(error)) from None
        finally:
            if question.transport is not None:
                question.transport.loseConnection()

    async def _in_time(self, answered: "Deferred[Message]") -> Message:
        clock = cast(IReactorTime, self._reactor)
        try:
            return await answered.addTimeout(self._settings.timeout_seconds, clock)
        except defer.TimeoutError:
            raise _NoAnswer("time-out") from None


class _DatagramQuestion(DatagramProtocol):
    """A question over UDP."""

    def __init__(self, query: QueryMessage, server: Server) -> None:
        self._query = query
        self._server = server
        self.answered: Deferred[Message] = Deferred()

    def startProtocol(self) -> None:
        transport = cast(IUDPTransport, self.transport)
        transport.connect(*self._server)  # the kernel now drops what others send
        transport.write(self._query.to_wire(), None)

    def datagramReceived(self, datagram: bytes, addr: object) -> None:
        message = _answer_in(datagram, self._query)
        if message is not None and not self.answered.called:
            self.answered.callback(message)

    def connectionRefused(self) -> None:
        if not self.answered.called:
            self.answered.errback(_NoAnswer("connection refused"))


class _StreamQuestion(Protocol):
    """A question over TCP: a length of two octets, then the message. RFC 1035 s4.2.2."""

    def __init__(self, query: QueryMessage) -> None:
        self._query = query
        self._received = b""
        self.answered: Deferred[Message] = Deferred()

    def connectionMade(self) -> None:
        wire = self._query.to_wire()
        cast(ITransport, self.transport).write(len(wire).to_bytes(2, "big") + wire)

    def dataReceived(self, data: bytes) -> None:
        self._received += data
        length = int.from_bytes(self._received[:2], "big")
        if len(self._received) < 2 or len(self._received) < 2 + length or self.answered.called:
            return
        message = _answer_in(self._received[2 : 2 + length], self._query)
        if message is None:
            self.answered.errback(_NoAnswer("malformed answer"))
        else:
            self.answered.callback(message)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]  # Twisted's default
        if not self.answered.called:
            self.answered.errback(_NoAnswer("connection closed"))


def _answer_in(octets: bytes, query: QueryMessage) -> Message | None:
    """Return a parsed message; None if it does not answer our question."""
    try:
        message = dns.message.from_wire(octets)
        return message if query.is_response(message) else None
    except Exception:  # of the parser, which reads octets of strangers: this is no answer
        return None


def _soa_ttl(message: Message) -> float:
    """Return how long a negative answer is cached; 0 without an SOA. RFC 2308 s3, s5."""
    ttls = [
        min(rrset.ttl, rrset[0].minimum)
        for rrset in message.authority
        if rrset.rdtype == RdataType.SOA
    ]
    return float(min(ttls, default=0))


def _no_such(name: str) -> Refusal:
    return Refusal(reply(550, "5.1.2", f"The domain {name} does not exist"))
