"""What holds for every source of accounts.

A test case sets ``source`` to one that knows, in the domain ``a.example``:

- the account ``joe`` with the password `PASSWORD`, whose Maildir is `JOE`;
- the account ``off``, which is switched off, unless ``has_disabled`` is False;
- the alias ``sales``, for joe and for ``X@b.example``, unless ``has_aliases`` is False;
- the account ``a..b``, if ``has_odd_dots`` is True.

``break_source`` takes it down and ``mend_source`` brings it back, where it can be down at all.
"""

from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from zope.interface.verify import verifyObject

from postroom.credentials import Credential, Knowledge
from postroom.envelope import Account, Alias, Domain
from postroom.interfaces import ICredentialSource, IDirectory
from tests.directory.support import CHEAP

PASSWORD = "correct horse"
JOE = "/mail/a.example/joe"

NOBODY = (
    "jo@a.example",
    "joe@b.example",
    "*@a.example",
    "joe@a.example)(mail=*",
    "joe)(|(mail=*@a.example",
    "%@a.example",
    "' OR 1=1 --@a.example",
    "joe\\2a@a.example",
    '"joe "@a.example',
    '"a b"@a.example',
    '"joe:x"@a.example',
    "../joe@a.example",
)
NO_LOGINS = (
    b"",
    b"jo",
    b"*",
    b"joe@b.example",
    b"joe\0",
    b"joe@a.example\n",
    b"\xff\xfe",
    b"joe)(mail=*",
    b"x" * 12_288,
    "joé".encode(),
    "\u212aoe".encode(),
)


class SourceContract:
    """A mixin for `twisted.trial.unittest.TestCase`."""

    source: Any
    joe_maildir = JOE
    has_aliases = True
    has_disabled = True
    has_odd_dots = False
    domain_is_asked = True

    def break_source(self) -> "Deferred[None] | None":
        raise NotImplementedError

    def mend_source(self) -> "Deferred[None] | None":
        raise NotImplementedError

    async def matches(self, found: Credential, password: str) -> bool:
        if found.verify is not None:
            return await found.verify(password.encode())
        return CHEAP.verify(found.stored, password.encode()).matches

    async def test_it_provides_its_interfaces(self: Any) -> None:
        verifyObject(IDirectory, self.source)
        verifyObject(ICredentialSource, self.source)
        self.assertIn(Knowledge.CHECKABLE, self.source.knows)
        self.assertIsInstance(self.source.revision(), int)

    async def test_its_domain_is_found_and_no_other(self: Any) -> None:
        found = await self.source.find_domain("a.example")
        self.assertEqual(found, Domain("a.example"))
        for name in ("b.example", "example", "a.example.b.example", "", "*"):
            self.assertIsNone(await self.source.find_domain(name), name)

    async def test_an_account_is_found_with_its_maildir(self: Any) -> None:
        found = await self.source.find_address("joe@a.example")
        self.assertIsInstance(found, Account)
        self.assertEqual(
            (found.address, found.maildir, found.enabled),
            ("joe@a.example", self.joe_maildir, True),
        )

    async def test_one_that_is_switched_off_is_found_so(self: Any) -> None:
        if self.has_disabled:
            self.assertIs((await self.source.find_address("off@a.example")).enabled, False)
            self.assertIs((await self.source.find_credential(b"off@a.example")).enabled, False)

    async def test_an_alias_is_found_with_its_targets(self: Any) -> None:
        if self.has_aliases:
            found = await self.source.find_address("sales@a.example")
            self.assertIsInstance(found, Alias)
            self.assertEqual(set(found.targets), {"joe@a.example", "X@b.example"})
            self.assertIsNone(await self.source.find_credential(b"sales@a.example"))

    async def test_one_with_odd_dots_is_found_and_is_nobody_else(self: Any) -> None:
        if self.has_odd_dots:
            found = await self.source.find_address('"a..b"@a.example')
            self.assertEqual(found.address, '"a..b"@a.example')
            self.assertEqual(found.maildir, "/mail/a.example/a..b")
            login = await self.source.find_credential(b'"A..b"@a.example')
            self.assertEqual(login.address, found.address)
            for other in ("a.b@a.example", '"a..b."@a.example', '".a..b"@a.example'):
                self.assertIsNone(await self.source.find_address(other), other)

    async def test_nobody_else_is_found(self: Any) -> None:
        for address in NOBODY:
            self.assertIsNone(await self.source.find_address(address), address)

    async def test_a_user_is_found_by_address_and_by_bare_name_in_any_case(self: Any) -> None:
        for name in (b"joe@a.example", b"Joe@A.example", b"joe"):
            found = await self.source.find_credential(name)
            self.assertEqual(found.address, "joe@a.example", name)
            self.assertIs(found.enabled, True)

    async def test_nobody_else_is_a_user(self: Any) -> None:
        for name in NO_LOGINS:
            self.assertIsNone(await self.source.find_credential(name), name)

    async def test_the_password_is_right_and_no_other(self: Any) -> None:
        found = await self.source.find_credential(b"joe@a.example")
        self.assertTrue(await self.matches(found, PASSWORD))
        for wrong in ("", "Correct horse", PASSWORD + " ", "*", "{SSHA256}x"):
            self.assertFalse(await self.matches(found, wrong), wrong)

    async def test_a_source_that_is_down_fails_and_knows_everybody_again_later(self: Any) -> None:
        if not hasattr(type(self), "is_always_up"):
            await maybeDeferred(self.break_source)
            asking = [
                lambda: self.source.find_address("joe@a.example"),
                lambda: self.source.find_address("nobody@a.example"),
                lambda: self.source.find_credential(b"joe"),
                lambda: self.source.find_credential(b"nobody"),
            ]
            if self.domain_is_asked:
                asking.append(lambda: self.source.find_domain("b.example"))
            for ask in asking:
                try:
                    found = await maybeDeferred(ask)
                except Exception:
                    continue
                self.assertTrue(False, f"it was said to be {found!r}")
            await maybeDeferred(self.mend_source)
            self.assertIsNotNone(await self.source.find_address("joe@a.example"))
            self.assertIsNotNone(await self.source.find_credential(b"joe"))
            self.assertIsNone(await self.source.find_address("nobody@a.example"))
