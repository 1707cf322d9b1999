"""Strategies for addresses."""

from hypothesis import strategies as st

from postroom.wire.paths import Mailbox

_ALPHANUMERIC = st.sampled_from(b"abzAZ09").map(lambda octet: bytes([octet]))
_LABELS = st.from_regex(rb"[a-zA-Z0-9]([a-zA-Z0-9-]{0,20}[a-zA-Z0-9])?", fullmatch=True)
DOMAINS = st.one_of(
    st.lists(_LABELS, min_size=1, max_size=5).map(b".".join),
    st.ip_addresses(v=4).map(lambda address: f"[{address}]".encode()),
    st.ip_addresses(v=6).map(lambda address: f"[IPv6:{address}]".encode()),
)
_PRINTABLE = st.binary(max_size=30).map(lambda octets: bytes(32 + octet % 95 for octet in octets))
MAILBOXES = st.builds(Mailbox, _PRINTABLE, DOMAINS)

PROTOCOL = b'<>@.:;,"\\ []()=+-_%!/*abzAZ059\t\r\n\0\x7f\x80\xff'
FOLDED = st.lists(st.sampled_from(PROTOCOL), max_size=80).map(bytes)
"""Octets of the kind that decides something in SMTP."""
