"""What the settings choose of TLS and of certificates: plain values."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Final, Literal

from postroom.settings.declaring import setting
from postroom.settings.values import DomainNames, FilePath, Parsed

HTTP_01: Final = "http-01"
TLS_ALPN_01: Final = "tls-alpn-01"
LETS_ENCRYPT: Final = "https://acme-v02.api.letsencrypt.org/directory"


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


def parse_https(text: str) -> str:
    """Check an ``https:`` address; returns it.

    Raises:
        ValueError: it begins differently.
    """
    if not text.startswith("https://"):
        raise ValueError("not an https: address")
    return text


HTTPSAddress = Annotated[str, Parsed(parse_https, 'an "https://" address')]


@dataclass(frozen=True, slots=True)
class ACMESettings:
    """Certificates from an ACME server such as Let's Encrypt.

    Attributes:
        folder: where account and certificate are kept; made if it is missing.
    """

    directory: HTTPSAddress = setting(
        LETS_ENCRYPT, "The directory of the ACME server.", rfc="RFC 8555 s7.1.1"
    )
    domains: DomainNames = setting(
        (),
        """The names that the certificate is for. With one, Postroom orders a certificate and renews
        it. Needs the extra "acme".""",
        example=["mx.example.org"],
        rfc="RFC 8555 s7.4",
    )
    folder: Path = Path("acme")
    contact: Sequence[str] = setting(
        (),
        "Mail addresses at which the ACME server may reach you.",
        example=["postmaster@example.org"],
    )
    ca_file: FilePath | None = setting(
        None,
        "Certificates (PEM) that the ACME server is checked by, for a private one.",
        example="/etc/ssl/private-acme.pem",
    )
    challenge: Literal["http-01", "tls-alpn-01"] = setting(
        HTTP_01,
        """How the ACME server is shown that the names are ours: "http-01" at port 80,
        "tls-alpn-01" at port 443, where one of the listeners with TLS must be reached.""",
        rfc="RFC 8555 s8.3; RFC 8737 s3",
    )
    agree_to_terms: bool = setting(
        False,
        "Whether you agree to the terms of service of the ACME server, which it demands.",
        example=True,
        shown_default="false",
    )
    http_listen: str = setting(
        "tcp:80",
        "Where http-01 is answered: a Twisted endpoint that the ACME server reaches at port 80.",
    )

    @property
    def certificate(self) -> Path:
        """The file of key and certificate."""
        return self.folder / "certificate.pem"

    @property
    def account_key(self) -> Path:
        """The file of the account's key."""
        return self.folder / "account.pem"
