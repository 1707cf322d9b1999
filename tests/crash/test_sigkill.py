"""What got its 250 survives SIGKILL."""

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.crash.ledger import Outcome, run


class SigkillTests(SynchronousTestCase):
    def test_nothingAcceptedIsLost(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        outcome = run(messages=400, kills=4, folder=folder.resolve())
        self.assertEqual(outcome.lost, ())
        self.assertGreaterEqual(outcome.kills, 3)
        self.assertGreaterEqual(outcome.accepted, 400)
        self.assert_no_local_duplicates(outcome)

    def test_nothing_large_is_lost_or_torn(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        outcome = run(messages=40, kills=4, folder=folder.resolve(), octets=2_500_000)
        self.assertEqual(outcome.lost, ())
        self.assertGreaterEqual(outcome.kills, 3)
        self.assert_no_local_duplicates(outcome)
        # Of what was sent nothing stays, and what a kill left behind the next start took away.
        (directory,) = folder.glob("**/content")
        self.assertEqual(list(directory.iterdir()), [])

    def assert_no_local_duplicates(self, outcome: Outcome) -> None:
        # The file name in the Maildir comes from the queue id, and a message that was not
        # acknowledged is sent anew under a new number: no local message can be there twice.
        self.assertEqual(outcome.local_duplicates, 0)
