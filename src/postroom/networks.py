"""Membership of IP addresses in networks.

Networks of the settings decide who may relay, log in without TLS, use XCLIENT and so on. The
question is asked of every connection and with many commands, always of the same few networks:
answers are cached.
"""

from functools import lru_cache
from ipaddress import ip_address

from postroom.settings.values import Network


def in_networks(address: str, networks: tuple[Network, ...]) -> bool:
    """Return whether an address lies in one of the networks.

    Args:
        address: an IP address as text; a zone (``%eth0``) is left out of account. What is no IP
            address, ``unix`` for instance, lies in no network.
        networks: those of one setting.
    """
    return bool(networks) and _in_networks(address, networks)


@lru_cache(maxsize=4096)
def _in_networks(address: str, networks: tuple[Network, ...]) -> bool:
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return any(ip in network for network in networks)
