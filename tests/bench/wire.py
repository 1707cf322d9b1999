"""What an octet of content costs on its way in and out, and the ways of checking its line ends.

python -m tests.bench.wire
"""

import re
import timeit
from collections.abc import Callable

from postroom.wire.data import DotDecoder
from postroom.wire.encode import DotEncoder
from postroom.wire.line_ends import only_crlf

CHUNK = ((b"X" * 78 + b"\r\n") * 820)[:65_536]
PROSE = ((b"A line. With two stops. " * 3 + b"\r\n") * 900)[:65_536]
_BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n")


def by_counting(chunk: bytes) -> bool:
    """Compare the numbers of CR, LF and CRLF."""
    return chunk.count(b"\r\n") == chunk.count(b"\n") == chunk.count(b"\r")


def by_expression(chunk: bytes) -> bool:
    """Search for a bare one."""
    return _BARE.search(chunk) is None


def report(name: str, call: Callable[[], object], octets: int) -> None:
    """Print the best of a few runs."""
    number = 200
    best = min(timeit.repeat(call, number=number, repeat=5)) / number
    print(f"{name:32}{1e9 * best / octets:8.2f} ns an octet{octets / best / 2**20:10.0f} MiB/s")


def main() -> None:
    """Measure."""
    for name, check in (
        ("line ends, one pass", only_crlf),
        ("line ends, by counting", by_counting),
        ("line ends, by expression", by_expression),
    ):
        report(name, lambda check=check: check(CHUNK), len(CHUNK))  # type: ignore[misc]
    for kind, chunk in (("no dots", CHUNK), ("prose", PROSE)):
        decoder = DotDecoder()
        report(f"decode, {kind}", lambda d=decoder, c=chunk: d.feed(c), len(chunk))  # type: ignore[misc]
        encoder = DotEncoder()
        report(f"encode, {kind}", lambda e=encoder, c=chunk: e.feed(c), len(chunk))  # type: ignore[misc]


if __name__ == "__main__":
    main()
