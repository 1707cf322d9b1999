"""Makes captures: TCP segments as frames, and files of them."""

import io
import socket
import struct
from collections.abc import Callable, Iterable
from pathlib import Path

import dpkt

from postroom.capture.conversation import Conversation
from postroom.capture.files import CaptureFile
from postroom.capture.sessions import CapturedSession, Sessions

Frame = tuple[float, bytes]
SYN, ACK, FIN, RST = dpkt.tcp.TH_SYN, dpkt.tcp.TH_ACK, dpkt.tcp.TH_FIN, dpkt.tcp.TH_RST


class Line:
    """A connection on the wire: each call adds a segment to `frames`.

    Attributes:
        frames: what was captured; tests may drop some and change their order.
    """

    def __init__(
        self,
        port: int = 25,
        client: str = "192.0.2.1",
        server: str = "192.0.2.2",
        link: Callable[[bytes], bytes] | None = None,
        first: int = 2**32 - 20,
    ) -> None:
        self.frames: list[Frame] = []
        self.port = port
        self._ports = (40_000, port)
        self._hosts = (client, server)
        self._link = link or ethernet
        self._next = [first, 7_000]
        self.time = 1_000_000.0

    def open(self) -> "Line":
        self._segment(0, SYN)
        self._segment(1, SYN | ACK)
        return self._segment(0, ACK)

    def client(self, octets: bytes) -> "Line":
        return self._segment(0, ACK, octets)

    def server(self, octets: bytes) -> "Line":
        return self._segment(1, ACK, octets)

    def close(self) -> "Line":
        self._segment(0, FIN | ACK)
        self._segment(1, FIN | ACK)
        return self._segment(0, ACK)

    def reset(self) -> "Line":
        return self._segment(1, RST)

    def _segment(self, side: int, flags: int, octets: bytes = b"") -> "Line":
        self.time += 0.001
        tcp = dpkt.tcp.TCP(
            sport=self._ports[side],
            dport=self._ports[1 - side],
            seq=self._next[side] % 2**32,
            ack=self._next[1 - side] % 2**32 if flags & ACK else 0,
            flags=flags,
            data=octets,
        )
        self._next[side] += len(octets) + bool(flags & (SYN | FIN))
        self.frames.append((self.time, self._link(self._packet(side, tcp))))
        return self

    def _packet(self, side: int, tcp: dpkt.tcp.TCP) -> bytes:
        source, destination = self._hosts[side], self._hosts[1 - side]
        if ":" in source:
            pack = socket.inet_pton
            return bytes(
                dpkt.ip6.IP6(
                    src=pack(socket.AF_INET6, source), dst=pack(socket.AF_INET6, destination),
                    nxt=6, plen=len(bytes(tcp)), data=tcp,
                )
            )  # fmt: skip
        return bytes(
            dpkt.ip.IP(src=socket.inet_aton(source), dst=socket.inet_aton(destination),
                       p=6, data=tcp)
        )  # fmt: skip


def type_of(packet: bytes) -> bytes:
    return struct.pack(">H", 0x0800 if packet[0] >> 4 == 4 else 0x86DD)


def ethernet(packet: bytes) -> bytes:
    return bytes(12) + type_of(packet) + packet


def vlan(packet: bytes) -> bytes:
    """Give a frame with two tags."""
    return bytes(12) + b"\x88\xa8\x00\x07\x81\x00\x00\x2a" + type_of(packet) + packet


def cooked(packet: bytes) -> bytes:
    return bytes(14) + type_of(packet) + packet


def cooked_2(packet: bytes) -> bytes:
    return type_of(packet) + bytes(18) + packet


def raw(packet: bytes) -> bytes:
    return packet


def loopback(packet: bytes) -> bytes:
    return struct.pack("<I", 2) + packet


def write_pcap(path: Path, frames: Iterable[Frame], link_type: int = 1) -> Path:
    with path.open("wb") as file:
        writer = dpkt.pcap.Writer(file, linktype=link_type)
        for time, frame in frames:
            writer.writepkt(frame, time)
    return path


def write_pcapng(path: Path, frames: Iterable[Frame], link_type: int = 1) -> Path:
    with path.open("wb") as file:
        file_ = io.BytesIO()
        block = dpkt.pcapng.InterfaceDescriptionBlockLE(linktype=link_type)
        writer = dpkt.pcapng.Writer(file_, idb=block)
        for time, frame in frames:
            writer.writepkt(frame, time)
        file.write(file_.getvalue())
    return path


def sessions_in(path: Path, **options: object) -> list[CapturedSession]:
    """Read a file's sessions."""
    sessions = Sessions(**options)  # type: ignore[arg-type]
    file = CaptureFile(path)
    for segment in file.segments():
        sessions.take(segment)
    file.close()
    sessions.finish()
    return sessions.found


def shown(talk: Conversation) -> list[str]:
    """Give what a conversation shows: a speaker and a line each, offences behind a mark."""
    lines = []
    for entry in talk.entries:
        lines += [f"{entry.speaker}: {line}" for line in entry.lines]
        lines += [f"!! {violation}" for violation in entry.violations]
    return lines
