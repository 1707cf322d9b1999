"""A delivery written for `twisted.mail.smtp.ESMTP` does the same on Postroom, unmodified."""

import smtplib
import socket
from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ServerFactory as AnyFactory
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

import postroom.delivery.avatars  # noqa: F401  # adapts the deliveries of twisted.mail
from postroom.server.connections import Connections
from postroom.server.factory import ServerFactory
from postroom.server.limits import ListenerSettings
from tests.interop.mail import HARD, ODD
from tests.interop.twisted_delivery import (
    USERS,
    MailboxRealm,
    TwistedFactory,
    make_portal,
)

SENDER = "sender@remote.test"
ANN, BOB = "ann@shop.test", "bob@shop.test"
_REFUSED = b"Subject: no\r\nX-Refuse: yes\r\n\r\nbody\r\n"


def _on_twisted(realm: MailboxRealm) -> AnyFactory:
    return TwistedFactory(make_portal(realm))


def _on_postroom(realm: MailboxRealm) -> AnyFactory:
    settings = ListenerSettings(
        "mx", "shop.test", clear_text_auth_networks=[ip_network("127.0.0.0/8")]
    )
    connections = Connections(reactor, 100, 10)
    return ServerFactory(reactor, make_portal(realm), settings, connections)


def _dialogue(port: int) -> list[object]:
    """Talk to a server in every way that matters to a delivery; give what it answered."""
    said: list[object] = []
    with smtplib.SMTP("127.0.0.1", port, "client.test", timeout=30) as smtp:
        contents = (*HARD.values(), *ODD.values())
        said += [smtp.sendmail(SENDER, [ANN], content) for content in contents]
        said.append(smtp.sendmail(SENDER, [ANN, BOB], HARD["plain"]))
        said.append(smtp.sendmail("", [BOB], HARD["plain"]))
        said.append(smtp.mail("a@spam.test")[0])
        smtp.mail(SENDER)
        recipients = ("nobody@shop.test", "slow@shop.test", "them@elsewhere.test", BOB)
        said += [smtp.rcpt(recipient)[0] for recipient in recipients]
        said.append(smtp.rset()[0])
    for mechanism in ("PLAIN", "LOGIN"):
        with smtplib.SMTP("127.0.0.1", port, "client.test", timeout=30) as smtp:
            smtp.ehlo()
            smtp.user, smtp.password = "ann", USERS[b"ann"].decode()
            method = {"PLAIN": smtp.auth_plain, "LOGIN": smtp.auth_login}[mechanism]
            said.append(smtp.auth(mechanism, method)[0])
            said.append(smtp.sendmail(ANN, ["them@elsewhere.test"], HARD["dots"]))
            smtp.ehlo()
    with smtplib.SMTP("127.0.0.1", port, "client.test", timeout=30) as smtp:
        smtp.ehlo()
        smtp.user, smtp.password = "ann", "wrong"
        try:
            smtp.auth("PLAIN", smtp.auth_plain)
        except smtplib.SMTPAuthenticationError as error:
            said.append(error.smtp_code)
    return said


def _broken_off(port: int) -> None:
    """Hang up within a message."""
    with socket.create_connection(("127.0.0.1", port), 30) as peer:
        replies = peer.makefile("rb")
        lines = (b"HELO client.test", b"MAIL FROM:<a@b.test>", b"RCPT TO:<ann@shop.test>", b"DATA")
        for line in lines:
            replies.readline()
            peer.sendall(line + b"\r\n")
        replies.readline()
        peer.sendall(b"Subject: never whole\r\n\r\nhalf a li")


def _refused_content(port: int) -> int:
    """Send what the delivery refuses at its end."""
    with smtplib.SMTP("127.0.0.1", port, "client.test", timeout=30) as smtp:
        try:
            smtp.sendmail(SENDER, [ANN], _REFUSED)
        except smtplib.SMTPDataError as error:
            return error.smtp_code
    return 250


class UnmodifiedDeliveryTests(TestCase):
    timeout = 60

    async def serve(self, factory: AnyFactory, talk: Callable[[int], Any]) -> Any:
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        try:
            return await deferToThread(talk, port.getHost().port)
        finally:
            await port.stopListening()

    async def check_both(self, by_factory: bool) -> None:
        theirs, ours = MailboxRealm(by_factory), MailboxRealm(by_factory)
        wanted = await self.serve(_on_twisted(theirs), _dialogue)
        said = await self.serve(_on_postroom(ours), _dialogue)
        self.assertEqual(said, wanted)
        self.assertEqual(ours.store, theirs.store)
        self.assertEqual(len(ours.store[b"ann@shop.test"]), len(HARD) + len(ODD) + 1)
        self.assertEqual(len(ours.store[b"bob@shop.test"]), 2)
        self.assertEqual(len(ours.store[b"them@elsewhere.test"]), 2)
        await self.until(lambda: ours.logouts == theirs.logouts == 3)

    async def until(self, condition: Callable[[], bool]) -> None:
        for _ in range(500):
            if condition():
                return
            await deferLater(reactor, 0.01)
        self.fail("it did not come to pass")

    def test_anIMessageDeliveryStoresTheSameLines(self) -> "Deferred[None]":
        return Deferred.fromCoroutine(self.check_both(by_factory=False))

    def test_anIMessageDeliveryFactoryDoesToo(self) -> "Deferred[None]":
        return Deferred.fromCoroutine(self.check_both(by_factory=True))

    async def test_brokenOffMailIsToldToTheMessage(self) -> None:
        for make in (_on_twisted, _on_postroom):
            realm = MailboxRealm()
            await self.serve(make(realm), _broken_off)
            await self.until(lambda realm=realm: len(realm.store["lost"]) == 1)
            self.assertEqual(realm.store[b"ann@shop.test"], [])

    async def test_aRefusalAtTheEndReachesThePeer(self) -> None:
        """Twisted makes 550 of every refusal at the end; here the delivery's own code is said."""
        realm = MailboxRealm()
        self.assertEqual(await self.serve(_on_postroom(realm), _refused_content), 554)
        self.assertEqual(realm.store[b"ann@shop.test"], [])
