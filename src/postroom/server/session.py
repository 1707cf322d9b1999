"""A session: the object that holds its state, and that every command's function is given.

Only the methods here change a session: its facts, the state of the protocol, its envelope, its
delivery, the login, the content that is being received, and its counters. A command's function
calls them, and returns a reply or a Deferred of one. The connection (`postroom.server.protocol`)
moves octets and watches the time.

Invariants:

- The envelope exists exactly while the session is in a transaction. It is dropped, never cleared.
- Facts are replaced, never changed: an envelope keeps those that held when MAIL came.
- STARTTLS and XCLIENT replace the state, so that nothing from before can be kept by mistake.

Who controls the input: the peer, after `wire` has parsed it.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, Protocol, cast

from twisted.internet.defer import CancelledError
from twisted.logger import Logger
from twisted.python.failure import Failure

from postroom.envelope import Envelope, SessionFacts, new_queue_id
from postroom.errors import Refusal, reply_for
from postroom.interfaces import ITransactionDelivery
from postroom.server.authentication import Exchange, Login
from postroom.server.connections import unmapped
from postroom.server.listener import Listener
from postroom.server.verdicts import PerRecipientReplies, Verdict, per_recipient_replies
from postroom.tls import tls_facts
from postroom.wire.replies import Reply, reply
from postroom.wire.session import Capabilities, Chunk, ServerSession
from postroom.wire.state import Phase

TOO_MANY_RECIPIENTS: Final = reply(452, "4.5.3", "Too many recipients")
OUT_OF_STEP: Final = reply(554, "5.5.0", "Improper use of command pipelining, closing connection")
VERDICT_OVERDUE: Final = reply(451, "4.3.0", "No answer in time, try again later")

_log = Logger()


class UnfinishedContent(Protocol):
    """Content that is being received; see `postroom.server.incoming`."""

    def abort(self) -> None:
        """Drop the content."""


class Session:
    """One session, from its greeting to its end.

    Attributes:
        listener: what all sessions of this listener share.
        transport: the connection; the session asks it for facts and never writes to it.
        peer: the address that has connected, whatever XCLIENT says.
        facts: what is known of the client.
        state: which command may come now; replaced by STARTTLS and XCLIENT.
        delivery: decides on the session's mail; None before the first login.
        envelope: of the open transaction; None without one.
        incoming: the content that is being received; None without any.
        storing: True while a message is being stored, which goes on if the peer disconnects.
        closing: True if the session ends with the next reply.
        idle_commands: the number of commands since the last message that moved no mail.
        errors: the number of commands that failed since the last message that was accepted.
    """

    __slots__ = (
        *("_destination", "_excess", "_exchange", "_log_out", "_over_tls", "_replies", "_strict"),
        *("closing", "delivery", "envelope", "errors", "facts", "idle_commands", "incoming"),
        *("listener", "peer", "state", "storing", "transport"),
    )

    def __init__(
        self, listener: Listener, facts: SessionFacts, transport: Any, destination: str | None
    ) -> None:
        """Create a session that waits for its greeting.

        Args:
            listener: the session's.
            facts: what is known so far.
            transport: the connection.
            destination: the IP address that the client connected to, if a proxy has sent it.
        """
        self.listener = listener
        self.transport = transport
        self.peer = facts.client
        self.facts = facts
        self.delivery: ITransactionDelivery | None = None
        self.envelope: Envelope | None = None
        self.incoming: Any = None
        self.storing = self.closing = False
        self.idle_commands = self.errors = self._excess = 0
        self._destination = destination
        self._exchange: Exchange | None = None
        self._log_out: Callable[[], object] | None = None
        self._replies: PerRecipientReplies | None = None
        self._strict = listener.must_wait(facts.client)
        self._over_tls = False
        self.state = ServerSession(self._capabilities(), Phase.GREETING)

    # Replies

    def answer(self, verdict: Verdict) -> tuple[Reply, bytes]:
        """Record the answer to the last command, and return it as octets.

        Args:
            verdict: the reply; or, for a message, the result of each recipient.

        Returns:
            The reply that counts, and the octets of all replies.
        """
        before = b""
        if self._replies is not None:
            make, self._replies = self._replies, None
            *firsts, verdict = make(verdict)
            before = b"".join(each.wire for each in firsts)
        assert isinstance(verdict, Reply)
        if verdict.code == 421:
            verdict = self.listener.farewell(verdict)
        octets = before + self.state.answer(verdict)
        self._count(verdict)
        if self.envelope is not None and not self.state.in_transaction:
            self._end_transaction()
        return verdict, octets

    def refuse_haste(self) -> Reply:
        """Return the reply to a peer that did not wait for its turn; the session ends with it."""
        self.closing, self._replies = True, None
        return OUT_OF_STEP

    @property
    def must_wait(self) -> bool:
        """True if the session ends when the peer does not wait for a reply where it has to."""
        return self._strict and self.facts.identity is None

    def _count(self, verdict: Reply) -> None:
        failed = verdict.code >= 400
        if self.storing:
            self.storing = False
            if not failed:
                self.errors = self._excess = 0
        if failed:
            if not self._is_forgiven(verdict):
                self.errors += 1
            self.log_refusal(verdict)

    def _is_forgiven(self, verdict: Reply) -> bool:
        """Return whether a refusal is not counted as an error.

        A peer may offer more recipients than one transaction takes, or it would never get to DATA.

        RFC 5321 s4.5.3.1.10
        """
        if verdict is not TOO_MANY_RECIPIENTS:
            return False
        self._excess += 1
        return self._excess <= self.listener.settings.limits.recipients

    def log_refusal(self, verdict: Reply) -> None:
        """Log who was refused, and with which reply."""
        _log.info(
            "refused client={client} helo={helo} sender={sender} reply={reply}",
            client=self.facts.client,
            helo=self.facts.helo,
            sender=self.envelope.mail.reverse_path if self.envelope else None,
            reply=str(verdict),
        )

    def reply_for_failure(self, failure: Failure) -> Reply:
        """Return the reply for an exception; log an exception that was not meant for the peer."""
        error = cast(BaseException, failure.value)
        if isinstance(error, Refusal):
            return error.reply
        if isinstance(error, CancelledError):
            return VERDICT_OVERDUE
        receipt = new_queue_id()
        _log.failure(
            "a command of {client} failed, receipt {receipt}",
            failure,
            client=self.facts.client,
            receipt=receipt,
        )
        answer = reply_for(error)
        return Reply(answer.code, (f"{answer.text[0]} (receipt {receipt})",), answer.enhanced)

    # Greetings and TLS

    def greet(self, domain: bytes, extended: bool) -> Capabilities:
        """Store the name that a client gave in EHLO; return what the session offers from now on."""
        old = self.facts
        self.facts = SessionFacts(
            old.role,
            old.client,
            old.client_port,
            domain,
            extended,
            tls_facts(self.transport.getHandle()) if self._over_tls else None,
            old.identity,
        )
        if self._over_tls:  # by now its certificate is known
            self.state.offer(self._capabilities())
        return self.state.capabilities

    def start_tls(self) -> None:
        """Restart the session under TLS: nothing that was said in clear text counts any more.

        RFC 3207 s4.2
        """
        self.log_out()
        self.facts = SessionFacts(self.facts.role, self.facts.client, self.facts.client_port)
        self._over_tls = True
        self.restart()

    def expect_tls(self) -> None:
        """Record that the connection is under TLS, or will be when its handshake is done."""
        self._over_tls = True
        self.state.offer(self._capabilities())

    def handshake_done(self) -> None:
        """Store the TLS facts, now that the handshake is done."""
        self.facts = replace(self.facts, tls=tls_facts(self.transport.getHandle()))

    def restart_as(self, facts: SessionFacts, login: Login | None, destination: str | None) -> None:
        """Restart the session as another client's, as XCLIENT asks.

        Args:
            facts: of the client behind the proxy.
            login: the client's, if the proxy has authenticated it.
            destination: the IP address that the client connected to; None if the proxy has not sent
                it.
        """
        self.log_out()
        if login is not None:
            self.use_delivery(login)
            facts = replace(facts, identity=login.identity)
        self.facts = facts
        self._destination = destination or self._destination

    def restart(self) -> None:
        """Replace the state by one that waits for EHLO, with the facts that are known by now."""
        self.state = ServerSession(self._capabilities(), Phase.HELLO)

    def is_own_address(self, address: str) -> bool:
        """Return whether an IP address is this host's, as this session's client sees it."""
        local = self._destination
        if local is None:
            local = unmapped(getattr(self.transport.getHost(), "host", ""))
        return address == local or address in self.listener.settings.own_addresses

    def _capabilities(self) -> Capabilities:
        return self.listener.capabilities(self.facts, self._over_tls, self.peer)

    # Logins

    def begin_exchange(self, mechanism: str) -> Exchange:
        """Start an AUTH exchange, and return it.

        Raises:
            Refusal: 504 5.5.4, the mechanism is not offered; 4yz, the client must wait.
        """
        self._exchange = self.listener.authentication.exchange(
            mechanism, self.facts, self.transport
        )
        return self._exchange

    @property
    def exchange(self) -> Exchange:
        """The AUTH exchange that has been started."""
        assert self._exchange is not None  # the state has checked that
        return self._exchange

    def log_in(self, login: Login) -> None:
        """Store a login: it decides on the session's mail, and on what is offered."""
        self._exchange = None
        self.use_delivery(login)
        old = self.facts
        self.facts = SessionFacts(
            old.role,
            old.client,
            old.client_port,
            old.helo,
            old.extended,
            old.tls,
            login.identity,
            old.forwarded,
        )
        self.state.offer(self._capabilities())

    def use_delivery(self, login: Login) -> ITransactionDelivery:
        """Store a login's delivery for the session's mail, and return it."""
        self.log_out()
        self._log_out = login.log_out
        self.delivery = login.delivery
        return login.delivery

    def log_out(self) -> None:
        """Forget the login, if there is one."""
        log_out, self._log_out = self._log_out, None
        self.delivery = self._exchange = None
        if log_out is not None:
            log_out()

    # Transactions and content

    def begin_transaction(self, envelope: Envelope) -> None:
        """Store the envelope of a new transaction."""
        self.envelope = envelope

    def transaction(self) -> tuple[Envelope, ITransactionDelivery]:
        """Return the open envelope and the delivery; only legal within a transaction."""
        assert self.envelope is not None
        assert self.delivery is not None
        return self.envelope, self.delivery

    def forward_for(self, words: str) -> None:
        """Store for the log where the next message comes from, as XFORWARD says."""
        before = (self.facts.forwarded,) if self.facts.forwarded else ()
        self.facts = replace(self.facts, forwarded=" ".join((*before, words)))

    def receive_content(self, incoming: UnfinishedContent) -> None:
        """Pass the octets of the stream to this content from now on."""
        self.incoming = incoming

    def content_ended(self, chunk: Chunk | None) -> None:
        """Record that the content is complete, or that its transaction is over."""
        self.incoming = None
        if chunk is None or chunk.refusal is None:
            self._begin_to_store()

    def _begin_to_store(self) -> None:
        envelope, _ = self.transaction()
        self.storing = True
        self.idle_commands = 0
        self._replies = per_recipient_replies(self.facts.role, envelope)

    @property
    def wants_each_result(self) -> bool:
        """True if the peer wants the result of each recipient."""
        return self._replies is not None

    def close_after_reply(self) -> None:
        """End the session with the next reply."""
        self.closing = True

    def count_idle_command(self) -> None:
        """Count a command that moves no mail."""
        self.idle_commands += 1

    def _end_transaction(self) -> None:
        """Drop the envelope, and chunks of which no last one has come."""
        self.envelope = None
        if self.facts.forwarded:
            self.facts = replace(self.facts, forwarded="")
        if self.incoming is not None:
            self.incoming.abort()
            self.incoming = None

    def lost(self) -> None:
        """Drop everything, as the connection is lost; a message that is being stored is kept."""
        if self.incoming is not None:
            self.incoming.abort()
        self.log_out()
