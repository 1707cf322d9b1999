"""What got its 250 survives SIGKILL."""

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.crash.ledger import run


class SigkillTests(SynchronousTestCase):
    def test_nothingAcceptedIsLost(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        outcome = run(messages=400, kills=4, folder=folder.resolve())
        self.assertEqual(outcome.lost, ())
        self.assertGreaterEqual(outcome.kills, 3)
        self.assertGreaterEqual(outcome.accepted, 400)
        # The file name in the Maildir comes from the queue id, and a message that was not
        # acknowledged is sent anew under a new number: no local message can be there twice.
        self.assertEqual(outcome.local_duplicates, 0)
