"""ClientHello messages by hand, for what no TLS library would send."""

import os
import struct
from collections.abc import Iterable

SERVER_NAME, GROUPS, SIGNATURES, ALPN, HEARTBEAT, VERSIONS, KEY_SHARE = 0, 10, 13, 16, 15, 43, 51


def vector(octets: bytes, size: int = 2) -> bytes:
    """Put a length before octets."""
    return len(octets).to_bytes(size, "big") + octets


def extension(kind: int, value: bytes) -> bytes:
    return struct.pack("!H", kind) + vector(value)


def server_name(name: bytes, kind: int = 0) -> bytes:
    """RFC 6066 s3."""
    return extension(SERVER_NAME, vector(bytes([kind]) + vector(name)))


USUAL = (
    extension(GROUPS, vector(struct.pack("!HH", 29, 23)))
    + extension(SIGNATURES, vector(struct.pack("!HHH", 0x0403, 0x0804, 0x0401)))
    + extension(VERSIONS, vector(struct.pack("!HH", 0x0304, 0x0303), 1))
    + extension(KEY_SHARE, vector(struct.pack("!H", 29) + vector(os.urandom(32))))
)


def client_hello(
    extensions: bytes = USUAL,
    *,
    version: int = 0x0303,
    suites: Iterable[int] = (0x1301, 0xC02B, 0xC02F),
    compressions: bytes = b"\0",
) -> bytes:
    """Make the handshake message, without a record around it."""
    body = struct.pack("!H", version) + os.urandom(32) + vector(b"", 1)
    body += vector(b"".join(struct.pack("!H", suite) for suite in suites))
    body += vector(compressions, 1)
    if extensions:
        body += vector(extensions)
    return b"\x01" + vector(body, 3)


def records(message: bytes, size: int = 16_384, kind: int = 22, version: int = 0x0301) -> bytes:
    """Cut a message into records."""
    return b"".join(
        struct.pack("!BH", kind, version) + vector(message[at : at + size])
        for at in range(0, len(message), size)
    )
