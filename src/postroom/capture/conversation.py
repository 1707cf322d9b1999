"""One captured session: who sent what when, and which rules it broke.

Theory. Each side is a stream that `wire.stream` cuts into pieces; a `Side` keeps its state and its
incomplete octets. Replies answer commands in order (RFC 2920 s3.2), so a queue of unanswered
commands is enough to match them, as in `wire.client_session`. A session there ends at the first
violation; this one records it and continues. A reply also decides what one side alone cannot show:
after 354 content follows, after 334 a response, after 220 to STARTTLS a handshake.

After a gap in the capture nothing is certain. Unanswered commands are then forgotten, and
violations that only a whole session can prove are not reported. The same holds for a capture of one
direction alone, which is known only at its end: such violations are then withdrawn.

*TLS.* Octets after STARTTLS, or after a side has started TLS, that are no TLS record are read as a
command or reply and reported as a violation. An attacker may have injected them, or the server has
no certificate.

*Secrets.* Some texts are shown by their length alone: what follows the mechanism of AUTH, every
response and challenge, the arguments of BURL, and any line that is no command in a session that may
have had one of those. A reply that repeats a response is shown without it.
`ConversationEntry.octets` holds what was sent, for a replay; nothing that prints may read it.

Who controls the input: both peers, every octet. What is kept of a line is bounded.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from postroom.capture.entries import (
    END,
    NOTHING,
    RESPONSE,
    ContentRun,
    ConversationEntry,
    Secrets,
    Side,
    mechanism_name,
)
from postroom.wire.codes import (
    REPLY_AUTH_INPUT,
    REPLY_DATA_INPUT,
    REPLY_RECIPIENTS_FOLLOW,
    REPLY_SERVICE_READY,
    REPLY_SERVICE_UNAVAIL,
)
from postroom.wire.commands import Bdat, Mail, Rcpt
from postroom.wire.layer import SmtpLayer, printable
from postroom.wire.parameters import MAIL_PARAMETERS, RCPT_PARAMETERS
from postroom.wire.replies import Reply
from postroom.wire.session import EXTENSION_OF, LAST_IN_GROUP
from postroom.wire.stream import (
    IN_AUTH,
    IN_COMMANDS,
    IN_DATA,
    IN_HANDSHAKE,
    Mode,
    Piece,
    StreamState,
)
from postroom.wire.verbs import (
    CMD_AUTH,
    CMD_BURL,
    CMD_DATA,
    CMD_EHLO,
    CMD_EXPN,
    CMD_HELO,
    CMD_HELP,
    CMD_LHLO,
    CMD_MAIL,
    CMD_NOOP,
    CMD_QUIT,
    CMD_RCPT,
    CMD_RSET,
    CMD_STARTTLS,
    CMD_TURN,
    CMD_VRFY,
    SMTP_COMMANDS,
)

# To the server these two are the end; a client that says more after them has not waited either.
_SYNCHRONISING: Final = LAST_IN_GROUP | {CMD_QUIT, CMD_TURN}  # RFC 2920 s3.1
_GREETINGS: Final = frozenset({CMD_EHLO, CMD_HELO, CMD_LHLO})
# EXPN is older than EHLO, and other servers know it without saying so.
_NEEDS: Final = {**EXTENSION_OF, CMD_BURL: "BURL", CMD_EXPN: None}
# What follows these may be any words, and any words may begin with these.
_FREE_TEXT: Final = frozenset({CMD_EXPN, CMD_HELP, CMD_NOOP, CMD_VRFY})
_CLEAR_AFTER_STARTTLS: Final = "clear text after STARTTLS"
_CLEAR_WITHIN_TLS: Final = "clear text within TLS"
_ENDS: Final = "the end of the content, for each recipient"  # RFC 2033 s4.2
# What these replies ask for, also where the command that they are said to was not captured.
_ASKED_FOR: Final = {REPLY_DATA_INPUT: IN_DATA, REPLY_AUTH_INPUT: IN_AUTH}


class Conversation:
    """One captured session.

    Attributes:
        entries: in the order of the capture.
        extensions: of the last EHLO, keyword to parameters.
        mechanisms: of each AUTH, in order, each with the code of the last reply to it.
        tls: True once TLS began.
        complete: False if the capture began late, has holes, or has one direction only.
        unheard: the side that is missing in the capture, "client" or "server", if there is one.
    """

    def __init__(self, complete: bool = True, keep_octets: bool = False) -> None:
        """Create a session, whole or with its beginning missing.

        Args:
            complete: whether the connection's beginning was captured.
            keep_octets: keep what was said, for a replay.
        """
        self.entries: list[ConversationEntry] = []
        self.extensions: dict[str, str] = {}
        self.mechanisms: list[tuple[str, int | None]] = []
        self.tls = False
        self.complete = complete
        self._keeps = keep_octets
        self.unheard: str | None = None
        self._client = Side(from_client=True)
        self._server = Side(from_client=False)
        self._unanswered: deque[str] = deque(["the greeting"] if complete else [])
        self._certain = complete
        self._lmtp = False
        self._recipients = 0
        self._secrets = Secrets()
        self._may_hold_secrets = not complete
        self._content: ContentRun | None = None
        self._chunk: ConversationEntry | None = None
        self._unknown: ConversationEntry | None = None
        self._unknown_octets = 0
        self._in_step = complete
        self._starttls = self._starttls_waits = False
        self._suppositions: list[tuple[ConversationEntry, str]] = []

    def begin_within_tls(self, time: float) -> None:
        """Record that TLS was active when the capture started."""
        self._tell_tls(time)
        self._client.begin_within_tls()
        self._server.begin_within_tls()

    def pass_over(self, time: float, octets: int) -> None:
        """Record octets at the beginning that cannot be identified."""
        self._happens(time, f"[{octets} octets of which the beginning is not in the capture]")

    def receive(self, time: float, from_client: bool, octets: bytes) -> None:
        """Accept what one side sent, cut anywhere."""
        side = self._client if from_client else self._server
        for view, piece, state in side.pieces(octets):
            self._tell(time, from_client, view, piece, state)

    def _tell(
        self, time: float, from_client: bool, view: memoryview, piece: Piece, state: StreamState
    ) -> None:
        said = bytes(view[piece.start : piece.end])
        if piece.mode is Mode.TLS:
            self._tell_tls(time)
        elif piece.mode is Mode.CONTENT:
            self._tell_content(time, said, piece.complete)
        elif piece.mode is Mode.CHUNK:
            self._tell_chunk(time, said)
        else:
            layer = SmtpLayer.of_piece(view, piece, state)
            if from_client and self._is_unknown(layer):
                self._tell_unknown(time, said)
                return
            entry = self._add(time, "C" if from_client else "S", piece.mode, said)
            if state.mode is Mode.HANDSHAKE:
                entry.add_violation(_CLEAR_AFTER_STARTTLS if self._starttls else _CLEAR_WITHIN_TLS)
                self.tls = False
            self._tell_line(entry, layer, from_client)

    def _tell_line(self, entry: ConversationEntry, layer: SmtpLayer, from_client: bool) -> None:
        if from_client and self._starttls_waits:
            self._suppose(entry, _CLEAR_AFTER_STARTTLS)
        for error in layer.errors:
            entry.add_violation(self._secrets.taken_out_of(error))
        if from_client:
            self._check_turn(entry)
        _TELLS[layer.mode](self, entry, layer)

    def _add(
        self, time: float, speaker: str, mode: Mode | None, said: bytes = b""
    ) -> ConversationEntry:
        entry = ConversationEntry(time, speaker, mode, [])
        self.entries.append(entry)
        self._keep(entry, said)
        return entry

    def _keep(self, entry: ConversationEntry, said: bytes) -> None:
        if self._keeps and said:
            entry.said.append(said)

    def _suppose(self, entry: ConversationEntry, violation: str) -> None:
        """Record a violation that only a capture of both directions can prove."""
        entry.add_violation(violation)
        self._suppositions.append((entry, violation))

    def _happens(self, time: float, what: str) -> None:
        self._add(time, "-", None).lines = [what]

    # What the client says.

    def _tell_command(self, entry: ConversationEntry, layer: SmtpLayer) -> None:
        verb = layer.command
        if verb is None or verb not in SMTP_COMMANDS:
            self._unanswered.append("what is not a command")
            # A password that was sent out of turn looks like an unknown command.
            hidden = self._may_hold_secrets or bytes(layer.raw[:4]).upper() == b"AUTH"
            octets = len(layer.raw)
            shown = f"[{octets} octets that are no command]" if hidden else _line_of(layer)
            if hidden:
                entry.violations = ["not a command"]
            entry.lines = [shown]
            return
        entry.lines = [_line_of(layer)]
        parsed = layer.parsed
        if isinstance(parsed, Bdat) and parsed.last:
            self._await_end()
        else:
            self._unanswered.append(verb)
        self._check_offer(entry, layer, verb)
        if verb == CMD_AUTH:
            self._tell_auth(entry, layer)
        elif verb == CMD_BURL:
            entry.lines = [f"BURL [{len(layer.args or b'')} octets]"]
        elif verb in _GREETINGS:
            self._lmtp = verb == CMD_LHLO
        elif verb == CMD_STARTTLS:
            self._starttls = self._starttls_waits = True

    def _is_unknown(self, layer: SmtpLayer) -> bool:
        """Return whether a line may be content of which the beginning is missing.

        So is what follows it then, whatever it looks like, until the server says something or a
        dot ends it.
        """
        if self._in_step or layer.mode is not Mode.COMMANDS:
            return False
        if self._unknown is not None:
            return True
        if bytes(layer.raw[:4]).upper() == b"AUTH":  # told by its length, whatever it is
            return False
        return layer.parsed is None or (layer.command in _FREE_TEXT and bool(layer.args))

    def _tell_unknown(self, time: float, said: bytes) -> None:
        if self._unknown is None:
            self._unknown, self._unknown_octets = self._add(time, "C", None), 0
        self._unknown_octets += len(said)
        self._unknown.lines = [f"[{self._unknown_octets} octets that are no command]"]
        self._client.state = IN_COMMANDS
        if said == b".\r\n":
            self._be_in_step()

    def _be_in_step(self) -> None:
        """Record that what the client sends from here on are commands."""
        self._in_step, self._unknown = True, None

    def _check_turn(self, entry: ConversationEntry) -> None:
        """Check that it was the client's turn. RFC 2920 s3.1; RFC 5321 s3.1."""
        if not (self._unanswered and self._certain):
            return
        before = self._unanswered[-1]
        if before == "the greeting":
            self._suppose(entry, "sent before the greeting")
        elif before in _SYNCHRONISING or before == RESPONSE:
            self._suppose(entry, f"sent before the reply to {before}")
        elif "PIPELINING" not in self.extensions:
            self._suppose(entry, "pipelined, which was not offered")

    def _check_offer(self, entry: ConversationEntry, layer: SmtpLayer, verb: str) -> None:
        """Check that the extensions of a command were offered. RFC 5321 s2.2.1, s4.1.1.11."""
        if not self._certain:
            return
        needed = _NEEDS.get(verb)
        if needed is not None and needed not in self.extensions:
            self._suppose(entry, f"{needed} was not offered")
        parsed = layer.parsed
        if isinstance(parsed, Mail | Rcpt):
            table = MAIL_PARAMETERS if verb == CMD_MAIL else RCPT_PARAMETERS
            for keyword, value in parsed.parameters.items():
                known = table[keyword]
                needed = known.needs.get((value or "").upper(), known.extension)
                if needed not in self.extensions:
                    self._suppose(entry, f"parameter {keyword}, but {needed} was not offered")

    def _tell_auth(self, entry: ConversationEntry, layer: SmtpLayer) -> None:
        self._may_hold_secrets = True
        mechanism, blank, initial = bytes(layer.args or b"").partition(b" ")
        self._secrets.remember(initial)
        offered = self.extensions.get("AUTH", "").upper().split()
        name = mechanism_name(mechanism, offered)
        self.mechanisms.append((name, None))
        entry.lines = [f"AUTH {name} [{len(initial)} octets]" if blank else f"AUTH {name}"]
        if self._certain and offered and name not in offered:
            entry.add_violation(f"mechanism {name} was not offered")

    def _tell_response(self, entry: ConversationEntry, layer: SmtpLayer) -> None:
        self._may_hold_secrets = True
        self._unanswered.append(RESPONSE)
        said = bytes(layer.raw).rstrip(b"\r\n")
        self._secrets.remember(said)
        entry.lines = ["*" if said == b"*" else f"[response of {len(said)} octets]"]

    def _tell_content(self, time: float, said: bytes, complete: bool) -> None:
        content = self._content
        if content is None:
            entry = self._add(time, "C", Mode.CONTENT)
            if CMD_DATA in self._unanswered and self._certain:
                self._suppose(entry, "sent before the reply to DATA")
            content = self._content = ContentRun(entry)
        entry = content.entry
        content.take(said, complete)
        self._keep(entry, said)
        ended = "" if complete else ", not ended"
        entry.lines = [f"[content, {entry.size_octets} octets{ended}]"]
        if complete:
            self._content = None
            self._await_end()

    def _await_end(self) -> None:
        self._unanswered.append(_ENDS if self._lmtp else END)

    def _tell_chunk(self, time: float, said: bytes) -> None:
        if self._chunk is None:
            self._chunk = self._add(time, "C", Mode.CHUNK)
        entry = self._chunk
        entry.size_octets = (entry.size_octets or 0) + len(said)
        self._keep(entry, said)
        left = self._client.state.octets_left
        entry.lines = [f"[chunk, {entry.size_octets} octets{f', {left} to come' if left else ''}]"]
        if not left:
            self._chunk = None

    # What the server says.

    def _tell_reply(self, entry: ConversationEntry, layer: SmtpLayer) -> None:
        self._be_in_step()
        reply = layer.parsed
        if not isinstance(reply, Reply):
            entry.lines = self._shown(bytes(layer.raw))
            return
        answered = self._answered(entry, reply)
        entry.answers = entry.answers or answered
        if reply.code == REPLY_AUTH_INPUT:
            entry.lines = [f"334 [challenge of {max(len(layer.raw) - 6, 0)} octets]"]
        else:
            entry.lines = self._shown(bytes(layer.raw))
        if answered is None and not self._client.heard and layer.is_multiline:
            self._after_hello(reply, layer)  # all that a server says in several lines, as a rule
        if answered is not None:
            _AFTER_REPLY.get(answered, Conversation._after_any)(self, reply, layer)
        in_clear = self._client.state.mode is not Mode.TLS
        if not self.complete and self._content is None and in_clear:
            self._client.state = _ASKED_FOR.get(reply.code, self._client.state)
        if answered in (CMD_AUTH, RESPONSE) and self.mechanisms:
            self.mechanisms[-1] = (self.mechanisms[-1][0], reply.code)

    def _shown(self, said: bytes) -> list[str]:
        lines = said.split(b"\n")
        lines = lines[:-1] if lines[-1] == b"" else lines
        return [self._secrets.taken_out_of(printable(line.removesuffix(b"\r"))) for line in lines]

    def _answered(self, entry: ConversationEntry, reply: Reply) -> str | None:
        """Return what a reply answers."""
        if self._unanswered:
            answered = self._unanswered.popleft()
            if answered != _ENDS:
                return answered
            # Only now is it known how many recipients were accepted before.
            self._unanswered.extendleft([END] * (self._recipients - 1))
            return END
        if self._content is not None:
            # A server may refuse content early; a positive reply means that it saw an end.
            if reply.positive and self._certain:
                entry.add_violation("a reply within the content, of which the server saw an end")
            self._client.state, self._content = IN_COMMANDS, None
            entry.answers = END
        elif self._certain:
            entry.answers = NOTHING
            if reply.code != REPLY_SERVICE_UNAVAIL and not self._is_clear(entry):
                self._suppose(entry, "a reply to nothing")
        return None

    def _is_clear(self, entry: ConversationEntry) -> bool:
        return not {_CLEAR_AFTER_STARTTLS, _CLEAR_WITHIN_TLS}.isdisjoint(entry.violations)

    def _after_any(self, _reply: Reply, _layer: SmtpLayer) -> None:
        return

    def _after_hello(self, reply: Reply, layer: SmtpLayer) -> None:
        if reply.positive:
            self.extensions = dict(layer.keywords) if len(reply.text) > 1 else {}
            self._recipients = 0

    def _after_begin(self, reply: Reply, _layer: SmtpLayer) -> None:
        if reply.positive:
            self._recipients = 0

    def _after_rcpt(self, reply: Reply, _layer: SmtpLayer) -> None:
        self._recipients += reply.positive

    def _after_data(self, reply: Reply, _layer: SmtpLayer) -> None:
        if self._content is None and END not in self._unanswered and _ENDS not in self._unanswered:
            accepted = reply.code == REPLY_DATA_INPUT
            self._client.state = IN_DATA if accepted else IN_COMMANDS

    def _after_end(self, reply: Reply, _layer: SmtpLayer) -> None:
        if reply.code == REPLY_RECIPIENTS_FOLLOW:  # PRDR: one for each, and one for all
            self._unanswered.extendleft([END] * (self._recipients + 1))
        elif END not in self._unanswered:
            self._recipients = 0

    def _after_auth(self, reply: Reply, _layer: SmtpLayer) -> None:
        if self._client.state.mode is not Mode.TLS:
            challenged = reply.code == REPLY_AUTH_INPUT
            self._client.state = IN_AUTH if challenged else IN_COMMANDS

    def _after_starttls(self, reply: Reply, _layer: SmtpLayer) -> None:
        self._starttls_waits = False
        if reply.code == REPLY_SERVICE_READY:
            self._tell_rest(self.entries[-1].time, _CLEAR_AFTER_STARTTLS)
            self._content = self._chunk = None
            self._await_tls()
        elif self._client.state.mode is Mode.HANDSHAKE:
            self._client.state = IN_COMMANDS

    def _await_tls(self) -> None:
        for side in (self._client, self._server):
            if side.state.mode is not Mode.TLS:
                side.state = IN_HANDSHAKE

    # What happens.

    def _tell_tls(self, time: float) -> None:
        if not self.tls:
            self.tls = True
            self._happens(time, "[TLS from here on]")
            # What is said within TLS is not heard, nor what a reply in clear text answers.
            self._certain = self._starttls_waits = False
            self._unanswered.clear()
            self._await_tls()

    def lose(self, time: float, from_client: bool, octets: int) -> None:
        """Record a gap in the capture."""
        who = "client" if from_client else "server"
        self._happens(time, f"[{octets} octets of the {who} are not in the capture]")
        self.complete = self._certain = self._starttls_waits = False
        self._in_step = self._in_step and not from_client
        self._may_hold_secrets = True
        self._unanswered.clear()
        side = self._client if from_client else self._server
        side.lose(octets)

    def end(self, time: float, reset: bool, unheard: str | None = None) -> None:
        """Record that the session or the capture ended.

        Args:
            time: when.
            reset: whether the connection was reset.
            unheard: "client" or "server", if the capture has not one packet of that side.
        """
        self._tell_rest(time, None)
        if reset:
            self._happens(time, "[connection reset]")
        if unheard is not None:
            self.unheard, self.complete = unheard, False
            for entry, violation in self._suppositions:
                entry.violations = [each for each in entry.violations if each != violation]

    def _tell_rest(self, time: float, violation: str | None) -> None:
        """Add entries for what is incomplete at the end."""
        for side, speaker in ((self._client, "C"), (self._server, "S")):
            if side.rest:
                entry = self._add(time, speaker, side.state.mode, side.rest)
                entry.lines = [f"[{len(side.rest)} octets of a line that does not end]"]
                if violation is not None:
                    entry.add_violation(violation)
                side.forget_rest()


_TELLS: Final[dict[Mode, Callable[[Conversation, ConversationEntry, SmtpLayer], None]]] = {
    Mode.COMMANDS: Conversation._tell_command,
    Mode.RESPONSE: Conversation._tell_response,
    Mode.REPLIES: Conversation._tell_reply,
}
_AFTER_REPLY: Final[dict[str, Callable[[Conversation, Reply, SmtpLayer], None]]] = {
    **dict.fromkeys(_GREETINGS, Conversation._after_hello),
    **dict.fromkeys((CMD_MAIL, CMD_RSET), Conversation._after_begin),
    CMD_RCPT: Conversation._after_rcpt,
    CMD_DATA: Conversation._after_data,
    CMD_AUTH: Conversation._after_auth,
    RESPONSE: Conversation._after_auth,
    CMD_STARTTLS: Conversation._after_starttls,
    END: Conversation._after_end,
}


def _line_of(layer: SmtpLayer) -> str:
    return printable(bytes(layer.raw).rstrip(b"\r\n"))
