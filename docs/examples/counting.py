"""A mail server of one's own: a delivery as `twisted.mail` wants it, served by Postroom.

python docs/examples/counting.py      # listens on 127.0.0.1:2525
"""

from twisted.cred.checkers import AllowAnonymousAccess
from twisted.cred.portal import IRealm, Portal
from twisted.internet import endpoints, task
from twisted.internet.defer import Deferred, succeed
from twisted.mail.interfaces import IMessageDelivery, IMessageSMTP
from twisted.mail.smtp import SMTPBadRcpt
from zope.interface import implementer

import postroom.delivery.avatars  # noqa: F401  # adapts what twisted.mail knows
from postroom.server.connections import Connections
from postroom.server.factory import ServerFactory
from postroom.server.limits import ListenerSettings


@implementer(IMessageSMTP)
class Counter:
    """Counts the lines of one message."""

    def __init__(self, user):
        self.user, self.lines = user, 0

    def lineReceived(self, line):
        self.lines += 1

    def eomReceived(self):
        print(f"{self.lines} lines for {self.user.dest}")
        return succeed(None)

    def connectionLost(self):
        print("a message was cut off")


@implementer(IMessageDelivery)
class Delivery:
    """Takes mail for everybody at example.org."""

    def receivedHeader(self, helo, origin, recipients):
        return b"Received: by counting.py"

    def validateFrom(self, helo, origin):
        return origin

    def validateTo(self, user):
        if user.dest.domain != b"example.org":
            raise SMTPBadRcpt(user)
        return lambda: Counter(user)


@implementer(IRealm)
class Realm:
    def requestAvatar(self, avatarId, mind, *interfaces):
        return IMessageDelivery, Delivery(), lambda: None


def make_factory(clock):
    """Make the server's factory; ``clock`` is a reactor, or what stands for one in a test."""
    settings = ListenerSettings(role="mx", hostname="localhost")
    limits = settings.limits
    connections = Connections(clock, limits.connections, limits.stress_timeout_seconds)
    connections.start()
    return ServerFactory(clock, Portal(Realm(), [AllowAnonymousAccess()]), settings, connections)


def main(reactor):
    endpoint = endpoints.serverFromString(reactor, "tcp:2525:interface=127.0.0.1")
    endpoint.listen(make_factory(reactor))
    return Deferred()


if __name__ == "__main__":
    task.react(main)
