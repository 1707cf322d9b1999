"""The networks that an MX must not point to.

The owner of a domain chooses its MX records. Without a check the owner could make us connect to
ports within our own network. So every address that is not public is refused, and also those that
hold an IPv4 address which some router would unwrap (IPv4-mapped and -compatible, NAT64, 6to4,
Teredo). The address that is checked is the one that is connected to; no name is looked up in
between.

Who controls the input: the DNS of the recipient's domain, or the sender with an address literal.
"""

from collections.abc import Iterable
from ipaddress import ip_address, ip_network
from typing import Final

from postroom.networks import in_networks
from postroom.settings.values import Network

_FORBIDDEN: Final[tuple[Network, ...]] = tuple(
    ip_network(each)
    for each in (
        "0.0.0.0/8",  # this host
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carriers' NAT
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local, and the metadata service of clouds
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
        "::/96",  # unspecified, loopback, IPv4-compatible
        "::ffff:0:0/96",  # IPv4-mapped
        "::ffff:0:0:0/96",  # IPv4-translated
        "64:ff9b::/96",  # NAT64
        "64:ff9b:1::/48",  # local NAT64
        "100::/64",  # discard
        "2001::/32",  # Teredo
        "2002::/16",  # 6to4
        "fc00::/7",  # private
        "fe80::/10",  # link-local
        "fec0::/10",  # site-local
        "ff00::/8",  # multicast
    )
)


def may_connect(address: str, allowed: Iterable[Network]) -> bool:
    """Return whether an address found by DNS may be connected to.

    Args:
        address: an IP address as text. It may not if it has a zone (``%eth0``) or is malformed.
        allowed: exceptions by the settings.

    RFC 5735 s4; RFC 6890 s2.2
    """
    try:
        ip_address(address)
    except ValueError:
        return False
    if "%" in address:
        return False
    return in_networks(address, tuple(allowed)) or not in_networks(address, _FORBIDDEN)
