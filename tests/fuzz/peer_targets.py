"""Targets for what peers say around a session: PROXY headers, what EHLO offers, chunks of BDAT."""

import struct
from collections.abc import Callable
from typing import Final

from postroom.wire.encode import BinaryEncoder, FoldingEncoder, TextEncoder
from postroom.wire.errors import LocalViolation
from postroom.wire.folding import SHORTEST_LIMIT, most_folded_octets
from postroom.wire.line_ends import only_crlf
from postroom.wire.offers import host_capabilities, read_limits
from postroom.wire.proxy import ProxyError, ProxyHeader, ProxyReader
from postroom.wire.replies import Reply
from tests.fuzz.alphabet import fold, raw

_V1: Final = b"PROXY TCP4 192.0.2.1 192.0.2.2 4000 25\r\n"
_V2: Final = b"\r\n\r\n\0\r\nQUIT\n\x21\x11" + struct.pack("!H4s4sHH", 15, b"abcd", b"efgh", 1, 25)
PROXY_SEEDS: Final = (raw(_V1 + b"EHLO c\r\n"), raw(_V2 + b"\x04\0\0"), raw(b"PROXY UNKNOWN x\r\n"))


def _proxy_reader(octets: bytes) -> None:
    whole = b"".join(fold(octets))
    heads = (b"", b"PROXY TCP6 ", _V1[:-4], _V2[:12], _V2[:14], _V2)
    for said in (head + whole for head in heads):
        read = _read([said])
        assert _read([said[at : at + 1] for at in range(len(said))]) == read
        assert read is None or isinstance(read, str) or said.endswith(read.rest)


def _read(segments: list[bytes]) -> ProxyHeader | str | None:
    """Read a header; what comes after it is its rest, whichever segment it was in."""
    reader = ProxyReader()
    for at, segment in enumerate(segments):
        try:
            header = reader.feed(segment)
        except ProxyError:
            return "no header"
        if header is not None:
            rest = header.rest + b"".join(segments[at + 1 :])
            return ProxyHeader(header.client, header.port, rest)
    return None


def _host_capabilities(octets: bytes) -> None:
    lines = tuple(word.decode("latin-1") for word in fold(octets))
    for more in ((), ("LIMITS " + "".join(lines),)):
        capabilities = host_capabilities(Reply(250, ("mx.example", *lines, *more)))
        assert min(capabilities.size_octets, capabilities.deliver_by_seconds) >= 0
        assert all(keyword == keyword.upper() for keyword in capabilities.extensions)
        assert capabilities.mechanisms is not None
    limits = read_limits("".join(lines))
    assert min(limits.messages, limits.recipients, limits.domains) >= 0


def _chunk_encoders(octets: bytes) -> None:
    segments = fold(octets)
    whole = b"".join(segments)
    assert _encoded(BinaryEncoder(), segments) == whole
    written = _encoded(TextEncoder(), segments)
    assert written == _encoded(TextEncoder(), [whole])
    assert written == (whole if only_crlf(whole) and b"\0" not in whole else None)


def _folding_encoder(octets: bytes) -> None:
    segments = fold(octets)
    written = _encoded(FoldingEncoder(TextEncoder(), SHORTEST_LIMIT), segments)
    whole = b"".join(segments)
    assert written == _encoded(FoldingEncoder(TextEncoder(), SHORTEST_LIMIT), [whole])
    if written is not None:
        assert max(map(len, written.split(b"\r\n"))) <= SHORTEST_LIMIT
        assert len(written) <= most_folded_octets(len(whole), SHORTEST_LIMIT)


def _encoded(encoder: TextEncoder, segments: list[bytes]) -> bytes | None:
    try:
        return b"".join(map(encoder.feed, segments)) + encoder.finish()
    except LocalViolation:
        return None


PEER_TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    "proxy.ProxyReader": _proxy_reader,
    "offers.host_capabilities": _host_capabilities,
    "offers.read_limits": _host_capabilities,
    "encode.TextEncoder": _chunk_encoders,
    "encode.BinaryEncoder": _chunk_encoders,
    "encode.FoldingEncoder": _folding_encoder,
    "folding.LineFolder": _folding_encoder,
    "folding.most_folded_octets": _folding_encoder,
}
