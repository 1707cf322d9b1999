"""What the settings choose of TLS: plain values."""

from dataclasses import dataclass
from enum import Enum


class Profile(Enum):
    """How old a client may be."""

    COMPATIBLE = "compatible"
    INTERMEDIATE = "intermediate"
    MODERN = "modern"


class ClientCertificates(Enum):
    """Whether a listener wants clients to show certificates."""

    NONE = "none"
    ASK = "ask"
    NEED = "need"


@dataclass(frozen=True, slots=True)
class ListenerPolicy:
    """What is a listener's own.

    Attributes:
        name: tells it from all others.
        client_certificates: whether it wants them.
        profile: versions and suites.
    """

    name: str
    client_certificates: ClientCertificates = ClientCertificates.NONE
    profile: Profile = Profile.INTERMEDIATE
