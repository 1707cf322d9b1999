"""Claims about what ``--delivery`` may name."""

import sys
from types import ModuleType
from typing import Any

from twisted.cred.checkers import ANONYMOUS
from twisted.mail.interfaces import IMessageDelivery, IMessageDeliveryFactory
from twisted.python.components import registerAdapter
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from postroom.delivery.avatars import SiteRealm
from postroom.envelope import Envelope, SessionFacts
from postroom.errors import UserError
from postroom.interfaces import IIdentified, IInquiries, ITransactionDelivery
from postroom.service.site_delivery import load_site_realm
from postroom.wire.commands import Mail

FACTS = SessionFacts("mx", "192.0.2.1", 4711)


@implementer(ITransactionDelivery)
class Native:
    """Speaks our own interface."""

    def validate_sender(self, envelope: Envelope) -> None:
        return None

    def validate_recipient(self, envelope: Envelope, rcpt: object) -> object:
        return "anywhere"

    def begin(self, envelope: Envelope) -> Any:
        raise NotImplementedError


@implementer(IMessageDelivery)
class OfTwisted:
    """Speaks Twisted's, and notes what it is asked."""

    def __init__(self) -> None:
        self.origins: list[str] = []

    def validateFrom(self, helo: object, origin: object) -> object:
        self.origins.append(str(origin))
        return origin

    def validateTo(self, user: object) -> Any:
        raise NotImplementedError

    def receivedHeader(self, helo: object, origin: object, recipients: object) -> bytes:
        return b""


@implementer(IMessageDeliveryFactory)
class FactoryOfTwisted:
    def __init__(self) -> None:
        self.made: list[OfTwisted] = []

    def getMessageDelivery(self) -> OfTwisted:
        self.made.append(OfTwisted())
        return self.made[-1]


class Shop:
    """A site's object that knows nothing of mail; adapters are registered for its subclasses."""


class ShopForUs(Shop):
    pass


class ShopForTwisted(Shop):
    pass


class ShopThatFails(Shop):
    pass


@implementer(ITransactionDelivery)
class ShopDelivery(Native):
    def __init__(self, shop: Shop) -> None:
        self.shop = shop


class ShopMessages(OfTwisted):
    def __init__(self, shop: Shop) -> None:
        super().__init__()
        self.shop = shop


def _fail(_: object = None) -> Any:
    raise ValueError("not\ntoday")


registerAdapter(ShopDelivery, ShopForUs, ITransactionDelivery)
registerAdapter(ShopMessages, ShopForTwisted, IMessageDelivery)
registerAdapter(_fail, ShopThatFails, ITransactionDelivery)


class SiteCase(SynchronousTestCase):
    def load(self, value: object, name: str = "mail:there") -> SiteRealm:
        module: Any = ModuleType("mysite.mail")
        module.there = value
        package = ModuleType("mysite")
        package.__path__ = []
        # Not `patch.dict`: it would forget what is imported meanwhile, and import it once more.
        for found in (package, module):
            sys.modules[found.__name__] = found
            self.addCleanup(sys.modules.pop, found.__name__, None)
        return load_site_realm(f"mysite.{name}", f"--delivery mysite.{name}")

    def avatar(self, realm: SiteRealm, user: object = ANONYMOUS) -> Any:
        interface, avatar, logout = realm.requestAvatar(
            user, FACTS, ITransactionDelivery, IMessageDelivery
        )
        self.assertIs(interface, ITransactionDelivery)
        logout()
        return avatar

    def delivery(self, realm: SiteRealm) -> Any:
        return ITransactionDelivery(self.avatar(realm))


class WhatItMayName(SiteCase):
    def test_an_object_with_our_interface_serves_all_sessions(self) -> None:
        site = Native()
        realm = self.load(site)
        self.assertIs(self.delivery(realm), site)
        self.assertIs(self.delivery(realm), site)

    def test_an_object_with_twisteds_interface(self) -> None:
        site = OfTwisted()
        realm = self.load(site)
        first, second = self.delivery(realm), self.delivery(realm)
        self.assertIsNot(first, second)  # what is known of one session's message is not another's
        for delivery in (first, second):
            self.successResultOf(delivery.validate_sender(Envelope("Q", FACTS, Mail(None))))
        self.assertEqual(site.origins, ["", ""])

    def test_a_factory_is_asked_for_each_message(self) -> None:
        site = FactoryOfTwisted()
        delivery = self.delivery(self.load(site))
        for _ in range(2):
            self.successResultOf(delivery.validate_sender(Envelope("Q", FACTS, Mail(None))))
        self.assertEqual([len(each.origins) for each in site.made], [1, 1])

    def test_an_object_that_is_adapted_to_our_interface(self) -> None:
        site = ShopForUs()
        realm = self.load(site)
        delivery = self.delivery(realm)
        self.assertIsInstance(delivery, ShopDelivery)
        self.assertIs(delivery.shop, site)
        self.assertIsNot(self.delivery(realm), delivery)

    def test_an_object_that_is_adapted_to_twisteds(self) -> None:
        delivery = self.delivery(self.load(ShopForTwisted()))
        self.successResultOf(delivery.validate_sender(Envelope("Q", FACTS, Mail(None))))
        self.assertIsInstance(delivery._delivery, ShopMessages)

    def test_a_class_is_called_for_each_session(self) -> None:
        for site in (Native, ShopForUs, OfTwisted, FactoryOfTwisted, lambda: ShopForTwisted()):
            realm = self.load(site)
            first, second = self.delivery(realm), self.delivery(realm)
            self.assertIsNot(first, second)
            self.assertTrue(ITransactionDelivery.providedBy(first))

    def test_an_attribute_of_an_object(self) -> None:
        holder = ModuleType("holder")
        holder.inner = Native()  # type: ignore[attr-defined]
        self.assertIs(self.delivery(self.load(holder, "mail:there.inner")), holder.inner)


class WhoLogsIn(SiteCase):
    def test_nobody_has_no_identity(self) -> None:
        self.assertFalse(IIdentified.providedBy(self.avatar(self.load(Native()))))

    def test_an_account_is_known_by_its_address(self) -> None:
        avatar = self.avatar(self.load(Native()), b"ann@here.example")
        self.assertTrue(IIdentified.providedBy(avatar))
        self.assertEqual(avatar.identity(), "ann@here.example")

    def test_what_the_delivery_offers_beside_is_not_hidden(self) -> None:
        @implementer(IInquiries)
        class Answers(Native):
            def verify(self, text: bytes) -> None:
                return None

            def expand(self, text: bytes) -> None:
                return None

        site = Answers()
        avatar = self.avatar(self.load(site), b"ann@here.example")
        self.assertIs(IInquiries(ITransactionDelivery(avatar)), site)

    def test_a_delivery_may_know_better(self) -> None:
        @implementer(IIdentified)
        class Knows(Native):
            def identity(self) -> str:
                return "Ann"

        self.assertEqual(self.avatar(self.load(Knows()), b"ann@here.example").identity(), "Ann")

    def test_there_is_no_other_interface(self) -> None:
        realm = self.load(Native())
        self.assertRaises(
            NotImplementedError, realm.requestAvatar, ANONYMOUS, None, IMessageDelivery
        )


class WhatItMayNot(SiteCase):
    def refused(self, value: object, name: str = "mail:there") -> str:
        error = self.assertRaises(UserError, self.load, value, name)
        text = str(error)
        self.assertNotIn("\n", text)
        prefix = f"--delivery mysite.{name}: "
        self.assertTrue(text.startswith(prefix), text)
        return text.removeprefix(prefix)

    def test_be_written_in_another_way(self) -> None:
        for name in ("mail", "mail:", "mail.there", ":there", "mail:there()", "mail:a:b", "a-b:c"):
            self.assertEqual(self.refused(Native(), name), "write it as package.module:object")

    def test_name_what_is_not_there(self) -> None:
        self.assertEqual(self.refused(Native(), "post:there"), "there is no module mysite.post")
        self.assertEqual(self.refused(Native(), "mail:here"), "the module mysite.mail has no here")
        self.assertEqual(
            self.refused(Native(), "mail:there.x"), "the module mysite.mail has no there.x"
        )

    def test_name_what_is_no_delivery(self) -> None:
        wanted = "neither ITransactionDelivery nor IMessageDelivery nor IMessageDeliveryFactory"
        for value in (None, 3, Shop()):
            text = self.refused(value)
            self.assertTrue(text.startswith(f"there is no delivery: it provides {wanted}"), text)
        text = self.refused(Shop)
        self.assertTrue(text.startswith(f"there() returns no delivery: it provides {wanted}"), text)

    def test_fail(self) -> None:
        debug = "ValueError: not today (POSTROOM_DEBUG=1 shows where)"
        self.assertEqual(self.refused(_fail), f"calling there() failed: {debug}")
        self.assertEqual(self.refused(ShopThatFails()), f"adapting there failed: {debug}")
        self.assertEqual(self.refused(ShopThatFails), f"adapting there() failed: {debug}")
        self.assertEqual(
            self.refused(sys.exit),
            "calling there() failed: SystemExit: (POSTROOM_DEBUG=1 shows where)",
        )

    def test_return_something_else_later(self) -> None:
        values: list[object] = [Native(), 3]
        realm = self.load(lambda: values.pop(0))
        self.assertRaises(TypeError, realm.requestAvatar, ANONYMOUS, FACTS, ITransactionDelivery)
