"""A real LDAP server as a source of accounts, by each way in and each way to check a password."""

from functools import cache
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from postroom.envelope import AccountLimits
from postroom.errors import UserError
from postroom.sources.ldap import LDAPSource
from postroom.sources.profile import Maildirs, SourceError
from postroom.sources.settings import LDAPAttributes, LDAPServer, LDAPSettings
from tests.interop.fixtures import new_folder, stopped_at_exit
from tests.interop.slapd import (
    BASE,
    SEARCHER,
    SEARCHER_PASSWORD,
    Slapd,
    alias,
    person,
    salted_sha,
)
from tests.sources.contract import PASSWORD, SourceContract

ATTRIBUTES = LDAPAttributes(
    address="mail",
    enabled="employeeType",
    home="homeDirectory",
    forwards="mailForward",
    quota_octets="employeeNumber",
)
ENTRIES = (
    person("joe", salted_sha(PASSWORD)),
    person("off", salted_sha(PASSWORD), "employeeType: no"),
    person("clear", PASSWORD),
    person("none", salted_sha(PASSWORD)).replace("userPassword", "description"),
    person("rich", salted_sha(PASSWORD), "mail: r@a.example", "employeeNumber: 1000000"),
    person("wrong", salted_sha(PASSWORD), "employeeNumber: many"),
    person("twin", salted_sha(PASSWORD)),
    person("other", salted_sha(PASSWORD), "mail: twin@a.example"),
    alias("sales", "joe@a.example", "X@b.example"),
)


@cache
def slapd() -> Slapd:
    return stopped_at_exit(Slapd(new_folder("slapd"), ENTRIES))


class LDAPContract(SourceContract):
    domain_is_asked = False
    check: Any = "bind"

    def url(self) -> str:
        return f"ldap://localhost:{slapd().port}"

    def make_source(self: Any, **server: Any) -> LDAPSource:
        given = {
            "url": self.url(),
            "ca_file": slapd().authority,
            "bind_dn": SEARCHER,
            "bind_password": SEARCHER_PASSWORD,
        }
        settings = LDAPSettings(
            LDAPServer(**(given | server)),
            BASE,
            "(&(objectClass=inetOrgPerson)(mail={address}))",
            ("a.example",),
            "(&(objectClass=nisMailAlias)(cn={user}))",
            attributes=ATTRIBUTES,
            check=self.check,
        )
        source = LDAPSource(settings, Maildirs(Path("/mail")), reactor, 10)
        self.addCleanup(source.stop)
        return source

    def setUp(self) -> None:
        self.source = self.make_source()

    def break_source(self) -> None:
        slapd().stop()

    def mend_source(self) -> None:
        slapd().start()


class BindOverSTARTTLS(LDAPContract, TestCase):
    async def test_an_entry_without_a_password_lets_nobody_in(self) -> None:
        found = await self.source.find_credential(b"none")
        for password in ("", PASSWORD):
            self.assertFalse(await self.matches(found, password))

    async def test_further_addresses_and_limits_are_read(self) -> None:
        found = await self.source.find_address("r@a.example")
        self.assertEqual((found.address, found.addresses), ("rich@a.example", ("r@a.example",)))
        self.assertEqual(found.limits, AccountLimits(quota_octets=1_000_000))

    async def test_what_makes_no_sense_is_a_temporary_failure_that_names_the_entry(self) -> None:
        for address, why in (
            ("wrong@a.example", "wrong@a.example: quota_octets 'many' is not a whole number"),
            ("twin@a.example", "twin@a.example: 2 entries have it"),
        ):
            with self.assertRaisesRegex(SourceError, why):
                await self.source.find_address(address)

    async def test_a_certificate_that_is_not_trusted_is_a_failure(self) -> None:
        source = self.make_source(ca_file=None)
        with self.assertRaises(Exception):  # noqa: B017  OpenSSL's, whatever it is
            await source.find_address("joe@a.example")

    async def test_a_wrong_password_of_ours_is_a_failure(self) -> None:
        source = self.make_source(bind_password="wrong")
        with self.assertRaisesRegex(Exception, "invalidCredentials"):
            await source.find_address("joe@a.example")

    async def test_many_at_once_share_a_connection(self) -> None:
        asked = [self.source.find_address("joe@a.example") for _ in range(50)]
        for each in asked:
            self.assertIsNotNone(await each)


class BindOverTLS(LDAPContract, TestCase):
    def url(self) -> str:
        return f"ldaps://localhost:{slapd().tls_port}"


class BindOverASocket(LDAPContract, TestCase):
    def url(self) -> str:
        return f"ldapi://{str(slapd().socket).replace('/', '%2F')}"


class BindInClearText(LDAPContract, TestCase):
    def setUp(self) -> None:
        self.source = self.make_source(tls="none")


class Read(LDAPContract, TestCase):
    check = "read"


class Compare(LDAPContract, TestCase):
    check = "compare"

    async def test_the_password_is_right_and_no_other(self) -> None:
        # slapd compares what is stored, octet by octet.
        found = await self.source.find_credential(b"clear")
        self.assertTrue(await self.matches(found, PASSWORD))
        self.assertFalse(await self.matches(found, "wrong"))


class Settings(TestCase):
    def refuse(self, why: str, url: str = "ldap://localhost", **more: Any) -> None:
        server = {key: more.pop(key) for key in ("ca_file",) if key in more}
        given: dict[str, Any] = {"user_filter": "(mail={address})", "domains": ("a.example",)}
        settings = LDAPSettings(LDAPServer(url, **server), BASE, **(given | more))
        with self.assertRaisesRegex(UserError, why):
            LDAPSource(settings, Maildirs(Path("/mail")), reactor, 10)

    def test_that_mean_nothing_are_told(self) -> None:
        self.refuse("accounts.ldap.url: 'http://x' is not ldap:", "http://x")
        self.refuse("accounts.ldap.url: 'ldap://x:y': Port could not", "ldap://x:y")
        self.refuse(r"user_filter: '\(mail=joe\)' contains none of", user_filter="(mail=joe)")
        self.refuse("is not an LDAP filter", user_filter="(mail={address}")
        self.refuse("alias_filter: .* is not an LDAP filter", alias_filter="{user}")
        self.refuse("ca_file: /no/such: No such file", ca_file=Path("/no/such"))
        self.refuse("ca_file: .*: no certificate in it", ca_file=Path("/etc/hostname"))
