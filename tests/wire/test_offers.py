"""What a server offers, as a client reads it."""

from twisted.trial.unittest import SynchronousTestCase

from postroom.wire.offers import (
    NO_LIMITS,
    HostCapabilities,
    HostLimits,
    host_capabilities,
    read_limits,
)
from postroom.wire.replies import Reply


class LimitTests(SynchronousTestCase):
    """Tests for LIMITS. RFC 9422."""

    def test_what_is_known_is_read(self) -> None:
        for text, limits in {
            "MAILMAX=3": HostLimits(messages=3),
            "rcptmax=100 RcptDomainMax=1": HostLimits(recipients=100, domains=1),
            "X-OTHER=yes RCPTMAX=999999": HostLimits(recipients=999_999),
            "MAILMAX=1 MAILMAX=2": HostLimits(messages=1),
        }.items():
            self.assertEqual(read_limits(text), limits, text)

    def test_a_bad_limit_is_ignored_alone(self) -> None:
        for bad in ("0", "01", "1000000", "-1", "+1", "1e3", "\uff11", "1_0"):
            limits = read_limits(f"MAILMAX={bad} RCPTMAX=5")
            self.assertIn(limits, (HostLimits(recipients=5), NO_LIMITS), bad)
            self.assertEqual(limits.messages, 0)
        self.assertEqual(read_limits("MAILMAX=0 RCPTMAX=5"), HostLimits(recipients=5))

    def test_a_line_without_grammar_is_ignored_as_a_whole(self) -> None:
        for text in ("MAILMAX", "MAILMAX=", "MAILMAX=1 =2", "RCPTMAX=1  MAILMAX=2", "a b c"):
            self.assertIs(read_limits(text), NO_LIMITS)

    def test_the_newest_ehlo_counts(self) -> None:
        with_limits = host_capabilities(Reply(250, ("host", "LIMITS MAILMAX=3", "SIZE 7")))
        self.assertEqual((with_limits.limits.messages, with_limits.size_octets), (3, 7))
        self.assertIs(host_capabilities(Reply(250, ("host", "LIMITS"))).limits, NO_LIMITS)


class NumberTests(SynchronousTestCase):
    """Tests for numbers that stand behind a keyword."""

    def test_what_is_no_number_is_none(self) -> None:
        for text in ("", "x", "-1", "1x", "9" * 21):
            self.assertEqual(HostCapabilities({"DELIVERBY": text}).deliver_by_seconds, 0)
        self.assertEqual(HostCapabilities({"DELIVERBY": "240"}).deliver_by_seconds, 240)
