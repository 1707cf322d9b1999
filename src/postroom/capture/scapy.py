"""SMTP as a layer of scapy (extra ``capture``): ``pkt[SMTP]`` on ports 25, 465, 587 and 2525.

    >>> import postroom.capture.scapy
    >>> packet = IP() / TCP(dport=25) / SMTP(SmtpBuilder().mail_from("a@b.example").build())
    >>> packet[SMTP].view.command, bytes(packet[SMTP].mailfrom)
    ('MAIL', b'a@b.example')

Importing the module binds the layer. Its one field is the payload, so a dissected packet is rebuilt
octet by octet. Everything else comes from `SmtpLayer`, through `SMTP.view` or the names of
`SMTP_FIELD_NAMES`. Only ``command`` is called `SMTP.verb`, because scapy uses that name itself.
"""

from typing import Any

try:
    from scapy.fields import StrField
    from scapy.layers.inet import TCP
    from scapy.packet import Packet, bind_bottom_up, bind_top_down
except ImportError as error:
    raise ImportError(f"{__name__} needs scapy: pip install 'postroom[capture]'") from error

from postroom.wire.layer import SMTP_FIELD_NAMES, SmtpLayer
from postroom.wire.ports import SMTP_PORT, SMTP_PORTS
from postroom.wire.stream import StreamState


class SMTP(Packet):
    """What one side sends in one segment.

    RFC 5321 s4.1, s4.2
    """

    name = "SMTP"
    fields_desc = [StrField("octets", b"")]

    @property
    def view(self) -> SmtpLayer:
        """The payload as `SmtpLayer` sees it; which side says it is known by the port."""
        return self.view_in(None)

    def view_in(self, state: StreamState | None) -> SmtpLayer:
        """Return the view in the state after the segments before; see `SmtpLayer`."""
        below = self.underlayer
        is_response = None
        if state is None and isinstance(below, TCP) and below.sport != below.dport:
            is_response = True if below.sport in SMTP_PORTS else None
        return SmtpLayer(self.getfieldval("octets"), is_response=is_response, state=state)

    @property
    def verb(self) -> str | None:
        """The command's verb in upper case; None for a reply or content."""
        return self.view.command

    def __getattr__(self, attr: str) -> Any:
        """Return a field of the view."""
        if attr in SMTP_FIELD_NAMES:
            return self.view.get_field(attr)
        return super().__getattr__(attr)

    def mysummary(self) -> str:
        """Return one line, without secrets."""
        return self.view.summary()


def bind() -> None:
    """Bind this layer to the ports of SMTP; done on import."""
    for port in SMTP_PORTS:
        bind_bottom_up(TCP, SMTP, dport=port)
        bind_bottom_up(TCP, SMTP, sport=port)
    bind_top_down(TCP, SMTP, dport=SMTP_PORT)


bind()
