"""Which addresses an MX may point to.

Whoever owns a domain chooses what its MX records say. Without a check they could have us connect to
ports of our own network and speak SMTP to them, so every address that is not plainly out on the
Internet is refused: also those that hold an IPv4 address which somebody on the way would unwrap
(IPv4-mapped and -compatible, NAT64, 6to4, Teredo). The check is on the very address that is
connected to; no name is looked up between check and connection.

Who controls the input: the DNS of the recipient's domain, or the sender with an address literal.
"""

from collections.abc import Iterable
from ipaddress import ip_address, ip_network
from typing import Final

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
    """Tell whether an address found by DNS may be connected to.

    Args:
        address: an IP address as text; with a zone (``%eth0``) or malformed, it may not.
        allowed: networks that the settings make an exception for.

    RFC 5735 s4; RFC 6890 s2.2
    """
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    if "%" in address:
        return False
    return any(ip in network for network in allowed) or not any(
        ip in network for network in _FORBIDDEN
    )
