"""A `DialogueConnection` to a server through a blocking socket.

Who controls the input: the server, every octet; the length is bounded.
"""

import contextlib
import socket
import ssl
import time
from collections.abc import Sequence
from functools import cache

from postroom.testing.conversation import Silence
from postroom.wire.errors import ReplyViolation
from postroom.wire.replies import Reply
from postroom.wire.reply_reader import ReplyReader

_LINE_OCTETS = 100_000


class SocketConnection:
    """A connection to a server."""

    def __init__(
        self, address: tuple[str, int], *, tls: bool = False, timeout_seconds: float = 10
    ) -> None:
        """Connect.

        Args:
            address: host and port.
            tls: negotiate TLS at once.
            timeout_seconds: how long to wait for a reply, or for the end of the connection.

        Raises:
            OSError: nobody listens there, or without TLS.
        """
        self._timeout_seconds = timeout_seconds
        self._socket: socket.socket = socket.create_connection(address, timeout_seconds)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._unread = b""
        self._ended = False
        if tls:
            self._socket = _context().wrap_socket(self._socket)

    def send(self, octets: bytes) -> None:
        """Send a segment; what a server that has closed does not take is dropped."""
        with contextlib.suppress(OSError):
            self._socket.sendall(octets)

    def hear(self) -> Reply:
        """Return the next reply.

        Raises:
            Silence: none came in time, or something that is none.
        """
        reader = ReplyReader(max_octets=_LINE_OCTETS)
        while True:
            line = self._read_line()
            try:
                reply = reader.feed(line)
            except ReplyViolation as violation:
                raise Silence(f"no reply: {violation}") from None
            if reply is not None:
                return reply

    def _read_line(self) -> bytes:
        while b"\r\n" not in self._unread:
            if len(self._unread) > _LINE_OCTETS:
                raise Silence("a line without end came")
            if not self._read():
                what = "closed" if self._ended else "said nothing in time"
                rest = f" after {self._unread[:80]!r}" if self._unread else ""
                raise Silence(f"the server {what}{rest}")
        line, _, self._unread = self._unread.partition(b"\r\n")
        return line

    def _read(self) -> bool:
        """Read what comes next; False if nothing does."""
        try:
            octets = self._socket.recv(65536)
        except TimeoutError:
            return False
        except OSError:
            octets = b""
        self._ended = self._ended or not octets
        self._unread += octets
        return bool(octets)

    def start_tls(self) -> None:
        """Negotiate TLS as the client.

        Raises:
            Silence: the server does not, or said more in clear text than that it would.
        """
        if self._unread:
            raise Silence(f"the server went on in clear text: {self._unread[:80]!r}")
        try:
            self._socket = _context().wrap_socket(self._socket)
        except OSError as error:
            raise Silence(f"TLS failed: {error}") from None

    def wait(self, seconds: float) -> None:
        """Wait for some seconds."""
        time.sleep(seconds)

    def closes(self) -> bool:
        """Return whether the server has closed, or does so within the time-out."""
        while not self._ended and self._read():
            pass
        return self._ended

    def leftovers(self, *, closed: bool, within: bool) -> Sequence[Reply]:
        """Return the unsolicited replies; QUIT brings them out.

        Raises:
            Silence: the server has closed without having been asked to.
        """
        replies: list[Reply] = []
        if not closed and not within:
            self.send(b"QUIT\r\n")
            while not replies or replies[-1].code != 221:
                replies.append(self.hear())
            del replies[-1]
        while b"\r\n" in self._unread:
            replies.append(self.hear())
        return replies

    def lose(self) -> None:
        """Close."""
        self._socket.close()


@cache
def _context() -> ssl.SSLContext:
    """Return a context that accepts any certificate: certificates are not what is tried."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
