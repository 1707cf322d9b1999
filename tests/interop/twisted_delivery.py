"""A mail program as users of `twisted.mail.smtp` write it; it knows nothing of Postroom.

It keeps mail for a few users in memory, only for who is known to it, and takes its time: every
method that may return a Deferred does.
"""

from twisted.cred.checkers import ANONYMOUS, AllowAnonymousAccess, ICredentialsChecker
from twisted.cred.credentials import IUsernameHashedPassword, IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import IRealm, Portal
from twisted.internet import reactor
from twisted.internet.defer import inlineCallbacks
from twisted.internet.task import deferLater
from twisted.mail import smtp
from twisted.mail.imap4 import LOGINCredentials, PLAINCredentials
from twisted.mail.interfaces import IMessageDelivery, IMessageDeliveryFactory
from zope.interface import implementer

USERS = {b"ann": b"opensesame", b"bob": b"letmein"}


def soon(value=None):
    """Give a Deferred that fires in a moment."""
    return deferLater(reactor, 0.001, lambda: value)


@implementer(smtp.IMessage)
class MailboxMessage:
    """Gathers lines, and stores them in a mailbox in the end."""

    def __init__(self, mailbox, lost):
        self.mailbox = mailbox
        self.lost = lost
        self.lines = []

    def lineReceived(self, line):
        self.lines.append(line)

    def eomReceived(self):
        if b"X-Refuse: yes" in self.lines:
            return soon().addCallback(self._refuse)
        return soon().addCallback(self._store)

    def _refuse(self, _):
        raise smtp.SMTPServerError(554, "No, thank you")

    def _store(self, _):
        self.mailbox.append(self.lines)
        self.lines = None

    def connectionLost(self):
        self.lost.append(self)
        self.lines = None


@implementer(IMessageDelivery)
class MailboxDelivery:
    """Delivers to the store, what a session may send."""

    def __init__(self, store, avatar):
        self.store = store
        self.avatar = avatar

    def receivedHeader(self, helo, origin, recipients):
        to = b", ".join(bytes(user.dest) for user in recipients)
        who = self.avatar or b"anonymous"
        return b"Received: from %s by shop.test for %s, from %s (%s)" % (
            helo[0],
            to,
            bytes(origin),
            who,
        )

    @inlineCallbacks
    def validateFrom(self, helo, origin):
        yield soon()
        if origin.domain == b"spam.test":
            raise smtp.SMTPBadSender(origin)
        return origin

    @inlineCallbacks
    def validateTo(self, user):
        yield soon()
        if user.dest.domain != b"shop.test" and self.avatar is None:
            raise smtp.SMTPServerError(554, "Log in to write to others")
        if user.dest.local == b"slow":
            raise smtp.SMTPServerError(450, "Come again")
        if user.dest.domain == b"shop.test" and user.dest.local not in USERS:
            raise smtp.SMTPBadRcpt(user)
        mailbox = self.store.setdefault(bytes(user.dest), [])
        return lambda: MailboxMessage(mailbox, self.store["lost"])


@implementer(IMessageDeliveryFactory)
class MailboxDeliveryFactory:
    """Makes a delivery for each message."""

    def __init__(self, store, avatar):
        self.store = store
        self.avatar = avatar

    def getMessageDelivery(self):
        return MailboxDelivery(self.store, self.avatar)


@implementer(IRealm)
class MailboxRealm:
    """Gives deliveries to sessions.

    Attributes:
        store: mailbox names to lists of messages; "lost" to messages that were broken off.
    """

    def __init__(self, by_factory=False):
        self.store = {"lost": []}
        self.by_factory = by_factory
        self.logouts = 0

    def requestAvatar(self, avatarId, mind, *interfaces):  # noqa: N803
        avatar = None if avatarId is ANONYMOUS else avatarId
        if self.by_factory and IMessageDeliveryFactory in interfaces:
            found = IMessageDeliveryFactory, MailboxDeliveryFactory(self.store, avatar)
        elif IMessageDelivery in interfaces:
            found = IMessageDelivery, MailboxDelivery(self.store, avatar)
        else:
            raise NotImplementedError("only for mail")
        return soon((*found, self.logout))

    def logout(self):
        self.logouts += 1


@implementer(ICredentialsChecker)
class Checker:
    """Knows the users."""

    credentialInterfaces = (IUsernamePassword, IUsernameHashedPassword)

    def requestAvatarId(self, credentials):
        return soon().addCallback(self._check, credentials)

    def _check(self, _, credentials):
        password = USERS.get(credentials.username)
        if password is None or not credentials.checkPassword(password):
            raise UnauthorizedLogin("wrong user or password")
        return credentials.username


def make_portal(realm):
    """Make the portal of this program."""
    return Portal(realm, [AllowAnonymousAccess(), Checker()])


class TwistedFactory(smtp.SMTPFactory):
    """Serves it with `twisted.mail.smtp.ESMTP`."""

    protocol = smtp.ESMTP
    domain = "shop.test"
    noisy = False

    def buildProtocol(self, addr):
        p = smtp.SMTPFactory.buildProtocol(self, addr)
        p.challengers = {b"LOGIN": LOGINCredentials, b"PLAIN": PLAINCredentials}
        return p
