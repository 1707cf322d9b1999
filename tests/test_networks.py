"""Which addresses lie in which networks."""

from ipaddress import ip_network

from twisted.trial.unittest import SynchronousTestCase

from postroom.networks import in_networks

NETWORKS = (ip_network("192.0.2.0/24"), ip_network("2001:db8::/32"))


class NetworkTests(SynchronousTestCase):
    """Tests for `in_networks`."""

    def test_addresses_within(self) -> None:
        for address in ("192.0.2.7", "2001:db8::1", "2001:db8:5::1%eth0"):
            self.assertTrue(in_networks(address, NETWORKS), address)

    def test_addresses_outside_and_what_is_no_address(self) -> None:
        for address in ("192.0.3.1", "2001:db9::1", "unix", "", "192.0.2.1.example"):
            self.assertFalse(in_networks(address, NETWORKS), address)

    def test_nothing_lies_in_no_network(self) -> None:
        self.assertFalse(in_networks("192.0.2.7", ()))
