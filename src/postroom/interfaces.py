"""Every public extension point of Postroom.

How to read a method: *when* it is called, whether it may answer *later* (a Deferred, or a coroutine
where it says so), and what *raising* means. Two rules hold throughout: raising
`postroom.errors.Refusal` gives the peer that reply; raising anything else is a fault of ours, which
the peer sees as 451 and the log as a failure (`postroom.errors.reply_for`).

Extending Postroom is registering a zope adapter to one of these interfaces, or shipping a Twisted
plugin that provides one. Twisted's own `IMessageDelivery`, `IMessageDeliveryFactory` and
`IMessage` (in `twisted.mail.interfaces`) work unchanged: `postroom.delivery.twisted_adapter` adapts
them to `ITransactionDelivery`. `postroom.delivery.esmtp_delivery` adapts an `ITransactionDelivery`
to `IMessageDelivery`, for `twisted.mail.smtp.ESMTP`.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from twisted.cred.credentials import ICredentials
from twisted.internet.defer import Deferred
from twisted.mail.interfaces import IChallengeResponse
from twisted.plugin import IPlugin
from zope.interface import Attribute, Interface

from postroom.credentials import Credential, Offer, SASLSession, ScramKeys
from postroom.envelope import AccountLimits, Domain, Entry, Envelope, NewMessage, Notice
from postroom.wire.commands import Rcpt
from postroom.wire.parameters import Parameter
from postroom.wire.paths import Mailbox
from postroom.wire.replies import Reply


class ITransactionDelivery(Interface):
    """Decides about the mail of one session: the avatar that the portal returns to the server.

    The portal's mind is the session's `SessionFacts`. An avatar serves one session, transaction
    after transaction; transactions never overlap.
    """

    def validate_sender(envelope: Envelope) -> "Reply | Deferred[Reply | None] | None":
        """Check whether this sender may send.

        Called once for each MAIL that is well formed and in sequence. May answer later.

        Returns:
            None to accept; a 4yz or 5yz reply to refuse.
        """

    def validate_recipient(envelope: Envelope, rcpt: Rcpt) -> "object | Deferred[object]":
        """Check whether this recipient is accepted, and decide where its mail goes.

        Called for each RCPT in order, never before the previous one was answered. May answer later.

        Returns:
            A `Reply` of 4yz or 5yz to refuse; anything else accepts, and is kept as
            `Recipient.route`.
        """

    def begin(envelope: Envelope) -> "IDeliveryTransaction | Deferred[IDeliveryTransaction]":
        """Start to accept the content of a message.

        Called at DATA, with at least one recipient, before 354. May answer later. Raising refuses
        DATA.
        """


class IDeliveryTransaction(Interface):
    """The content of one message on its way to storage.

    `write` zero or more times, then either `commit` or `abort`, each at most once and nothing
    after it.
    """

    def write(chunk: bytes) -> "Deferred[None] | None":
        """Accept a piece of the content, dots unstuffed, line ends CRLF.

        Args:
            chunk: any length from 1 octet; immutable, and may be kept.

        Returns:
            None to continue; a Deferred to pause the peer until it fires. Its failure ends the
            transaction, and the server calls `abort`.
        """

    def commit() -> "Sequence[Reply] | Deferred[Sequence[Reply]]":
        """Store the message.

        A 2yz for a recipient is a promise: that recipient's message survives a power cut from the
        moment the result is given (RFC 5321 s6.1).

        Returns:
            One reply for each recipient of the envelope, in order. Raising stands for that failure
            for all of them, and promises that nothing was kept.
        """

    def abort() -> None:
        """Drop the content; leave nothing behind. Must not raise."""


class IContent(Interface):
    """A message's complete content: header and body, line ends CRLF, no dot stuffing."""

    size_octets = Attribute("Its length, an int.")

    def chunks() -> "Iterator[bytes]":
        """Yield the content in pieces of at most 256 KiB.

        It may read from a disk: call it from a worker thread. Each call starts from the beginning.
        """

    def in_memory() -> "Sequence[bytes] | None":
        """Return the content's pieces if all of it is in memory, else None. Never blocks."""


class IFileContent(Interface):
    """An optional interface of content whose bulk may lie in an open file."""

    def in_file() -> "tuple[Sequence[bytes], int] | None":
        """Return what comes before the file, and its descriptor; None if there is no such file.

        The content is those octets, then the whole file. Neither is changed any more. Never blocks.
        """


class IChunkSource(Interface):
    """Content that is sent to a next hop piece by piece, as it is asked for."""

    size_octets = Attribute("The whole length, an int.")

    def chunk(index: int) -> "bytes | Deferred[bytes]":
        """Return piece number ``index``, counted from 0, of at most 256 KiB.

        Returns:
            Octets; empty past the last piece. Any piece may be asked for again.
        """


class IDirectory(Interface):
    """Looks up domains, accounts and aliases.

    Domains are passed in A-labels and lower case, local parts in the canonical form of
    `postroom.international`.

    A look-up that cannot be made now (source down) must raise or fail: the peer gets 451, never "no
    such user".
    """

    def revision() -> int:
        """Return a number that changes when any answer below may have changed. Never blocks.

        The routing caches positive answers until it changes.
        """

    def find_domain(name: str) -> "Deferred[Domain | None]":
        """Return a domain whose mail is accepted here, or None.

        `Domain.kind` says what happens to its mail.
        """

    def find_address(address: str) -> "Deferred[Entry | None]":
        """Return the account or alias with exactly this ``local-part@domain``, or None.

        Every address of an account finds it, with `Account.address` the first of them. Never called
        for an address of a domain that is an alias: the routing replaces the domain first.
        """


class ISendingCounts(Interface):
    """Counts what accounts send in a day."""

    def spend(address: str, limits: AccountLimits, recipients: int) -> "Deferred[bool]":
        """Count a message that is about to be sent.

        Called for accounts with a daily limit only, once for each message, before its content.

        Args:
            address: the account's first address.
            limits: the account's.
            recipients: how many the message has.

        Returns:
            False if the message would exceed a limit; it is not counted then.
        """


class ICredentialSource(Interface):
    """A source of logins: it looks up users and their passwords.

    Sources are asked in the order of the settings. The first that knows a user decides on the
    login; if a source could not be asked, a login that no other source accepts fails for now (454).
    """

    knows = Attribute("What it may know: a frozenset of `postroom.credentials.Knowledge`.")

    def find_credential(username: bytes) -> "Deferred[Credential | None]":
        """Return a user's credential, or None.

        Called at most once for each login, and before anything else is done with it. Must not block
        the reactor's thread.

        Args:
            username: as the peer sent it, any octets; an address or, where the source has such
                names, a bare name.

        Returns:
            None if there is no such user here: the next source is asked. A user who exists
            and may not log in is a `Credential` that is not enabled.

        Raises:
            Exception: the source is down. The peer gets 454 4.7.0, never 535.
        """


class ICredentialStore(ICredentialSource):
    """An optional interface of sources that store better hashes and record app passwords' use.

    Called after a successful login, which does not wait for it: a failure is logged, and the next
    login tries again.
    """

    def replace_stored(
        address: str, old: "Sequence[str]", new: "Sequence[str]"
    ) -> "Deferred[None]":
        """Store the same password in other forms, unless it was changed meanwhile.

        Args:
            address: as `Credential.address`.
            old: what `Credential.stored` was.
            new: what is to be stored in its place.
        """

    def app_password_used(address: str, key: str) -> "Deferred[None]":
        """Record that an app password was used just now."""


class IProvenUser(ICredentials):
    """Credentials of a user whose identity is already proven: by SCRAM, or by a certificate.

    Only a mechanism creates them, and only when the proof is complete. The checker finds the
    account, and whether it may log in.
    """

    username = Attribute("As it was proven, bytes.")


class IBearerToken(ICredentials):
    """Credentials that consist of a token, issued by somebody else.

    A checker that refuses one may do so with `postroom.credentials.TokenRefused`, whose text is
    sent to the client.

    RFC 7628 s3.1
    """

    username = Attribute("Whom the client says it is for, bytes; empty if it does not say.")
    token = Attribute("The token, bytes.")


class ILoginSecrets(Interface):
    """The secrets for mechanisms that never see a password."""

    knows = Attribute(
        "What all sources together may know: a frozenset of `postroom.credentials.Knowledge`."
    )

    def scram_keys(username: bytes) -> "Deferred[ScramKeys]":
        """Return a user's keys; for an unknown user, keys that look no different.

        Raises:
            Refusal: 454 4.7.0, they cannot be looked up now.
        """


class ITokenReader(Interface):
    """Reads and verifies tokens; the claims that one must have are checked elsewhere."""

    def claims(token: str) -> "Deferred[Mapping[str, Any]]":
        """Return the claims of a token, after it was found to be genuine.

        Raises:
            postroom.credentials.BadToken: it is not.
            Exception: the token cannot be checked now. The peer gets 454 4.7.0.
        """


class ISASLMechanism(Interface):
    """A SASL mechanism, of ours or of a Twisted plugin that also provides `IPlugin`.

    The settings name the mechanisms that are used, in order; any other is not used.
    """

    name = Attribute(
        "As in EHLO: at most 20 capitals, digits, hyphens and underscores. RFC 4422 s3.1"
    )
    takes_initial_response = Attribute(
        "True if the client may speak first: a response may come along with AUTH. RFC 4954 s4"
    )

    def is_offered(offer: Offer) -> bool:
        """Return whether it can work for a session like this; only then does EHLO name it.

        Called when a session of a new kind starts; the answer is kept. Must not block.
        """

    def steps(session: SASLSession) -> "IChallengeResponse":
        """Start an exchange.

        Called once for each AUTH. The result provides `twisted.mail`'s `IChallengeResponse` and the
        credentials interface that a checker of the portal takes, with a ``username``:
        `twisted.mail`'s own classes do. For each round ``getChallenge`` is called once and, with
        what the client answered, ``setResponse``; when ``moreChallenges`` says that there are none
        left, the portal is asked. With an initial response the first challenge is not sent.

        An attribute ``authorize_as``, bytes, may name the account as which the client asks to act:
        by default, and if it is empty, the account that logs in. Any other name has to be one of
        that account; it is compared after the login.

        The first two may answer later. Either may raise `twisted.cred.error.LoginFailed` (535) or
        `Refusal`; anything else is a fault of ours (454).
        """


class ILoginGuard(Interface):
    """Counts failed logins, and slows down guessing. No method may block or answer later."""

    def refusal(client: str, username: "bytes | None") -> "Reply | None":
        """Return a refusal if this client or user may not try to log in now.

        Called at AUTH, without a user name, and once more when one is known, before its password is
        looked at.

        Returns:
            None to continue, or a 4yz reply.
        """

    def failed(client: str, username: bytes) -> float:
        """Record a failed login; not called for one that failed through our own fault.

        Returns:
            The delay of the answer: seconds after the client's last line.
        """

    def succeeded(client: str, username: bytes) -> None:
        """Record a successful login."""


class IInquiries(Interface):
    """An optional interface of avatars that answer VRFY and EXPN.

    Found by ``IInquiries(avatar, None)``. Called only where ``session.vrfy`` and ``session.expn``
    allow it.
    """

    def verify(text: bytes) -> "Mailbox | Reply | Deferred[Mailbox | Reply | None] | None":
        """Return whether a mailbox exists. May answer later.

        Args:
            text: what the peer sent after VRFY: a name, a mailbox, a path in brackets.

        Returns:
            The mailbox if it exists (250); None if that cannot be told (252); any other reply,
            such as 251, 550 or 553, as it is.
        """

    def expand(text: bytes) -> "Sequence[Mailbox] | Deferred[Sequence[Mailbox] | None] | None":
        """Return the members of a list, or the targets of an alias; None if there is none."""


class IQueueFlush(Interface):
    """Sends what waits for a host, as ETRN requests. RFC 1985 is its reference."""

    def flush_domain(domain: str, subdomains: bool) -> "int | Deferred[int | None] | None":
        """Make all that waits for a domain due at once.

        Called for peers of ``session.etrn_networks`` only. May answer later, and must not wait for
        the deliveries.

        Args:
            domain: in lower case.
            subdomains: whether those of its subdomains are meant as well.

        Returns:
            How many recipients were waiting; None if this domain may not be flushed (459).

        Raises:
            Refusal: 458, it cannot be done now.
        """


class IExtension(IPlugin):
    """An SMTP extension from outside Postroom: an EHLO keyword and its parameters.

    The daemon finds it by ``twisted.plugin.getPlugins(IExtension)``; a program that embeds Postroom
    passes it to `postroom.server.listener.Listener.add_extension`. All methods are called on the
    reactor's thread, must not block, and never answer later.

    The queue keeps the parameters of an accepted message as they were sent: those of MAIL with the
    message, those of RCPT with each recipient. A next hop that offers the keyword gets them; for
    one that does not, `needed_at_next_hop` decides.
    """

    def keyword() -> str:
        """Return the EHLO keyword, in upper case: letters, digits, hyphens. RFC 5321 s4.1.1.1."""

    def arguments(role: str, tls: bool, authenticated: bool) -> "str | None":
        """Return the text after the keyword in EHLO, perhaps empty; None to not offer it.

        Called once for each kind of session, and kept.

        Args:
            role: the listener's, ``"mx"``, ``"submission"`` or ``"lmtp"``.
            tls: whether the session is under TLS.
            authenticated: whether somebody has logged in.
        """

    def mail_parameters() -> "Sequence[Parameter[Any]]":
        """Return the parameters of MAIL that it adds; their ``extension`` must be the keyword.

        `Parameter.read` gets each value as it was sent and raises `ValueError` if it is none: 501.
        """

    def rcpt_parameters() -> "Sequence[Parameter[Any]]":
        """Return the parameters of RCPT that it adds; as `mail_parameters`."""

    def needed_at_next_hop(parameters: "Mapping[str, str | None]") -> bool:
        """Return whether a message must not go to a host that does not offer the keyword.

        Called by the relay for a message that has parameters of this extension, when the next hop
        lacks it. If True the recipients fail (5.6.3 unless another host will do), else the message
        goes without those parameters.

        Args:
            parameters: those of MAIL and of the recipients, keyword to value.
        """


class IQueue(Interface):
    """The durable queue, as deliveries use it."""

    def enqueue(message: NewMessage, content: IContent) -> "Deferred[None]":
        """Store a message and schedule its delivery.

        Fires when the message survives a power cut. Fails if it was not stored, and then nothing of
        it remains. The content is read before it fires and not after, so it may be closed then.
        """

    def notify(message: NewMessage, header: bytes, notices: "Sequence[Notice]") -> "Deferred[None]":
        """Send the sender of a message a report on some of its recipients.

        Fires when the report is queued. Whether the sender wants it was decided before.

        Args:
            message: what it is about; it has a sender.
            header: of its content.
            notices: at least one, all of the same action.

        RFC 3461 s5.2; RFC 3464 s2
        """


class ILocalAgent(Interface):
    """Delivers queued messages to local accounts."""

    def deliver_locally(
        message: NewMessage, recipient: Rcpt, source: "IChunkSource"
    ) -> "Deferred[Reply | None]":
        """Deliver a queued message to one recipient if that recipient is local.

        Delivering the same message to the same recipient again must not make a second copy.

        Returns:
            None if the recipient is not local (any longer): it is then relayed. Else 2yz, 4yz or
            5yz as for `IDeliveryTransaction.commit`.
        """


class IResolver(Interface):
    """DNS, as the relay uses it."""

    def lookup_mx(domain: str) -> "Deferred[Sequence[tuple[int, str]]]":
        """Return the MX records of a domain.

        Returns:
            (preference, exchange) pairs in the order of the answer, exchanges in lower case without
            the final dot; the null MX's exchange is empty. No pairs if the domain has no MX.

        Raises:
            postroom.errors.Refusal: 550 5.1.2 the domain does not exist, 451 4.4.3 no answer now.
        """

    def lookup_addresses(host: str) -> "Deferred[Sequence[str]]":
        """Return the addresses of a host, from its A and AAAA records.

        Returns:
            IP addresses as text; none if the host exists without addresses.

        Raises:
            postroom.errors.Refusal: as for `lookup_mx`.
        """


class IIdentified(Interface):
    """An optional interface of avatars that know their user's canonical name."""

    def identity() -> "str | None":
        """Return the name for trace headers, logs and `SessionFacts.identity`.

        Called once, right after the login that made the avatar; None if the avatar is anonymous.
        """
