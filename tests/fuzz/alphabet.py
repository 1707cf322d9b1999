"""From a fuzzer's octets to the protocol's, and the seeds that a fuzzer begins with.

A fuzzer that knows nothing of SMTP would need ages to write ``MAIL FROM``. So each of its octets
stands for a word of the protocol; all that they cannot say is said raw, behind an escape.
"""

from functools import cache
from pathlib import Path
from typing import Final

import postroom.testing.conformance
from postroom.testing.transcript import Expect, Send
from tests.dialogue import TRANSCRIPTS, dialogues

CONFORMANCE: Final = Path(postroom.testing.conformance.__path__[0]) / "dialogues"

RAW: Final = 0xFF
"""As the first octet: the second one is the length of segments, and all others mean themselves."""

WORDS: Final = (
    *(b"EHLO c\r\n", b"MAIL FROM:<a@there.example>\r\n", b"RCPT TO:<user@here.example>\r\n"),
    *(b"RCPT TO:<unknown@here.example>\r\n", b"DATA\r\n", b"DATA\r\nx\r\n.\r\n", b"QUIT\r\n"),
    *(b"EHLO ", b"HELO ", b"MAIL FROM:<", b"RCPT TO:<", b"DATA\r\n", b"RSET\r\n", b"NOOP", b"QUIT"),
    *(b"VRFY ", b"HELP", b"AUTH PLAIN ", b"AUTH LOGIN\r\n", b"STARTTLS\r\n", b"BDAT 5", b"GET "),
    *(b"\r\n", b"\r\n", b"\r\n", b"\r", b"\n", b".", b"\r\n.\r\n", b"\n.\n", b"\r\n.", b"\0"),
    *(b"<", b">", b">", b"@", b",", b":", b";", b'"', b"\\", b"(", b")", b"[", b"]", b" ", b"\t"),
    *(b"IPv6:", b"::1", b"192.0.2.1", b"%", b"/", b"..", b"+", b"=", b"-", b"_", b"*", b"{", b"!"),
    *(b" SIZE=", b" BODY=", b"8BITMIME", b" AUTH=", b"+3D", b"+0A", b"1", b"0", b"99999", b"_0"),
    *(b"LHLO ", b"EXPN ", b"ETRN @", b"XCLIENT ADDR=", b"XFORWARD ", b"NAME=", b" LAST\r\n"),
    *(b" SMTPUTF8", b" NOTIFY=", b"NEVER", b"DELAY", b" ORCPT=", b"rfc822;", b"utf-8;", b"\\x{"),
    *(b" BY=", b";R", b" HOLDUNTIL=", b"2030-01-01T00:00:00", b"Z", b" RRVS=", b"\xef\xbc\xa0"),
    *(b"a", b"b", b"Z", b"user", b"here.example", b"there.example", b"postmaster", b"x" * 70),
    *(
        b"AHVzZXIAcGFzcw==",
        b"*",
        b"250",
        b"250-",
        b"354 ",
        b"334 ",
        b"421 ",
        b"550 5.1.1 ",
        b"2.0.0",
    ),
    *(b"\x80", b"\xff", b"\xc3\xa4", b"\xe2\x80\xa8", b"\x7f", b"\x0b", b"\x1c", b"y" * 1100),
)


def fold(octets: bytes) -> list[bytes]:
    """Make a list of segments: a word of the protocol of each octet, or raw ones."""
    if octets[:1] == bytes([RAW]):
        length = octets[1] if len(octets) > 1 and octets[1] else 65_536
        return [octets[at : at + length] for at in range(2, len(octets), length)]
    return [WORDS[octet % len(WORDS)] for octet in octets]


def raw(octets: bytes, length: int = 0) -> bytes:
    """Make what `fold` makes segments of a length of, by default a single one."""
    return bytes([RAW, length]) + octets


def line_of(octets: bytes) -> bytes:
    """Make one line, without a line end, of a length that framing lets through."""
    return b"".join(fold(octets)).replace(b"\r\n", b"")[:4094]


@cache
def seeds() -> tuple[bytes, ...]:
    """Give what both sides say in each of our dialogues, and each line alone."""
    found: dict[bytes, None] = {}
    for path in sorted((*TRANSCRIPTS.glob("*.txt"), *CONFORMANCE.glob("*.txt"))):
        for dialogue in dialogues(path):
            sent = [step.octets for step in dialogue.steps if isinstance(step, Send)]
            heard = [_reply(step) for step in dialogue.steps if isinstance(step, Expect)]
            for octets in (b"".join(sent), b"".join(heard), *sent, *heard):
                if len(octets) <= 4096:
                    found[raw(octets)] = None
    return tuple(found)


def _reply(expected: Expect) -> bytes:
    lines = expected.lines or (f"{expected.enhanced or ''} {expected.text}".strip(),)
    said = [f"{expected.code}-{line}\r\n" for line in lines[:-1]]
    return "".join([*said, f"{expected.code} {lines[-1]}\r\n"]).encode()
