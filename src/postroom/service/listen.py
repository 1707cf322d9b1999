"""Where to listen, as the settings write it: ``ROLE=ENDPOINT``, flags behind the role.

Who controls the input: the administrator.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final

from postroom.certificates.model import ClientCertificates
from postroom.settings.values import Parsed

ROLES: Final = ("mx", "submission", "lmtp")
_CERTIFICATES: Final = {
    "ask-certificate": ClientCertificates.ASK,
    "need-certificate": ClientCertificates.NEED,
}
_SWITCHES: Final = ("proxy", "tls")
_FLAGS: Final = (*_CERTIFICATES, *_SWITCHES)


@dataclass(frozen=True, slots=True)
class Listen:
    """Where to listen, and as what.

    Attributes:
        role: one of `ROLES`.
        endpoint: a Twisted server endpoint string.
        client_certificates: whether clients are to show certificates.
        proxy: a listed proxy has to say whom it speaks for.
        tls: TLS is spoken from the first octet, as on ``ssl:`` endpoints.
    """

    role: str
    endpoint: str
    client_certificates: ClientCertificates = ClientCertificates.NONE
    proxy: bool = False
    tls: bool = False

    def __str__(self) -> str:
        """Return it as it is written in the settings."""
        flags = [name for name, wish in _CERTIFICATES.items() if self.client_certificates is wish]
        flags += [name for name in _SWITCHES if getattr(self, name)]
        return "+".join([self.role, *flags]) + f"={self.endpoint}"


def parse_listen(text: str) -> Listen:
    """Parse ``ROLE=ENDPOINT``, the role with flags: ``submission+need-certificate=ssl:465``.

    Raises:
        ValueError: no known role or flag, or no endpoint.
    """
    roles, equals, endpoint = text.partition("=")
    role, *flags = roles.split("+")
    if not equals or role not in ROLES or ":" not in endpoint:
        raise ValueError("not ROLE=ENDPOINT")
    if not set(flags) <= set(_FLAGS):
        raise ValueError("the flags of a role are " + ", ".join(f"+{flag}" for flag in _FLAGS))
    wishes = [_CERTIFICATES[flag] for flag in flags if flag in _CERTIFICATES]
    if len(wishes) > 1 or len(set(flags)) < len(flags):
        raise ValueError("flags exclude each other")
    wish = wishes[0] if wishes else ClientCertificates.NONE
    return Listen(role, endpoint, wish, "proxy" in flags, "tls" in flags)


Listens = Sequence[
    Annotated[
        Listen,
        Parsed(
            parse_listen,
            '"ROLE=ENDPOINT", ROLE one of mx, submission, lmtp, ENDPOINT as in "tcp:25"',
        ),
    ]
]
