"""Octets to and from SMTP servers as they are: no library mends what goes out or comes in.

`Peer` sends any octets and reads replies. `Sink` is a next hop that keeps each message with the
commands that brought it. It undoes the stuffing of dots and nothing else.
"""

import socket
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from io import BufferedRWPair
from types import TracebackType

from tests.daemon import wait_until

END = b"\r\n.\r\n"
_REPLIES = {
    b"HELO": b"250 sink.test\r\n",
    b"DATA": b"250 2.0.0 kept\r\n",
    b"RSET": b"250 2.0.0 ok\r\n",
    b"NOOP": b"250 2.0.0 ok\r\n",
    b"QUIT": b"221 2.0.0 bye\r\n",
}


class Peer:
    """A connection to a server on loopback.

    Attributes:
        transcript: each step sent, with the reply to it.
    """

    def __init__(self, port: int, seconds: float = 20, source: str = "127.0.0.1") -> None:
        """Connect, from an address of loopback, and read the greeting."""
        self._socket = socket.create_connection(("127.0.0.1", port), seconds, (source, 0))
        self._buffer = b""
        self.transcript: list[tuple[bytes, bytes]] = []
        self.greeting = self.reply()

    def __enter__(self) -> "Peer":
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connection."""
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def say(self, octets: bytes, seconds: float | None = None) -> bytes:
        """Send octets; return the whole reply, empty if none came in time or the server hung up."""
        with suppress(OSError):  # the server hung up, perhaps after a reply that waits to be read
            self._socket.sendall(octets)
        answer = self.reply(seconds)
        self.transcript.append((octets, answer))
        return answer

    def code(self, line: bytes) -> int:
        """Send a line with its CRLF; return the code of the reply, 0 if there is none."""
        return code_of(self.say(line + b"\r\n"))

    def reply(self, seconds: float | None = None) -> bytes:
        """Read one reply with all its lines."""
        if seconds is not None:
            self._socket.settimeout(seconds)
        lines = []
        while True:
            line = self._line()
            lines.append(line)
            if line[3:4] != b"-":
                return b"".join(lines)

    def closed(self, seconds: float = 5) -> bool:
        """Tell whether the server closes the connection in time; drop what it says before that."""
        self._socket.settimeout(seconds)
        try:
            while self._socket.recv(65_536):
                continue
        except TimeoutError:
            return False
        except OSError:
            return True
        return True

    def _line(self) -> bytes:
        while b"\n" not in self._buffer:
            try:
                more = self._socket.recv(65_536)
            except OSError:  # a timeout or a reset
                more = b""
            if not more:
                rest, self._buffer = self._buffer, b""
                return rest
            self._buffer += more
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line + b"\n"


def code_of(reply: bytes) -> int:
    """Return the code of a reply, 0 for none."""
    return int(reply[:3]) if reply[:3].isdigit() else 0


@dataclass
class Received:
    """A message that a `Sink` got.

    Attributes:
        commands: MAIL and RCPT, as sent.
        content: octets between 354 and the end, dots unstuffed.
    """

    commands: list[bytes] = field(default_factory=list)
    content: bytes = b""


class Sink:
    """A next hop that takes everything and keeps it in memory.

    Attributes:
        port: on loopback.
        messages: what came so far.
        strays: lines that are no commands; content that ended too early leaves them.
    """

    def __init__(self, extensions: Iterable[bytes] = (b"8BITMIME", b"SMTPUTF8", b"SIZE")) -> None:
        """Start it, offering these extensions."""
        *first, last = b"sink.test", *extensions
        offer = b"".join(b"250-" + each + b"\r\n" for each in first) + b"250 " + last + b"\r\n"
        self._replies = {**_REPLIES, b"EHLO": offer}
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=200)
        self.port = int(self._socket.getsockname()[1])
        self.messages: list[Received] = []
        self.strays: list[bytes] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        """Take no more connections."""
        self._socket.close()

    def wait_for(self, recipient: bytes) -> Received | None:
        """Wait for the message to a recipient and take it out; return None if none comes."""

        def is_theirs(message: Received) -> bool:
            return any(b"<" + recipient + b">" in command for command in message.commands)

        wait_until(lambda: any(map(is_theirs, self.messages)))
        found = [each for each in self.messages if is_theirs(each)]
        self.messages = [each for each in self.messages if not is_theirs(each)]
        return found[0] if found else None

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(120)
        with suppress(OSError), connection, connection.makefile("rwb") as stream:
            self._converse(stream)

    def _converse(self, stream: BufferedRWPair) -> None:
        received = Received()
        stream.write(b"220 sink.test ESMTP\r\n")
        stream.flush()
        while line := stream.readline():
            verb = line[:4].upper()
            if verb == b"DATA":
                stream.write(b"354 go on\r\n")
                stream.flush()
                received.content = read_content(stream)
                self.messages.append(received)
            elif verb in (b"MAIL", b"RCPT"):
                received.commands.append(line)
            elif verb not in self._replies:
                self.strays.append(line)
            if verb in (b"DATA", b"RSET"):
                received = Received()
            stream.write(self._replies.get(verb, b"250 2.0.0 ok\r\n"))
            stream.flush()
            if verb == b"QUIT":
                return


def read_content(stream: BufferedRWPair) -> bytes:
    """Read content up to its end, CRLF "." CRLF; return it with dots unstuffed."""
    pieces: list[bytes] = []
    before = b"\r\n"
    while line := stream.readline():
        at_start = before.endswith(b"\r\n")
        if at_start and line == b".\r\n":
            break
        pieces.append(line[1:] if at_start and line.startswith(b".") else line)
        before = line
    return b"".join(pieces)
