"""The settings of certificates, and of TLS with clients."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from postroom.certificates.model import ACMESettings, ClientCertificates, Profile
from postroom.errors import UserError
from postroom.service.listen import Listen
from postroom.settings.declaring import setting, table
from postroom.settings.values import FilePath


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """A certificate and its key."""

    certificate: FilePath
    key: FilePath


@dataclass(frozen=True, slots=True)
class TLSSection:
    """Certificates, and TLS with clients."""

    certificate: FilePath | None = setting(
        None,
        """The PEM file of the server's certificate, its chain below it. Without it Postroom makes
        a self-signed one in the state directory.""",
        option="tls-certificate",
        example="/etc/ssl/mail/fullchain.pem",
    )
    key: FilePath | None = setting(
        None,
        "The PEM file of the certificate's private key, not encrypted.",
        option="tls-key",
        example="/etc/ssl/mail/privkey.pem",
    )
    sni: Sequence[CertificateFiles] = setting(
        (),
        """Further certificates, shown to clients that ask for one of their names. Of two for one
        name, with keys of RSA and of ECDSA, each client is shown the one that it can verify, the
        one of ECDSA if it can verify both.""",
        example=[
            {"certificate": "/etc/ssl/other/fullchain.pem", "key": "/etc/ssl/other/privkey.pem"}
        ],
        allowed="tables [[tls.sni]] of certificate and key, both paths",
        rfc="RFC 6066 s3",
    )
    profile: Profile = setting(
        Profile.INTERMEDIATE,
        """What listeners of the role submission speak, by Mozilla's names: "intermediate" is TLS
        1.2 and 1.3, "modern" is TLS 1.3 alone. "compatible" is "intermediate" and more suites of
        TLS 1.2, for old hosts: CBC, and exchange of keys by RSA.""",
        rfc="RFC 9325 s3.1.1",
    )
    mx_profile: Profile | None = setting(
        None,
        """What listeners of the roles mx and lmtp speak, as in tls.profile. Hosts that find no
        suite there send in clear text.""",
        example="intermediate",
        shown_default='"compatible", but "modern" where tls.profile is',
        rfc="RFC 7435 s3; RFC 9325 s1.1",
    )
    client_ca: FilePath | None = setting(
        None,
        """Certificates (PEM) of the authorities that sign those of clients, for listeners that ask
        for them.""",
        example="/etc/ssl/mail/clients-ca.pem",
    )
    watch_seconds: float = setting(
        10.0,
        """How often the files of certificates are checked for changes; new ones are used at once.
        SIGHUP checks at once.""",
        within=(1, 86_400),
    )
    acme: ACMESettings = table(ACMESettings)

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


def _contradictions(tls: TLSSection, listen: Sequence[Listen]) -> Iterator[str]:
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
