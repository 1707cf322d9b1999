"""The ESMTP parameters that are sent to a host, and whether it may have the message without them.

Each parameter that a message came with is sent on only where its extension is offered. Where it is
not, the RFC of the extension decides what happens to the message:

    extension       where it is offered               where it is not
    -------------   -------------------------------   ----------------------------------------------
    SIZE            the size of what is sent, or a    nothing
                    little more if lines are folded
    8BITMIME        BODY, if there are 8-bit octets   as `ClientSettings.eight_bit_anyway` says
    BINARYMIME      BODY, and the content by BDAT     5.6.3 (RFC 3030 s3)
    SMTPUTF8        SMTPUTF8, if anything needs it    5.6.7, unless all of it is ASCII (RFC 6531
                                                      s3.2); a recipient that needs it fails alone
    DSN             RET, ENVID, NOTIFY, ORCPT         nothing; the queue reports in the host's place
                                                      (RFC 3461 s5.2.2); NOTIFY=NEVER goes from
                                                      ``<>``, in a transaction of its own
    REQUIRETLS      REQUIRETLS                        5.7.30 (RFC 8689 s4.2.1)
    DELIVERBY       BY, the seconds that are left     5.3.3 if it is to be returned when late, else
                                                      nothing (RFC 2852 s4.1.4)
    MT-PRIORITY     the same                          nothing (RFC 6710 s4.3)
    NO-SOLICITING   SOLICIT, the same                 nothing (RFC 3865 s2.6)
    AUTH            AUTH, where we have logged in;    nothing
                    ``<>`` unless the sender is
                    trusted (RFC 4954 s5)
    RRVS            RRVS, the same                    that recipient fails, 5.7.19, unless the
                                                      sender lets it continue (RFC 7293 s5.2)
    PRDR            PRDR, with several recipients     nothing
    of a plugin     its parameters                    5.6.3, if the plugin asks; else nothing
    FUTURERELEASE   nothing: the queue has held the message (RFC 4865 s4)

A host is taken at its word about what it offers. A value that cannot be parsed is not sent.

Who controls the input: the sender of the message, its parameters, which were parsed when it came;
the remote host, the extensions.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from postroom.client import failures
from postroom.client.model import Outgoing
from postroom.client.settings import Chunking, ClientSettings
from postroom.envelope import NewMessage, Trait
from postroom.errors import Refusal
from postroom.wire.client_session import Verdicts
from postroom.wire.commands import Rcpt
from postroom.wire.folding import most_folded_octets
from postroom.wire.offers import HostCapabilities
from postroom.wire.parameters import AUTH, BODY, BY, NOTIFY, ORCPT, RRVS
from postroom.wire.replies import Reply
from postroom.wire.values import DeliverBy

Parameters = dict[str, str | None]

PASSED_ON: Final[Mapping[str, str]] = {
    "RET": "DSN",
    "ENVID": "DSN",
    "MT-PRIORITY": "MT-PRIORITY",
    "SOLICIT": "NO-SOLICITING",
}
"""Parameters of MAIL that are sent on as they came, and the extension of each."""


@dataclass(slots=True)
class NextHop:
    """The host at the other end of a connection, and what it offers.

    Attributes:
        remote: its name, for replies.
        capabilities: the extensions that it offers.
        secure: True inside TLS.
        logged_in: True if we have logged in.
        lmtp: True if it speaks LMTP.
        size_limit: the largest message that it accepts, in octets; 0 for no limit.
    """

    remote: str
    capabilities: HostCapabilities
    secure: bool = False
    logged_in: bool = False
    lmtp: bool = False
    size_limit: int = field(init=False)

    def __post_init__(self) -> None:
        """Store the limit, which every message needs."""
        self.size_limit = self.capabilities.size_octets


@dataclass(slots=True)
class ESMTPParameters:
    """What is sent to a host about one message.

    Attributes:
        mail: the parameters of MAIL.
        utf8: True if SMTPUTF8 is among them.
        binary: True if the content is not text.
        chunked: True if the content goes by BDAT.
    """

    mail: Parameters
    utf8: bool
    binary: bool
    chunked: bool


def parameters_for(
    outgoing: Outgoing, first: bytes, hop: NextHop, settings: ClientSettings, now: float
) -> ESMTPParameters:
    """Return what is sent to a host about a message.

    Args:
        outgoing: the message.
        first: its content, or the first piece of it.
        hop: the host.
        settings: of the client.
        now: POSIX time.

    Raises:
        Refusal: the host must not have the message.

    RFC 1870 s6; RFC 6152 s3; RFC 3030 s3; RFC 6531 s3.2; RFC 8689 s4.2.1; RFC 2852 s4.1.4
    """
    capabilities, message = hop.capabilities.extensions, outgoing.message
    size = outgoing.source.size_octets
    limit = hop.size_limit
    if 0 < limit < size:
        raise Refusal(failures.too_big(hop.remote, limit))
    # Only the first piece has been read: what comes after it may hold 8-bit octets.
    whole = len(first) >= size
    eight_bit = not first.isascii()
    asked = message.parameters
    binary = bool(asked) and BODY.of(asked) == "BINARYMIME"
    mail: Parameters = {}
    if "SIZE" in capabilities:
        mail["SIZE"] = str(_size_told(size, limit, settings))
    if binary:
        if "BINARYMIME" not in capabilities or "CHUNKING" not in capabilities:
            raise Refusal(failures.no_binary(hop.remote))
        mail["BODY"] = "BINARYMIME"
    elif "8BITMIME" in capabilities:
        if eight_bit or not whole:
            mail["BODY"] = "8BITMIME"
    elif eight_bit and not settings.eight_bit_anyway:
        raise Refusal(failures.no_8bit(hop.remote))
    utf8 = _needs_utf8(message, hop, eight_bit or not whole)
    if utf8:
        mail["SMTPUTF8"] = None
    if asked:
        _add_parameters(mail, message, hop, settings, now)
    if settings.extensions:
        _check_plugins(message, hop, settings)
    wanted = settings.chunking is Chunking.ALWAYS or (
        settings.chunking is Chunking.LARGE and not whole
    )
    return ESMTPParameters(mail, utf8, binary, binary or (wanted and "CHUNKING" in capabilities))


def _size_told(size: int, limit: int, settings: ClientSettings) -> int:
    """Return the size to declare: never less than what is sent, but not above the host's limit.

    Where lines may be folded, how many there are is known only in the end.

    RFC 1870 s5
    """
    if not settings.text_line_octets:
        return size
    most = most_folded_octets(size, settings.text_line_octets)
    return min(most, limit) if limit else most


def _needs_utf8(message: NewMessage, hop: NextHop, may_hold_8bit: bool) -> bool:
    """Return whether SMTPUTF8 is sent: it is needed, or that cannot be excluded.

    Header fields of MIME parts may hold UTF-8, too. They are not parsed; so a message that came
    with SMTPUTF8 and has 8-bit content is sent with it.
    """
    sender = message.sender is None or message.sender.is_ascii
    declared = "SMTPUTF8" in message.parameters
    needed = declared and bool(message.traits & Trait.UTF8_HEADER)
    if "SMTPUTF8" not in hop.capabilities.extensions:
        if not sender:
            raise Refusal(failures.no_utf8(hop.remote, "A sender that is not ASCII"))
        if needed:
            raise Refusal(failures.no_utf8(hop.remote, "A header that is not ASCII"))
        return False
    if not sender or needed or (declared and may_hold_8bit):
        return True
    return not all(rcpt.forward_path.is_ascii for rcpt in message.recipients)


def _add_parameters(
    mail: Parameters, message: NewMessage, hop: NextHop, settings: ClientSettings, now: float
) -> None:
    """Add the parameters that the message came with and the host offers."""
    offered, parameters = hop.capabilities, message.parameters
    for keyword, value in parameters.items():
        extension = PASSED_ON.get(keyword) or _plugin_keyword(keyword, settings)
        if extension is not None and extension in offered:
            mail[keyword] = value
    if "REQUIRETLS" in parameters:
        if not hop.secure or "REQUIRETLS" not in offered:
            raise Refusal(failures.no_requiretls(hop.remote))
        mail["REQUIRETLS"] = None
    if AUTH.keyword in parameters and hop.logged_in and "AUTH" in offered:
        trusted = message.traits & Trait.TRUSTED
        mail["AUTH"] = parameters["AUTH"] if trusted else "<>"
    if BY.keyword in parameters:
        _add_deliver_by(mail, message, hop, now)


def _plugin_keyword(keyword: str, settings: ClientSettings) -> str | None:
    extension = settings.extensions.get(keyword)
    return extension.keyword if extension is not None else None


def _check_plugins(message: NewMessage, hop: NextHop, settings: ClientSettings) -> None:
    """Check with the plugins whose extensions the host lacks that it may have the message.

    Raises:
        Refusal: it may not.
    """
    parameters = dict(message.parameters)
    for rcpt in message.recipients:
        parameters.update(rcpt.parameters)
    found = {settings.extensions[each] for each in parameters if each in settings.extensions}
    for extension in found:
        if extension.keyword not in hop.capabilities and extension.needed(parameters):
            raise Refusal(failures.no_extension(hop.remote, extension.keyword))


def _add_deliver_by(mail: Parameters, message: NewMessage, hop: NextHop, now: float) -> None:
    by = BY.of(message.parameters)
    if by is None:
        return
    left = seconds_left(by, message, now)
    if "DELIVERBY" not in hop.capabilities:
        if by.returned:
            raise Refusal(failures.no_deliver_by(hop.remote))
        return
    if by.returned and left < max(1, hop.capabilities.deliver_by_seconds):
        raise Refusal(failures.not_in_time(hop.remote))
    mail["BY"] = DeliverBy(left, by.returned, by.traced).encoded


def seconds_left(by: DeliverBy, message: NewMessage, now: float) -> int:
    """Return how many seconds are left for the delivery; negative when it is late.

    RFC 2852 s4.1.4
    """
    left = by.seconds - int(max(now - message.received_at, 0))
    return max(min(left, 999_999_999), -999_999_999)


def rcpt_parameters(rcpt: Rcpt, hop: NextHop, settings: ClientSettings) -> Parameters:
    """Return the parameters of RCPT that are sent to a host.

    RFC 3461 s5.2.1; RFC 7293 s5
    """
    parameters: Parameters = {}
    for keyword, value in rcpt.parameters.items():
        extension = _RCPT_EXTENSIONS.get(keyword) or _plugin_keyword(keyword, settings)
        if extension is None or extension not in hop.capabilities:
            continue
        if keyword == ORCPT.keyword and value is not None and not value.isascii():
            original = ORCPT.of(rcpt.parameters)
            value = original.encoded if original is not None else value
        parameters[keyword] = value
    return parameters


_RCPT_EXTENSIONS: Final[Mapping[str, str]] = {"NOTIFY": "DSN", "ORCPT": "DSN", "RRVS": "RRVS"}


def recipient_refusal(rcpt: Rcpt, hop: NextHop) -> Reply | None:
    """Return the reply for a recipient that a host must not have the message for; else None.

    RFC 6531 s3.2; RFC 7293 s5.2
    """
    if not rcpt.forward_path.is_ascii and "SMTPUTF8" not in hop.capabilities:
        return failures.no_utf8(hop.remote, "An address that is not ASCII")
    if RRVS.keyword in rcpt.parameters and "RRVS" not in hop.capabilities:
        since = RRVS.of(rcpt.parameters)
        if since is not None and not since.continues:
            return failures.no_valid_since(hop.remote)
    return None


_NEVER: Final = frozenset({"NEVER"})


def hides_sender(rcpt: Rcpt, hop: NextHop) -> bool:
    """Return whether a recipient gets the message from the null sender.

    It does so that a host without DSN, which ignores NOTIFY=NEVER, sends no report of a failure. An
    LMTP server sends no reports. Where we log in, another sender than ours may be refused, and with
    NEVER nobody would notice.

    RFC 3461 s5.2.2
    """
    if "NOTIFY" not in rcpt.parameters or "DSN" in hop.capabilities:
        return False
    return not (hop.lmtp or hop.logged_in) and NOTIFY.of(rcpt.parameters) == _NEVER


def verdicts_for(hop: NextHop, recipients: int, settings: ClientSettings) -> Verdicts:
    """Return how the host answers the end of the content for so many recipients."""
    if hop.lmtp:
        return Verdicts.EACH
    if recipients > 1 and settings.prdr and "PRDR" in hop.capabilities:
        return Verdicts.ANNOUNCED
    return Verdicts.ONE
