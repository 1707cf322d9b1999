"""The host that a connection goes to, and the policy for it."""

from dataclasses import dataclass, replace
from ipaddress import ip_address

from postroom.client.model import Destination, TLSMode, TLSRequirement


@dataclass(frozen=True, slots=True)
class Target:
    """One address of one host.

    Attributes:
        name: the host's name, which its certificate must have; the address if it has no name.
        address: the IP address that is connected to, as text; a path for a UNIX socket.
        port: 1 to 65535; 0 for a UNIX socket.
    """

    name: str
    address: str
    port: int

    @property
    def loopback(self) -> bool:
        """True if no network lies between us and the host."""
        return self.port == 0 or ip_address(self.address).is_loopback

    def __str__(self) -> str:
        """Return ``host[address]:port``, as logs and replies show it."""
        return f"{self.name}[{self.address}]:{self.port}" if self.port else self.address


@dataclass(frozen=True, slots=True)
class Policy:
    """How a host is spoken to.

    Attributes:
        tls: the mode.
        user: to log in with; None for no AUTH.
        password: with the user.
        lmtp: True to speak LMTP.
        requiretls: True if the host must offer REQUIRETLS (RFC 8689 s4).
    """

    tls: TLSMode
    user: str | None = None
    password: str | None = None
    lmtp: bool = False
    requiretls: bool = False


def policy_of(destination: Destination, tls: TLSMode) -> Policy:
    """Return the policy for a destination.

    Args:
        destination: of the messages.
        tls: the mode for hosts found by MX.

    RFC 8689 s4.2.1, s4.2.2
    """
    smarthost = destination.smarthost
    policy = Policy(tls)
    if smarthost is not None:
        policy = Policy(smarthost.tls, smarthost.user, smarthost.password, smarthost.lmtp)
    if destination.tls_requirement is TLSRequirement.REQUIRED:
        mode = TLSMode.IMPLICIT if policy.tls is TLSMode.IMPLICIT else TLSMode.REQUIRED
        return replace(policy, tls=mode, requiretls=True)
    if destination.tls_requirement is TLSRequirement.OPTIONAL and policy.user is None:
        # With a login, TLS protects the password, too.
        optional = policy.tls is TLSMode.REQUIRED
        return replace(policy, tls=TLSMode.OPPORTUNISTIC) if optional else policy
    return policy
