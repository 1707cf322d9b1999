"""Mailboxes and paths: the addresses of the envelope.

A `Mailbox` is a value. It holds the local part *without* its quoting, so that ``"joe"@a`` and
``joe@a`` are one mailbox (RFC 5321 s4.1.2), and writes the quotes again when it is sent. Addresses
of the envelope are octets from socket to disk: no header parser, no RFC 2047 decoding and no
Unicode folding ever touches them.

An internationalised mailbox (RFC 6531) holds UTF-8. Its local part is defined by its host, octet
for octet. Its domain may have U-labels, of which only those are let in that mean one thing: what
compatibility folding would change (a full-width letter, the Kelvin sign) is refused, so that no
character ever turns into an ASCII one that it resembles. Between U-labels and A-labels nothing is
converted here: the DNS look-up does that.

A mailbox that breaks the grammar in a way that is tolerated is matched against wider patterns, but
only after the grammar's own have failed. `tolerance.ALL` is the default, so that what was accepted
once stays readable. Only a session passes fewer tolerances.

The patterns are linear: every repetition is over a character class that the next item cannot
begin with, or is bounded; and a path is at most 256 octets long before it gets here.
"""

import re
import unicodedata
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from postroom.wire.errors import LocalViolation
from postroom.wire.tolerance import ALL, Tolerance, Tolerances

LOCAL_PART_OCTETS = 64  # RFC 5321 s4.5.3.1.1
DOMAIN_OCTETS = 255  # RFC 5321 s4.5.3.1.2
PATH_OCTETS = 256  # RFC 5321 s4.5.3.1.3, with the angle brackets

POSTMASTER = b"postmaster"
"""The one local part that needs no domain in RCPT, in any case of letters: RFC 5321 s4.5.1."""

# atext      = ALPHA / DIGIT / "!" / "#" / "$" / "%" / "&" / "'" / "*" / "+" / "-" / "/" / "=" /
#              "?" / "^" / "_" / "`" / "{" / "|" / "}" / "~"         RFC 5322 s3.2.3
# Dot-string = Atom *("."  Atom)                                     RFC 5321 s4.1.2
_ATEXT = rb"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~]"
_DOT_STRING = _ATEXT + rb"+(?:\." + _ATEXT + rb"+)*"
# Quoted-string = DQUOTE *QcontentSMTP DQUOTE
# qtextSMTP     = %d32-33 / %d35-91 / %d93-126
# quoted-pairSMTP = %d92 %d32-126                                    RFC 5321 s4.1.2
_QUOTED_STRING = rb'"(?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\[\x20-\x7e])*"'
# sub-domain = Let-dig [Ldh-str];  Domain = sub-domain *("." sub-domain)   RFC 5321 s4.1.2
_SUB_DOMAIN = rb"[A-Za-z0-9](?:[A-Za-z0-9\-]{0,61}[A-Za-z0-9])?"
_DOMAIN = _SUB_DOMAIN + rb"(?:\." + _SUB_DOMAIN + rb")*"
# address-literal = "[" ( IPv4 / "IPv6:" IPv6 / Standardized-tag ":" 1*dcontent ) "]"
# dcontent = %d33-90 / %d94-126                                      RFC 5321 s4.1.3
_LITERAL = rb"\[[\x21-\x5a\x5e-\x7e]+\]"

DOMAIN = re.compile(_DOMAIN)
_GREETING_DOMAIN = re.compile(rb"[A-Za-z0-9_](?:[A-Za-z0-9_\-.]*[A-Za-z0-9_])?\.?")
_MAILBOX = re.compile(
    rb"(?P<local>" + _DOT_STRING + rb"|" + _QUOTED_STRING + rb")@"
    rb"(?P<domain>" + _DOMAIN + rb"|" + _LITERAL + rb")"
)
# atext =/ UTF8-non-ascii; qtextSMTP =/ UTF8-non-ascii; sub-domain =/ U-label   RFC 6531 s3.3
# Here any octet above 127 stands for UTF8-non-ascii; that they are UTF-8 is checked beside it.
_ATEXT_UTF8 = _ATEXT[:-1] + rb"\x80-\xff]"
_DOT_STRING_UTF8 = _ATEXT_UTF8 + rb"+(?:\." + _ATEXT_UTF8 + rb"+)*"
_QUOTED_STRING_UTF8 = rb'"(?:[\x20\x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\x20-\x7e])*"'
_UNQUOTED = re.compile(_DOT_STRING_UTF8)
_SUB_DOMAIN_ONLY = re.compile(_SUB_DOMAIN)
# What may be tolerated instead: any dots, underscores and hyphens anywhere, a dot at the end.
_DOTS = _ATEXT[:-1] + rb".]+"
_DOTS_UTF8 = _ATEXT_UTF8[:-1] + rb".]+"
_LABEL = rb"(?=[_\-]{0,62}[A-Za-z0-9])[A-Za-z0-9_\-]{1,63}"
_TOLERATED_DOMAIN = _LABEL + rb"(?:\." + _LABEL + rb")*"
TOLERATED_DOMAIN = re.compile(_TOLERATED_DOMAIN)
TOLERATED_LABEL = re.compile(_LABEL)
_TOLERATED_MAILBOX = re.compile(
    rb"(?P<local>" + _DOTS + rb"|" + _QUOTED_STRING + rb")@"
    rb"(?P<domain>" + _TOLERATED_DOMAIN + rb"\.?|" + _LITERAL + rb")"
)
_TOLERATED_MAILBOX_UTF8 = re.compile(
    rb"(?P<local>" + _DOTS_UTF8 + rb"|" + _QUOTED_STRING_UTF8 + rb")@"
    rb"(?P<domain>[A-Za-z0-9._\-\x80-\xff]+|" + _LITERAL + rb")"
)
_TOLERATED_LOCAL_PART = re.compile(_DOTS_UTF8 + rb"|" + _QUOTED_STRING_UTF8)
LABEL_OCTETS = 63  # RFC 1035 s2.3.4
# The letters, digits and marks that IDNA knows, roughly: what is worse than rough is refused by
# `unicodedata.normalize`, and no look-up would find it.            RFC 5892 s2
_LABEL_CATEGORIES = frozenset(("Ll", "Lu", "Lo", "Lm", "Mn", "Mc", "Nd"))
# CONTEXTJ and CONTEXTO                                              RFC 5892 sA
_LABEL_EXTRAS = frozenset("-\u00b7\u0375\u05f3\u05f4\u200c\u200d\u30fb")
# Controls, line and paragraph separators: no address has a use for them, some readers a bad one.
HARMFUL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# A-d-l = At-domain *( "," At-domain ), before a colon; to be accepted and ignored.  RFC 5321 s4.1.2
_SOURCE_ROUTE = re.compile(rb"@" + _DOMAIN + rb"(?:,@" + _DOMAIN + rb")*:")
_TOLERATED_SOURCE_ROUTE = re.compile(
    rb"@" + _TOLERATED_DOMAIN + rb"\.?(?:,@" + _TOLERATED_DOMAIN + rb"\.?)*:"
)
_QUOTED_PAIR = re.compile(rb"\\(.)")
_TAG = re.compile(rb"\[([A-Za-z0-9\-]*[A-Za-z0-9]):[\x21-\x5a\x5e-\x7e]+\]")


class PathError(ValueError):
    """A path that breaks the grammar; the message names what and where."""


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A mailbox of the envelope: ``local-part@domain``.

    Attributes:
        local_part: the octets without quoting; case is kept, for it may matter (RFC 5321 s2.4).
        domain: as sent, without a dot behind it; compare `domain_key`. Empty for the bare
            ``postmaster`` of RCPT, and where a session lets it be missing.

    RFC 5321 s4.1.2
    """

    local_part: bytes
    domain: bytes

    @property
    def domain_key(self) -> str:
        """The domain in the form in which domains are compared: lower case, U-labels in NFC."""
        key = self.domain.decode("utf-8", "backslashreplace").lower()
        return key if key.isascii() else unicodedata.normalize("NFC", key)

    @property
    def is_ascii(self) -> bool:
        """True if it can be sent without SMTPUTF8."""
        return self.local_part.isascii() and self.domain.isascii()

    @property
    def is_literal(self) -> bool:
        """True if the domain is an address literal such as ``[192.0.2.1]``."""
        return self.domain.startswith(b"[")

    @property
    def literal_address(self) -> str:
        """The IP address of an address literal in its usual form; empty for any other domain."""
        inner = self.domain[1:-1].decode("ascii", "replace")
        try:
            if inner[:5].lower() == "ipv6:":
                return str(IPv6Address(inner[5:]))
            return str(IPv4Address(inner))
        except AddressValueError:
            return ""

    def __bytes__(self) -> bytes:
        """Return the mailbox as it is sent, quoted where it has to be."""
        local = self.local_part
        if _UNQUOTED.fullmatch(local) is None:
            local = b'"' + re.sub(rb'(["\\])', rb"\\\1", local) + b'"'
        return local + b"@" + self.domain if self.domain else local

    def __str__(self) -> str:
        """Return the mailbox as text, for logs and messages; invisible characters are escaped."""
        text = bytes(self).decode("utf-8", "backslashreplace")
        if text.isprintable():
            return text
        return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def parse_mailbox(octets: bytes, tolerate: Tolerances = ALL) -> Mailbox:
    """Parse ``local-part@domain``, the whole of the input.

    Args:
        octets: the mailbox, without brackets.
        tolerate: what it may deviate in. A domain is always wanted.

    Raises:
        PathError: what is wrong; the server makes it 501 5.1.3 or 501 5.1.7.

    RFC 5321 s4.1.2, s4.1.3, s4.5.3.1; RFC 6531 s3.3
    """
    match = _MAILBOX.fullmatch(octets)
    if match is None:
        return _parse_unusual_mailbox(octets, tolerate)
    return _mailbox_of(match, tolerate)


def _mailbox_of(match: re.Match[bytes], tolerate: Tolerances) -> Mailbox:
    """Return what the grammar has matched, if its parts are no longer than they may be.

    Raises:
        PathError: one is.
    """
    local, domain = match.groups()
    if len(local) > LOCAL_PART_OCTETS:
        _check_local_part_length(local, tolerate)
    if len(domain) > DOMAIN_OCTETS:
        raise PathError(f"domain longer than {DOMAIN_OCTETS} octets")
    if domain[:1] == b"[":
        check_literal(domain)
    return Mailbox(_unquoted(local), domain)


def _parse_unusual_mailbox(octets: bytes, tolerate: Tolerances) -> Mailbox:
    """Parse a mailbox that is not ASCII, or deviates from the grammar.

    Raises:
        PathError: it is none, or deviates in what is not tolerated.
    """
    if octets.isascii():
        match = _TOLERATED_MAILBOX.fullmatch(octets)
    else:
        match = _TOLERATED_MAILBOX_UTF8.fullmatch(octets)
    if match is None:
        raise PathError(_what_is_wrong(octets))
    check_utf8(octets)
    local, domain = match["local"], match["domain"]
    if local[:1] != b'"' and _UNQUOTED.fullmatch(local) is None:
        _demand(Tolerance.LOCAL_PART_DOTS, tolerate, "malformed local part")
    _check_local_part_length(local, tolerate)
    if domain[:1] == b"[":
        check_literal(domain)
    else:
        domain = _check_domain(domain, tolerate)
    return Mailbox(_unquoted(local), domain)


def _parse_local_part(octets: bytes, tolerate: Tolerances) -> bytes | None:
    """Parse a local part that no domain follows.

    Returns:
        The octets without quoting; None if it is no local part, is empty, or may not stand alone.

    Raises:
        PathError: it deviates in what is not tolerated.

    RFC 5321 s4.1.2
    """
    alone = Tolerance.MISSING_DOMAIN in tolerate
    if not alone or _TOLERATED_LOCAL_PART.fullmatch(octets) is None:
        return None
    check_utf8(octets)
    if octets[:1] != b'"' and _UNQUOTED.fullmatch(octets) is None:
        _demand(Tolerance.LOCAL_PART_DOTS, tolerate, "malformed local part")
    _check_local_part_length(octets, tolerate)
    return _unquoted(octets) or None


def _unquoted(local: bytes) -> bytes:
    return _QUOTED_PAIR.sub(rb"\1", local[1:-1]) if local[:1] == b'"' else local


def _demand(tolerance: Tolerance, tolerate: Tolerances, otherwise: str) -> None:
    """Check that a deviation is tolerated.

    Raises:
        PathError: it is not; the text is ``otherwise``.
    """
    if tolerance not in tolerate:
        raise PathError(otherwise)


def _check_local_part_length(local: bytes, tolerate: Tolerances) -> None:
    if len(local) > PATH_OCTETS:
        raise PathError(f"local part longer than {PATH_OCTETS} octets")
    # A local part that holds another address (VERP, BATV, SRS) outgrows the limit in honest mail.
    if len(local) > LOCAL_PART_OCTETS and b"=" not in local:
        text = f"local part longer than {LOCAL_PART_OCTETS} octets"
        _demand(Tolerance.LONG_LOCAL_PARTS, tolerate, text)


def _check_domain(domain: bytes, tolerate: Tolerances) -> bytes:
    """Check a domain that may deviate; return it without the dot behind it.

    Raises:
        PathError: it is no domain, or deviates in what is not tolerated.
    """
    if domain.endswith(b"."):
        _demand(Tolerance.TRAILING_DOT, tolerate, "malformed domain")
        domain = domain[:-1]
    if len(domain) > DOMAIN_OCTETS:
        raise PathError(f"domain longer than {DOMAIN_OCTETS} octets")
    for label in domain.split(b"."):
        _check_label(label, tolerate)
    return domain


def check_utf8(octets: bytes) -> str:
    """Decode octets that must be UTF-8 and hold no control.

    Raises:
        PathError: they are not, by an overlong form or a surrogate for instance, or they do.

    RFC 3629 s3
    """
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError:
        raise PathError("octets that are not UTF-8") from None
    if HARMFUL.search(text) is not None:
        raise PathError("control character or line separator")
    return text


def _check_label(octets: bytes, tolerate: Tolerances) -> None:
    """Check one label of a domain, an A-label or a U-label.

    RFC 5321 s4.1.2; RFC 6531 s3.3; RFC 5890 s2.3.2.1
    """
    label = octets.decode("utf-8")
    if octets.isascii():
        loose = Tolerance.DOMAIN_CHARACTERS in tolerate
        good = (TOLERATED_LABEL if loose else _SUB_DOMAIN_ONLY).fullmatch(octets) is not None
    else:
        good = (
            len(label) <= LABEL_OCTETS
            and unicodedata.normalize("NFKC", label) == label
            and all(
                unicodedata.category(each) in _LABEL_CATEGORIES or each in _LABEL_EXTRAS
                for each in label
            )
            and not unicodedata.category(label[0]).startswith("M")
            and "-" not in (label[0], label[-1])
            and len(b"xn--" + label.lower().encode("punycode")) <= LABEL_OCTETS
        )
    if not good:
        raise PathError("malformed domain")


def parse_path(
    octets: bytes, tolerate: Tolerances = ALL, *, postmaster: bool = False
) -> Mailbox | None:
    """Parse a path with its angle brackets; a source route is removed.

    Args:
        octets: the path.
        tolerate: what it may deviate in.
        postmaster: True if ``<postmaster>`` may stand alone, in any case, as in RCPT.

    Returns:
        The mailbox, with an empty domain if that is missing and may be; None for the null path
        ``<>``.

    Raises:
        PathError: what is wrong; the server makes it 501 5.1.3 or 501 5.1.7.

    RFC 5321 s4.1.2, s3.3, sC
    """
    if octets == b"<>":
        return None
    if octets[:1] != b"<" or octets[-1:] != b">":
        raise PathError("a path is written between < and >")
    if len(octets) > PATH_OCTETS:
        raise PathError(f"path longer than {PATH_OCTETS} octets")
    match = _MAILBOX.fullmatch(octets, 1, len(octets) - 1)
    if match is not None:
        return _mailbox_of(match, tolerate)
    return _parse_unusual_path(octets[1:-1], tolerate, postmaster)


def _parse_unusual_path(inner: bytes, tolerate: Tolerances, postmaster: bool) -> Mailbox | None:
    """Parse what stands between the brackets, if it is not just a mailbox of the grammar.

    Raises:
        PathError: what is wrong.
    """
    if inner[:1] == b" " or inner[-1:] == b" ":
        _demand(Tolerance.BLANKS, tolerate, "blank inside the brackets")
        inner = inner.strip(b" ")
        if not inner:
            return None
    if inner[:1] == b"@":
        loose = Tolerance.DOMAIN_CHARACTERS in tolerate
        route = (_TOLERATED_SOURCE_ROUTE if loose else _SOURCE_ROUTE).match(inner)
        if route is None:
            raise PathError("malformed source route")
        inner = inner[route.end() :]
    if b"@" not in inner:
        if postmaster and inner.lower() == POSTMASTER:
            return Mailbox(POSTMASTER, b"")
        local = _parse_local_part(inner, tolerate)
        if local is not None:
            return Mailbox(local, b"")
    return parse_mailbox(inner, tolerate)


def is_domain(name: str) -> bool:
    """Check whether DNS may know a host or a domain by a name, in ASCII without a final dot.

    Names with underscores exist, and names with hyphens at the ends of labels, though the grammar
    of SMTP has none.

    RFC 1035 s2.3.4; RFC 2181 s11
    """
    octets = name.encode("ascii", "replace")
    return len(octets) <= DOMAIN_OCTETS and TOLERATED_DOMAIN.fullmatch(octets) is not None


def is_host_name(octets: bytes) -> bool:
    """Return whether octets are a domain or an address literal, the proper name of a host.

    Underscores and a dot at the end pass: hosts do send them, and nothing is decided by them.

    RFC 5321 s4.1.1.1, s4.4
    """
    if octets[:1] != b"[":
        return (
            _GREETING_DOMAIN.fullmatch(octets) is not None
            and b".." not in octets
            and len(octets) <= DOMAIN_OCTETS
        )
    if octets[-1:] != b"]" or len(octets) > DOMAIN_OCTETS or not octets.isascii():
        return False
    try:
        check_literal(octets)
    except PathError:
        return False
    return True


def check_literal(literal: bytes) -> None:
    """Check an address literal, brackets included.

    Raises:
        PathError: it is neither an IPv4 nor an IPv6 nor a tagged general literal.

    RFC 5321 s4.1.3
    """
    inner = literal[1:-1].decode("ascii")
    try:
        if inner[:5].lower() == "ipv6:":
            if "%" in inner:  # a zone, which Python would take, means nothing to another host
                raise PathError("bad address literal: no zone is allowed")
            IPv6Address(inner[5:])
        elif _TAG.fullmatch(literal) is None:
            IPv4Address(inner)
    except AddressValueError as error:
        # Python quotes the peer twice, at any length; the reply is to be one line.
        raise PathError(f"bad address literal: {str(error)[:100]}") from None


def mailbox(text: str) -> Mailbox:
    """Make a mailbox from text that we wrote ourselves: a setting, a table, a command line.

    Raises:
        LocalViolation: it is not an address.

    RFC 5321 s4.1.2
    """
    try:
        return parse_mailbox(text.encode("utf-8"))
    except (PathError, UnicodeEncodeError) as error:
        raise LocalViolation(f"{text!r} is not a mail address: {error}") from None


def _what_is_wrong(octets: bytes) -> str:
    """Return the first fault that a reader of the reply can mend."""
    if not octets:
        return "empty address"
    at = octets.rfind(b"@")
    if at < 0:
        return "no @ in the address"
    if any(octet == 127 or octet < 32 for octet in octets):
        return "control character in the address"
    if DOMAIN.fullmatch(octets[at + 1 :]) is None and octets[at + 1 : at + 2] != b"[":
        return "malformed domain"
    return "malformed local part" if octets[at + 1 : at + 2] != b"[" else "malformed address"
