"""Handshakes in memory, between contexts of ours and a client of the tests."""

import contextlib
from collections.abc import Callable
from typing import Any

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from OpenSSL import SSL

from postroom.certificates.contexts import ListenerTLS, Material
from postroom.certificates.identity import Identity
from postroom.certificates.model import ClientCertificates, ListenerPolicy, Profile


def serve(
    *identities: Identity,
    name: str = "mx=tcp:25",
    wish: ClientCertificates = ClientCertificates.NONE,
    profile: Profile = Profile.INTERMEDIATE,
    find: Callable[[str], Identity | None] = lambda _: None,
    **material: Any,
) -> ListenerTLS:
    """Make a listener's TLS with these certificates."""
    made = ListenerTLS(ListenerPolicy(name, wish, profile), find)
    made.use(made.prepare(Material(identities, **material)))
    return made


def identity_of(leaf: trustme.LeafCert, source: str = "test") -> Identity:
    """Make an identity of what trustme has issued."""
    chain = [x509.load_pem_x509_certificate(blob.bytes()) for blob in leaf.cert_chain_pems]
    key = serialization.load_pem_private_key(leaf.private_key_pem.bytes(), None)
    return Identity(chain, key, source)


def client_context(version: int | None = None) -> SSL.Context:
    """Make a client's context, of at most this version."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    if version is not None:
        context.set_max_proto_version(version)
    return context


def shake_hands(
    server: ListenerTLS,
    context: SSL.Context | None = None,
    *,
    name: bytes | None = None,
    session: SSL.Session | None = None,
) -> tuple[Any, SSL.Connection]:
    """Shake hands; give the server's end and the client's.

    Raises:
        SSL.Error: one of them will not.
    """
    client = SSL.Connection(context or client_context(), None)
    client.set_connect_state()
    if name is not None:
        client.set_tlsext_host_name(name)
    if session is not None:
        client.set_session(session)
    ours = server.serverConnectionForTLS(None)  # type: ignore[arg-type]  # it looks at none
    ours.set_accept_state()
    exchange(client, ours)
    return ours, client


def exchange(*ends: SSL.Connection) -> None:
    """Carry octets to and fro, and have both read, so that tickets are taken as well."""
    for _ in range(6):
        for here, there in (ends, ends[::-1]):
            with contextlib.suppress(SSL.WantReadError):
                here.do_handshake()
            with contextlib.suppress(SSL.WantReadError):
                there.bio_write(here.bio_read(65_536))
            with contextlib.suppress(SSL.WantReadError, SSL.ZeroReturnError):
                there.recv(1)
