"""Which hosts are tried, in which order, and which never."""

from ipaddress import ip_network
from random import Random

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from postroom.client.forbidden_networks import may_connect
from postroom.client.model import Destination, SmartHost
from postroom.client.mx import HostFinder
from postroom.client.settings import ClientSettings
from postroom.errors import Refusal
from postroom.wire.replies import reply
from tests.client.parts import TableResolver

LATER = Refusal(reply(451, "4.4.3", "no answer"))
NEVER = Refusal(reply(550, "5.1.2", "no such domain"))


class FinderCase(SynchronousTestCase):
    def find(self, mx, addresses, domain="d.example", seed=1, **settings):  # type: ignore[no-untyped-def]
        destination = domain if isinstance(domain, Destination) else Destination(domain)
        finder = HostFinder(
            TableResolver(mx, addresses), ClientSettings("us.example", **settings), Random(seed)
        )
        return Deferred.fromCoroutine(finder.find(destination))

    def addresses(self, *args, **kwargs):  # type: ignore[no-untyped-def]
        return [t.address for t in self.successResultOf(self.find(*args, **kwargs))]

    def refused(self, *args, **kwargs):  # type: ignore[no-untyped-def]
        refusal = self.failureResultOf(self.find(*args, **kwargs), Refusal).value.reply
        return refusal.code, refusal.enhanced


class OrderTests(FinderCase):
    def test_hosts_come_by_preference_whatever_the_order_of_the_answer(self) -> None:
        mx = {"d.example": [(20, "c"), (10, "b"), (5, "a")]}
        hosts = {"a": ["192.0.2.1"], "b": ["192.0.2.2"], "c": ["192.0.2.3"]}
        self.assertEqual(self.addresses(mx, hosts), ["192.0.2.1", "192.0.2.2", "192.0.2.3"])

    def test_equal_hosts_come_in_random_order(self) -> None:
        mx = {"d.example": [(10, name) for name in "abc"]}
        hosts = {name: [f"192.0.2.{n}"] for n, name in enumerate("abc")}
        seen = {tuple(self.addresses(mx, hosts, seed=seed)) for seed in range(50)}
        self.assertEqual(len(seen), 6)

    def test_names_are_alike_whatever_their_case_and_with_a_final_dot(self) -> None:
        mx = {"d.example": [(10, "A."), (10, "a"), (20, "US.example."), (30, "b.")]}
        hosts = {"a": ["192.0.2.1"], "b": ["192.0.2.2"]}
        (target,) = self.successResultOf(self.find(mx, hosts))
        self.assertEqual(str(target), "a[192.0.2.1]:25")
        own = frozenset({"Other.example."})
        mx = {"d.example": [(10, "other.example")]}
        self.assertEqual(self.refused(mx, {}, own_names=own), (554, "5.4.6"))
        self.assertEqual(self.refused({"d.example": [(0, ".")]}, {}), (556, "5.1.10"))

    def test_domains_and_hosts_may_have_underscores_and_outer_hyphens(self) -> None:
        for name in ("foo_bar.example", "-x-.example"):
            mx, hosts = {name: [(10, "_mx_.-x")]}, {"_mx_.-x": ["192.0.2.1"]}
            (target,) = self.successResultOf(self.find(mx, hosts, name))
            self.assertEqual(str(target), "_mx_.-x[192.0.2.1]:25")
            (target,) = self.successResultOf(self.find({}, {name: ["192.0.2.1"]}, name))
            self.assertEqual(str(target), f"{name}[192.0.2.1]:25")

    def test_without_mx_the_domain_is_its_own_host(self) -> None:
        (target,) = self.successResultOf(self.find({}, {"d.example": ["192.0.2.1"]}))
        self.assertEqual(str(target), "d.example[192.0.2.1]:25")

    def test_address_families_take_turns(self) -> None:
        mx = {"d.example": [(10, "a")]}
        hosts = {"a": ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"]}
        families = [":" in each for each in self.addresses(mx, hosts)]
        self.assertEqual(families, [False, True, False, True])

    def test_hosts_and_addresses_are_capped(self) -> None:
        mx = {"d.example": [(n, f"h{n}") for n in range(1000)]}
        hosts = {f"h{n}": [f"192.0.2.{m}" for m in range(250)] for n in range(1000)}
        found = self.successResultOf(self.find(mx, hosts))
        self.assertEqual(len(found), 50)
        self.assertEqual({target.name for target in found}, {f"h{n}" for n in range(10)})

    def test_a_host_listed_twice_is_tried_once(self) -> None:
        mx = {"d.example": [(10, "a"), (20, "a"), (10, "a")]}
        self.assertEqual(self.addresses(mx, {"a": ["192.0.2.1"]}), ["192.0.2.1"])

    def test_an_address_literal_is_its_own_host(self) -> None:
        self.assertEqual(self.addresses({}, {}, "[192.0.2.1]"), ["192.0.2.1"])
        self.assertEqual(self.addresses({}, {}, "[ipv6:2001:db8::1]"), ["2001:db8::1"])
        self.assertEqual(self.refused({}, {}, "[x-tag:what]"), (550, "5.1.2"))

    def test_one_host_without_address_does_not_hide_the_others(self) -> None:
        mx = {"d.example": [(1, "gone"), (2, "later"), (3, "a")]}
        hosts = {"gone": NEVER, "later": LATER, "a": ["192.0.2.1"]}
        self.assertEqual(self.addresses(mx, hosts), ["192.0.2.1"])


class RefusalTests(FinderCase):
    def test_what_dns_refuses_is_refused(self) -> None:
        self.assertEqual(self.refused({"d.example": NEVER}, {}), (550, "5.1.2"))
        self.assertEqual(self.refused({"d.example": LATER}, {}), (451, "4.4.3"))

    def test_null_mx_takes_no_mail(self) -> None:
        self.assertEqual(
            self.refused({"d.example": [(0, "")]}, {"d.example": ["192.0.2.1"]}), (556, "5.1.10")
        )

    def test_mx_that_leads_nowhere_is_an_error_without_fallback_to_the_domain(self) -> None:
        hosts = {"a": [], "d.example": ["192.0.2.1"]}
        self.assertEqual(self.refused({"d.example": [(1, "a")]}, hosts), (550, "5.4.4"))
        hosts["a"] = LATER
        self.assertEqual(self.refused({"d.example": [(1, "a")]}, hosts), (451, "4.4.3"))

    def test_no_host_at_our_own_preference_or_behind_it_is_tried(self) -> None:
        mx = {"d.example": [(5, "a"), (10, "us.example"), (10, "b"), (20, "c")]}
        hosts = {"a": ["192.0.2.1"], "b": ["192.0.2.2"], "c": ["192.0.2.3"], "us.example": []}
        self.assertEqual(self.addresses(mx, hosts), ["192.0.2.1"])

    def test_a_domain_whose_best_host_is_ourselves_loops(self) -> None:
        hosts = {"us.example": ["192.0.2.9"], "b": ["192.0.2.2"]}
        mx = {"d.example": [(1, "us.example"), (2, "b")]}
        self.assertEqual(self.refused(mx, hosts), (554, "5.4.6"))
        alias = {"d.example": [(1, "alias"), (2, "b")]}
        hosts["alias"] = ["192.0.2.9"]
        self.assertEqual(
            self.refused(alias, hosts, own_addresses=frozenset({"192.0.2.9"})), (554, "5.4.6")
        )
        self.assertEqual(self.refused(alias, hosts, own_names=frozenset({"alias"})), (554, "5.4.6"))
        self.assertEqual(
            self.refused({}, {"us.example": ["192.0.2.9"]}, "us.example"), (554, "5.4.6")
        )


FORBIDDEN = [
    "0.0.0.0", "0.1.2.3", "10.1.2.3", "100.64.0.1", "127.0.0.1", "127.255.255.254",
    "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.168.1.1", "198.18.0.1", "224.0.0.1",
    "255.255.255.255", "::", "::1", "::ffff:127.0.0.1", "::ffff:192.0.2.1", "::127.0.0.1",
    "64:ff9b::7f00:1", "64:ff9b:1::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12::1", "fec0::1",
    "ff02::1", "2002:7f00:1::", "2001:0:1::1", "100::1", "localhost", "127.1", "0x7f000001", "",
]  # fmt: skip


class ForbiddenTests(FinderCase):
    def test_no_mail_is_sent_into_networks_that_are_not_the_internet(self) -> None:
        for address in FORBIDDEN:
            self.assertFalse(may_connect(address, ()), address)
            for mx in ({"d.example": [(1, "a")]}, {}):
                hosts = {"a": [address], "d.example": [address]}
                self.assertEqual(self.refused(mx, hosts), (550, "5.4.4"), address)

    def test_public_addresses_may_be_connected_to(self) -> None:
        for address in ("192.0.2.1", "8.8.8.8", "172.32.0.1", "2001:db8::1", "2606:4700::1"):
            self.assertTrue(may_connect(address, ()), address)

    def test_a_forbidden_literal_is_refused(self) -> None:
        self.assertEqual(self.refused({}, {}, "[127.0.0.1]"), (550, "5.4.4"))
        self.assertEqual(self.refused({}, {}, "[ipv6:::1]"), (550, "5.4.4"))

    def test_forbidden_addresses_are_skipped_where_others_are(self) -> None:
        self.assertEqual(
            self.addresses({"d.example": [(1, "a")]}, {"a": ["10.0.0.1", "192.0.2.1"]}),
            ["192.0.2.1"],
        )

    def test_a_network_may_be_allowed(self) -> None:
        allowed = (ip_network("127.0.0.0/8"),)
        self.assertEqual(
            self.addresses({}, {}, "[127.0.0.1]", allowed_networks=allowed), ["127.0.0.1"]
        )
        self.assertEqual(
            self.refused({}, {}, "[10.0.0.1]", allowed_networks=allowed), (550, "5.4.4")
        )


class SmartHostTests(FinderCase):
    def test_a_smarthost_needs_no_mx_and_may_be_anywhere(self) -> None:
        (target,) = self.successResultOf(
            self.find({}, {}, Destination("", SmartHost("127.0.0.1", 2525)))
        )
        self.assertEqual((target.address, target.port), ("127.0.0.1", 2525))
        named = Destination("", SmartHost("relay.example", 587))
        hosts = {"relay.example": ["10.0.0.1"]}
        (target,) = self.successResultOf(self.find({"relay.example": [(1, "x")]}, hosts, named))
        self.assertEqual(str(target), "relay.example[10.0.0.1]:587")

    def test_a_smarthost_that_cannot_be_found_is_a_temporary_failure(self) -> None:
        for found in ([], NEVER, LATER):
            refused = self.refused(
                {}, {"relay.example": found}, Destination("", SmartHost("relay.example"))
            )
            self.assertEqual(refused, (451, "4.4.4"))
