"""What hosts really send, and what each server has to answer: the rows of one table.

A row is a dialogue of raw steps. The code of the reply to its last step counts. The figures for
Postfix are those of the Debian package, with its defaults. None stands where nobody has decided:
the reply is shown in the table and not tested. `REFUSED` stands for any permanent refusal.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

DOMAIN: Final = b"local.test"
ANN: Final = b"ann@local.test"
STRANGER: Final = "127.0.0.1"
RELAY_CLIENT: Final = "127.0.0.2"
"""The address that may relay; a client binds its socket to it."""
REFUSED: Final = 5
"""Any code from 500 to 599."""

_EHLO = b"EHLO client.test"
_MAIL = b"MAIL FROM:<sender@remote.test>"
_RCPT = b"RCPT TO:<" + ANN + b">"

BLANKS = "Blanks and brackets"
STILL_REFUSED = "Still refused"
LOCAL_PARTS = "Local parts"
DOMAINS = "Domains"
NO_DOMAIN = "No domain"
LITERALS = "Address literals"
GREETINGS = "Greetings"
SEQUENCES = "Sequences"
COMMAND_ENDS = "Line ends of commands"
CONTENT = "Content"


@dataclass(frozen=True)
class Row:
    """A dialogue, and the code of its last reply from each server.

    Attributes:
        kind: what is tolerated, or not.
        steps: octets, each sent when the one before was answered.
        default: Postroom's code with its defaults.
        strict: with ``session.tolerate = []``.
        postfix: Postfix's; 0 for no reply.
        source: the client's address.
    """

    kind: str
    steps: tuple[bytes, ...]
    default: int | None
    strict: int | None
    postfix: int
    source: str = STRANGER

    @property
    def shown(self) -> str:
        """The steps that tell, for people: all of them where their order counts."""
        if self.kind == SEQUENCES:
            return ", ".join(map(show, self.steps))
        steps = [each for each in self.steps if each not in _USUAL]
        return ", ".join(map(show, steps or self.steps[-1:]))


@dataclass(frozen=True)
class ContentRow:
    """Content, what is stored of it, and the code of each server.

    Attributes:
        name: of the fault, in words.
        sent: the octets after 354, without the end.
        stored: what has to come out, CRLF at its end included.
        refuse: Postroom's code with ``session.bare_newline = "refuse"``.
        in_chunks: what comes out if BDAT brings it; None if the same.
    """

    name: str
    sent: bytes
    stored: bytes
    refuse: int | None = 550
    in_chunks: bytes | None = None


def show(octets: bytes) -> str:
    """Return octets as text: what cannot be seen is escaped, what is long is cut."""
    line = octets.removesuffix(b"\r\n")
    text = "".join(chr(each) if 32 <= each < 127 else _escape(each) for each in line)
    if len(text) > 72:
        text = f"{text[:40]}...{text[-20:]} ({len(line)} octets)"
    if text[:1] in ("", " "):
        text = r"\x20" + text[1:] if text else "(empty line)"
    return text[:-1] + r"\x20" if text.endswith(" ") else text


def _escape(octet: int) -> str:
    return {9: r"\t", 10: r"\n", 13: r"\r"}.get(octet, f"\\x{octet:02x}")


def _line(text: bytes) -> bytes:
    return text + b"\r\n"


_USUAL = frozenset(map(_line, (_EHLO, _MAIL, _RCPT, b"DATA")))


def _rows(
    kind: str,
    before: Sequence[bytes],
    codes: tuple[int | None, int | None, int],
    *lines: bytes,
    source: str = STRANGER,
) -> Iterable[Row]:
    opening = tuple(map(_line, before))
    return [Row(kind, (*opening, _line(line)), *codes, source) for line in lines]


def _mails(
    kind: str, codes: tuple[int | None, int | None, int], *paths: bytes, source: str = STRANGER
) -> Iterable[Row]:
    lines = [b"MAIL FROM:" + path for path in paths]
    return _rows(kind, [_EHLO], codes, *lines, source=source)


def _rcpts(
    kind: str, codes: tuple[int | None, int | None, int], *paths: bytes, source: str = STRANGER
) -> Iterable[Row]:
    lines = [b"RCPT TO:" + path for path in paths]
    return _rows(kind, [_EHLO, _MAIL], codes, *lines, source=source)


def _greetings(
    codes: tuple[int | None, int | None, int], *names: bytes, kind: str = GREETINGS
) -> Iterable[Row]:
    lines = [verb + name for name in names for verb in (b"EHLO ", b"HELO ")]
    return _rows(kind, [], codes, *lines)


_X = b"x"
_LABEL = 63 * _X
# With brackets 256 octets, the longest path of RFC 5321 s4.5.3.1.3.
_LONGEST = b"<" + (254 - len(b"@remote.test")) * _X + b"@remote.test>"

ROWS: Final[tuple[Row, ...]] = (
    # Strict syntax, which everybody takes.
    *_mails("Strict syntax", (250, 250, 250), b"<a@b.test>", b"<>", b"<a@b.test> SIZE=10"),
    *_mails("Strict syntax", (250, 250, 250), b'<"a b"@b.test>', b'<"a@c"@b.test>'),
    *_mails("Strict syntax", (250, 250, 250), b"<@r.test,@s.test:a@b.test>"),
    *_rcpts("Strict syntax", (250, 250, 250), b"<ann@local.test>", b"<postmaster>"),
    # Blanks and brackets.
    *_mails(BLANKS, (250, 501, 250), b" <a@b.test>", b"  <a@b.test>", b"\t<a@b.test>", b" <>"),
    *_mails(BLANKS, (250, 501, 250), b" \t <a@b.test> SIZE=10", b"< a@b.test>", b"<a@b.test >"),
    *_mails(BLANKS, (250, 501, 250), b"< a@b.test >", b"<\ta@b.test\t>", b" < a@b.test > SIZE=10"),
    *_mails(BLANKS, (250, 501, 250), b"a@b.test", b" a@b.test", b"\ta@b.test", b"a@b.test SIZE=10"),
    *_mails(
        BLANKS, (250, 501, 250), b'"a b"@b.test', b' "a>b"@b.test SIZE=10', b"a@b.test  SIZE=1"
    ),
    *_mails(BLANKS, (250, 501, 250), b'"a\\" b"@b.test', b" a@b.test BODY=8BITMIME SIZE=10"),
    *_mails(BLANKS, (250, 501, 250), b"< >", b"<\t>"),
    *_rows(BLANKS, [_EHLO], (250, 501, 501), b"MAIL FROM :<a@b.test>", b"MAIL FROM : <a@b.test>"),
    *_rows(BLANKS, [_EHLO], (250, 501, 501), b"MAIL FROM\t:\t<a@b.test>", b"MAIL FROM : a@b.test"),
    *_rows(BLANKS, [_EHLO], (250, 501, 250), b"MAIL  FROM:<a@b.test>", b"MAIL \tFROM:<a@b.test>"),
    *_rows(BLANKS, [_EHLO], (250, 500, 250), b"MAIL\tFROM:<a@b.test>", b"MAIL\t FROM: a@b.test"),
    *_rows(BLANKS, [_EHLO], (250, 250, 250), b"mail from:<a@b.test>", b"MAIL FROM:<a@b.test> "),
    *_rows(BLANKS, [_EHLO], (None, None, 250), b" MAIL FROM:<a@b.test>", b"\tMAIL FROM:<a@b.test>"),
    *_mails(BLANKS, (250, 501, 250), b"<a@b.test>\t", b"<a@b.test>\tSIZE=10", b"a@b.test\tSIZE=1"),
    *_rcpts(
        BLANKS, (250, 501, 250), b" <ann@local.test>", b"\t<ann@local.test>", b"< ann@local.test >"
    ),
    *_rcpts(BLANKS, (250, 501, 250), b"ann@local.test", b" ann@local.test", b"\tann@local.test"),
    *_rcpts(
        BLANKS, (250, 501, 250), b"ann@local.test NOTIFY=NEVER", b"< postmaster >", b"postmaster"
    ),
    *_rows(BLANKS, [_EHLO, _MAIL], (250, 501, 501), b"RCPT TO :<ann@local.test>"),
    *_rows(BLANKS, [_EHLO, _MAIL], (250, 501, 250), b"RCPT  TO:<ann@local.test>"),
    *_rows(BLANKS, [_EHLO, _MAIL], (250, 500, 250), b"RCPT\tTO:<ann@local.test>"),
    # What looks alike, and may be read in two ways.
    *_mails(STILL_REFUSED, (501, 501, 501), b"", b" ", b"\t", b"<a@b.test", b"<a@b.test>SIZE=10"),
    *_mails(STILL_REFUSED, (501, 501, 501), b"<a@b.test>,<c@d.test>", b"<a@b.test><c@d.test>"),
    *_mails(STILL_REFUSED, (501, 501, 501), b"<a@b.test,c@d.test>", b"a@b.test,c@d.test"),
    *_mails(
        STILL_REFUSED,
        (501, 501, 501),
        b"<a b@b.test>",
        b'<"a@b.test>',
        b'"a@b.test',
        b'<a"@b.test>',
    ),
    *_mails(
        STILL_REFUSED, (501, 501, 501), b"<a@>", b"<@>", b"a@", b"<a,b@c.test>", b"<a;b@c.test>"
    ),
    *_mails(STILL_REFUSED, (501, 501, 501), b"<a@b.test>Ann", b"<a@b c.test>", b"<a\0b@b.test>"),
    *_mails(STILL_REFUSED, (501, 501, 250), b"a@b.test>", b"<<a@b.test>>", b"<a@b.test>>"),
    *_mails(
        STILL_REFUSED, (501, 501, 250), b"Ann<a@b.test>", b"(Ann)<a@b.test>", b"<a@b.test (Ann)>"
    ),
    *_mails(STILL_REFUSED, (501, 501, 250), b"<(Ann)a@b.test>", b"<a(x)@b.test>", b"<a@b@c.test>"),
    *_mails(
        STILL_REFUSED,
        (501, 501, 250),
        b"a@b@c.test",
        b"<a@@c.test>",
        b"<@c.test>",
        b"<a\x01b@c.test>",
    ),
    *_mails(STILL_REFUSED, (501, 501, 250), b"<a @b.test>", b"<a@ b.test>", b"<a:b@c.test>"),
    *_mails(STILL_REFUSED, (501, 501, 250), b"<a]b@c.test>", b"<a(b@c.test>", b"group:a@b.test;"),
    *_mails(STILL_REFUSED, (501, 501, 250), b'<"a"."b"@b.test>', b"<a\\ b@b.test>", b'<"">', b'""'),
    *_mails(STILL_REFUSED, (REFUSED, REFUSED, 555), b"<a@b.test> <c@d.test>", b"<a@b.test> Ann"),
    *_mails(STILL_REFUSED, (REFUSED, REFUSED, 555), b"a@b.test <c@d.test>", b"Ann <a@b.test>"),
    *_mails(STILL_REFUSED, (REFUSED, REFUSED, 555), b"a@b.test c@d.test", b"<a@b.test> (Ann)"),
    *_mails(STILL_REFUSED, (REFUSED, 501, 250), b" SIZE=10", b"<>SIZE=10"),
    *_rcpts(STILL_REFUSED, (501, 501, 501), b"", b" ", b"<>", b"< >", b'<"">', b"<ann@local.test"),
    *_rcpts(STILL_REFUSED, (501, 501, 501), b"<ann@local.test,bob@local.test>", b"<ann@>"),
    *_rcpts(STILL_REFUSED, (501, 501, 454), b"<ann@relay.test@local.test>"),
    *_rcpts(STILL_REFUSED, (501, 501, 250), b"ann@local.test>", b"(Ann)<ann@local.test>"),
    # Local parts.
    *_mails(LOCAL_PARTS, (250, 501, 250), b"<.a@b.test>", b"<a.@b.test>", b"<a..b@b.test>"),
    *_mails(LOCAL_PARTS, (250, 501, 250), b"<..@b.test>", b"<.@b.test>", b"<a...b.@b.test>"),
    *_mails(LOCAL_PARTS, (250, 501, 250), b"a..b@b.test", b"< a.@b.test >", b"<@r.test:.a@b.test>"),
    *_mails(LOCAL_PARTS, (250, 250, 250), b'<".a"@b.test>', b'<"a..b"@b.test>'),
    *_mails(LOCAL_PARTS, (250, 250, 250), b"<" + 64 * _X + b"@b.test>"),
    *_mails(
        LOCAL_PARTS, (250, 501, 250), b"<" + 65 * _X + b"@b.test>", b"<" + 200 * _X + b"@b.test>"
    ),
    *_mails(LOCAL_PARTS, (250, 501, 250), _LONGEST, b'<"' + 100 * _X + b'"@b.test>'),
    *_mails(LOCAL_PARTS, (501, 501, 250), b"<x" + _LONGEST[1:], b"<" + 300 * _X + b"@b.test>"),
    *_mails(LOCAL_PARTS, (250, 501, 250), "<.grün@b.test> SMTPUTF8".encode()),
    *_mails(LOCAL_PARTS, (250, 501, 250), "<gr..ün@b.test> SMTPUTF8".encode()),
    *_mails(LOCAL_PARTS, (250, 501, 250), b"<" + ("ü" * 60).encode() + b"@b.test> SMTPUTF8"),
    *_mails(LOCAL_PARTS, (250, 250, 250), "<grün@b.test> SMTPUTF8".encode()),
    *_mails(
        LOCAL_PARTS, (REFUSED, REFUSED, 500), b"<gr\xfcn@b.test>", b"<gr\xfcn@b.test> SMTPUTF8"
    ),
    *_rcpts(LOCAL_PARTS, (250, 501, 250), b"<ann+a..b@local.test>", b"<ann+x.@local.test>"),
    *_rcpts(LOCAL_PARTS, (250, 501, 250), b"<ann+" + 100 * _X + b"@local.test>"),
    *_rcpts(LOCAL_PARTS, (550, 501, 250), b"<ann.@local.test>", b"<.ann@local.test>"),
    *_rcpts(LOCAL_PARTS, (550, 501, 250), b"<a..nn@local.test>", b"<" + 65 * _X + b"@local.test>"),
    *_rcpts(LOCAL_PARTS, (550, 501, 454), b"<a..b@relay.test>", b"<" + 65 * _X + b"@relay.test>"),
    *_rcpts(
        LOCAL_PARTS, (250, 501, 250), b"<a..b@relay.test>", b"<a.@relay.test>", source=RELAY_CLIENT
    ),
    # Domains.
    *_mails(
        DOMAINS, (250, 501, 250), b"<a@b_c.test>", b"<a@_b.test>", b"<a@b_.test>", b"a@b_c.test"
    ),
    *_mails(
        DOMAINS, (250, 501, 501), b"<a@-b.test>", b"<a@b-.test>", b"<a@b.-test>", b"<a@b.test->"
    ),
    *_mails(DOMAINS, (250, 501, 250), b"<a@b.test.>", b"a@b.test.", b"<a@b_c.test.>"),
    *_mails(DOMAINS, (250, 250, 250), b"<a@b--c.test>", b"<a@" + _LABEL + b".test>", b"<a@test>"),
    *_mails(DOMAINS, (501, 501, 501), b"<a@b..test>", b"<a@.b.test>", b"<a@b.test..>", b"<a@.>"),
    *_mails(
        DOMAINS, (501, 501, 501), b"<a@x" + _LABEL + b".test>", b"<a@b!c.test>", b"<a@b/c.test>"
    ),
    *_mails(DOMAINS, (501, 501, 501), b"<a@b*c.test>", b"<a@b'c.test>", b"<a@b:25>", b"<a@b,test>"),
    *_mails(
        DOMAINS,
        (None, None, 501),
        b"<a@1234>",
        b"<a@192.0.2.1>",
        b"<a@" + 5 * (60 * _X + b".") + b"test>",
    ),
    *_mails(DOMAINS, (250, 250, 250), "<a@bücher.test> SMTPUTF8".encode()),
    *_rcpts(
        DOMAINS, (250, 501, 250), b"<ann@local.test.>", b"<ANN@LOCAL.TEST.>", b"ann@local.test."
    ),
    *_rcpts(DOMAINS, (250, 501, 250), b"<postmaster@local.test.>"),
    *_rcpts(DOMAINS, (550, 501, 454), b"<ann@relay.test.>", b"<ann@re_lay.test>"),
    *_rcpts(
        DOMAINS, (250, 501, 250), b"<ann@relay.test.>", b"<ann@re_lay.test>", source=RELAY_CLIENT
    ),
    *_rcpts(DOMAINS, (501, 501, 501), b"<ann@local.test..>", b"<ann@local..test>"),
    # No domain.
    *_rcpts(
        NO_DOMAIN, (250, 501, 250), b"<ann>", b"ann", b" ann", b"< ann >", b"<ANN>", b'<"ann">'
    ),
    *_rcpts(NO_DOMAIN, (250, 501, 250), b"<ann+tag>", b"<ann> NOTIFY=NEVER"),
    *_rcpts(NO_DOMAIN, (250, 250, 250), b"<Postmaster>", b"<POSTMASTER>"),
    *_rcpts(NO_DOMAIN, (550, 501, 250), b"<nobody>", b"<ann.>"),
    *_mails(NO_DOMAIN, (501, 501, 250), b"<ann>", b"ann", b"<postmaster>"),
    *_mails(NO_DOMAIN, (250, 501, 250), b"<ann>", b"ann", b" < root >", source=RELAY_CLIENT),
    # Address literals.
    *_mails(LITERALS, (250, 250, 250), b"<a@[192.0.2.1]>", b"<a@[IPv6:2001:db8::1]>"),
    *_mails(LITERALS, (501, 501, 501), b"<a@[]>", b"<a@[x]>", b"<a@[300.1.1.1]>", b"<a@[::1]>"),
    *_mails(LITERALS, (501, 501, 250), b"<a@[192.0.2.1>"),
    *_rcpts(LITERALS, (250, None, 250), b"<ann@[127.0.0.1]>", b"<postmaster@[127.0.0.1]>"),
    *_rcpts(LITERALS, (REFUSED, REFUSED, 454), b"<ann@[127.0.0.9]>", b"<ann@[192.0.2.77]>"),
    *_rcpts(LITERALS, (REFUSED, None, 250), b"<ann@[192.0.2.77]>", source=RELAY_CLIENT),
    # Greetings.
    *_greetings((250, 250, 250), b"host", b"host.test", b"[127.0.0.1]", b"[IPv6:::1]", b"my_host"),
    *_greetings((250, 501, 500), b"Ann-M\xfcller-PC", b"\xff\xfe"),
    *_greetings((250, 501, 250), "Ann-Müller-PC".encode(), b"Ann's-PC", b"Ann Smith PC", b"(none)"),
    *_greetings((250, 501, 250), b"[malformed", b"malformed]", b"[]", b"[300.1.1.1]", b"[::1]"),
    *_greetings((250, 501, 250), b"*", b"host..test", b"-host-", b".", b"a@b.test", b"<x>", b'"x"'),
    *_greetings((250, 250, 250), 255 * _X, b"192.0.2.1", b"host.test."),
    *_greetings((501, 501, 250), 256 * _X, 1000 * _X, kind=STILL_REFUSED),
    *_greetings((501, 501, 250), b"a\x01b", b"a\x7fb", b"a\tb", kind=STILL_REFUSED),
    *_greetings((250, 501, 250), b" host", b"host\t"),
    *_greetings((501, 501, 501), b"", b" ", kind=STILL_REFUSED),
    # Sequences.
    *_rows(SEQUENCES, [], (250, 503, 250), _MAIL),
    *_rows(SEQUENCES, [_MAIL], (250, 503, 250), _RCPT),
    *_rows(SEQUENCES, [_MAIL, _RCPT], (354, 503, 354), b"DATA"),
    *_rows(SEQUENCES, [], (503, 503, 503), _RCPT, b"DATA"),
    *_rows(SEQUENCES, [b"HELO client.test"], (220, 503, 220), b"STARTTLS"),
    *_rows(SEQUENCES, [_EHLO], (220, 220, 220), b"STARTTLS"),
    *_rows(SEQUENCES, [], (220, 503, 220), b"STARTTLS"),
    *_rows(SEQUENCES, [b"HELO client.test"], (None, None, 250), b"MAIL FROM:<a@b.test> SIZE=10"),
    *_rows(SEQUENCES, [], (None, None, 250), b"MAIL FROM:<a@b.test> SIZE=10"),
    *_rows(SEQUENCES, [_EHLO, _MAIL], (503, 503, 503), _MAIL),
    *_rows(SEQUENCES, [_EHLO, _MAIL, _RCPT], (354, 354, 354), b"DATA "),
    *_rows(SEQUENCES, [_EHLO, _MAIL, _RCPT], (354, 500, 354), b"DATA\t"),
    *_rows(SEQUENCES, [_EHLO], (250, 250, 250), b"RSET ", b"NOOP ", b"NOOP x"),
    *_rows(SEQUENCES, [_EHLO], (250, 500, 250), b"RSET\t", b"NOOP\t"),
    *_rows(SEQUENCES, [_EHLO], (None, 500, 250), b" NOOP"),
    *_rows(SEQUENCES, [_EHLO], (221, 221, 221), b"QUIT "),
    # Line ends of commands: what ends a command in one server must not hide in one of another.
    Row(COMMAND_ENDS, (b"EHLO client.test\n",), 500, 500, 250),
    Row(COMMAND_ENDS, (b"NOOP\nNOOP\r\n",), 500, 500, 250),
    Row(COMMAND_ENDS, (_line(_EHLO), b"MAIL FROM:<a@b.test>\n"), 500, 500, 250),
    Row(
        COMMAND_ENDS, (_line(_EHLO), b"MAIL FROM:<a@b.test>\nRCPT TO:<b@b.test>\r\n"), 500, 500, 250
    ),
    Row(COMMAND_ENDS, (b"\n",), 500, 500, 500),
    Row(COMMAND_ENDS, (b"NOOP\r\r\n",), None, None, 250),
    Row(COMMAND_ENDS, (_line(_EHLO), b"MAIL FROM:<a@b.test>\r\r\n"), None, None, 250),
    Row(COMMAND_ENDS, (b"NOOP\rNOOP\r\n",), None, None, 250),
)

_FROM = b"From a@remote.test Sat Nov 22 14:03:07 2025\r\n"
_BOX = b"X-Mailbox-Line: "
_H = b"From: sender@remote.test\r\nSubject: tolerance\r\n\r\n"

CONTENTS: Final[tuple[ContentRow, ...]] = (
    ContentRow("nothing unusual", _H + b"one\r\ntwo", _H + b"one\r\ntwo\r\n", refuse=250),
    ContentRow("LF", _H + b"one\ntwo", _H + b"one\r\ntwo\r\n"),
    ContentRow("LF throughout", _H.replace(b"\r", b"") + b"one\ntwo\n", _H + b"one\r\ntwo\r\n\r\n"),
    ContentRow("CR", _H + b"one\rtwo\r\rthree", _H + b"one two  three\r\n"),
    ContentRow("CR CR LF", _H + b"a\r\r\nb\r\r\r\nc", _H + b"a\r\nb\r\nc\r\n"),
    ContentRow("CR before the end", _H + b"one\r", _H + b"one\r\n"),
    ContentRow(
        "CR CR LF throughout", _H.replace(b"\r", b"\r\r") + b"one\r\r\ntwo", _H + b"one\r\ntwo\r\n"
    ),
    ContentRow("LF CR", _H + b"one\n\rtwo", _H + b"one\r\n two\r\n"),
    ContentRow("LF CR LF", _H + b"one\n\r\ntwo", _H + b"one\r\n\r\ntwo\r\n"),
    ContentRow("NUL", _H + b"o\0ne\0", _H + b"one\r\n", refuse=None),
    ContentRow(
        "NUL in the header",
        _H[:-2] + b"X: a\0b\r\n\r\none",
        _H[:-2] + b"X: ab\r\n\r\none\r\n",
        None,
    ),
    ContentRow("CR NUL LF", _H + b"one\r\0\ntwo", _H + b"one\r\ntwo\r\n"),
    ContentRow("a line of NUL", _H + b"one\r\n\0\r\ntwo", _H + b"one\r\n\r\ntwo\r\n", None),
    ContentRow("LF . LF", _H + b"one\n.\ntwo", _H + b"one\r\n.\r\ntwo\r\n"),
    ContentRow("LF . CR LF", _H + b"one\n.\r\ntwo", _H + b"one\r\n.\r\ntwo\r\n"),
    ContentRow(
        "CR LF . LF",
        _H + b"one\r\n.\ntwo",
        _H + b"one\r\n\r\ntwo\r\n",
        in_chunks=_H + b"one\r\n.\r\ntwo\r\n",
    ),
    ContentRow("LF .. LF", _H + b"one\n..\ntwo", _H + b"one\r\n..\r\ntwo\r\n"),
    ContentRow("CR . CR", _H + b"one\r.\rtwo", _H + b"one . two\r\n"),
    ContentRow(
        "CR LF . CR",
        _H + b"one\r\n.\rtwo",
        _H + b"one\r\n two\r\n",
        in_chunks=_H + b"one\r\n. two\r\n",
    ),
    ContentRow(
        "CR CR LF . CR CR LF",
        _H + b"one\r\r\n..\r\r\ntwo",
        _H + b"one\r\n.\r\ntwo\r\n",
        in_chunks=_H + b"one\r\n..\r\ntwo\r\n",
    ),
    ContentRow(
        "CR LF . NUL CR LF",
        _H + b"one\r\n..\0\r\ntwo",
        _H + b"one\r\n.\r\ntwo\r\n",
        None,
        _H + b"one\r\n..\r\ntwo\r\n",
    ),
    ContentRow("CR LF NUL . CR LF", _H + b"one\r\n\0.\r\ntwo", _H + b"one\r\n.\r\ntwo\r\n", None),
    ContentRow("a line of 999 octets", _H + 999 * _X, _H + 999 * _X + b"\r\n", 250),
    ContentRow("a line of 300,000 octets", _H + 300_000 * _X, _H + 300_000 * _X + b"\r\n", 250),
    ContentRow(
        "8-bit header", b"Subject: gr\xfcn\r\n\r\none", b"Subject: gr\xfcn\r\n\r\none\r\n", 250
    ),
    ContentRow("From_ line", _FROM + _H + b"one", _BOX + _FROM + _H + b"one\r\n", 250),
    ContentRow(">From_ line", b">" + _FROM + _H, _BOX + b">" + _FROM + _H + b"\r\n", 250),
    ContentRow(
        "two From_ lines",
        _FROM + b">" + _FROM + _H + b"one",
        _BOX + _FROM + _BOX + b">" + _FROM + _H + b"one\r\n",
        250,
    ),
)

SENDERS: Final[dict[bytes, bytes]] = {
    b"a@b.test": b"<a@b.test>",
    b"<.a@b.test>": b'<".a"@b.test>',
    b"<a.@b.test>": b'<"a."@b.test>',
    b"< a..b@b.test >": b'<"a..b"@b.test>',
    b'<"a"@b.test>': b"<a@b.test>",
    b'"a b"@b.test': b'<"a b"@b.test>',
    b"<" + 100 * _X + b"@b.test>": b"<" + 100 * _X + b"@b.test>",
    b"<a@b_c.test>": b"<a@b_c.test>",
    b"<a@-b-.test>": b"<a@-b-.test>",
    b"<a@b.test.>": b"<a@b.test>",
    b"<@r.test:a..@b.test>": b'<"a.."@b.test>',
    b"<ann>": b"<ann@local.test>",
    b"< >": b"<>",
}
"""Reverse-paths, and how each is written to the next hop."""

RECIPIENTS: Final[dict[bytes, bytes]] = {
    b"a@relay.test": b"<a@relay.test>",
    b"< a..b@relay.test >": b'<"a..b"@relay.test>',
    b"<a.@relay.test.>": b'<"a."@relay.test>',
    b"<.a@re_lay.test>": b'<".a"@re_lay.test>',
    b'"a b"@relay.test': b'<"a b"@relay.test>',
    b"<" + 100 * _X + b"@relay.test>": b"<" + 100 * _X + b"@relay.test>",
}
"""Forward-paths, and how each is written to the next hop."""

NAMES: Final[dict[bytes, bytes]] = {
    b"host.test": b"host.test",
    b"my_host": b"my_host",
    b"[192.0.2.1]": b"[192.0.2.1]",
    b"Ann-M\xfcller-PC": b"[127.0.0.1]",
    b"Ann's-PC": b"[127.0.0.1]",
    b"Ann Smith PC": b"[127.0.0.1]",
    b"(none)": b"[127.0.0.1]",
    b"[malformed": b"[127.0.0.1]",
    b"[300.1.1.1]": b"[127.0.0.1]",
    b"a@b.test (evil": b"[127.0.0.1]",
}
"""Names in greetings, and what Received calls the client."""
