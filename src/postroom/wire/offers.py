"""What a server offers: its reply to EHLO, or LHLO, as a client reads it.

Who controls the input: the remote server. A malformed line or number is skipped: a host that cannot
write its limits may accept mail all the same.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from postroom.wire.replies import Reply

# ehlo-line    = ehlo-keyword *( SP ehlo-param )
# ehlo-keyword = (ALPHA / DIGIT) *(ALPHA / DIGIT / "-")              RFC 5321 s4.1.1.1
_EHLO_LINE = re.compile(r"([A-Za-z0-9][A-Za-z0-9\-]*)(?: +(.*))?")
_NUMBER = re.compile(r"[0-9]{1,20}")
# limits-param = limit-name-value 0*[SP limit-name-value]
# limit-name   = 1*(ALPHA / DIGIT / "-" / "_"); limit-value = 1*(%x21-3A / %x3C-7E)   RFC 9422 s3
_LIMIT = re.compile(r"([A-Za-z0-9\-_]+)=([\x21-\x3a\x3c-\x7e]+)")
# MAILMAX and its kin = %x31-39 0*5DIGIT                            RFC 9422 s4
_LIMIT_NUMBER = re.compile(r"[1-9][0-9]{0,5}")


@dataclass(frozen=True, slots=True)
class HostLimits:
    """How much a host accepts before it refuses; 0 for what it does not state.

    Attributes:
        messages: MAIL commands in one session.
        recipients: RCPT commands in one transaction.
        domains: different domains of recipients in one session.

    RFC 9422 s4
    """

    messages: int = 0
    recipients: int = 0
    domains: int = 0


NO_LIMITS: Final = HostLimits()


@dataclass(frozen=True, slots=True)
class HostCapabilities:
    """What a host offered in reply to the last EHLO.

    Attributes:
        extensions: keyword in upper case to its parameters, in one string.
        limits: what LIMITS says.

    RFC 5321 s4.1.1.1
    """

    extensions: Mapping[str, str] = field(default_factory=dict)
    limits: HostLimits = NO_LIMITS

    def __contains__(self, keyword: str) -> bool:
        """Return whether an extension was offered; the keyword must be in upper case."""
        return keyword in self.extensions

    @property
    def size_octets(self) -> int:
        """The largest message taken, 0 if the host names no limit. RFC 1870 s4."""
        return self._number("SIZE")

    @property
    def deliver_by_seconds(self) -> int:
        """The shortest time in which the host undertakes to deliver, 0 for any. RFC 2852 s3."""
        return self._number("DELIVERBY")

    @property
    def mechanisms(self) -> frozenset[str]:
        """SASL mechanisms, in upper case. RFC 4954 s3."""
        return frozenset(self.extensions.get("AUTH", "").upper().split())

    def _number(self, keyword: str) -> int:
        words = self.extensions.get(keyword, "").split()
        return int(words[0]) if words and _NUMBER.fullmatch(words[0]) else 0


NO_HOST_CAPABILITIES: Final = HostCapabilities()


def host_capabilities(reply: Reply) -> HostCapabilities:
    """Parse the reply to EHLO; a line that is no keyword is skipped.

    RFC 5321 s4.1.1.1; RFC 9422 s3
    """
    matches = (_EHLO_LINE.fullmatch(line.rstrip(" ")) for line in reply.text[1:])
    extensions = {match[1].upper(): match[2] or "" for match in matches if match}
    limits = extensions.get("LIMITS")
    return HostCapabilities(extensions, read_limits(limits) if limits else NO_LIMITS)


def read_limits(text: str) -> HostLimits:
    """Parse the parameters of LIMITS.

    The whole is ignored if it breaks the grammar, a limit alone if its value is no number.

    RFC 9422 s3, s3.7
    """
    values: dict[str, int] = {}
    for word in text.split(" "):
        match = _LIMIT.fullmatch(word)
        if match is None:
            return NO_LIMITS
        if _LIMIT_NUMBER.fullmatch(match[2]):
            values.setdefault(match[1].upper(), int(match[2]))
    return HostLimits(
        values.get("MAILMAX", 0), values.get("RCPTMAX", 0), values.get("RCPTDOMAINMAX", 0)
    )
