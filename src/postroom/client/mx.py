"""The choice of hosts and addresses for a destination, in the order in which they are tried.

    smarthost              its addresses, without restriction
    [192.0.2.1]            that address
    domain with MX         the hosts by preference, equal ones in random order; their addresses
    domain without MX      its own addresses

A host of the MX list that is this host ends the list: it and all hosts of the same or a higher
preference number are dropped, or mail would go round in a loop (RFC 5321 s5.1). The address
families of a host take turns, IPv4 first, in random order within a family: many sites are stricter
with IPv6, none with IPv4.

The numbers of hosts and addresses are limited, because strangers make the answers: see
`ClientSettings`.

Who controls the input: the sender chooses the domain, its owner the answers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import groupby, zip_longest
from random import Random
from typing import cast

from twisted.internet.defer import DeferredList
from twisted.python.failure import Failure

from postroom.client.failures import reply_of
from postroom.client.forbidden_networks import may_connect
from postroom.client.model import Destination, SmartHost
from postroom.client.settings import ClientSettings
from postroom.client.target import Target
from postroom.errors import Refusal
from postroom.interfaces import IResolver
from postroom.wire.replies import Reply, reply

NULL_MX = reply(556, "5.1.10", "The recipient's domain does not accept mail (null MX)")
LOOP = reply(554, "5.4.6", "Mail for this domain loops back to us: its best MX is this host")
BAD_LITERAL = reply(550, "5.1.2", "The address literal of the recipient is of an unknown kind")


@dataclass(frozen=True, slots=True)
class _Found:
    """The addresses of a host, or the reply that explains why there are none."""

    addresses: Sequence[str]
    refusal: Reply | None = None


class HostFinder:
    """Finds the addresses of a destination's hosts."""

    def __init__(self, resolver: IResolver, settings: ClientSettings, random: Random) -> None:
        """Store the resolver, the settings, and the source of random order."""
        self._resolver = resolver
        self._settings = settings
        self._random = random
        self._own_names = {_plain(name) for name in (*settings.own_names, settings.hostname)}

    async def find(self, destination: Destination) -> Sequence[Target]:
        """Return the addresses to try, best first, at least one.

        Raises:
            Refusal: 556 5.1.10, null MX; 550 5.1.2, no such domain; 554 5.4.6, a loop; 550 5.4.4,
                no address, or none that may be connected to; 451 4.4.3, no answer from DNS.

        RFC 5321 s5.1, s5.2; RFC 7505 s3
        """
        if destination.smarthost is not None:
            return await self._smarthost(destination.smarthost)
        domain = destination.domain
        if domain.startswith("["):
            return self._allowed(domain, [_literal(domain)])
        records = await self._resolver.lookup_mx(domain)
        if not records:
            addresses = await self._resolver.lookup_addresses(domain)
            return self._allowed(domain, self._alternating(addresses))
        return await self._exchanges(domain, records)

    async def _smarthost(self, smarthost: SmartHost) -> Sequence[Target]:
        """Return the addresses of a smarthost; any will do, since the administrator chose it."""
        if smarthost.path is not None:
            return [Target("localhost", smarthost.path, 0)]
        try:
            addresses: Sequence[str] = [str(ip_address(smarthost.host))]
        except ValueError:
            found = await self._addresses_of(smarthost.host)
            if not found.addresses:
                # Never permanent: the settings or the resolver are at fault, not the message.
                why = str(found.refusal) if found.refusal else "it has no address"
                text = f"The relay host {smarthost.host} cannot be found: {why}"
                raise Refusal(reply(451, "4.4.4", text)) from None
            addresses = self._alternating(found.addresses)
        return [Target(smarthost.host, each, smarthost.port) for each in addresses]

    async def _exchanges(self, domain: str, records: Sequence[tuple[int, str]]) -> Sequence[Target]:
        plain = [(preference, _plain(exchange)) for preference, exchange in records]
        named = [(preference, exchange) for preference, exchange in plain if exchange]
        if not named:
            raise Refusal(NULL_MX)
        hosts = self._sorted(named)[: self._settings.hosts_per_domain]
        found = await self._look_up([exchange for _, exchange in hosts])
        own = [
            preference
            for (preference, exchange), each in zip(hosts, found, strict=True)
            if self._is_ours(exchange, each.addresses)
        ]
        # Hosts of the same preference are dropped, too: they would pass the message back to us.
        pairs = [
            (exchange, each)
            for (preference, exchange), each in zip(hosts, found, strict=True)
            if not own or preference < min(own)
        ]
        if not pairs:
            raise Refusal(LOOP)
        targets = [
            Target(exchange, address, self._settings.port)
            for exchange, each in pairs
            for address in self._alternating(each.addresses)
            if may_connect(address, self._settings.allowed_networks)
        ]
        if not targets:
            raise Refusal(_why_none(domain, [each for _, each in pairs]))
        return targets

    def _sorted(self, records: Sequence[tuple[int, str]]) -> list[tuple[int, str]]:
        """Return records by preference, equal ones in random order, each host once."""
        ordered: dict[str, tuple[int, str]] = {}
        for _, group in groupby(sorted(records), key=lambda record: record[0]):
            equals = list(group)
            self._random.shuffle(equals)
            for record in equals:
                ordered.setdefault(record[1], record)
        return list(ordered.values())

    def _alternating(self, addresses: Sequence[str]) -> list[str]:
        """Return addresses so that the families take turns, in random order within each."""
        shuffled = list(dict.fromkeys(addresses))
        self._random.shuffle(shuffled)
        ipv4 = [address for address in shuffled if ":" not in address]
        ipv6 = [address for address in shuffled if ":" in address]
        turns = [each for pair in zip_longest(ipv4, ipv6) for each in pair if each is not None]
        return turns[: self._settings.addresses_per_host]

    async def _look_up(self, hosts: Sequence[str]) -> Sequence[_Found]:
        """Return the addresses of several hosts, which are looked up at the same time."""
        results = await DeferredList(
            [self._resolver.lookup_addresses(host) for host in hosts], consumeErrors=True
        )
        return [
            _Found(result) if success else _Found((), reply_of(cast(Failure, result)))
            for success, result in results
        ]

    async def _addresses_of(self, host: str) -> _Found:
        return (await self._look_up([host]))[0]

    def _is_ours(self, exchange: str, addresses: Sequence[str]) -> bool:
        return exchange in self._own_names or not self._settings.own_addresses.isdisjoint(addresses)

    def _allowed(self, domain: str, addresses: Sequence[str]) -> Sequence[Target]:
        """Return the targets of a domain that is its own host."""
        if self._is_ours(domain, addresses):
            raise Refusal(LOOP)
        targets = [
            Target(domain.strip("[]"), address, self._settings.port)
            for address in addresses
            if may_connect(address, self._settings.allowed_networks)
        ]
        if not targets:
            raise Refusal(_why_none(domain, [_Found(addresses)]))
        return targets


def _plain(name: str) -> str:
    """Return a host's name in the one form in which names are compared.

    RFC 1035 s2.3.3, s3.1
    """
    return name.lower().removesuffix(".")


def _literal(domain: str) -> str:
    """Parse an address literal. RFC 5321 s4.1.3."""
    inner = domain[1:-1]
    try:
        return str(ip_address(inner[5:] if inner.lower().startswith("ipv6:") else inner))
    except ValueError:
        raise Refusal(BAD_LITERAL) from None


def _why_none(domain: str, found: Sequence[_Found]) -> Reply:
    """Return the reply if no address is left; temporary if that may change."""
    temporary = [each.refusal for each in found if each.refusal and each.refusal.temporary]
    if temporary:
        return temporary[0]
    if any(each.addresses for each in found):
        text = f"The mail hosts of {domain} have only addresses that are not on the Internet"
    else:
        text = f"The mail hosts of {domain} have no addresses"
    return reply(550, "5.4.4", text)
