"""Which extensions a session is offered, and which commands are refused in it.

An `OfferContext` is all that this depends on, so that sessions in the same context share one
`Capabilities`. `_EXTENSIONS` has for each EHLO keyword the function that returns its arguments, or
None if it is not offered. `_barred` returns the verbs that are refused in every phase. Extensions
of plugins come after ours.
"""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Final

from postroom.interfaces import IExtension
from postroom.server.limits import ListenerSettings
from postroom.wire.commands import XCLIENT_ATTRIBUTES, XFORWARD_ATTRIBUTES
from postroom.wire.parameters import MAIL_PARAMETERS, RCPT_PARAMETERS, Parameter
from postroom.wire.replies import Reply, reply
from postroom.wire.session import (
    AUTH_DONE,
    AUTH_FIRST,
    AUTH_NEEDS_TLS,
    TLS_ACTIVE,
    TLS_FIRST,
    Capabilities,
)
from postroom.wire.state import NO_RECIPIENTS

NOT_ALLOWED: Final = reply(550, "5.7.0", "Not allowed for this client")
SPEAK_LMTP: Final = reply(500, "5.5.1", "This is LMTP, send LHLO")
SPEAK_SMTP: Final = reply(500, "5.5.1", "This is SMTP, send EHLO")
NO_RECIPIENTS_OF_LMTP: Final = reply(503, "5.5.1", "No valid recipients")

_KEYWORD: Final = re.compile(r"[A-Z0-9][A-Z0-9\-]*")
_ARGUMENTS: Final = re.compile(r"[\x20-\x7e]{0,400}")


@dataclass(frozen=True, slots=True)
class OfferContext:
    """What an offer depends on.

    Attributes:
        tls: True if the session is under TLS.
        can_start_tls: True if STARTTLS is possible.
        authenticated: True if the client has logged in.
        mechanisms: of AUTH, in order; AUTH is not offered without any.
        may_log_in: True if passwords may be sent, because of TLS or of the network.
        may_flush: True if the client may use ETRN.
        may_xclient: True if the peer may use XCLIENT.
        may_xforward: True if the peer may use XFORWARD.
        hour: of POSIX time, for arguments that hold a time.
    """

    tls: bool
    can_start_tls: bool
    authenticated: bool
    mechanisms: tuple[str, ...]
    may_log_in: bool
    may_flush: bool = False
    may_xclient: bool = False
    may_xforward: bool = False
    hour: int = 0


_Offer = Callable[[ListenerSettings, OfferContext], str | None]


def _always(_: ListenerSettings, __: OfferContext) -> str:
    return ""


def _only(condition: bool, arguments: str = "") -> str | None:
    return arguments if condition else None


def _holds(settings: ListenerSettings, context: OfferContext) -> str | None:
    """Return how long, and until when, a message may be held. RFC 4865 s3."""
    until = time.gmtime(context.hour * 3600 + settings.hold_seconds)
    text = f"{settings.hold_seconds} {time.strftime('%Y-%m-%dT%H:%M:%SZ', until)}"
    return _only(settings.role == "submission" and settings.hold_seconds > 0, text)


_EXTENSIONS: Final[Mapping[str, _Offer]] = {
    "PIPELINING": _always,  # RFC 2920 s3
    "SIZE": lambda settings, _: str(settings.limits.message_octets),  # RFC 1870 s3
    "8BITMIME": _always,  # RFC 6152 s2
    "ENHANCEDSTATUSCODES": _always,  # RFC 2034 s2
    "CHUNKING": _always,  # RFC 3030 s2
    "BINARYMIME": lambda settings, _: _only(settings.binarymime),  # RFC 3030 s3
    "SMTPUTF8": _always,  # RFC 6531 s3.1
    "DSN": _always,  # RFC 3461 s3
    "DELIVERBY": _always,  # RFC 2852 s3
    "FUTURERELEASE": _holds,  # RFC 4865 s3
    "MT-PRIORITY": lambda settings, _: _only(settings.role != "mx"),  # RFC 6710 s3
    "NO-SOLICITING": lambda settings, _: ",".join(settings.unwanted_solicitations),  # RFC 3865 s2
    "RRVS": _always,  # RFC 7293 s3.1
    "PRDR": lambda settings, _: _only(settings.prdr and settings.role != "lmtp"),  # draft-hall-prdr
    "LIMITS": lambda settings, _: f"RCPTMAX={settings.limits.recipients}",  # RFC 9422 s3
    "REQUIRETLS": lambda _, context: _only(context.tls),  # RFC 8689 s2
    "STARTTLS": lambda _, context: _only(context.can_start_tls),  # RFC 3207 s4
    "AUTH": lambda _, context: _only(
        bool(context.mechanisms), " ".join(context.mechanisms)
    ),  # RFC 4954 s3
    "VRFY": _always,  # RFC 5321 s3.5.2
    "EXPN": lambda settings, _: _only(settings.expn),  # RFC 5321 s3.5.2
    "ETRN": lambda _, context: _only(context.may_flush),  # RFC 1985 s4
    "XCLIENT": lambda _, context: _only(
        context.may_xclient, " ".join(XCLIENT_ATTRIBUTES)
    ),  # Postfix
    "XFORWARD": lambda _, context: _only(
        context.may_xforward, " ".join(XFORWARD_ATTRIBUTES)
    ),  # Postfix
    "HELP": _always,  # RFC 5321 s4.1.1.8
}


def make_capabilities(
    settings: ListenerSettings, context: OfferContext, others: Sequence[IExtension]
) -> Capabilities:
    """Return what is offered and refused in a context.

    RFC 5321 s4.1.1.1
    """
    extensions = {
        keyword: arguments
        for keyword, offer in _EXTENSIONS.items()
        if keyword not in settings.extensions_off
        and (arguments := offer(settings, context)) is not None
    }
    mail: dict[str, Parameter[Any]] = dict(MAIL_PARAMETERS)
    rcpt: dict[str, Parameter[Any]] = dict(RCPT_PARAMETERS)
    # The parameters of a plugin's extension exist only where its keyword is offered.
    for other in others:
        keyword = other.keyword()
        arguments = other.arguments(settings.role, context.tls, context.authenticated)
        if arguments is not None and keyword not in settings.extensions_off:
            extensions[keyword] = arguments
            mail |= {each.keyword: each for each in other.mail_parameters()}
            rcpt |= {each.keyword: each for each in other.rcpt_parameters()}
    no_recipients = NO_RECIPIENTS_OF_LMTP if settings.role == "lmtp" else NO_RECIPIENTS
    return Capabilities(
        settings.hostname,
        extensions,
        _barred(settings, context),
        settings.tolerate,
        mail,
        rcpt,
        no_recipients,
    )


def _barred(settings: ListenerSettings, context: OfferContext) -> dict[str, Reply]:
    barred: dict[str, Reply] = {}
    if settings.role == "lmtp":
        barred.update(dict.fromkeys(("EHLO", "HELO"), SPEAK_LMTP))  # RFC 2033 s4.1
    else:
        barred["LHLO"] = SPEAK_SMTP
    if not context.may_xclient:
        barred["XCLIENT"] = NOT_ALLOWED
    if not context.may_xforward:
        barred["XFORWARD"] = NOT_ALLOWED
    if context.tls:
        barred["STARTTLS"] = TLS_ACTIVE
    if context.authenticated:
        barred["AUTH"] = AUTH_DONE
    elif not context.may_log_in and settings.mechanisms:
        barred["AUTH"] = AUTH_NEEDS_TLS
    if settings.role == "submission" and not context.authenticated:
        if context.may_log_in:
            barred["MAIL"] = AUTH_FIRST
        else:  # all but NOOP, EHLO, STARTTLS and QUIT should be refused: RFC 3207 s4
            verbs = ("MAIL", "RCPT", "DATA", "BDAT", "RSET", "VRFY", "EXPN", "ETRN")
            barred.update(dict.fromkeys(verbs, TLS_FIRST))
    return barred


def check_extension(extension: IExtension, role: str, others: Sequence[IExtension]) -> None:
    """Check that the names of a plugin's extension are free and can be sent in EHLO.

    Its arguments are checked for every kind of session.

    Raises:
        ValueError: a name is taken or cannot be sent; the message says which.
    """
    keyword = extension.keyword()
    if _KEYWORD.fullmatch(keyword) is None:
        raise ValueError(f"extension {keyword!r}: not an EHLO keyword in upper case")
    if keyword in _EXTENSIONS or keyword in (other.keyword() for other in others):
        raise ValueError(f"extension {keyword}: there is one of that name already")
    for tls, authenticated in product((False, True), repeat=2):
        arguments = extension.arguments(role, tls, authenticated)
        if arguments is not None and _ARGUMENTS.fullmatch(arguments) is None:
            raise ValueError(f"extension {keyword}: {arguments!r} cannot be sent in EHLO")
    _check_parameters(
        extension,
        extension.mail_parameters(),
        {*MAIL_PARAMETERS, *(each.keyword for other in others for each in other.mail_parameters())},
    )
    _check_parameters(
        extension,
        extension.rcpt_parameters(),
        {*RCPT_PARAMETERS, *(each.keyword for other in others for each in other.rcpt_parameters())},
    )


def _check_parameters(
    extension: IExtension, parameters: Sequence[Parameter[Any]], taken: set[str]
) -> None:
    keyword = extension.keyword()
    for parameter in parameters:
        if _KEYWORD.fullmatch(parameter.keyword) is None or parameter.keyword in taken:
            raise ValueError(f"extension {keyword}: parameter {parameter.keyword!r} is taken")
        if parameter.extension != keyword:
            raise ValueError(f"extension {keyword}: {parameter.keyword} belongs to another")
