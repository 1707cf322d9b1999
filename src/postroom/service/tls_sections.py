"""The settings of TLS and of certificates."""

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field

from postroom.certificates.model import ClientCertificates, Profile
from postroom.errors import UserError
from postroom.service.declarations import (
    AbsolutePath,
    Allowed,
    DomainNames,
    Extra,
    Listen,
    Section,
    Strings,
    setting,
)

LETS_ENCRYPT: Final = "https://acme-v02.api.letsencrypt.org/directory"


class CertificateFiles(Section):
    """A certificate and its key."""

    certificate: AbsolutePath
    key: AbsolutePath


def _as_tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


FurtherCertificates = Annotated[
    tuple[CertificateFiles, ...],
    BeforeValidator(_as_tuple),
    Allowed("tables [[tls.sni]] of certificate and key, both paths"),
]


def _acme_url(value: object) -> object:
    if isinstance(value, str) and not value.startswith("https://"):
        raise ValueError("not an https: address")
    return value


class ACMESection(Section):
    """Certificates from an ACME server such as Let's Encrypt."""

    domains: DomainNames = setting(
        (),
        """The names that the certificate is for; with one, Postroom orders a certificate and
        renews it. Needs the extra "acme".""",
        extra=Extra(example=["mx.example.org"], rfc="RFC 8555 s7.4"),
    )
    agree_to_terms: bool = setting(
        False,
        "That you agree to the terms of service of the ACME server; it asks for that.",
        extra=Extra(example=True, shown_default="false"),
    )
    directory: Annotated[str, BeforeValidator(_acme_url), Allowed('an "https://" address')] = (
        setting(
            LETS_ENCRYPT,
            "The directory of the ACME server.",
            extra=Extra(rfc="RFC 8555 s7.1.1"),
        )
    )
    contact: Strings = setting(
        (),
        "Mail addresses at which the ACME server may reach you.",
        extra=Extra(example=["postmaster@example.org"]),
    )
    ca_file: AbsolutePath | None = setting(
        None,
        "Certificates (PEM) that the ACME server is checked by, for a private one.",
        extra=Extra(example="/etc/ssl/private-acme.pem"),
    )
    challenge: Literal["http-01", "tls-alpn-01"] = setting(
        "http-01",
        """How the ACME server is shown that the names are ours: "http-01" at port 80,
        "tls-alpn-01" at port 443, where one of the listeners with TLS must be reached.""",
        extra=Extra(rfc="RFC 8555 s8.3; RFC 8737 s3"),
    )
    http_listen: str = setting(
        "tcp:80",
        "Where http-01 is answered: a Twisted endpoint that the ACME server reaches at port 80.",
    )


class TLSSection(Section):
    """Certificates, and who is spoken TLS with."""

    certificate: AbsolutePath | None = setting(
        None,
        """The PEM file of the server's certificate, its chain below it. Without it Postroom makes
        a self-signed one in the state directory.""",
        extra=Extra(option="tls-certificate", example="/etc/ssl/mail/fullchain.pem"),
    )
    key: AbsolutePath | None = setting(
        None,
        "The PEM file of the certificate's private key, not encrypted.",
        extra=Extra(option="tls-key", example="/etc/ssl/mail/privkey.pem"),
    )
    sni: FurtherCertificates = setting(
        (),
        """Further certificates, shown to clients that ask for one of their names. Of two for one
        name, with keys of RSA and of ECDSA, each client is shown the one that it can verify, the
        one of ECDSA if it can verify both.""",
        extra=Extra(
            example=[
                {
                    "certificate": "/etc/ssl/other/fullchain.pem",
                    "key": "/etc/ssl/other/privkey.pem",
                }
            ],
            rfc="RFC 6066 s3",
        ),
    )
    profile: Profile = setting(
        Profile.INTERMEDIATE,
        """What listeners of the role submission speak, by Mozilla's names: "intermediate" is TLS
        1.2 and 1.3, "modern" is TLS 1.3 alone. "compatible" is "intermediate" and more suites of
        TLS 1.2, for old hosts: CBC, and exchange of keys by RSA.""",
        extra=Extra(rfc="RFC 9325 s3.1.1"),
    )
    mx_profile: Profile | None = setting(
        None,
        """What listeners of the roles mx and lmtp speak, as in tls.profile. Hosts that find no
        suite there send in clear text.""",
        extra=Extra(
            example="intermediate",
            shown_default='"compatible", but "modern" where tls.profile is',
            rfc="RFC 7435 s3; RFC 9325 s1.1",
        ),
    )
    client_ca: AbsolutePath | None = setting(
        None,
        """Certificates (PEM) of the authorities that sign those of clients, for listeners that ask
        for them.""",
        extra=Extra(example="/etc/ssl/mail/clients-ca.pem"),
    )
    watch_seconds: float = setting(
        10.0,
        "How often the files are looked at; new ones are used at once. SIGHUP looks at once.",
        ge=1,
        le=86_400,
    )
    acme: ACMESection = Field(default_factory=ACMESection)

    def profile_of(self, role: str) -> Profile:
        """Return the profile of the listeners of a role."""
        if role == "submission":
            return self.profile
        if self.mx_profile is not None:
            return self.mx_profile
        return Profile.MODERN if self.profile is Profile.MODERN else Profile.COMPATIBLE


def check_tls(tls: TLSSection, listen: Sequence[Listen], source: str) -> None:
    """Check what no single setting shows.

    Raises:
        UserError: one line for each error.
    """
    errors = list(_contradictions(tls, listen))
    if errors:
        raise UserError("\n".join(f"{source}: {error}" for error in errors))


def _contradictions(tls: TLSSection, listen: Sequence[Listen]) -> Any:
    if (tls.certificate is None) != (tls.key is None):
        yield "tls.certificate and tls.key come together; one is missing"
    for each in listen:
        wants = each.client_certificates is not ClientCertificates.NONE
        if wants and tls.client_ca is None:
            yield f"listen {each}: set tls.client_ca, which says who may sign the certificates"
    if tls.acme.domains and not tls.acme.agree_to_terms:
        yield (
            "tls.acme.agree_to_terms: the ACME server takes no order from whoever does not agree to"
            " its terms; read them, and set this to true"
        )
