"""What VRFY and EXPN are answered."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

import postroom.delivery.avatars  # noqa: F401  it registers the adapter
from postroom.delivery.inquiries import NOT_ONE_MAILBOX
from postroom.delivery.routing import DIRECTORY_DOWN, DISABLED, UNKNOWN_USER
from postroom.delivery.session_delivery import SessionDelivery
from postroom.envelope import Account, Alias, Domain, DomainKind, RelayRecipient, Writers
from postroom.interfaces import IInquiries
from tests.delivery.support import FACTS, box
from tests.delivery.test_transaction import make_services

ENTRIES = (
    Account("off@here.example", "/off", enabled=False),
    Alias("group@here.example", ("joe@here.example", "X@there.example", "discard:")),
    Alias("team@here.example", ("joe@here.example",), Writers.MEMBERS),
    RelayRecipient("known@relayed.example"),
)
DOMAINS = (
    Domain("relayed.example", kind=DomainKind.RELAY),
    Domain("open.example", kind=DomainKind.RELAY, any_recipient=True),
    Domain("too.example", kind=DomainKind.ALIAS, target="here.example"),
)


class InquiryCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.services = make_services(self)
        self.directory: Any = self.services.router._directory
        self.directory.entries |= {entry.address: entry for entry in ENTRIES}
        self.directory.domains |= {domain.name: domain for domain in DOMAINS}

    def ask(self, user: str | None = None) -> Any:
        found: Any = IInquiries(SessionDelivery(self.services, FACTS, user))
        verifyObject(IInquiries, found)
        return found

    def verify(self, text: bytes) -> object:
        return self.successResultOf(self.ask().verify(text))

    def expand(self, text: bytes, user: str | None = None) -> object:
        return self.successResultOf(self.ask(user).expand(text))


class Verifying(InquiryCase):
    def test_a_mailbox_is_confirmed_however_it_is_written(self) -> None:
        for text in (b"joe", b"Joe@here.example", b" <joe@here.example> ", b"joe@too.example"):
            found = self.verify(text)
            self.assertIn(str(found).lower(), ("joe@here.example", "joe@too.example"), text)

    def test_what_rcpt_would_refuse_is_refused_alike(self) -> None:
        self.assertEqual(self.verify(b"who@here.example"), UNKNOWN_USER)
        self.assertEqual(self.verify(b"off@here.example"), DISABLED)
        self.directory.down = OSError("down")
        self.assertEqual(self.verify(b"joe"), DIRECTORY_DOWN)
        self.flushLoggedErrors(OSError)

    def test_of_others_nothing_can_be_told(self) -> None:
        for text in (b"joe@there.example", b"any@open.example"):
            self.assertIsNone(self.verify(text))
        self.assertEqual(self.verify(b"known@relayed.example"), box("known@relayed.example"))
        self.assertEqual(self.verify(b"who@relayed.example"), UNKNOWN_USER)

    def test_what_is_no_mailbox_is_unclear(self) -> None:
        for text in (b"Joe Doe", b"joe@", b"<>", b"a@b@c", b""):
            self.assertEqual(self.verify(text), NOT_ONE_MAILBOX, text)


class Expanding(InquiryCase):
    def test_an_alias_gives_its_targets(self) -> None:
        expected = [box("joe@here.example"), box("X@there.example")]
        for text in (b"group", b"<Group@here.example>", b"group@too.example"):
            self.assertEqual(self.expand(text), expected, text)

    def test_what_is_no_alias_gives_none(self) -> None:
        for text in (b"joe", b"who", b"joe@there.example", b"not a list", b"known@relayed.example"):
            self.assertIsNone(self.expand(text), text)

    def test_one_for_members_is_for_members(self) -> None:
        self.assertIsNone(self.expand(b"team"))
        self.assertIsNone(self.expand(b"team", "ann@here.example"))
        self.assertEqual(self.expand(b"team", "joe@here.example"), [box("joe@here.example")])
