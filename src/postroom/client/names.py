"""Domain names as DNS knows them.

A domain of an internationalised address is looked up by its A-labels. What people type and what
IDNA 2008 knows are not quite the same; UTS 46 says how one becomes the other (case, width, the
ideographic full stop). Nothing is mapped that would change whom the mail is for: the deviation
characters keep their meaning (non-transitional processing).

Who controls the input: whoever wrote the address.
"""

import idna

from postroom.errors import Refusal
from postroom.wire.replies import reply


def ascii_domain(name: str) -> str:
    """Give a domain in A-labels, lower case.

    Args:
        name: as `Mailbox.domain_key` gives it; ASCII stays as it is.

    Raises:
        Refusal: 550 5.1.2 it is no name in any language.

    RFC 5890 s2.3.2.1; RFC 6531 s3.2
    """
    if name.isascii():
        return name
    try:
        return idna.encode(name, uts46=True).decode("ascii").lower()
    except (idna.IDNAError, UnicodeError):
        text = f"{ascii(name)[1:-1]} is not an internationalised domain name"
        raise Refusal(reply(550, "5.1.2", text)) from None
