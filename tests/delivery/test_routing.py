"""Claims about routing."""

from dataclasses import replace

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from postroom.delivery.expansion import Route
from postroom.delivery.routing import (
    DIRECTORY_DOWN,
    DISABLED,
    MISCONFIGURED,
    UNKNOWN_USER,
    Resolved,
    Router,
)
from postroom.delivery.srs import Rewriting
from postroom.envelope import Account, Alias, Domain, DomainKind, Entry, RelayRecipient, Writers
from postroom.errors import Refusal
from postroom.wire.paths import Mailbox
from tests.delivery.support import MemoryDirectory, box, settings

JOE = Account("joe@here.example", "/mail/joe")
ANN = Account("ann@here.example", "/mail/ann")
OFF = Account("off@here.example", "/mail/off", enabled=False)
HERE = Domain("here.example")


class RouterCase(SynchronousTestCase):
    domains = [HERE]

    def router(self, *entries: Entry, **changes: object) -> Router:
        self.directory = MemoryDirectory(self.domains, JOE, ANN, OFF, *entries)
        return Router(self.directory, settings(**changes))

    def resolve(self, address: str | Mailbox, *entries: Entry, **changes: object) -> Resolved:
        mailbox = box(address) if isinstance(address, str) else address
        resolved = self.router(*entries, **changes).resolve(mailbox)
        assert not isinstance(resolved, Deferred)
        return resolved


class LocalAddresses(RouterCase):
    def test_an_account_gets_its_mail_in_any_case(self) -> None:
        for address in ("joe@here.example", "JOE@Here.EXAMPLE", '"joe"@here.example'):
            self.assertEqual(self.resolve(address), Route((JOE,)), address)

    def test_an_unknown_user_is_refused(self) -> None:
        self.assertEqual(self.resolve("who@here.example"), UNKNOWN_USER)

    def test_a_disabled_account_is_refused_for_now(self) -> None:
        self.assertEqual(self.resolve("off@here.example"), DISABLED)

    def test_a_tag_is_taken_off(self) -> None:
        for address, tag in (("joe+tag", "tag"), ("joe++", "+"), ("Joe+A+b", "A+b"), ("joe+", "")):
            filed = replace(JOE, folder=tag)
            self.assertEqual(self.resolve(f"{address}@here.example"), Route((filed,)), address)

    def test_a_tagged_address_of_its_own_comes_first(self) -> None:
        tagged = Alias("joe+x@here.example", ("ann@here.example",))
        self.assertEqual(self.resolve("joe+x@here.example", tagged), Route((ANN,)))

    def test_the_separator_is_a_setting(self) -> None:
        self.assertEqual(
            self.resolve("joe--x@here.example", sub_address_separator="--"),
            Route((replace(JOE, folder="x"),)),
        )
        self.assertEqual(self.resolve("joe+x@here.example", sub_address_separator=""), UNKNOWN_USER)

    def test_a_tag_alone_is_no_sub_address(self) -> None:
        self.assertEqual(self.resolve("+joe@here.example"), UNKNOWN_USER)

    def test_odd_local_parts_are_names_and_nothing_more(self) -> None:
        for address in (
            '"a b"@here.example',
            '"a@b"@here.example',
            "joe%here.example@here.example",
            "here.example!joe@here.example",
            r'"a\"b"@here.example',
            '"../joe"@here.example',
            *('"joe."@here.example', '".joe"@here.example', '"j..oe"@here.example'),
        ):
            self.assertEqual(self.resolve(address), UNKNOWN_USER, address)
            odd = Account(str(box(address)), "/mail/odd")
            self.assertEqual(self.resolve(address, odd), Route((odd,)), address)

    def test_odd_dots_stay_beside_a_tag(self) -> None:
        odd = Account('"joe."@here.example', "/mail/odd")
        found = self.resolve('"joe.+a..b"@here.example', odd)
        self.assertEqual(found, Route((replace(odd, folder="a..b"),)))
        found = self.resolve('"joe+a..b"@here.example', odd)
        self.assertEqual(found, Route((replace(JOE, folder="a..b"),)))


class LooseDomains(RouterCase):
    domains = [Domain("foo_bar.example"), Domain("-x-.example", kind=DomainKind.RELAY)]

    def test_are_domains_like_others(self) -> None:
        joe = Account("joe@foo_bar.example", "/mail/joe")
        found = self.resolve(Mailbox(b"Joe", b"Foo_Bar.example"), joe)
        self.assertEqual(found, Route((joe,)))
        known = RelayRecipient("x@-x-.example")
        passed = Mailbox(b"x", b"-x-.example")
        self.assertEqual(self.resolve(passed, known), Route(queued=(passed,), passes=True))


class BeyondASCII(RouterCase):
    domains = [HERE, Domain("xn--bcher-kva.example")]
    jo = Account("jörg@xn--bcher-kva.example", "/mail/jo")

    def test_an_account_is_found_in_any_case_and_form(self) -> None:
        for address in ("jörg@bücher.example", "JÖRG@Bücher.example", "jo\u0308rg@bücher.example"):
            mailbox = Mailbox(*address.encode().split(b"@"))
            self.assertEqual(self.resolve(mailbox, self.jo), Route((self.jo,)), address)

    def test_a_domain_is_ours_in_either_form(self) -> None:
        for domain in ("bücher.example", "xn--bcher-kva.example"):
            mailbox = Mailbox("jörg+x".encode(), domain.encode())
            filed = replace(self.jo, folder="x")
            self.assertEqual(self.resolve(mailbox, self.jo), Route((filed,)))

    def test_a_look_alike_is_nobody(self) -> None:
        ann = Account("kim@here.example", "/mail/kim")
        mailbox = Mailbox("\u212aim".encode(), b"here.example")
        self.assertEqual(self.resolve(mailbox, ann), UNKNOWN_USER)

    def test_what_is_no_name_is_nobodys(self) -> None:
        mailbox = Mailbox(b"joe", "☃.example".encode())
        resolved = self.resolve(mailbox)
        assert isinstance(resolved, Route)
        self.assertTrue(resolved.foreign)

    def test_a_forwarded_sender_gets_a_labels(self) -> None:
        router = self.router()
        router._srs = Rewriting("here.example", lambda: [b"s"], lambda: 0.0)
        sender = Mailbox(b"x", "straße.example".encode())
        made = Deferred.fromCoroutine(router.forwarding_sender(sender))
        rewritten = self.successResultOf(made)
        assert rewritten is not None
        self.assertEqual(router.resolve(rewritten), Route(queued=(box("x@xn--strae-oqa.example"),)))


class OtherDomains(RouterCase):
    def test_are_queued_and_said_to_be_foreign(self) -> None:
        there = box("Joe@There.example")
        self.assertEqual(self.resolve(there), Route((), (there,), foreign=True))

    def test_literals_are_foreign_unless_listed(self) -> None:
        for address in ("joe@[192.0.2.1]", "joe@[IPv6:2001:db8::1]", "joe@192.0.2.1"):
            resolved = self.resolve(address)
            assert isinstance(resolved, Route)
            self.assertTrue(resolved.foreign, address)

    def test_a_listed_literal_is_local(self) -> None:
        self.domains = [HERE, Domain("[192.0.2.1]")]
        joe = Account("joe@[192.0.2.1]", "/mail/joe")
        self.assertEqual(self.resolve("Joe@[192.0.2.1]", joe), Route((joe,)))


class Aliases(RouterCase):
    def test_lead_to_accounts_and_addresses_elsewhere(self) -> None:
        alias = Alias(
            "all@here.example", ("joe@here.example", "X@there.example", "Ann@here.example")
        )
        self.assertEqual(
            self.resolve("all@here.example", alias),
            Route((JOE, ANN), forwarded=(box("X@there.example"),)),
        )

    def test_lead_to_aliases_and_each_target_counts_once(self) -> None:
        aliases = (
            Alias("all@here.example", ("a@here.example", "b@here.example", "joe@here.example")),
            Alias("a@here.example", ("joe@here.example", "x@there.example")),
            Alias("b@here.example", ("x@there.example", "joe+tag@here.example")),
        )
        self.assertEqual(
            self.resolve("all@here.example", *aliases),
            Route((JOE, replace(JOE, folder="tag")), forwarded=(box("x@there.example"),)),
        )

    def test_pass_tags_on(self) -> None:
        alias = Alias(
            "a@here.example",
            ("joe@here.example", "Git@there.example", "ci+own@there.example", "discard:"),
        )
        found = self.resolve("a+Key+x@here.example", alias)
        self.assertEqual(
            found,
            Route(
                (replace(JOE, folder="Key+x"),),
                forwarded=(box("Git+Key+x@there.example"), box("ci+own@there.example")),
            ),
        )
        for address in ("a@here.example", "a+@here.example"):
            self.assertEqual(
                self.resolve(address, alias),
                Route((JOE,), forwarded=(box("Git@there.example"), box("ci+own@there.example"))),
            )

    def test_pass_tags_on_through_each_other_and_to_folders(self) -> None:
        aliases = (
            Alias("a@here.example", ("b@here.example", "c+own@here.example")),
            Alias("b@here.example", ("joe@here.example",)),
            Alias("c@here.example", ("ann@here.example",)),
        )
        self.assertEqual(
            self.resolve("a+x@here.example", *aliases),
            Route((replace(JOE, folder="x"), replace(ANN, folder="own"))),
        )

    def test_keep_tags_to_themselves_if_they_are_told_to(self) -> None:
        alias = Alias("a@here.example", ("joe@here.example", "x@y.example"), passes_tags=False)
        self.assertEqual(
            self.resolve("a+x@here.example", alias), Route((JOE,), forwarded=(box("x@y.example"),))
        )

    def test_pass_tags_on_octet_for_octet_with_the_separator_of_the_site(self) -> None:
        alias = Alias("a@here.example", ('"x y"@there.example', '"g."@there.example'))
        found = self.resolve('"a--k..1"@here.example', alias, sub_address_separator="--")
        self.assertEqual(
            found,
            Route(
                forwarded=(box('"x y--k..1"@there.example'), box('"g.--k..1"@there.example')),
            ),
        )
        found = self.resolve("a+x@here.example", alias, sub_address_separator="--")
        self.assertEqual(found, UNKNOWN_USER)

    def test_pass_no_tag_on_that_makes_an_address_too_long(self) -> None:
        alias = Alias("a@here.example", ("=" * 235 + "@there.example",))
        for tag, length in (("x" * 3, 239), ("x" * 5, 235)):
            found = self.resolve(f"a+{tag}@here.example", alias)
            assert isinstance(found, Route)
            self.assertEqual(len(found.forwarded[0].local_part), length)

    def test_for_members_are_so_with_a_tag_too(self) -> None:
        group = Alias("g@here.example", ("joe@here.example",), Writers.MEMBERS)
        found = self.resolve("g+x@here.example", group)
        assert isinstance(found, Route)
        self.assertTrue(found.admits("joe@here.example"))
        self.assertFalse(found.admits("ann@here.example"))

    def test_leave_the_case_of_foreign_local_parts_alone(self) -> None:
        alias = Alias("a@here.example", ("X@there.example", "x@there.example"))
        resolved = self.resolve("a@here.example", alias)
        assert isinstance(resolved, Route)
        self.assertEqual([str(one) for one in resolved.forwarded], list(alias.targets))

    def test_may_discard(self) -> None:
        self.assertEqual(
            self.resolve("null@here.example", Alias("null@here.example", ("discard:",))), Route()
        )

    def test_discarding_beside_others_changes_nothing_for_them(self) -> None:
        alias = Alias("a@here.example", ("discard:", "joe@here.example"))
        self.assertEqual(self.resolve("a@here.example", alias), Route((JOE,)))

    def test_that_lead_in_a_circle_are_our_fault(self) -> None:
        aliases = (
            Alias("a@here.example", ("b@here.example",)),
            Alias("b@here.example", ("a@here.example", "b@here.example")),
        )
        self.assertEqual(self.resolve("a@here.example", *aliases), MISCONFIGURED)

    def test_a_circle_with_a_way_out_is_left_by_it(self) -> None:
        aliases = (
            Alias("a@here.example", ("b@here.example",)),
            Alias("b@here.example", ("A@here.example", "joe@here.example")),
        )
        self.assertEqual(self.resolve("a@here.example", *aliases), Route((JOE,)))

    def chain(self, length: int) -> list[Alias]:
        links = [
            Alias(f"a{n}@here.example", (f"a{n + 1}@here.example",)) for n in range(length - 1)
        ]
        return [*links, Alias(f"a{length - 1}@here.example", ("joe@here.example",))]

    def test_have_a_greatest_depth(self) -> None:
        self.assertEqual(self.resolve("a0@here.example", *self.chain(10)), Route((JOE,)))
        self.assertEqual(self.resolve("a0@here.example", *self.chain(11)), MISCONFIGURED)

    def test_have_a_greatest_number_of_targets(self) -> None:
        alias = Alias("a@here.example", tuple(f"x{n}@there.example" for n in range(5)))
        resolved = self.resolve("a@here.example", alias, alias_targets=5)
        assert isinstance(resolved, Route)
        self.assertEqual(len(resolved.forwarded), 5)
        self.assertEqual(self.resolve("a@here.example", alias, alias_targets=4), MISCONFIGURED)

    def test_lose_targets_that_are_gone_but_not_the_last(self) -> None:
        alias = Alias("a@here.example", ("gone@here.example", "no address", "joe@here.example"))
        self.assertEqual(self.resolve("a@here.example", alias), Route((JOE,)))
        alias = Alias("a@here.example", ("gone@here.example",))
        self.assertEqual(self.resolve("a@here.example", alias), MISCONFIGURED)

    def test_queue_the_copy_of_a_disabled_account(self) -> None:
        alias = Alias("a@here.example", ("off@here.example", "joe@here.example"))
        self.assertEqual(
            self.resolve("a@here.example", alias), Route((JOE,), (box("off@here.example"),))
        )

    def test_to_a_disabled_account_alone_are_refused_for_now(self) -> None:
        alias = Alias("a@here.example", ("off@here.example",))
        self.assertEqual(self.resolve("a@here.example", alias), DISABLED)


class Groups(RouterCase):
    def writers(self, *aliases: Alias) -> Route:
        resolved = self.resolve(aliases[0].address, *aliases)
        assert isinstance(resolved, Route)
        return resolved

    def test_may_be_for_users_only(self) -> None:
        found = self.writers(Alias("g@here.example", ("joe@here.example",), Writers.USERS))
        self.assertEqual([found.admits(user) for user in (None, "ann@here.example")], [False, True])

    def test_may_be_for_members_only_wherever_they_come_from(self) -> None:
        found = self.writers(
            Alias("g@here.example", ("joe+x@here.example", "In@here.example"), Writers.MEMBERS),
            Alias("in@here.example", ("ANN@here.example", "x@there.example")),
        )
        self.assertEqual(found.writers, {"joe@here.example", "ann@here.example"})
        self.assertFalse(found.admits(None))

    def test_an_inner_group_keeps_its_own_rule(self) -> None:
        found = self.writers(
            Alias("outer@here.example", ("joe@here.example", "inner@here.example")),
            Alias("inner@here.example", ("ann@here.example",), Writers.MEMBERS),
        )
        self.assertEqual(found.writers, {"ann@here.example"})

    def test_a_group_of_strangers_has_no_member_who_may_write(self) -> None:
        found = self.writers(Alias("g@here.example", ("x@there.example",), Writers.MEMBERS))
        self.assertFalse(found.admits("joe@here.example"))


class Forwards(RouterCase):
    def forwarding(self, *forwards: str, keeps_copy: bool = True) -> Account:
        return Account("f@here.example", "/f", forwards=forwards, keeps_copy=keeps_copy)

    def test_keep_a_copy_or_not(self) -> None:
        for keeps in (True, False):
            account = self.forwarding("x@there.example", "ann@here.example", keeps_copy=keeps)
            self.assertEqual(
                self.resolve("f@here.example", account),
                Route((*((account,) if keeps else ()), ANN), forwarded=(box("x@there.example"),)),
            )

    def test_are_followed_from_aliases_too(self) -> None:
        account = self.forwarding("x@there.example", keeps_copy=False)
        alias = Alias("a@here.example", ("f@here.example",))
        self.assertEqual(
            self.resolve("a@here.example", account, alias),
            Route(forwarded=(box("x@there.example"),)),
        )

    def test_to_one_another_end_at_those_who_keep_a_copy(self) -> None:
        other = Account("g@here.example", "/g", forwards=("f@here.example",))
        account = self.forwarding("g@here.example", keeps_copy=False)
        self.assertEqual(self.resolve("f@here.example", account, other), Route((other,)))
        other = replace(other, keeps_copy=False)
        self.assertEqual(self.resolve("f@here.example", account, other), MISCONFIGURED)

    def test_of_a_disabled_account_are_none(self) -> None:
        account = replace(self.forwarding("x@there.example"), enabled=False)
        self.assertEqual(self.resolve("f@here.example", account), DISABLED)


class KindsOfDomains(RouterCase):
    domains = [
        HERE,
        Domain("too.example", kind=DomainKind.ALIAS, target="here.example"),
        Domain("relayed-too.example", kind=DomainKind.ALIAS, target="relayed.example"),
        Domain("lost.example", kind=DomainKind.ALIAS, target="gone.example"),
        Domain("round.example", kind=DomainKind.ALIAS, target="too.example"),
        Domain("relayed.example", kind=DomainKind.RELAY),
        Domain("open.example", kind=DomainKind.RELAY, any_recipient=True),
    ]
    known = RelayRecipient("known@relayed.example")

    def test_an_alias_stands_for_the_other_domain(self) -> None:
        self.assertEqual(self.resolve("Joe@too.example"), Route((JOE,)))
        self.assertEqual(self.resolve("who@too.example"), UNKNOWN_USER)
        alias = Alias("a@here.example", ("joe@too.example",))
        self.assertEqual(self.resolve("a@too.example", alias), Route((JOE,)))

    def test_an_alias_of_nothing_or_of_an_alias_is_our_fault(self) -> None:
        for domain in ("lost.example", "round.example"):
            self.assertEqual(self.resolve(f"joe@{domain}"), MISCONFIGURED)

    def test_a_relayed_domain_takes_whom_it_lists_and_its_postmaster(self) -> None:
        for name in ("Known", "postmaster", "abuse"):
            address = box(f"{name}@relayed.example")
            self.assertEqual(
                self.resolve(address, self.known), Route(queued=(address,), passes=True)
            )
        self.assertEqual(self.resolve("who@relayed.example", self.known), UNKNOWN_USER)
        self.assertEqual(self.resolve("known+x@relayed.example", self.known), UNKNOWN_USER)

    def test_or_anybody(self) -> None:
        address = box("Who+Ever@open.example")
        self.assertEqual(self.resolve(address), Route(queued=(address,), passes=True))

    def test_an_alias_of_one_passes_its_mail_under_its_name(self) -> None:
        self.assertEqual(
            self.resolve("Known@relayed-too.example", self.known),
            Route(queued=(box("Known@relayed.example"),), passes=True),
        )

    def test_aliases_lead_there_and_may_be_in_it(self) -> None:
        there = Alias("a@here.example", ("known@relayed.example", "who@relayed.example"))
        in_it = Alias("b@relayed.example", ("joe@here.example",))
        self.assertEqual(
            self.resolve("a@here.example", there, self.known),
            Route(queued=(box("known@relayed.example"),)),
        )
        self.assertEqual(self.resolve("b@relayed.example", in_it), Route((JOE,)))

    def test_tags_go_there_where_they_are_taken(self) -> None:
        there = Alias("a@here.example", ("known@relayed.example", "who@open.example"))
        in_it = Alias("b@relayed.example", ("joe@here.example",))
        self.assertEqual(
            self.resolve("a+x@here.example", there, self.known),
            Route(queued=(box("known@relayed.example"), box("who+x@open.example"))),
        )
        found = self.resolve("b+x@relayed.example", in_it)
        self.assertEqual(found, Route((replace(JOE, folder="x"),)))


class RewrittenSenders(RouterCase):
    def setUp(self) -> None:
        self.today = 20_000 * 86_400.0
        self.srs = Rewriting("here.example", lambda: [b"secret"], lambda: self.today)

    def router(self, *entries: Entry, **changes: object) -> Router:
        router = super().router(*entries, **changes)
        router._srs = self.srs
        return router

    def test_lead_to_the_first_sender_until_they_expire(self) -> None:
        router = self.router()
        rewritten = self.srs.forward(box("Joe@there.example"))
        expected = Route(queued=(box("Joe@there.example"),))
        self.assertEqual(router.resolve(rewritten), expected)
        self.today += 22 * 86_400
        self.assertEqual(router.resolve(rewritten), UNKNOWN_USER)

    def test_that_are_forged_are_nobody(self) -> None:
        address = box("SRS0=AAAA=2W=there.example=x@here.example")
        self.assertEqual(self.resolve(address), UNKNOWN_USER)

    def test_are_made_of_strangers_only(self) -> None:
        router = self.router()

        def sender(text: str | None) -> Mailbox | None:
            made = Deferred.fromCoroutine(router.forwarding_sender(text and box(text)))
            return self.successResultOf(made)

        self.assertEqual(sender("x@there.example"), self.srs.forward(box("x@there.example")))
        self.assertIsNone(sender(None))
        for text in ("joe@here.example", "joe@[192.0.2.1]"):
            self.assertEqual(sender(text), box(text))


class CatchAll(RouterCase):
    domains = [
        Domain("here.example", catch_all="joe@here.example"),
        Domain("away.example", "x@there.example"),
    ]

    def test_gets_what_nobody_takes(self) -> None:
        self.assertEqual(self.resolve("who@here.example"), Route((JOE,)))
        self.assertEqual(self.resolve("ann@here.example"), Route((ANN,)))

    def test_may_be_elsewhere(self) -> None:
        self.assertEqual(
            self.resolve("who@away.example"), Route(forwarded=(box("x@there.example"),))
        )

    def test_that_does_not_exist_is_our_fault(self) -> None:
        self.domains = [Domain("here.example", catch_all="gone@here.example")]
        self.assertEqual(self.resolve("who@here.example"), MISCONFIGURED)


class Postmaster(RouterCase):
    domains = [HERE, Domain("other.example"), Domain("caught.example", "ann@here.example")]
    first = Account("postmaster@here.example", "/mail/pm")
    own = Account("postmaster@other.example", "/mail/pm-other")
    BARE = Mailbox(b"Postmaster", b"")

    def test_is_its_domains_own(self) -> None:
        self.assertEqual(
            self.resolve("PostMaster@other.example", self.first, self.own), Route((self.own,))
        )

    def test_else_is_the_first_domains(self) -> None:
        for address in ("postmaster@other.example", "postmaster@caught.example", self.BARE):
            self.assertEqual(self.resolve(address, self.first), Route((self.first,)), str(address))

    def test_else_is_the_catch_all(self) -> None:
        self.assertEqual(self.resolve("postmaster@caught.example"), Route((ANN,)))

    def test_else_is_the_first_domains_catch_all(self) -> None:
        self.domains = [Domain("here.example", "ann@here.example"), Domain("other.example")]
        for address in ("postmaster@other.example", self.BARE):
            self.assertEqual(self.resolve(address), Route((ANN,)), str(address))

    def test_abuse_is_its_domains_own_or_its_postmasters_or_the_first_domains(self) -> None:
        abuse = Account("abuse@other.example", "/mail/abuse")
        for expected, entries in (
            (abuse, (self.first, self.own, abuse)),
            (self.own, (self.first, self.own)),
            (self.first, (self.first,)),
        ):
            self.assertEqual(self.resolve("Abuse@other.example", *entries), Route((expected,)))
        self.assertEqual(self.resolve("abuse@other.example"), MISCONFIGURED)

    def test_is_never_an_unknown_user(self) -> None:
        for address in ("postmaster@other.example", "postmaster@here.example", self.BARE):
            self.assertEqual(self.resolve(address), MISCONFIGURED, str(address))
        self.assertEqual(self.resolve(self.BARE, postmaster_domain=None), MISCONFIGURED)


class Keeping(RouterCase):
    def test_a_route_is_looked_up_once(self) -> None:
        router = self.router()
        first = router.resolve(box("joe@here.example"))
        self.directory.asked.clear()
        self.assertIs(router.resolve(box("joe@here.example")), first)
        self.assertEqual(self.directory.asked, [])

    def test_whose_a_domain_is_is_looked_up_once(self) -> None:
        router = self.router()
        for address in ("a@there.example", "b@there.example", "who@here.example"):
            router.resolve(box(address))
        self.directory.asked.clear()
        router.resolve(box("c@There.Example"))
        router.resolve(box("ann@here.example"))
        self.assertEqual(self.directory.asked, ["ann@here.example"])

    def test_refusals_are_not_kept(self) -> None:
        router = self.router()
        self.assertEqual(router.resolve(box("new@here.example")), UNKNOWN_USER)
        new = self.directory.entries["new@here.example"] = Account("new@here.example", "/mail/new")
        self.assertEqual(router.resolve(box("new@here.example")), Route((new,)))

    def test_a_new_revision_forgets_everything(self) -> None:
        router = self.router()
        router.resolve(box("joe@here.example"))
        router.resolve(box("x@there.example"))
        del self.directory.entries["joe@here.example"]
        self.directory.domains["there.example"] = Domain("there.example")
        self.directory.number += 1
        self.assertEqual(router.resolve(box("joe@here.example")), UNKNOWN_USER)
        self.assertEqual(router.resolve(box("x@there.example")), UNKNOWN_USER)

    def test_what_was_asked_before_a_change_is_not_kept(self) -> None:
        router = self.router()
        self.directory.later = []
        resolving = router.resolve(box("joe@here.example"))
        assert isinstance(resolving, Deferred)
        self.directory.later.pop().callback(None)
        self.directory.number += 1
        router.resolve(box("other@here.example"))
        for waiting in self.directory.later:
            waiting.callback(None)
        self.successResultOf(resolving)
        self.directory.later = None
        self.directory.asked.clear()
        router.resolve(box("joe@here.example"))
        self.assertIn("joe@here.example", self.directory.asked)

    def test_the_number_is_bounded_and_the_least_used_goes(self) -> None:
        router = self.router(cached_routes=2)
        extra = [Account(f"u{n}@here.example", "/mail/u") for n in range(2)]
        self.directory.entries |= {account.address: account for account in extra}
        for address in ("joe", "u0", "joe", "u1"):
            router.resolve(box(f"{address}@here.example"))
        self.directory.asked.clear()
        router.resolve(box("joe@here.example"))
        self.assertEqual(self.directory.asked, [])
        router.resolve(box("u0@here.example"))
        self.assertEqual(self.directory.asked, ["u0@here.example"])


class SlowAndBroken(RouterCase):
    def test_lookups_of_the_same_address_share_one(self) -> None:
        router = self.router()
        self.directory.later = []
        both = [router.resolve(box("joe@here.example")) for _ in range(2)]
        for _ in range(2):
            self.directory.later.pop().callback(None)
        for resolving in both:
            assert isinstance(resolving, Deferred)
            self.assertEqual(self.successResultOf(resolving), Route((JOE,)))
        self.assertEqual(self.directory.asked, ["here.example", "joe@here.example"])

    def test_giving_up_on_one_leaves_the_other(self) -> None:
        router = self.router()
        self.directory.later = []
        first, second = (router.resolve(box("joe@here.example")) for _ in range(2))
        assert isinstance(first, Deferred)
        assert isinstance(second, Deferred)
        first.cancel()
        self.failureResultOf(first, CancelledError)
        for _ in range(2):
            self.directory.later.pop().callback(None)
        self.assertEqual(self.successResultOf(second), Route((JOE,)))

    def test_a_directory_that_is_down_is_temporary_and_logged(self) -> None:
        for error in (OSError("down"), Refusal(UNKNOWN_USER)):
            router = self.router()
            self.directory.down = error
            self.assertEqual(router.resolve(box("joe@here.example")), DIRECTORY_DOWN)
            self.assertEqual(len(self.flushLoggedErrors(type(error))), 1)
            self.directory.down = None
            self.assertEqual(router.resolve(box("joe@here.example")), Route((JOE,)))
