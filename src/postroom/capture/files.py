"""Capture files: the TCP segments in a pcap or pcapng file, which may be gzipped.

The format is detected by the first octets, never by the file's name. dpkt reads the file packet by
packet; it is never held as a whole, compressed or not. dpkt trusts the lengths in a file, so it
reads through `_CaptureSource`, which refuses a record longer than any capture has and detects a
file that ends too early.

A packet that is no TCP over IP is skipped. One that cannot be decoded is counted, not refused: live
traffic always has some.

Who controls the input: the author of the file, every octet of it.

Known limits: IP fragments are not reassembled; every interface of a pcapng file is read as its
first one; files with another compression are refused with its name.
"""

import gzip
import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BufferedReader
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, NamedTuple

from postroom.errors import UserError

LONGEST_RECORD_OCTETS: Final = 1 << 20
"""More than any packet has; what claims more is no capture, or a damaged one."""

_PCAPNG: Final = b"\x0a\x0d\x0d\x0a"
_GZIP: Final = b"\x1f\x8b"
_OTHERWISE_PACKED: Final = {
    b"BZh": "bzip2",
    b"\xfd7zX": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
}
_VLAN_TAGS: Final = frozenset({0x8100, 0x88A8, 0x9100})
_IPV4, _IPV6 = 0x0800, 0x86DD
_FIN, _SYN, _RST, _ACK = 0x01, 0x02, 0x04, 0x10


class CaptureError(UserError):
    """The file is no capture, or an incomplete one."""


class Endpoint(NamedTuple):
    """An address and a port."""

    address: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Segment:
    """One TCP segment.

    Attributes:
        time: when it was captured, in seconds since 1970.
        sequence: the number of its first octet.
        acknowledged: the number of the octet that its sender expects next, None if it has none.
        payload: the part that was captured.
    """

    time: float
    source: Endpoint
    destination: Endpoint
    sequence: int
    acknowledged: int | None
    syn: bool
    fin: bool
    rst: bool
    payload: bytes


class _CaptureSource:
    """A file for dpkt that bounds every read and detects an early end."""

    def __init__(self, file: BufferedReader, name: str) -> None:
        self._file: BufferedReader | gzip.GzipFile = file
        self._packed: BufferedReader | None = None
        self.name = name
        self.at = 0
        if self.begin().startswith(_GZIP):
            self._packed, self._file = file, gzip.GzipFile(fileobj=file)

    @property
    def place(self) -> int:
        """The octets of the file that have been read, before decompression."""
        return self._packed.tell() if self._packed is not None else self.at

    def begin(self) -> bytes:
        """Return the first octets, which are read again."""
        return self._found(lambda: self._file.peek(4))[:4]

    def read(self, octets: int) -> bytes:
        if not 0 <= octets <= LONGEST_RECORD_OCTETS:
            claim = f"a record at octet {self.at} claims a length of {octets} octets"
            raise CaptureError(f"{self.name}: damaged or no capture: {claim}")
        found = self._found(lambda: self._file.read(octets))
        self.at += len(found)
        # Only a record's header may find nothing: 16 octets of one in pcap, 8 in pcapng.
        if len(found) < octets and (found or octets not in (8, 16)):
            raise CaptureError(f"{self.name}: the file is cut off at octet {self.at}")
        return found

    def _found(self, read: Callable[[], bytes]) -> bytes:
        try:
            return read()
        except EOFError:
            what = "the gzip data is cut off"
        except (zlib.error, gzip.BadGzipFile):
            what = "the gzip data is damaged"
        raise CaptureError(f"{self.name}: {what}, behind {self.at} octets of the capture")


class CaptureFile:
    """An open capture file.

    Attributes:
        size_octets: of the file, 0 if it is no regular one.
        packets: how many were read so far.
        unreadable: how many of these could not be decoded, or only in part.
    """

    def __init__(self, path: Path) -> None:
        """Open a file and read its header.

        Raises:
            CaptureError: there is no such file, it is no capture, or dpkt is not installed.
        """
        self._name = str(path)
        dpkt = _dpkt()
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise CaptureError(f"{path}: {error.strerror}") from None
        self.size_octets = os.fstat(self._file.fileno()).st_size
        self.packets = 0
        self.unreadable = 0
        try:
            self._reader = self._opened(dpkt)
            self._network_layer = _network_layer(self._reader.datalink(), self._name)
        except BaseException:
            self._file.close()
            raise

    def _opened(self, dpkt: Any) -> Any:
        try:
            self._source = _CaptureSource(self._file, self._name)
            magic = self._source.begin()
            if not magic:
                raise CaptureError(f"{self._name}: the file is empty")
            for packed, program in _OTHERWISE_PACKED.items():
                if magic.startswith(packed):
                    raise CaptureError(f"{self._name}: compressed by {program}, unpack it first")
            kind = dpkt.pcapng if magic == _PCAPNG else dpkt.pcap
            return kind.Reader(self._source)
        except CaptureError:
            raise
        except OSError as error:
            raise CaptureError(f"{self._name}: {error.strerror}") from None
        except Exception:  # whatever dpkt makes of foreign octets
            raise CaptureError(f"{self._name}: not a pcap or pcapng file") from None

    @property
    def place_octets(self) -> int:
        """The octets of the file that have been read."""
        return self._source.place

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def segments(self) -> Iterator[Segment]:
        """Yield the TCP segments, in the order of the file.

        Raises:
            CaptureError: the file is damaged from here on, or cut off.
        """
        packets = iter(self._reader)
        while True:
            try:
                time, octets = next(packets)
            except StopIteration:
                return
            except CaptureError:
                raise
            except Exception as error:  # whatever dpkt makes of damaged octets
                place = f"damaged at octet {self._source.at}"
                raise CaptureError(f"{self._name}: {place}: {type(error).__name__}") from None
            self.packets += 1
            try:
                segment = self._segment(float(time), octets)
            except Exception:  # of a library that reads what anybody may have sent
                self.unreadable += 1
                continue
            if segment is not None:
                yield segment

    def _segment(self, time: float, octets: bytes) -> Segment | None:
        octets = self._network_layer(octets)
        if not octets:
            return None
        dpkt = _dpkt()
        packet = dpkt.ip.IP(octets) if octets[0] >> 4 == 4 else dpkt.ip6.IP6(octets)
        tcp = packet.data
        if not isinstance(tcp, dpkt.tcp.TCP):
            # A fragment, or a header that was cut off.
            self.unreadable += packet.p == dpkt.ip.IP_PROTO_TCP
            return None
        return Segment(
            time,
            Endpoint(str(ip_address(packet.src)), tcp.sport),
            Endpoint(str(ip_address(packet.dst)), tcp.dport),
            tcp.seq,
            tcp.ack if tcp.flags & _ACK else None,
            bool(tcp.flags & _SYN),
            bool(tcp.flags & _FIN),
            bool(tcp.flags & _RST),
            bytes(tcp.data),
        )


def _dpkt() -> Any:
    try:
        import dpkt
    except ImportError:
        raise CaptureError("reading captures needs dpkt: pip install 'postroom[capture]'") from None
    return dpkt


def _network_layer(link_type: int, name: str) -> Callable[[bytes], bytes]:
    """Return the function that removes a packet's link layer; its result is empty for non-IP."""
    try:
        return _LINK_LAYERS[link_type]
    except KeyError:
        raise CaptureError(f"{name}: link type {link_type} is not supported") from None


def _after_type(type_at: int, header_octets: int) -> Callable[[bytes], bytes]:
    """Read a link layer that names what it carries, with any VLAN tags behind its header."""

    def take_off(octets: bytes) -> bytes:
        carried = int.from_bytes(octets[type_at : type_at + 2], "big")
        start = header_octets
        while carried in _VLAN_TAGS:
            carried = int.from_bytes(octets[start + 2 : start + 4], "big")
            start += 4
        return octets[start:] if carried in (_IPV4, _IPV6) else b""

    return take_off


def _raw(octets: bytes) -> bytes:
    return octets if octets[:1] and octets[0] >> 4 in (4, 6) else b""


def _loopback(octets: bytes) -> bytes:
    return _raw(octets[4:])  # behind the address family, whose number differs between systems


# https://www.tcpdump.org/linktypes.html
_LINK_LAYERS: Final[dict[int, Callable[[bytes], bytes]]] = {
    0: _loopback,  # BSD
    1: _after_type(12, 14),  # Ethernet
    **dict.fromkeys((12, 14, 101, 228, 229), _raw),
    108: _loopback,  # OpenBSD
    113: _after_type(14, 16),  # Linux cooked
    276: _after_type(0, 20),  # Linux cooked, version 2
}
