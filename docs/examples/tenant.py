"""An SMTP extension of one's own: MAIL says for which tenant of a shared service a message is sent.

    S: 250-XTENANT
    C: MAIL FROM:<ann@example.org> XTENANT=blue

Put it into a directory ``twisted/plugins`` (without an ``__init__.py``) somewhere on Python's path.
The daemon then offers it, keeps the tenant in the queue with the message, and tells it to next hops
that offer XTENANT too.
"""

import re

from zope.interface import implementer

from postroom.interfaces import IExtension
from postroom.wire.parameters import Parameter

# tenant = 1*32( ALPHA / DIGIT / "-" )
_TENANT = re.compile(r"[A-Za-z0-9\-]{1,32}")


def read_tenant(value):
    """Give the tenant that a parameter names; whatever raises `ValueError` is refused with 501."""
    if value is None or _TENANT.fullmatch(value) is None:
        raise ValueError("not a tenant")
    return value.lower()


TENANT = Parameter("XTENANT", "XTENANT", read_tenant)


@implementer(IExtension)
class TenantExtension:
    """Offers XTENANT to whoever submits mail."""

    def keyword(self):
        return "XTENANT"

    def arguments(self, role, tls, authenticated):
        return "" if role == "submission" and authenticated else None

    def mail_parameters(self):
        return [TENANT]

    def rcpt_parameters(self):
        return []

    def needed_at_next_hop(self, parameters):
        # Elsewhere nobody knows our tenants: the message goes on without.
        return False


extension = TenantExtension()
