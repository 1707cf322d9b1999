"""The wire between our client and a scripted server, with real TLS where the script says so."""

import trustme
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IProtocol, IReactorTime
from twisted.internet.ssl import PrivateCertificate
from twisted.internet.testing import StringTransport
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol

from tests.client.parts import PeerTransport

AUTHORITY = trustme.CA()
_MOST = 1 << 16


class Wire(PeerTransport):
    """The client's transport, and what the server does at the other end.

    Attributes:
        asked: True from the client's STARTTLS until the server joins in: whatever else the server
            sends then is no TLS, and ends the connection.
    """

    def __init__(self, protocol: IProtocol, clock: IReactorTime) -> None:
        """Begin in clear text."""
        super().__init__(protocol)
        self.asked = False
        self._clock = clock
        self._creator: IOpenSSLClientConnectionCreator | None = None
        self._client: TLSMemoryBIOProtocol | None = None
        self._ciphertext = StringTransport()
        self._server: SSL.Connection | None = None

    def startTLS(self, context: IOpenSSLClientConnectionCreator, normal: bool = True) -> None:
        """The client asks for TLS."""
        self.asked = True
        self._creator = context

    def join(self, name: str) -> None:
        """Have the server negotiate, with a certificate of this name."""
        self.asked = False
        leaf = AUTHORITY.issue_cert(name).private_key_and_cert_chain_pem.bytes()
        self._server = SSL.Connection(PrivateCertificate.loadPEM(leaf).options().getContext(), None)
        self._server.set_accept_state()
        factory = TLSMemoryBIOFactory(self._creator, True, None, self._clock)
        self._client = TLSMemoryBIOProtocol(factory, self._protocol, False)
        self._client.makeConnection(self._ciphertext)
        while self._exchange():
            pass

    def getHandle(self) -> object:
        """Give what a TLS transport gives."""
        return self._client.getHandle() if self._client is not None else None

    def write(self, data: bytes) -> None:
        """Take what the client says."""
        if self._client is None:
            super().write(data)
        else:
            self._client.write(data)

    def hear(self, octets: bytes) -> None:
        """Have the client hear the server."""
        if self.asked:
            self.close()
        elif self._server is None:
            self._protocol.dataReceived(octets)
        else:
            self._server.send(octets)
            self._exchange()

    def said(self) -> bytes:
        """Give what the client has said since this was asked last, deciphered."""
        if self._server is not None:
            self._exchange()
        octets = self.value()
        self.clear()
        return octets

    def _exchange(self) -> bool:
        """Carry ciphertext to and fro; False when there was none."""
        assert self._server is not None
        assert self._client is not None
        ciphertext = self._ciphertext.value()
        self._ciphertext.clear()
        if ciphertext:
            self._server.bio_write(ciphertext)
        try:
            while octets := self._server.recv(_MOST):
                super().write(octets)
        except SSL.Error:  # nothing more to read, for now or for good
            pass
        try:
            answer = self._server.bio_read(_MOST)
        except SSL.WantReadError:
            return bool(ciphertext)
        if not self.closed:
            self._client.dataReceived(answer)
        return True
