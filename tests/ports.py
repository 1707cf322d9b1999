"""Ports of loopback for servers of the tests, also of several test processes at once."""

import random
import socket
from pathlib import Path
from typing import Final

_LOWEST: Final = 20_000
_RANGE: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
_reservations: list[socket.socket] = []


def free_port() -> int:
    """Return a port that nothing listens on; no test process is given it until this one has ended.

    It lies below the range from which the kernel takes ports for connections that go out and for
    servers that ask for any port: between here and the start of a server none of them takes it.
    """
    highest = int(_RANGE.read_text().split()[0]) - 1
    while True:
        port = random.randint(_LOWEST, highest)
        if _reserve(port) and _is_free(port):
            return port


def _reserve(port: int) -> bool:
    """Reserve a port among test processes.

    The name of an abstract socket belongs to one process at a time and is free when that ends.
    """
    reservation = socket.socket(socket.AF_UNIX)
    try:
        reservation.bind(f"\0postroom-tests-port-{port}")
    except OSError:
        reservation.close()
        return False
    _reservations.append(reservation)
    return True


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True
