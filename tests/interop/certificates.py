"""A certificate authority of our own, so that clients can verify what they talk to."""

from dataclasses import dataclass
from pathlib import Path

import trustme

HOST = "localhost"


@dataclass(frozen=True)
class Certificates:
    """PEM files.

    Attributes:
        authority: what verifies the certificate.
        certificate: for localhost and 127.0.0.1, its chain below it.
        key: the certificate's.
    """

    authority: Path
    certificate: Path
    key: Path

    @property
    def options(self) -> tuple[str, ...]:
        """The options that make the daemon show the certificate."""
        return ("--tls-certificate", str(self.certificate), "--tls-key", str(self.key))


def make_certificates(folder: Path) -> Certificates:
    """Make an authority and a server's certificate in a directory."""
    authority = trustme.CA()
    server = authority.issue_cert(HOST, "127.0.0.1")
    made = Certificates(folder / "ca.pem", folder / "cert.pem", folder / "key.pem")
    authority.cert_pem.write_to_path(made.authority)
    made.certificate.write_bytes(b"".join(blob.bytes() for blob in server.cert_chain_pems))
    server.private_key_pem.write_to_path(made.key)
    return made
