"""What the attacks have in common: the modes in which each is tried, and clients to attack with.

Every class of attacks is tried in the default mode, and has two subclasses that try the same in
`STRICT` and in `REFUSE`.
"""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from postroom.testing.conformance.sockets import SocketConnection
from postroom.wire.replies import Reply
from tests.conformance.daemon import DOMAIN, daemon
from tests.daemon import Daemon
from tests.modes import DEFAULT, Mode
from tests.server.scene import Peer, Scene

TRANSPORTS = ("clear", "starttls", "tls")
_LISTENERS = {"clear": "mx", "starttls": "mx", "tls": "mx-tls"}


class Client:
    """A connection to a daemon, past EHLO."""

    def __init__(self, server: Daemon, transport: str, timeout_seconds: float = 10) -> None:
        place = ("127.0.0.1", server.ports[_LISTENERS[transport]])
        self.line = SocketConnection(place, tls=transport == "tls", timeout_seconds=timeout_seconds)
        self.line.hear()
        self.say("EHLO client.example")
        if transport == "starttls":
            self.say("STARTTLS")
            self.line.start_tls()
            self.say("EHLO client.example")

    def say(self, line: str | bytes) -> Reply:
        """Send a line, and return the reply to it."""
        self.line.send((line.encode("latin-1") if isinstance(line, str) else line) + b"\r\n")
        return self.line.hear()


class Attack(SynchronousTestCase):
    """A class of attacks.

    Attributes:
        mode: how the server under attack is set up.
    """

    mode: Mode = DEFAULT

    def scene(self, **changes: Any) -> Scene:
        """Return a server in memory; addresses without a domain are its own."""
        return Scene(self.mode.listener(origin=DOMAIN, **changes))

    @property
    def daemon(self) -> Daemon:
        """The daemon in a process of its own."""
        return daemon(self.mode)

    def client(self, transport: str = "clear", timeout_seconds: float = 10) -> Client:
        """Connect to the daemon."""
        return Client(self.daemon, transport, timeout_seconds)


def connected(scene: Scene, transport: str) -> Peer:
    """Open a connection and get to where EHLO comes next."""
    peer = scene.connect(tls=transport == "tls")
    if transport == "starttls":
        peer.say("EHLO in-clear.example")
        assert peer.say("STARTTLS").code == 220
    return peer


def in_transaction(scene: Scene, transport: str) -> Peer:
    """Get as far as one recipient."""
    peer = connected(scene, transport)
    for line in (
        "EHLO client.example",
        "MAIL FROM:<a@there.example>",
        "RCPT TO:<user@here.example>",
    ):
        assert peer.say(line).code == 250, line
    return peer


def in_content(scene: Scene, transport: str) -> Peer:
    """Get as far as 354."""
    peer = in_transaction(scene, transport)
    assert peer.say("DATA").code == 354
    return peer


def cut(octets: bytes, how: str) -> list[bytes]:
    """Cut what is sent into segments."""
    if how == "octets":
        return [octets[at : at + 1] for at in range(len(octets))]
    return [octets]
