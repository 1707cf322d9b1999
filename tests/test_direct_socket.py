"""Writing past a transport, on a pair of real sockets."""

import socket

from twisted.internet.interfaces import ISystemHandle
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from postroom.direct_socket import DirectSocket


@implementer(ISystemHandle)
class SocketTransport(StringTransport):
    """A transport that owns a socket, and keeps what is written to itself."""

    def __init__(self, handle: object) -> None:
        super().__init__()
        self._handle = handle

    def getHandle(self) -> object:
        return self._handle


class DirectSocketTests(SynchronousTestCase):
    """Tests for `DirectSocket`."""

    def setUp(self) -> None:
        self.ours, self.theirs = socket.socketpair()
        for each in (self.ours, self.theirs):
            each.setblocking(False)
            self.addCleanup(each.close)
        self.transport = SocketTransport(self.ours)
        self.direct = DirectSocket(self.transport)

    def test_octets_go_to_the_kernel(self) -> None:
        self.direct.write(b"one")
        self.assertEqual(self.theirs.recv(100), b"one")
        self.assertEqual(self.transport.value(), b"")

    def test_after_a_full_socket_everything_is_the_transports(self) -> None:
        self.ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        written = b""
        block = bytes(range(256)) * 40
        while not self.transport.value():
            self.direct.write(block)
            written += block
        got = b""
        while len(got) + len(self.transport.value()) < len(written):
            got += self.theirs.recv(1_000_000)
        self.direct.write(b"after")
        self.assertEqual(got + self.transport.value(), written + b"after")

    def test_once_the_transport_was_handed_out_the_socket_rests(self) -> None:
        self.assertIs(self.direct.transport(), self.transport)
        self.direct.write(b"x")
        self.assertEqual(self.transport.value(), b"x")
        self.assertRaises(BlockingIOError, self.theirs.recv, 1)

    def test_a_transport_without_a_plain_socket_gets_everything(self) -> None:
        for transport in (SocketTransport(object()), StringTransport()):
            direct = DirectSocket(transport)
            direct.write(b"x")
            self.assertEqual(transport.value(), b"x")
            self.assertFalse(direct.has_input())

    def test_input_is_seen_and_left(self) -> None:
        self.assertFalse(self.direct.has_input())
        self.theirs.send(b"x")
        self.assertTrue(self.direct.has_input())
        self.assertEqual(self.ours.recv(100), b"x")
        self.ours.close()
        self.assertFalse(self.direct.has_input())
