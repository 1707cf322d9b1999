"""What got its 250 survives system calls that fail, and the daemon goes on."""

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.crash.syscalls import Case, run

CASES = [
    Case("fsync", "EIO", "1+"),
    Case("fdatasync", "EIO", "1+"),
    Case("pwrite64", "ENOSPC", "1+"),
    Case("pwritev", "ENOSPC", "1"),
    Case("linkat", "EIO", "1"),
    Case("linkat", "SIGKILL", "1"),
    Case("rename", "EIO", "1+"),
    Case("openat", "EMFILE", "1+"),
    Case("accept4", "EMFILE", "1"),
    Case("write", "ENOSPC", "1+"),
    Case("sendto", "ECONNRESET", "1"),
]


class SystemCallTests(SynchronousTestCase):
    def test_nothing_is_lost_and_mail_is_taken_again(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        outcome = run(CASES, folder.resolve())
        self.assertEqual(outcome.wrong, [])
        self.assertEqual(outcome.lost, [])
        self.assertEqual(outcome.cases, len(CASES))
        # It did hurt, and it did not stop.
        self.assertGreater(outcome.deferred, 5)
        self.assertGreater(len(outcome.accepted), len(CASES))
