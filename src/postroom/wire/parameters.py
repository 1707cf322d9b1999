"""The parameters of MAIL and RCPT.

One table for each verb says which parameters there are, which extension brings each, and how its
value is read. A parameter whose extension is not offered to this peer does not exist for it: 555
(RFC 5321 s4.1.1.11). A command keeps the values as they came, so that what is relayed is what was
sent; to get the meaning, ask the table's entry::

    NOTIFY.of(rcpt.parameters)     # frozenset({"SUCCESS", "DELAY"}), or None if it was not given
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from postroom.wire import values
from postroom.wire.errors import SyntaxViolation
from postroom.wire.replies import Reply

# esmtp-keyword = (ALPHA / DIGIT) *(ALPHA / DIGIT / "-")
# esmtp-value   = 1*(%d33-60 / %d62-126)                            RFC 5321 s4.1.2
# esmtp-value  =/ UTF8-non-ascii                                     RFC 6531 s3.3
PARAMETER: Final = re.compile(rb"([A-Za-z0-9][A-Za-z0-9\-]*)(?:=([\x21-\x3c\x3e-\x7e\x80-\xff]+))?")

_Meaning = TypeVar("_Meaning")
_NOWHERE: Final[Mapping[str, str]] = {}


@dataclass(frozen=True, slots=True)
class Parameter(Generic[_Meaning]):
    """One entry of the table of parameters.

    Attributes:
        keyword: in upper case.
        extension: the EHLO keyword that must have been offered.
        read: gives the meaning of a value (None: no value), or raises `ValueError`.
        needs: values, in upper case, that need another extension than the parameter itself.
        enhanced: of the 501 for a bad value.
    """

    keyword: str
    extension: str
    read: Callable[[str | None], _Meaning]
    needs: Mapping[str, str] = field(default_factory=lambda: _NOWHERE)
    enhanced: str = "5.5.4"

    def of(self, parameters: Mapping[str, str | None]) -> _Meaning | None:
        """Return the meaning of the parameter in a command; None if it was not given.

        Raises:
            ValueError: the value is none; not with the parameters of a command that was parsed.
        """
        if self.keyword not in parameters:
            return None
        return self.read(parameters[self.keyword])


SIZE: Final = Parameter("SIZE", "SIZE", values.read_size)  # RFC 1870 s6
BODY: Final = Parameter(
    "BODY", "8BITMIME", values.read_body, {"BINARYMIME": "BINARYMIME"}
)  # RFC 6152 s3; RFC 3030 s3
AUTH: Final = Parameter("AUTH", "AUTH", values.read_submitter)  # RFC 4954 s5
RET: Final = Parameter("RET", "DSN", values.read_return)  # RFC 3461 s4.3
ENVID: Final = Parameter("ENVID", "DSN", values.read_envelope_id)  # RFC 3461 s4.4
SMTPUTF8: Final = Parameter("SMTPUTF8", "SMTPUTF8", values.read_flag)  # RFC 6531 s3.4
REQUIRETLS: Final = Parameter("REQUIRETLS", "REQUIRETLS", values.read_flag)  # RFC 8689 s2
BY: Final = Parameter("BY", "DELIVERBY", values.read_deliver_by)  # RFC 2852 s4
HOLDFOR: Final = Parameter("HOLDFOR", "FUTURERELEASE", values.read_hold_seconds)  # RFC 4865 s4
HOLDUNTIL: Final = Parameter("HOLDUNTIL", "FUTURERELEASE", values.read_hold_until)  # RFC 4865 s4
MT_PRIORITY: Final = Parameter(
    "MT-PRIORITY", "MT-PRIORITY", values.read_priority, enhanced="5.5.2"
)  # RFC 6710 s4.1
SOLICIT: Final = Parameter("SOLICIT", "NO-SOLICITING", values.read_solicitations)  # RFC 3865 s2
PRDR: Final = Parameter("PRDR", "PRDR", values.read_flag)  # draft-hall-prdr
NOTIFY: Final = Parameter("NOTIFY", "DSN", values.read_notify)  # RFC 3461 s4.1
ORCPT: Final = Parameter("ORCPT", "DSN", values.read_original_recipient)  # RFC 3461 s4.2
RRVS: Final = Parameter("RRVS", "RRVS", values.read_valid_since)  # RFC 7293 s3.1

MAIL_PARAMETERS: Final[Mapping[str, Parameter[Any]]] = {
    each.keyword: each
    for each in (
        *(SIZE, BODY, AUTH, RET, ENVID, SMTPUTF8, REQUIRETLS, BY, HOLDFOR, HOLDUNTIL),
        *(MT_PRIORITY, SOLICIT, PRDR),
    )
}
RCPT_PARAMETERS: Final[Mapping[str, Parameter[Any]]] = {
    each.keyword: each for each in (NOTIFY, ORCPT, RRVS)
}


def parse_parameters(
    octets: bytes, known: Mapping[str, Parameter[Any]], offered: Mapping[str, str]
) -> dict[str, str | None]:
    """Parse the parameters after a path.

    Args:
        octets: what follows the path, without the space before the first parameter; ASCII, or
            UTF-8 where the transaction is an internationalised one.
        known: the table for this verb.
        offered: the extensions that EHLO offered to this peer.

    Returns:
        Keyword in upper case to value as sent, None where there is no ``=``.

    Raises:
        SyntaxViolation: 501 for bad syntax, a bad value or a repeated keyword, 555 5.5.4 for a
            parameter that is not offered.

    RFC 5321 s4.1.1.11, s4.1.2
    """
    found: dict[str, str | None] = {}
    for word in octets.split(b" "):
        if not word:
            continue
        match = PARAMETER.fullmatch(word)
        if match is None:
            raise SyntaxViolation(_refuse(501, f"Malformed parameter {_show(word)}"))
        keyword = match[1].decode("ascii").upper()
        parameter = known.get(keyword)
        if parameter is None or parameter.extension not in offered:
            raise SyntaxViolation(_refuse(555, f"Parameter {keyword[:60]} is not offered here"))
        if keyword in found:
            text = f"Parameter {keyword} given twice"
            raise SyntaxViolation(_refuse(501, text, parameter.enhanced))
        found[keyword] = _value(parameter, word, match[2], offered)
    return found


def _value(
    parameter: Parameter[Any], word: bytes, octets: bytes | None, offered: Mapping[str, str]
) -> str | None:
    """Return a value as it came, after checking it."""
    value = octets.decode("utf-8") if octets is not None else None
    try:
        parameter.read(value)
        needed = parameter.needs.get(value.upper()) if parameter.needs and value else None
        if needed is not None and needed not in offered:
            raise ValueError(f"{needed} is not offered here")
    except ValueError:
        text = f"Bad value in parameter {_show(word)}"
        raise SyntaxViolation(_refuse(501, text, parameter.enhanced)) from None
    return value


def _refuse(code: int, text: str, enhanced: str = "5.5.4") -> Reply:
    return Reply(code, (text,), enhanced)


def _show(octets: bytes) -> str:
    return octets[:60].decode("ascii", "replace")
