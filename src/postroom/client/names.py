"""Domain names as DNS knows them.

A domain of an internationalised address is looked up by its A-labels (`postroom.international`).

Names of some hosts and domains have underscores, or hyphens at the ends of labels. The grammar of
SMTP does not allow that (RFC 5321 s4.1.2), but DNS does, and so does the client.

Who controls the input: whoever wrote the address, or the owner of its domain.
"""

from postroom.errors import Refusal
from postroom.international import ascii_name
from postroom.wire.replies import reply


def ascii_domain(name: str) -> str:
    """Return a domain in A-labels, lower case, without a final dot.

    Args:
        name: as `Mailbox.domain_key` returns it.

    Raises:
        Refusal: 550 5.1.2, it is not a domain name in any script.

    RFC 5890 s2.3.2.1; RFC 6531 s3.2
    """
    try:
        return ascii_name(name).removesuffix(".")
    except ValueError:
        text = f"{ascii(name)[1:-1]} is not an internationalised domain name"
        raise Refusal(reply(550, "5.1.2", text)) from None
