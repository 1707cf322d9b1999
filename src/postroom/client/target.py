"""Where a connection goes, and on which terms."""

from dataclasses import dataclass
from ipaddress import ip_address

from postroom.client.model import SmartHost, TLSMode


@dataclass(frozen=True, slots=True)
class Target:
    """One address of one host.

    Attributes:
        name: the host's name, which its certificate is checked against; the address if it has no
            name.
        address: the IP address that is connected to, as text.
        port: 1 to 65535.
    """

    name: str
    address: str
    port: int

    @property
    def loopback(self) -> bool:
        """True if no network lies between us and the host."""
        return ip_address(self.address).is_loopback

    def __str__(self) -> str:
        """Give ``host[address]:port``, as logs and replies show it."""
        return f"{self.name}[{self.address}]:{self.port}"


@dataclass(frozen=True, slots=True)
class Policy:
    """On which terms a host is spoken to.

    Attributes:
        tls: the mode.
        user: to log in with; None for no AUTH.
        password: with the user.
    """

    tls: TLSMode
    user: str | None = None
    password: str | None = None


def policy_of(smarthost: SmartHost | None, tls: TLSMode) -> Policy:
    """Give a smarthost's own policy, or the one for hosts found by MX."""
    if smarthost is None:
        return Policy(tls)
    return Policy(smarthost.tls, smarthost.user, smarthost.password)
