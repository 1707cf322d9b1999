"""Packets a second: `SmtpLayer` beside a naive split, and beside scapy.

    python -m tests.bench.packets

Every row answers the same question of each payload: which commands with which arguments, or which
code with which lines of text. What more a row tells stands beside it. Rows take turns, and each
counts its best round; read the ratios.

scapy has no layer for SMTP. What it gives is the dissected frame with the payload as `Raw`, to be
split by the caller; the rows with frames begin there, with Ethernet, IP and TCP.
"""

import time
from collections.abc import Callable

from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether
from scapy.packet import Raw, split_layers

import postroom.capture.scapy
from postroom.capture.scapy import SMTP
from postroom.wire.builder import SmtpBuilder
from postroom.wire.layer import SmtpLayer
from postroom.wire.ports import SMTP_PORTS

_PARAMETERS = {"SIZE": "4096", "BODY": "8BITMIME"}
PAYLOADS = (
    SmtpBuilder().mail_from("ann@there.example", **_PARAMETERS).build(),
    SmtpBuilder().mail_from("").rcpt_to("a@here.example").rcpt_to("b@here.example").data().build(),
    SmtpBuilder().ok("Ok").build(),
    SmtpBuilder().ok("Ok").ok("Ok").mailbox_not_found("No").start_mail_input("Go on").build(),
    SmtpBuilder().ehlo_response("mx.example", PIPELINING="", SIZE="52428800", DSN="").build(),
    SmtpBuilder().quit().build(),
)
ROUNDS, TIMES = 5, 2000


def frames() -> list[bytes]:
    """Give each payload in a frame."""
    found = []
    for payload in PAYLOADS:
        ports = {"sport": 25} if payload[:1].isdigit() else {"dport": 25}
        found.append(bytes(Ether() / IP() / TCP(**ports) / Raw(payload)))
    return found


def naive(payload: bytes) -> list[object]:
    """Split lines and words; nothing is checked, and lines of one reply are not joined."""
    return [
        (int(line[:3]), line[4:]) if line[:3].isdigit() else line.partition(b" ")
        for line in payload.split(b"\r\n")[:-1]
    ]


def ask(layer: SmtpLayer) -> list[tuple[object, object]]:
    """Give verb and argument of each command, code and text of each reply."""
    return [
        (each.reply_code, each.reply_text) if each.is_response else (each.command, each.args)
        for each in layer
    ]


def by_layer(payload: bytes) -> None:
    """Ask for the same by `SmtpLayer`."""
    ask(SmtpLayer(payload))


def by_layer_whole(payload: bytes) -> None:
    """Ask for everything: typed parameters, enhanced codes, keywords, errors."""
    for each in SmtpLayer(payload):
        each.fields()


def by_scapy_raw(frame: bytes) -> None:
    """Split what scapy gives."""
    naive(Ether(frame)[Raw].load)


def by_scapy_layer(frame: bytes) -> None:
    """Ask the same of our layer in scapy's packet."""
    ask(Ether(frame)[SMTP].view)


def best(work: Callable[[bytes], object], packets: list[bytes]) -> float:
    """Give the CPU seconds of a packet in one round."""
    begun = time.process_time()
    for _ in range(TIMES // len(packets)):
        for packet in packets:
            work(packet)
    return (time.process_time() - begun) / (TIMES // len(packets) * len(packets))


def unbind() -> None:
    """Take the binding off, for the rows of scapy alone."""
    for port in SMTP_PORTS:
        split_layers(TCP, SMTP, sport=port)
        split_layers(TCP, SMTP, dport=port)


def main() -> None:
    """Measure."""
    payloads, in_frames = list(PAYLOADS), frames()
    rows: dict[str, tuple[Callable[[bytes], object], list[bytes]]] = {
        "naive split": (naive, payloads),
        "SmtpLayer": (by_layer, payloads),
        "SmtpLayer, every field": (by_layer_whole, payloads),
        "scapy's frame, SmtpLayer": (by_scapy_layer, in_frames),
        "scapy's frame, Raw, naive split": (by_scapy_raw, in_frames),
    }
    seconds = dict.fromkeys(rows, 1e9)
    for _ in range(ROUNDS):
        for name, (work, packets) in rows.items():
            if work is by_scapy_raw:
                unbind()
            seconds[name] = min(seconds[name], best(work, packets))
            if work is by_scapy_raw:
                postroom.capture.scapy.bind()
    for name, each in seconds.items():
        ratio = seconds["scapy's frame, Raw, naive split"] / each
        print(f"{name:36}{1 / each:12,.0f} packets/s{ratio:9.1f} times scapy")


if __name__ == "__main__":
    main()
