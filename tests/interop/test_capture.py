"""What tcpdump saw of our daemon's sessions with other people's clients."""

import json
import os
import re
import smtplib
import ssl
import subprocess
import time
from pathlib import Path
from unittest import SkipTest

from click.testing import CliRunner
from twisted.trial.unittest import SynchronousTestCase

from postroom.cli.main import cli
from tests.daemon import Daemon, wait_until
from tests.interop.clients import Login, Route, program, send_with_smtplib, smtp_source

ADDRESS, PASSWORD = "joe@here.example", "correct-horse-battery"
_HEADER_OCTETS = 24
MESSAGE = b"Subject: x\r\n\r\n.one\r\n..two\r\n"


class Capture:
    """tcpdump on loopback, of one port."""

    def __init__(self, path: Path, ports: list[int]) -> None:
        words = " or ".join(f"port {port}" for port in ports)
        command = [
            program("tcpdump"),
            "-Z",
            "root",
            "-i",
            "lo",
            "-U",
            "-w",
            str(path),
            f"tcp and ({words})",
        ]
        self._path = path
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE)
        assert self._process.stderr is not None
        line = self._process.stderr.readline()
        assert b"listening on" in line, line

    def stop(self) -> None:
        """Stop it, once the file has not grown for a moment."""
        if self._process.poll() is None:
            wait_until(self._is_quiet)
            self._process.terminate()
        self._process.communicate(timeout=30)

    def _is_quiet(self) -> bool:
        size = self._path.stat().st_size
        time.sleep(0.5)
        return size > _HEADER_OCTETS and self._path.stat().st_size == size


class CaptureTests(SynchronousTestCase):
    def setUp(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("only root may capture")
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        self.folder = folder
        self.daemon = Daemon(
            folder,
            listeners=("mx", "submission"),
            settings='domains = ["here.example"]\n[auth]\nclear_text_networks = ["127.0.0.0/8"]\n',
        )
        self.daemon.start()
        self.addCleanup(self.daemon.stop)
        self.daemon.add_account(ADDRESS, PASSWORD)
        self.path = folder / "lo.pcap"
        self.capture = Capture(self.path, list(self.daemon.ports.values()))
        self.addCleanup(self.capture.stop)

    def dissect(self, *arguments: str) -> str:
        done = CliRunner().invoke(cli, ["dissect", str(self.path), *arguments])
        self.assertEqual((done.exit_code, done.stderr), (0, ""), done.output)
        return done.stdout

    def test_sessions_of_smtp_source_and_a_replay_of_one(self) -> None:
        arguments = ("-s", "2", "-m", "4", "-l", "5000", "-t", ADDRESS, "-f", "a@there.example")
        smtp_source(self.daemon.port, *arguments)
        self.capture.stop()
        sessions = json.loads(self.dissect("--json"))
        self.assertEqual([each["complete"] for each in sessions], [True] * len(sessions))
        self.assertEqual([each["violations"] for each in sessions], [0] * len(sessions))
        sizes = [size for each in sessions for size in each["content_octets"]]
        self.assertEqual(len(sizes), 4)
        self.assertTrue(all(5000 <= size < 6000 for size in sizes), sizes)
        replayed = self.dissect("--session", "1", "--replay", f"127.0.0.1:{self.daemon.port}")
        self.assertRegex(replayed, r"\n\d+ replies, 0 of them differ\n$")
        received = list((self.daemon.maildir(ADDRESS) / "new").iterdir())
        self.assertEqual(len(received), 4 + len(sessions[0]["content_octets"]))

    def test_after_starttls_the_transcript_says_tls(self) -> None:
        unverified = ssl._create_unverified_context()
        with smtplib.SMTP("127.0.0.1", self.daemon.port) as client:
            client.starttls(context=unverified)
            client.sendmail("a@there.example", [ADDRESS], MESSAGE)
        self.capture.stop()
        before, _, after = self.dissect().partition("-: [TLS from here on]\n")
        self.assertIn("C: STARTTLS\n", before)
        self.assertNotIn("!!", before)
        self.assertNotRegex(after, "[CS]: ")

    def test_a_login_in_clear_text_is_shown_without_its_secret(self) -> None:
        route = Route(
            self.daemon.ports["submission"], "clear", Login("PLAIN", ADDRESS, PASSWORD), Path()
        )
        send_with_smtplib(route, [ADDRESS], MESSAGE)
        self.capture.stop()
        text = self.dissect()
        self.assertIn("AUTH: ", text)
        self.assertIn(", 235\n", text)
        self.assertNotIn("!!", text)
        for session in json.loads(self.dissect("--json")):
            self.assertNotIn(PASSWORD, repr(session))
        self.assertIsNone(re.search(r"AUTH \w+ \S*[A-Za-z0-9+/]{8}", text))
