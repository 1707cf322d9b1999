"""What the settings choose of TLS: plain values."""

from dataclasses import dataclass
from enum import Enum


class Profile(Enum):
    """The versions and suites of TLS that a listener offers, by the age of its clients."""

    COMPATIBLE = "compatible"
    INTERMEDIATE = "intermediate"
    MODERN = "modern"


class ClientCertificates(Enum):
    """Whether a listener requests client certificates."""

    NONE = "none"
    ASK = "ask"
    NEED = "need"


@dataclass(frozen=True, slots=True)
class ListenerPolicy:
    """The TLS policy of one listener.

    Attributes:
        name: unique among the listeners.
        client_certificates: whether it wants them.
        profile: versions and suites.
    """

    name: str
    client_certificates: ClientCertificates = ClientCertificates.NONE
    profile: Profile = Profile.INTERMEDIATE
