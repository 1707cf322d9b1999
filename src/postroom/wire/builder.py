r"""Builds what either side of a session sends: payloads for tools, tests and captures.

    >>> SmtpBuilder().ehlo("client.example").mail_from("a@b.example", SIZE="12").build()
    b'EHLO client.example\r\nMAIL FROM:<a@b.example> SIZE=12\r\n'
    >>> SmtpBuilder().ehlo_response("mx.example", SIZE="1000", PIPELINING="").build()
    b'250-mx.example\r\n250-SIZE 1000\r\n250 PIPELINING\r\n'

Each method adds one message and returns the builder; `build` returns all that was added, in order,
as one pipelined payload. Commands are written by `encode` and replies by `replies`, like those of
the client and the server, so that what is built is what a session would send.

Nothing ambiguous can be built: a CR, LF, NUL, or any other control or 8-bit octet in an argument
raises `LocalViolation`, content goes through the client's `DotEncoder`, and a reply whose line
would have to be cut or mended is refused.

Who controls the input: the caller's program, but what it puts in may come from anybody.
"""

import base64
import re
from collections.abc import Callable, Iterable, Mapping

from postroom.wire import codes, encode
from postroom.wire.commands import Xclient, Xforward
from postroom.wire.errors import LocalViolation
from postroom.wire.paths import mailbox
from postroom.wire.replies import ENHANCED, LINE_OCTETS, Reply
from postroom.wire.verbs import (
    CMD_ATRN,
    CMD_BURL,
    CMD_ETRN,
    CMD_EXPN,
    CMD_HELP,
    CMD_NOOP,
    CMD_SAML,
    CMD_SEND,
    CMD_SOML,
    CMD_TURN,
    CMD_VRFY,
)

_printable = re.compile(r"[\x20-\x7e]*").fullmatch
_enhanced = re.compile(ENHANCED).fullmatch
# ehlo-keyword = (ALPHA / DIGIT) *(ALPHA / DIGIT / "-")              RFC 5321 s4.1.1.1
_keyword = re.compile(r"[A-Za-z0-9][A-Za-z0-9\-]*").fullmatch


def _reply_named(code: int, enhanced: str | None) -> Callable[..., "SmtpBuilder"]:
    """Return the method that adds the reply of one code; its default text is the table's."""

    def add(self: "SmtpBuilder", *text: str) -> "SmtpBuilder":
        return self.reply(code, *(text or (codes.REPLY_CODES[code],)), enhanced=enhanced)

    add.__doc__ = f"Add {code}: {codes.REPLY_CODES[code]}. The text is one line or several."
    return add


class SmtpBuilder:
    """A payload that is built message by message.

    RFC 5321 s4.1, s4.2; RFC 2920 s3.1
    """

    __slots__ = ("_said", "_utf8")

    def __init__(self) -> None:
        """Create a builder that holds no message yet."""
        self._said: list[bytes] = []
        self._utf8 = False  # whether the transaction is one of SMTPUTF8

    def build(self) -> bytes:
        """Return everything that was added, in order."""
        return b"".join(self._said)

    def _add(self, octets: bytes) -> "SmtpBuilder":
        self._said.append(octets)
        return self

    # The client's side.

    def command(self, verb: str, argument: str = "") -> "SmtpBuilder":
        """Add any command, known or not.

        Raises:
            LocalViolation: the verb is no word, or the argument cannot be sent.

        RFC 5321 s4.1.1
        """
        return self._add(encode.command_line(verb, _octets(argument)))

    def ehlo(self, domain: str) -> "SmtpBuilder":
        """Add EHLO. RFC 5321 s4.1.1.1."""
        return self._add(encode.ehlo(_octets(domain)))

    def helo(self, domain: str) -> "SmtpBuilder":
        """Add HELO. RFC 5321 s4.1.1.1."""
        return self._add(encode.helo(_octets(domain)))

    def lhlo(self, domain: str) -> "SmtpBuilder":
        """Add LHLO, the EHLO of LMTP. RFC 2033 s4.1."""
        return self._add(encode.lhlo(_octets(domain)))

    def mail_from(self, reverse_path: str, **parameters: str | None) -> "SmtpBuilder":
        """Add MAIL.

        Args:
            reverse_path: an address without brackets; empty for the null sender.
            parameters: keyword to value, None for a keyword alone; names that Python cannot spell
                come as ``**{"MT-PRIORITY": "3"}``.

        Raises:
            LocalViolation: it is no address, or a parameter cannot be sent.

        RFC 5321 s4.1.1.2
        """
        self._utf8 = "SMTPUTF8" in parameters
        return self._add(encode.mail(mailbox(reverse_path) if reverse_path else None, parameters))

    def rcpt_to(self, forward_path: str, **parameters: str | None) -> "SmtpBuilder":
        """Add RCPT; see `mail_from`, whose SMTPUTF8 holds here too. RFC 5321 s4.1.1.3."""
        return self._add(encode.rcpt(mailbox(forward_path), parameters, self._utf8))

    def data(self) -> "SmtpBuilder":
        """Add DATA; the content goes into a later payload, after 354. RFC 5321 s4.1.1.4."""
        return self._add(encode.DATA)

    def content(self, content: bytes) -> "SmtpBuilder":
        """Add content for DATA: dots stuffed, the final dot added.

        Raises:
            LocalViolation: it has a bare CR, a bare LF or a NUL.

        RFC 5321 s4.5.2
        """
        encoder = encode.DotEncoder()
        return self._add(encoder.feed(content) + encoder.finish())

    def bdat(self, chunk: bytes, last: bool = False) -> "SmtpBuilder":
        """Add BDAT and its chunk, which may hold any octets. RFC 3030 s2."""
        return self._add(encode.bdat(len(chunk), last) + chunk)

    def rset(self) -> "SmtpBuilder":
        """Add RSET. RFC 5321 s4.1.1.5."""
        return self._add(encode.RSET)

    def noop(self, text: str = "") -> "SmtpBuilder":
        """Add NOOP. RFC 5321 s4.1.1.9."""
        return self.command(CMD_NOOP, text)

    def quit(self) -> "SmtpBuilder":
        """Add QUIT. RFC 5321 s4.1.1.10."""
        return self._add(encode.QUIT)

    def vrfy(self, name: str) -> "SmtpBuilder":
        """Add VRFY of a user or an address. RFC 5321 s4.1.1.6."""
        return self._with_argument(CMD_VRFY, name)

    def expn(self, name: str) -> "SmtpBuilder":
        """Add EXPN of a list. RFC 5321 s4.1.1.7."""
        return self._with_argument(CMD_EXPN, name)

    def help(self, topic: str = "") -> "SmtpBuilder":
        """Add HELP. RFC 5321 s4.1.1.8."""
        return self.command(CMD_HELP, topic)

    def etrn(self, node: str) -> "SmtpBuilder":
        """Add ETRN: send what waits for a host. RFC 1985 s5.1."""
        return self._with_argument(CMD_ETRN, node)

    def starttls(self) -> "SmtpBuilder":
        """Add STARTTLS. RFC 3207 s4."""
        return self._add(encode.STARTTLS)

    def auth(self, mechanism: str, initial_response: bytes | None = None) -> "SmtpBuilder":
        """Add AUTH.

        Args:
            mechanism: its name in upper case.
            initial_response: as the mechanism makes it, not yet in base64; None to send none.

        RFC 4954 s4
        """
        initial = initial_response
        if initial is not None:
            initial = base64.b64encode(initial) or b"="
        return self._add(encode.auth(mechanism, initial))

    def auth_response(self, response: bytes) -> "SmtpBuilder":
        """Add the answer to a challenge, which is put in base64. RFC 4954 s4."""
        return self._add(encode.auth_response(response))

    def auth_cancel(self) -> "SmtpBuilder":
        """Add the line that ends an AUTH exchange early. RFC 4954 s4."""
        return self._add(b"*\r\n")

    def xclient(self, **attributes: str) -> "SmtpBuilder":
        """Add XCLIENT: who the client is that this peer speaks for."""
        return self._add(encode.encode(Xclient(_values(attributes))))

    def xforward(self, **attributes: str) -> "SmtpBuilder":
        """Add XFORWARD: where a message came from, for the log."""
        return self._add(encode.encode(Xforward(_values(attributes))))

    def burl(self, url: str, last: bool = False) -> "SmtpBuilder":
        """Add BURL: content to be fetched from an IMAP server. RFC 4468 s3."""
        return self._with_argument(CMD_BURL, f"{url} LAST" if last else url)

    def atrn(self, *domains: str) -> "SmtpBuilder":
        """Add ATRN: turn round, for mail of some domains or of all. RFC 2645 s5.2.1."""
        return self.command(CMD_ATRN, ",".join(domains))

    def turn(self) -> "SmtpBuilder":
        """Add TURN, which nobody should grant. RFC 5321 sF.1."""
        return self.command(CMD_TURN)

    def send_from(self, reverse_path: str) -> "SmtpBuilder":
        """Add SEND: to a terminal instead of a mailbox. RFC 5321 sF.6."""
        return self._old_mail(CMD_SEND, reverse_path)

    def soml_from(self, reverse_path: str) -> "SmtpBuilder":
        """Add SOML: to a terminal or a mailbox. RFC 5321 sF.6."""
        return self._old_mail(CMD_SOML, reverse_path)

    def saml_from(self, reverse_path: str) -> "SmtpBuilder":
        """Add SAML: to a terminal and a mailbox. RFC 5321 sF.6."""
        return self._old_mail(CMD_SAML, reverse_path)

    def _old_mail(self, verb: str, reverse_path: str) -> "SmtpBuilder":
        path = bytes(mailbox(reverse_path)) if reverse_path else b""
        return self._add(encode.command_line(verb, b"FROM:<" + path + b">"))

    def _with_argument(self, verb: str, argument: str) -> "SmtpBuilder":
        if not argument:
            raise LocalViolation(f"{verb} needs an argument")
        return self.command(verb, argument)

    # The server's side.

    def reply(self, code: int, *text: str, enhanced: str | None = None) -> "SmtpBuilder":
        """Add a reply of one line or several.

        Args:
            code: three digits, 200 to 599.
            text: its lines; none for a code alone.
            enhanced: put before each line.

        Raises:
            LocalViolation: the code is none, the enhanced code is none or of another class, or a
                line is unprintable or longer than 512 octets.

        RFC 5321 s4.2; RFC 2034 s3
        """
        if not 200 <= code <= 599:
            raise LocalViolation(f"{code} is not a reply code")
        if enhanced is not None and not (_enhanced(enhanced) and enhanced[0] == str(code)[0]):
            raise LocalViolation(f"{enhanced!r} is not an enhanced code of a reply {code}")
        room = LINE_OCTETS - len("250 \r\n") - (len(enhanced) + 1 if enhanced else 0)
        for line in text:
            if _printable(line) is None:
                raise LocalViolation(f"unprintable character in a reply: {line[:80]!r}")
            if len(line) > room:
                raise LocalViolation(f"reply longer than {LINE_OCTETS} octets: {line[:80]!r}")
        return self._add(Reply(code, text or ("",), enhanced).wire)

    def multiline(self, code: int, lines: Iterable[str]) -> "SmtpBuilder":
        """Add a reply of these lines; see `reply`. RFC 5321 s4.2.1."""
        return self.reply(code, *lines)

    def ehlo_response(self, domain: str, **extensions: str) -> "SmtpBuilder":
        """Add the reply to EHLO.

        Args:
            domain: the server's name.
            extensions: keyword to its parameters in one string, which may be empty.

        Raises:
            LocalViolation: a keyword is none, or something is unprintable or too long.

        RFC 5321 s4.1.1.1
        """
        for keyword in extensions:
            if _keyword(keyword) is None:
                raise LocalViolation(f"{keyword!r} is not an EHLO keyword")
        lines = (f"{key} {rest}" if rest else key for key, rest in extensions.items())
        return self.reply(codes.REPLY_OK, domain, *lines)

    def auth_challenge(self, challenge: bytes = b"") -> "SmtpBuilder":
        """Add 334 with a challenge, which is put in base64. RFC 4954 s4."""
        return self.reply(codes.REPLY_AUTH_INPUT, base64.b64encode(challenge).decode("ascii"))

    # Named like the constants, but where another layer's builder has its own name for the reply.
    system_status = _reply_named(codes.REPLY_SYSTEM_STATUS, "2.0.0")
    help_message = _reply_named(codes.REPLY_HELP, "2.0.0")
    service_ready = _reply_named(codes.REPLY_SERVICE_READY, None)
    closing = _reply_named(codes.REPLY_CLOSING, "2.0.0")
    auth_success = _reply_named(codes.REPLY_AUTH_SUCCESS, "2.7.0")
    ok = _reply_named(codes.REPLY_OK, "2.0.0")
    user_not_local = _reply_named(codes.REPLY_USER_NOT_LOCAL, "2.1.5")
    cannot_vrfy = _reply_named(codes.REPLY_CANNOT_VRFY, "2.0.0")
    messages_pending = _reply_named(codes.REPLY_MESSAGES_PENDING, "2.0.0")
    recipients_follow = _reply_named(codes.REPLY_RECIPIENTS_FOLLOW, None)
    start_mail_input = _reply_named(codes.REPLY_DATA_INPUT, None)
    service_unavailable = _reply_named(codes.REPLY_SERVICE_UNAVAIL, "4.3.2")
    password_transition = _reply_named(codes.REPLY_PASSWORD_TRANSITION, "4.7.12")
    mailbox_temp_unavailable = _reply_named(codes.REPLY_MAILBOX_UNAVAIL, "4.2.0")
    local_error = _reply_named(codes.REPLY_LOCAL_ERROR, "4.3.0")
    insuff_storage = _reply_named(codes.REPLY_INSUFF_STORAGE, "4.3.1")
    no_mail = _reply_named(codes.REPLY_NO_MAIL, "4.0.0")
    temp_auth_fail = _reply_named(codes.REPLY_TEMP_AUTH_FAIL, "4.7.0")
    parameters_not_accommodated = _reply_named(codes.REPLY_PARAMETERS_NOT_ACCOMMODATED, "4.5.0")
    cannot_queue = _reply_named(codes.REPLY_CANNOT_QUEUE, "4.0.0")
    node_not_allowed = _reply_named(codes.REPLY_NODE_NOT_ALLOWED, "4.7.1")
    cmd_unrecognized = _reply_named(codes.REPLY_CMD_UNRECOGNIZED, "5.5.2")
    arg_syntax_error = _reply_named(codes.REPLY_ARG_SYNTAX_ERROR, "5.5.4")
    cmd_not_impl = _reply_named(codes.REPLY_CMD_NOT_IMPL, "5.5.1")
    bad_cmd_sequence = _reply_named(codes.REPLY_BAD_CMD_SEQUENCE, "5.5.1")
    cmd_not_impl_param = _reply_named(codes.REPLY_CMD_NOT_IMPL_PARAM, "5.5.4")
    host_accepts_no_mail = _reply_named(codes.REPLY_HOST_ACCEPTS_NO_MAIL, None)
    stronger_encryption_needed = _reply_named(codes.REPLY_STRONGER_ENCRYPTION_NEEDED, "5.7.10")
    auth_required = _reply_named(codes.REPLY_AUTH_REQUIRED, "5.7.0")
    auth_too_weak = _reply_named(codes.REPLY_AUTH_TOO_WEAK, "5.7.9")
    auth_failed = _reply_named(codes.REPLY_AUTH_FAILED, "5.7.8")
    encryption_required = _reply_named(codes.REPLY_ENCRYPTION_REQUIRED, "5.7.11")
    mailbox_not_found = _reply_named(codes.REPLY_MAILBOX_UNAVAIL_PERM, "5.1.1")
    user_not_local_perm = _reply_named(codes.REPLY_USER_NOT_LOCAL_PERM, "5.1.6")
    exceed_storage = _reply_named(codes.REPLY_EXCEED_STORAGE, "5.2.2")
    mailbox_name_invalid = _reply_named(codes.REPLY_MAILBOX_NAME_INVALID, "5.1.3")
    transaction_failed = _reply_named(codes.REPLY_TRANSACTION_FAILED, "5.0.0")
    parameters_not_recognized = _reply_named(codes.REPLY_PARAMETERS_NOT_RECOGNIZED, "5.5.4")
    domain_accepts_no_mail = _reply_named(codes.REPLY_DOMAIN_ACCEPTS_NO_MAIL, "5.1.10")


def _octets(text: str) -> bytes:
    try:
        return text.encode("ascii")
    except UnicodeEncodeError:
        raise LocalViolation(f"not ASCII: {text[:80]!r}") from None


def _values(attributes: Mapping[str, str]) -> dict[str, bytes]:
    return {name: _octets(value) for name, value in attributes.items()}
