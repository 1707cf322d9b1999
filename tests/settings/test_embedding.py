"""A program that embeds rooms loads nothing that only a settings file needs."""

import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

_ROOMS = """
import sys
import postroom.server.factory, postroom.delivery.avatars, postroom.client.sender
import postroom.queue.schedule, postroom.queue.settings, postroom.certificates.model
print(sorted({name.partition(".")[0] for name in sys.modules} & {"pydantic", "pydantic_core"}))
"""


class EmbeddingTests(SynchronousTestCase):
    """Tests for what the rooms import."""

    def test_rooms_run_without_pydantic(self) -> None:
        found = subprocess.run(
            [sys.executable, "-c", _ROOMS], capture_output=True, text=True, check=True
        )
        self.assertEqual(found.stdout, "[]\n")
