"""The challenges by which an ACME server checks that names are ours, and their answers.

For http-01 a web server answers the current tokens and nothing else. For tls-alpn-01 a certificate
is shown to clients that name the protocol ``acme-tls/1``, and to no others
(`postroom.certificates.contexts` asks `Challenges.find` for it). Answers are put here by the thread
that runs an order, and looked up on the reactor's.

Who controls the input: anybody who can reach the ports. Nothing but exact tokens is answered.
"""

import datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.web.http import Request
from twisted.web.resource import Resource
from twisted.web.server import Site

from postroom.certificates.identity import Identity
from postroom.certificates.self_signed import sign

HTTP_PATH: Final = b"/.well-known/acme-challenge/"
_ACME_IDENTIFIER: Final = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")
_HTTP_SECONDS: Final = 10


class Challenges:
    """The challenges that are answered now."""

    def __init__(self) -> None:
        """Create the table, with no challenge in it."""
        self._http: dict[bytes, bytes] = {}
        self._tls: dict[str, Identity] = {}

    def answer_http(self, token: str, answer: str) -> None:
        """Store the answer to a token, for http-01."""
        self._http[token.encode("ascii")] = answer.encode("ascii")

    def answer_tls(self, name: str, digest: bytes) -> None:
        """Store a certificate with a digest for a name, for tls-alpn-01.

        Args:
            name: in lower case.
            digest: SHA-256 of the key authorization.
        """
        self._tls[name] = challenge_identity(name, digest)

    def find(self, name: str) -> Identity | None:
        """Return the challenge's certificate for a name, or None."""
        return self._tls.get(name)

    def find_http(self, token: bytes) -> bytes | None:
        """Return the answer to a token, or None."""
        return self._http.get(token)

    def clear(self) -> None:
        """Remove all answers."""
        self._http, self._tls = {}, {}


def challenge_identity(name: str, digest: bytes) -> Identity:
    """Make the certificate that answers tls-alpn-01.

    RFC 8737 s3
    """
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    # id-pe-acmeIdentifier holds Authorization ::= OCTET STRING (SIZE (32))
    extension = x509.UnrecognizedExtension(_ACME_IDENTIFIER, b"\x04\x20" + digest)
    until = now + datetime.timedelta(days=1)
    return Identity([sign(key, (name,), now, until, extension)], key, "tls-alpn-01")


class _ChallengeResource(Resource):
    """Answers the current tokens of http-01, and nothing else."""

    isLeaf = True

    def __init__(self, challenges: Challenges) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._challenges = challenges

    def render_GET(self, request: Request) -> bytes:
        path = request.path
        answer = None
        if path.startswith(HTTP_PATH):
            answer = self._challenges.find_http(path.removeprefix(HTTP_PATH))
        request.setHeader(b"content-type", b"application/octet-stream")
        if answer is None:
            request.setResponseCode(404)
            return b""
        return answer


def http_site(challenges: Challenges) -> Site:
    """Make the factory of the web server that answers http-01.

    RFC 8555 s8.3
    """
    site = Site(_ChallengeResource(challenges), timeout=_HTTP_SECONDS)
    site.displayTracebacks = False
    site.noisy = False
    return site
