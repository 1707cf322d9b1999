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
    """What becomes of the mail of one session: the avatar that the portal gives to the server.

    The portal's mind is the session's `SessionFacts`. An avatar serves one session, transaction
    after transaction; transactions never overlap.
    """

    def validate_sender(envelope: Envelope) -> "Reply | Deferred[Reply | None] | None":
        """Say whether this sender may send.

        Called once for each MAIL that is well formed and in sequence. May answer later.

        Returns:
            None to accept; a 4yz or 5yz reply to refuse.
        """

    def validate_recipient(envelope: Envelope, rcpt: Rcpt) -> "object | Deferred[object]":
        """Say whether this recipient is taken, and where its mail goes.

        Called for each RCPT in order, never before the one ahead of it was answered. May answer
        later.

        Returns:
            A `Reply` of 4yz or 5yz to refuse; anything else accepts, and is kept as
            `Recipient.route`.
        """

    def begin(envelope: Envelope) -> "IDeliveryTransaction | Deferred[IDeliveryTransaction]":
        """Begin to take the content.

        Called at DATA, with at least one recipient, before 354. May answer later. Raising refuses
        DATA.
        """


class IDeliveryTransaction(Interface):
    """The content of one message on its way to storage.

    `write` zero or more times, then either `commit` or `abort`, each at most once and nothing
    after it.
    """

    def write(chunk: bytes) -> "Deferred[None] | None":
        """Take a piece of the content, dots unstuffed, line ends CRLF.

        Args:
            chunk: any length from 1 octet; immutable, and may be kept.

        Returns:
            None to go on; a Deferred to have the peer paused until it fires. Its failure ends the
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
        """Forget the content; leave nothing behind. Must not raise."""


class IContent(Interface):
    """A message's content at rest: header and body, line ends CRLF, no dot stuffing."""

    size_octets = Attribute("Its length, an int.")

    def chunks() -> "Iterator[bytes]":
        """Give the content in pieces of at most 256 KiB.

        It may read from a disk: call it from a worker thread. Each call begins anew.
        """

    def in_memory() -> "Sequence[bytes] | None":
        """Give the content's pieces if all of it is in memory, else None. Never blocks."""


class IFileContent(Interface):
    """An add-on for content whose bulk may lie in an open file."""

    def in_file() -> "tuple[Sequence[bytes], int] | None":
        """Give what comes before the file, and its descriptor; None if there is no such file.

        The content is those octets, then the whole file. Neither is changed any more. Never blocks.
        """


class IChunkSource(Interface):
    """Content that is sent to a next hop piece by piece, as it is asked for."""

    size_octets = Attribute("The whole length, an int.")

    def chunk(index: int) -> "bytes | Deferred[bytes]":
        """Give piece number ``index``, counted from 0, of at most 256 KiB.

        Returns:
            Octets; empty past the last piece. Any piece may be asked for again.
        """


class IDirectory(Interface):
    """Where domains, accounts and aliases are looked up.

    Domains are asked for in A-labels and lower case, local parts as `postroom.international` brings
    them into one form.

    A look-up that cannot be made now (source down) must raise or fail: the peer is told 451, never
    "no such user".
    """

    def revision() -> int:
        """Give a number that changes when any answer below may have changed. Never blocks.

        The routing keeps positive answers for as long as it stays the same.
        """

    def find_domain(name: str) -> "Deferred[Domain | None]":
        """Look up a domain whose mail is taken here; None if it is not one of them.

        What becomes of the mail of one that is found is in `Domain.kind`.
        """

    def find_address(address: str) -> "Deferred[Entry | None]":
        """Look ``local-part@domain`` up, exactly; None if nothing has that address.

        Every address of an account finds it, with `Account.address` the first of them. Never called
        for an address of a domain that is an alias: the routing puts the other domain in first.
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
    """A source of logins: where users and their passwords are looked up.

    Sources are asked in the order of the settings. The first that knows a user decides on the
    login; a source that could not be asked makes a login that no other accepts fail for now (454).
    """

    knows = Attribute("What it may know: a frozenset of `postroom.credentials.Knowledge`.")

    def find_credential(username: bytes) -> "Deferred[Credential | None]":
        """Look a user up.

        Called at most once for each login, and before anything else is done with it. Must not block
        the reactor's thread.

        Args:
            username: as the peer sent it, any octets; an address or, where the source has such
                names, a bare name.

        Returns:
            None if there is no such user here: the next source is asked. Somebody who is there and
            may not log in is a `Credential` that is not enabled.

        Raises:
            Exception: the source is down. The peer gets 454 4.7.0, never 535.
        """


class ICredentialStore(ICredentialSource):
    """An add-on for sources that take better hashes, and note what was used.

    Called after a login that was right, and not waited for: a failure is logged, and the next login
    tries again.
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
        """Note that an app password was used just now."""


class IProvenUser(ICredentials):
    """Credentials of somebody who has proven already who they are: by SCRAM, or by a certificate.

    Only a mechanism makes them, and only when the proof is complete. The checker says whose account
    it is, and whether it may log in.
    """

    username = Attribute("As it was proven, bytes.")


class IBearerToken(ICredentials):
    """Credentials that consist of a token which somebody else gave out.

    A checker that refuses one may do so with `postroom.credentials.TokenRefused`, whose text the
    client is told.

    RFC 7628 s3.1
    """

    username = Attribute("Whom the client says it is for, bytes; empty if it does not say.")
    token = Attribute("The token, bytes.")


class ILoginSecrets(Interface):
    """What mechanisms may ask that never see a password."""

    knows = Attribute(
        "What all sources together may know: a frozenset of `postroom.credentials.Knowledge`."
    )

    def scram_keys(username: bytes) -> "Deferred[ScramKeys]":
        """Give a user's keys, or such as nobody has, which look no different.

        Raises:
            Refusal: 454 4.7.0, they cannot be looked up now.
        """


class ITokenReader(Interface):
    """Reads tokens; what has to be claimed by one is checked elsewhere."""

    def claims(token: str) -> "Deferred[Mapping[str, Any]]":
        """Say what a token claims, after it was found to be genuine.

        Raises:
            postroom.credentials.BadToken: it is not.
            Exception: that cannot be found out now. The peer gets 454 4.7.0.
        """


class ISASLMechanism(Interface):
    """A SASL mechanism, of ours or of a Twisted plugin that also provides `IPlugin`.

    Settings name the mechanisms that are used, in order; one that they do not name does nothing.
    """

    name = Attribute(
        "As in EHLO: at most 20 capitals, digits, hyphens and underscores. RFC 4422 s3.1"
    )
    takes_initial_response = Attribute(
        "True if the client may speak first: a response may come along with AUTH. RFC 4954 s4"
    )

    def is_offered(offer: Offer) -> bool:
        """Say whether it can work for a session like this; only then EHLO names it.

        Called when a session of a new kind begins, and kept. Must not block.
        """

    def steps(session: SASLSession) -> "IChallengeResponse":
        """Begin an exchange.

        Called once for each AUTH. What it gives provides `twisted.mail`'s `IChallengeResponse` and
        the credentials interface that a checker of the portal takes, with a ``username``:
        `twisted.mail`'s own classes do. For each round ``getChallenge`` is called once and, with
        what the client answered, ``setResponse``; when ``moreChallenges`` says that there are none
        left, the portal is asked. With an initial response the first challenge is not sent.

        An attribute ``authorize_as``, bytes, may name whom the client asks to act as: by default,
        and if it is empty, the account that logs in. Any other name has to be one of that account;
        it is compared after the login.

        The first two may answer later. Either may raise `twisted.cred.error.LoginFailed` (535) or
        `Refusal`; anything else is a fault of ours (454).
        """


class ILoginGuard(Interface):
    """Watches failed logins, and makes guessing slow. Nothing here may block or answer later."""

    def refusal(client: str, username: "bytes | None") -> "Reply | None":
        """Say whether somebody may try to log in now.

        Called at AUTH, without a user name, and once more when one is known, before its password is
        looked at.

        Returns:
            None to go on, or a 4yz reply.
        """

    def failed(client: str, username: bytes) -> float:
        """Take note of a login that was wrong; not of one that failed for a fault of ours.

        Returns:
            How many seconds after its last line the client may have its answer.
        """

    def succeeded(client: str, username: bytes) -> None:
        """Take note of a login that was right."""


class IInquiries(Interface):
    """An add-on for avatars that answer VRFY and EXPN.

    Found by ``IInquiries(avatar, None)``. Called only where ``session.vrfy`` and ``session.expn``
    allow it.
    """

    def verify(text: bytes) -> "Mailbox | Reply | Deferred[Mailbox | Reply | None] | None":
        """Say whether there is such a mailbox. May answer later.

        Args:
            text: what the peer sent after VRFY: a name, a mailbox, a path in brackets.

        Returns:
            The mailbox if it exists (250); None if that cannot be told (252); any other reply,
            such as 251, 550 or 553, as it is.
        """

    def expand(text: bytes) -> "Sequence[Mailbox] | Deferred[Sequence[Mailbox] | None] | None":
        """Give the members of a list, or the targets of an alias; None if there is none such."""


class IQueueFlush(Interface):
    """Has what waits for a host sent now, as ETRN asks. RFC 1985 is its reference."""

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
    """An SMTP extension that Postroom does not have: an EHLO keyword and parameters of its own.

    The daemon finds it by ``twisted.plugin.getPlugins(IExtension)``; a program that embeds Postroom
    gives it to `postroom.server.listener.Listener.add_extension`. All methods are called on the
    reactor's thread, must not block, and never answer later.

    The parameters of a message that was accepted are kept in the queue with it, MAIL's in
    the message's and RCPT's in each recipient's, as they were sent. A next hop that offers
    the keyword gets them; for one that does not, `needed_at_next_hop` decides.
    """

    def keyword() -> str:
        """Give the EHLO keyword, in upper case: letters, digits, hyphens. RFC 5321 s4.1.1.1."""

    def arguments(role: str, tls: bool, authenticated: bool) -> "str | None":
        """Give what EHLO says after the keyword, perhaps nothing; None offers no such extension.

        Called once for each kind of session, and kept.

        Args:
            role: the listener's, ``"mx"``, ``"submission"`` or ``"lmtp"``.
            tls: whether the session is under TLS.
            authenticated: whether somebody has logged in.
        """

    def mail_parameters() -> "Sequence[Parameter[Any]]":
        """Give the parameters of MAIL that it brings; their ``extension`` must be the keyword.

        `Parameter.read` gets each value as it was sent and raises `ValueError` if it is none: 501.
        """

    def rcpt_parameters() -> "Sequence[Parameter[Any]]":
        """Give the parameters of RCPT that it brings; as `mail_parameters`."""

    def needed_at_next_hop(parameters: "Mapping[str, str | None]") -> bool:
        """Say whether a message must not go to a host that does not offer the keyword.

        Called by the relay for a message that has parameters of this extension, when the next hop
        lacks it. If True the recipients fail (5.6.3 unless another host will do), else the message
        goes without those parameters.

        Args:
            parameters: those of MAIL and of the recipients, keyword to value.
        """


class IQueue(Interface):
    """The durable queue, as deliveries see it."""

    def enqueue(message: NewMessage, content: IContent) -> "Deferred[None]":
        """Store a message and see to its delivery.

        Fires when the message survives a power cut. Fails if it was not stored, and then nothing of
        it remains. The content is read before it fires and not after, so it may be closed then.
        """

    def notify(message: NewMessage, header: bytes, notices: "Sequence[Notice]") -> "Deferred[None]":
        """Send the sender of a message a report of what became of recipients.

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
    """DNS, as the relay asks it."""

    def lookup_mx(domain: str) -> "Deferred[Sequence[tuple[int, str]]]":
        """Look MX records up.

        Returns:
            (preference, exchange) pairs in the order of the answer, exchanges in lower case without
            the final dot; the null MX's exchange is empty. No pairs if the domain has no MX.

        Raises:
            postroom.errors.Refusal: 550 5.1.2 the domain does not exist, 451 4.4.3 no answer now.
        """

    def lookup_addresses(host: str) -> "Deferred[Sequence[str]]":
        """Look A and AAAA records up.

        Returns:
            IP addresses as text; none if the host exists without addresses.

        Raises:
            postroom.errors.Refusal: as for `lookup_mx`.
        """


class IIdentified(Interface):
    """An add-on for avatars that know a better name for their user than the one typed at login."""

    def identity() -> "str | None":
        """Give the name for trace headers, logs and `SessionFacts.identity`.

        Called once, right after the login that made the avatar; None if the avatar is anonymous.
        """
