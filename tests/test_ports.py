"""Ports for servers of the tests are given once, among all test processes."""

import socket
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from tests import ports
from tests.daemon import ENVIRONMENT
from tests.ports import free_port


class PortTests(SynchronousTestCase):
    def test_another_process_is_not_given_the_same(self) -> None:
        port = free_port()
        script = (
            "import random, sys; from tests.ports import free_port\n"
            "choices = iter(map(int, sys.argv[1:])); random.randint = lambda *_: next(choices)\n"
            "print(free_port())"
        )
        candidates = [str(each) for each in range(port, port + 100)]
        command = [sys.executable, "-c", script, *candidates]
        done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True)
        self.assertIn(done.stdout.strip(), candidates[1:])

    def test_one_that_somebody_listens_on_is_not_given(self) -> None:
        port = free_port()
        with socket.create_server(("127.0.0.1", port)):
            self.assertFalse(ports._is_free(port))
        self.assertTrue(ports._is_free(port))
