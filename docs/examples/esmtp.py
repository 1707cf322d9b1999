"""The ESMTP server of `twisted.mail` before Postroom's accounts, Maildirs and queue.

python docs/examples/esmtp.py tcp:2526:interface=127.0.0.1 --domain example.org
"""

from twisted.internet import endpoints, task
from twisted.internet.defer import Deferred
from twisted.mail.imap4 import LOGINCredentials, PLAINCredentials
from twisted.mail.smtp import ESMTP, SMTPFactory

from postroom.service.tap import Options, makeService


class Factory(SMTPFactory):
    """As in any program with `twisted.mail`: the portal decides who delivers the mail."""

    protocol = ESMTP
    domain = "mx.example.org"

    def buildProtocol(self, addr):
        protocol = super().buildProtocol(addr)
        protocol.challengers = {b"LOGIN": LOGINCredentials, b"PLAIN": PLAINCredentials}
        return protocol


def main(reactor, endpoint, *arguments):
    options = Options()
    options.parseOptions(arguments)  # those of "twistd smtp"
    service = makeService(options)
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    service.startService()
    factory = Factory(service.parts.portal)
    endpoints.serverFromString(reactor, endpoint).listen(factory)
    return Deferred()


if __name__ == "__main__":
    import sys

    task.react(main, sys.argv[1:])
