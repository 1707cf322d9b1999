r"""The header in which a proxy names its client: PROXY protocol, versions 1 and 2.

Version 1 is a line of at most 107 octets:

    "PROXY" SP ("TCP4" / "TCP6") SP source SP destination SP source-port SP destination-port CRLF
    "PROXY" SP "UNKNOWN" [*anything] CRLF

Version 2 is binary: twelve octets of signature, version and command, family and transport, the
length of the rest; then addresses by family, and after them type-length-value fields:

    "\r\n\r\n\0\r\nQUIT\n" version command family transport length(2)
        addresses *( type length(2) value )

LOCAL (version 2) and UNKNOWN (version 1) name no client: the proxy connects for itself, as for a
health check. The lengths of the fields are checked; their contents are ignored.

The reader accepts octets as they come and decides as soon as it can: an octet that cannot start a
header is refused at once. Numbers are plain decimals, and addresses are of the named family, in
full. Anything else is refused, not guessed.

Who controls the input: a proxy that the administrator listed, or a host that can pretend to be that
proxy.

Known limit: the checksum (PP2_TYPE_CRC32C) is not looked at; TCP has one.
"""

import re
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final

_V1_OCTETS: Final = 107
_V1_BEGIN: Final = b"PROXY "
_V2_BEGIN: Final = b"\r\n\r\n\x00\r\nQUIT\n"
_V2_HEAD: Final = struct.Struct("!12sBBH")
_V2_MOST_OCTETS: Final = 4096
_ADDRESSES: Final = {1: struct.Struct("!4s4sHH"), 2: struct.Struct("!16s16sHH")}
_UNIX_OCTETS: Final = 216
_STREAM: Final = 1

_DECIMAL = r"(?:0|[1-9][0-9]{0,4})"
_V1_LINE: Final = re.compile(
    rf"(TCP4|TCP6) ([0-9A-Fa-f:.]+) ([0-9A-Fa-f:.]+) ({_DECIMAL}) ({_DECIMAL})", re.ASCII
)


class ProxyError(ValueError):
    """The octets are no PROXY header, or a malformed one."""


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """The contents of a header.

    Attributes:
        client: the client's IP address (IPv4-mapped IPv6 unmapped), ``"unix"`` for one of the
            proxy's own machine, or None if the proxy speaks for itself.
        port: the client's port; 0 without an IP address.
        destination: the IP address that the client connected to; None without one.
        rest: what came after the header.
    """

    client: str | None
    port: int
    rest: bytes
    destination: str | None = None


class ProxyReader:
    """Reads one header."""

    __slots__ = ("_octets",)

    def __init__(self) -> None:
        """Create a reader for one header."""
        self._octets = b""

    def feed(self, data: bytes) -> ProxyHeader | None:
        """Accept octets, cut anywhere.

        Returns:
            The header, or None if more octets are wanted.

        Raises:
            ProxyError: no header begins like this, or it is wrong.
        """
        self._octets += data
        for begin, read in ((_V1_BEGIN, _read_v1), (_V2_BEGIN, _read_v2)):
            if self._octets.startswith(begin):
                return read(self._octets)
            if begin.startswith(self._octets):
                return None
        raise ProxyError("no PROXY header")


def _read_v1(octets: bytes) -> ProxyHeader | None:
    end = octets.find(b"\r\n", 0, _V1_OCTETS)
    if end < 0:
        if len(octets) >= _V1_OCTETS:
            raise ProxyError("line too long")
        return None
    line, rest = octets[len(_V1_BEGIN) : end], octets[end + 2 :]
    if line == b"UNKNOWN" or line.startswith(b"UNKNOWN "):
        return ProxyHeader(None, 0, rest)
    match = _V1_LINE.fullmatch(line.decode("latin-1"))
    if match is None:
        raise ProxyError("line not understood")
    family, source, destination, *ports = match.groups()
    if any(int(port) > 65_535 for port in ports):
        raise ProxyError("not a port")
    kind = IPv4Address if family == "TCP4" else IPv6Address
    try:
        client, server = kind(source), kind(destination)
    except ValueError:
        raise ProxyError("not an address of its family") from None
    return ProxyHeader(_text(client), int(ports[0]), rest, _text(server))


def _read_v2(octets: bytes) -> ProxyHeader | None:
    if len(octets) < _V2_HEAD.size:
        return None
    _, version_command, family_transport, length = _V2_HEAD.unpack_from(octets)
    end = _V2_HEAD.size + length
    if version_command not in (0x20, 0x21):
        raise ProxyError("version or command not known")
    if end > _V2_MOST_OCTETS:
        raise ProxyError("header too long")
    if len(octets) < end:
        return None
    body, rest = octets[_V2_HEAD.size : end], octets[end:]
    if version_command == 0x20:  # LOCAL: "MUST ignore the protocol block"
        return ProxyHeader(None, 0, rest)
    header, taken = _address(family_transport, body, rest)
    _check_fields(body[taken:])
    return header


def _address(family_transport: int, body: bytes, rest: bytes) -> tuple[ProxyHeader, int]:
    """Parse the addresses; return the header, and how many octets they were."""
    family, transport = divmod(family_transport, 16)
    if family_transport == 0:  # UNSPEC, like UNKNOWN
        return ProxyHeader(None, 0, rest), 0
    if family not in (1, 2, 3) or transport != _STREAM:
        raise ProxyError("not a stream of IPv4, IPv6 or UNIX")
    size = _UNIX_OCTETS if family == 3 else _ADDRESSES[family].size
    if len(body) < size:
        raise ProxyError("too short for its addresses")
    if family == 3:
        return ProxyHeader("unix", 0, rest), size
    source, destination, port, _ = _ADDRESSES[family].unpack_from(body)
    kind = IPv4Address if family == 1 else IPv6Address
    return ProxyHeader(_text(kind(source)), port, rest, _text(kind(destination))), size


def _text(address: IPv4Address | IPv6Address) -> str:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


def _check_fields(fields: bytes) -> None:
    """Check that type-length-value fields fill the header exactly."""
    at = 0
    while at < len(fields):
        if at + 3 > len(fields):
            raise ProxyError("a field is cut off")
        at += 3 + int.from_bytes(fields[at + 1 : at + 3], "big")
    if at != len(fields):
        raise ProxyError("a field is longer than the header")
