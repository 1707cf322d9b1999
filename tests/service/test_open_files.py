"""Open files and connections."""

import resource
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from postroom.service.open_files import affordable_connections
from tests.daemon import ENVIRONMENT


class OpenFilesTests(SynchronousTestCase):
    """Tests for the limit and what follows from it."""

    def test_connections_leave_room_for_everything_else(self) -> None:
        for open_files in (256, 1024, 4096, 65_536):
            connections = affordable_connections(open_files, outgoing=500)
            self.assertTrue(open_files // 4 <= connections <= open_files - 128, open_files)
        self.assertEqual(affordable_connections(20_000, outgoing=500), 19_244)
        self.assertGreater(affordable_connections(resource.RLIM_INFINITY, 500), 1_000_000)

    def test_the_soft_limit_is_raised_to_the_hard_one(self) -> None:
        script = (
            "import resource\n"
            "resource.setrlimit(resource.RLIMIT_NOFILE, (100, 200))\n"
            "from postroom.service.open_files import raise_open_files_limit\n"
            "print(raise_open_files_limit(), *resource.getrlimit(resource.RLIMIT_NOFILE))"
        )
        command = [sys.executable, "-c", script]
        done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True)
        self.assertEqual(done.stdout, "200 200 200\n")
