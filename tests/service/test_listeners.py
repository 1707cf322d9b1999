"""Endpoint strings and bound ports."""

import socket
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint, UNIXServerEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from postroom.errors import UserError
from postroom.service.listen import Listen
from postroom.service.listeners import Listener, address_text, bind, make_endpoint, stop_listening


class EndpointTests(SynchronousTestCase):
    """Tests for `make_endpoint`."""

    def listen(self, endpoint: str, *, proxy: bool = False, tls: bool = False) -> tuple[Any, ...]:
        """Listen in memory; give what the reactor was asked for."""
        reactor = MemoryReactorClock()
        listen = Listen("mx", endpoint, proxy=proxy, tls=tls)
        made, self.speaks_tls = make_endpoint(reactor, listen)
        made.listen(Factory())
        (asked,) = reactor.tcpServers + reactor.sslServers + reactor.unixServers
        return asked

    def test_a_port_waits_with_a_long_backlog(self) -> None:
        port, _, backlog, interface = self.listen("tcp:25:interface=127.0.0.1")
        self.assertEqual((port, backlog, interface), (25, 511, "127.0.0.1"))

    def test_a_given_backlog_is_kept(self) -> None:
        self.assertEqual(self.listen("tcp:25:backlog=7")[2], 7)

    def test_ipv6(self) -> None:
        port, _, _, interface = self.listen(r"tcp6:25:interface=\:\:1")
        self.assertEqual((port, interface), (25, "::1"))

    def test_ssl_without_a_key_serves_our_certificate(self) -> None:
        port, _, backlog, interface = self.listen("ssl:465:interface=127.0.0.1")
        self.assertEqual((port, backlog, interface), (465, 511, "127.0.0.1"))
        self.assertTrue(self.speaks_tls)
        self.listen("tcp:25")
        self.assertFalse(self.speaks_tls)

    def test_unix_sockets(self) -> None:
        self.assertEqual(self.listen("unix:/run/smtp:mode=660")[0], "/run/smtp")

    def test_strings_that_mean_nothing_are_errors(self) -> None:
        for endpoint, reason in {
            "tcp:smtp": "invalid literal",
            "tcp:25:interfaces=127.0.0.1": "unexpected keyword",
            "tpc:25": "Unknown endpoint type",
            "ssl:465:privateKey=/nonexistent.pem": "No such file",
            "systemd:INET:index=0": "",
            "tcp:": "",
        }.items():
            error = self.assertRaises(UserError, self.listen, endpoint)
            self.assertTrue(str(error).startswith(f"listen mx={endpoint}: not a server endpoint: "))
            self.assertIn(reason, str(error))
            self.assertNotIn("\n", str(error))

    def test_tls_goes_with_any_bare_endpoint(self) -> None:
        for endpoint in ("tcp:25", "ssl:465", "unix:/run/smtp"):
            self.listen(endpoint, tls=True)
            self.assertTrue(self.speaks_tls)
        error = self.assertRaises(UserError, self.listen, "ssl:465:privateKey=k.pem", tls=True)
        self.assertIn("+proxy and +tls go with", str(error))

    def test_a_proxys_header_must_not_be_hidden(self) -> None:
        for endpoint in ("tcp:25", "ssl:465", "unix:/run/smtp"):
            self.listen(endpoint, proxy=True)
        for endpoint in ("ssl:465:privateKey=k.pem", "haproxy:tcp:25"):
            error = self.assertRaises(UserError, self.listen, endpoint, proxy=True)
            self.assertTrue(
                str(error).startswith(f"listen mx+proxy={endpoint}: +proxy and +tls go with")
            )


class BindTests(TestCase):
    """Real ports on loopback."""

    def listener(self, port: int) -> Listener:
        from twisted.internet import reactor

        endpoint = TCP4ServerEndpoint(reactor, port, interface="127.0.0.1")
        return Listener(Listen("mx", f"tcp:{port}:interface=127.0.0.1"), endpoint, Factory())

    def test_a_port_in_use_is_told(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            error = self.assertRaises(UserError, bind, self.listener(port))
        self.assertEqual(
            str(error),
            f"listen mx=tcp:{port}:interface=127.0.0.1: cannot listen: Address already in use",
        )

    def test_a_unix_socket_is_named_by_its_path(self) -> Deferred[Any]:
        from twisted.internet import reactor

        listen = Listen("mx", "unix:socket")
        listener = Listener(listen, UNIXServerEndpoint(reactor, "socket"), Factory())
        bind(listener)
        self.assertEqual(address_text(listener), "socket")
        return stop_listening([listener])

    def test_bound_ports_are_named_and_closed(self) -> Deferred[Any]:
        listener = self.listener(0)
        bind(listener)
        text = address_text(listener)
        self.assertRegex(text, r"^127\.0\.0\.1:[1-9][0-9]+$")
        port = int(text.rpartition(":")[2])

        def closed(_: object) -> None:
            self.assertRaises(ConnectionRefusedError, socket.create_connection, ("127.0.0.1", port))

        return stop_listening([listener]).addCallback(closed)
