"""The OpenSSL contexts of the server: profile, certificates, client certificates, tickets.

Two profiles are Mozilla's. "intermediate" speaks TLS 1.2 and 1.3 with forward secrecy and
authenticated encryption only. Its DHE suites are left out: they want parameters, and no client that
knows TLS 1.2 lacks ECDHE. "modern" is TLS 1.3 alone.

The third profile, "compatible", is for peers that would send in clear text if they shared no suite
with us. To "intermediate" it adds what hosts with TLS 1.2 have that lack ECDHE with GCM, such as
Windows Server 2012 towards a certificate with an RSA key: first ECDHE with CBC, then the exchange
of keys by RSA. It has no suite without encryption or authentication, and none with RC4 or 3DES.

Mozilla leaves the order of suites to the client. Here it is ours, because scanners report the other
as a flaw. A client that puts ChaCha20 first, since it lacks hardware for AES, gets it. Among suites
that are equally good those for ECDSA come first. Compression and renegotiation are off.

Each listener has its own contexts, one for each set of certificates that a name can select
(`postroom.certificates.choice`). OpenSSL makes the keys of session tickets per context, and checks
a ticket with the context in which a connection started. So a ticket of one listener is invalid at
another, whose policy may differ. Two kinds of listeners issue no tickets at all. One requests
client certificates: a resumed session would show none. The other has several certificates for one
name: OpenSSL does not record which of them a session used, and a login may be bound to that
certificate (RFC 5929 s4.1).

The choice is made by the name that the client asks for (SNI). Malformed names are treated like
unknown ones; OpenSSL itself ends a handshake whose name has a NUL or more than 255 octets.

A client that names protocols (ALPN) must name SMTP among them. Otherwise it is probably an HTTP
client that was redirected by an attacker (ALPACA), and the handshake ends. There is no registered
name; those of Exim are taken.

Who controls the input: the peer, all of its ClientHello; OpenSSL reads it.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cryptography import x509
from OpenSSL import SSL, crypto
from OpenSSL._util import lib  # pyOpenSSL has no call of its own for the groups of key exchange
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from postroom.certificates.choice import Choice, choose_by_name, choose_for_unknown, wildcard_of
from postroom.certificates.identity import Identity
from postroom.certificates.model import ClientCertificates, ListenerPolicy, Profile

_INTERMEDIATE: Final = (
    b"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:"
    b"ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384:ECDHE-RSA-CHACHA20-POLY1305"
)
_OLDER: Final = (
    b"ECDHE-ECDSA-AES128-SHA256:ECDHE-ECDSA-AES256-SHA384:"
    b"ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA:"
    b"ECDHE-RSA-AES128-SHA256:ECDHE-RSA-AES256-SHA384:ECDHE-RSA-AES128-SHA:ECDHE-RSA-AES256-SHA:"
    b"AES128-GCM-SHA256:AES256-GCM-SHA384:AES128-SHA256:AES256-SHA256:AES128-SHA:AES256-SHA"
)
SUITES_1_2: Final = {
    Profile.COMPATIBLE: _INTERMEDIATE + b":" + _OLDER,
    Profile.INTERMEDIATE: _INTERMEDIATE,
    Profile.MODERN: _INTERMEDIATE,  # OpenSSL wants some even where TLS 1.2 is never spoken
}
SUITES_1_3: Final = b"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
# Where OpenSSL knows the first, it keeps what is recorded today from the computers of tomorrow.
GROUPS: Final = (b"X25519MLKEM768:X25519:prime256v1:secp384r1", b"X25519:prime256v1:secp384r1")
_OP_PRIORITIZE_CHACHA: Final = 1 << 21  # SSL_OP_PRIORITIZE_CHACHA, which pyOpenSSL does not name
SMTP_PROTOCOLS: Final = frozenset({b"smtp", b"esmtp"})
ACME_PROTOCOL: Final = b"acme-tls/1"


@dataclass(frozen=True, slots=True)
class Material:
    """The certificates and authorities that all listeners share.

    Attributes:
        identities: at least one; the first is for clients that ask for no name or an unknown one.
        authorities: who may sign clients' certificates.
    """

    identities: Sequence[Identity]
    authorities: Sequence[x509.Certificate] = ()


ChallengeFinder = Callable[[str], Identity | None]
"""Gives the certificate that answers an ACME challenge for a name, if one is under way."""


class ServerConnection(SSL.Connection):
    """The server's end of a TLS connection.

    Attributes:
        client_flawed: the client showed a certificate that could not be verified.
    """

    client_flawed = False

    @property
    def client_verified(self) -> bool:
        """True if the client showed a certificate of an authority that we trust."""
        return not self.client_flawed and self.get_peer_certificate() is not None


class NoCommonProtocol(SSL.Error):
    """The client names none of our protocols (ALPN)."""

    def __init__(self) -> None:
        """Create an error that looks like one of OpenSSL."""
        super().__init__([("ALPN", "", "no application protocol in common")])


class _Contexts:
    """The OpenSSL contexts of one listener, by host name."""

    def __init__(self, material: Material, policy: ListenerPolicy, find: ChallengeFinder) -> None:
        self._find_challenge = find
        made: dict[tuple[int, ...], SSL.Context] = {}

        def context_of(choice: Choice) -> SSL.Context:
            key = tuple(map(id, choice))
            if key not in made:
                made[key] = self._make(choice, material, policy)
            return made[key]

        self.first = context_of(choose_for_unknown(material.identities))
        self._by_name = {
            name: context_of(choice) for name, choice in choose_by_name(material.identities).items()
        }
        self.first.set_tlsext_servername_callback(self._choose_certificate)
        if any(len(choice) > 1 for choice in made):
            self.first.set_options(SSL.OP_NO_TICKET)

    def _make(self, choice: Choice, material: Material, policy: ListenerPolicy) -> SSL.Context:
        context = make_context(policy.profile)
        for identity in choice:
            identity.put_into(context, alone=len(choice) == 1)
        context.set_session_id(hashlib.sha256(policy.name.encode()).digest())
        context.set_alpn_select_callback(self._choose_protocol)
        if policy.client_certificates is not ClientCertificates.NONE:
            _want_client_certificates(context, policy.client_certificates, material.authorities)
        return context

    def _choose_certificate(self, connection: SSL.Connection) -> None:
        asked = connection.get_servername()
        if asked is not None:
            context = self._find(asked.decode("ascii", "replace").lower().rstrip("."))
            if context is not None and context is not self.first:
                connection.set_context(context)

    def _find(self, name: str) -> SSL.Context | None:
        return self._by_name.get(name) or self._by_name.get(wildcard_of(name))

    def _choose_protocol(self, connection: SSL.Connection, offered: list[bytes]) -> Any:
        for protocol in offered:
            if protocol in SMTP_PROTOCOLS:
                return protocol
        if ACME_PROTOCOL in offered:
            name = (connection.get_servername() or b"").decode("ascii", "replace").lower()
            challenge = self._find_challenge(name)
            # Up to TLS 1.2 OpenSSL has chosen by now. Authorities speak TLS 1.3.
            if challenge is not None:
                connection.use_certificate(crypto.X509.from_cryptography(challenge.chain[0]))
                connection.use_privatekey(
                    crypto.PKey.from_cryptography_key(challenge.key)  # type: ignore[arg-type]
                )
                return ACME_PROTOCOL
        raise NoCommonProtocol


@implementer(IOpenSSLServerConnectionCreator)
class ListenerTLS:
    """Makes the TLS connections of one listener, with the current certificates."""

    def __init__(self, policy: ListenerPolicy, find_challenge: ChallengeFinder) -> None:
        """Store the listener's policy; `prepare` and `use` must follow."""
        self._policy = policy
        self._find_challenge = find_challenge
        self._contexts: _Contexts | None = None

    def prepare(self, material: Material) -> _Contexts:
        """Build the contexts for new certificates. May run in any thread.

        Raises:
            UserError: OpenSSL will not have one of them.
        """
        return _Contexts(material, self._policy, self._find_challenge)

    def use(self, contexts: _Contexts) -> None:
        """Serve these from the next connection on; those that stand keep theirs."""
        self._contexts = contexts

    def serverConnectionForTLS(
        self,
        tlsProtocol: TLSMemoryBIOProtocol,  # noqa: N803  # so it is called
    ) -> SSL.Connection:
        """Return a new connection; Twisted calls this."""
        assert self._contexts is not None  # prepared before anything listens
        return ServerConnection(self._contexts.first, None)


def make_context(profile: Profile) -> SSL.Context:
    """Make a server's context without a certificate.

    RFC 9325 s3.1.1, s3.3, s4.2
    """
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    is_modern = profile is Profile.MODERN
    context.set_min_proto_version(SSL.TLS1_3_VERSION if is_modern else SSL.TLS1_2_VERSION)
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
    context.set_options(SSL.OP_CIPHER_SERVER_PREFERENCE | _OP_PRIORITIZE_CHACHA)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)  # thousands of connections are idle
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)  # tickets need none
    context.set_cipher_list(SUITES_1_2[profile])
    context.set_tls13_ciphersuites(SUITES_1_3)
    any(lib.SSL_CTX_set1_curves_list(context._context, groups) for groups in GROUPS)
    return context


def _want_client_certificates(
    context: SSL.Context, wish: ClientCertificates, authorities: Sequence[x509.Certificate]
) -> None:
    """Request client certificates of these authorities.

    Where they are only asked for, a certificate that cannot be verified does not end the handshake,
    it counts as none.
    """
    trusted = [crypto.X509.from_cryptography(item) for item in authorities]
    store = context.get_cert_store()
    assert store is not None  # a context's own
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)  # one in the middle may be meant
    for authority in trusted:
        store.add_cert(authority)
    context.set_client_ca_list([authority.get_subject() for authority in trusted])
    context.set_options(SSL.OP_NO_TICKET)

    def check(connection: SSL.Connection, _: object, error: int, depth: int, good: int) -> bool:
        if not good:
            connection.client_flawed = True  # type: ignore[attr-defined]  # one of ours
        return bool(good) or wish is ClientCertificates.ASK

    needed = SSL.VERIFY_FAIL_IF_NO_PEER_CERT if wish is ClientCertificates.NEED else 0
    context.set_verify(SSL.VERIFY_PEER | needed, check)
