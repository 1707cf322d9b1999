"""Memory stays flat: with large messages, and with many idle connections.

`python -m tests.bench.memory` prints the figures of the full length.
"""

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.bench.memory import growth_by_large_messages, make_daemon, octets_for_each_idle


class MemoryTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        self.daemon = make_daemon(folder.resolve())
        self.addCleanup(self.daemon.stop)

    def test_largeMessagesAreNotHeldInMemory(self) -> None:
        """Four of 16 MB would be 64 MB."""
        growth = growth_by_large_messages(self.daemon, 4, 16_000_000)
        self.assertLess(growth, 32 * 2**20)

    def test_anIdleConnectionCostsLittleAndMailStillGetsThrough(self) -> None:
        self.assertLess(octets_for_each_idle(self.daemon, 1000), 12 * 1024)
