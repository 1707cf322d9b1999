"""Deliveries of other programs on our server, and ours on theirs: the examples of the page."""

import json
import smtplib
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner
from twisted.trial.unittest import TestCase

from postroom.cli.main import cli
from tests.daemon import ENVIRONMENT, ROOT, TWISTD, Daemon, free_port, greets, wait_until
from tests.interop.fixtures import new_folder
from tests.interop.mail import HARD, Folder, as_sent, delivered

EXAMPLES = ROOT / "docs/examples"
ANN, BOB, PASSWORD = "ann@local.test", "bob@local.test", "correct-horse-battery"
SENDER, ELSEWHERE = "sender@remote.test", "them@elsewhere.test"


class SiteDeliveryTests(TestCase):
    """``twistd smtp --delivery`` with ``docs/examples/archive.py``."""

    timeout = 120

    def test_it_gets_the_mail_of_everybody(self) -> None:
        folder = new_folder("site-delivery")
        daemon = Daemon(
            folder,
            *("--delivery", "archive:archive"),
            listeners=("mx", "submission"),
            settings='[auth]\nclear_text_networks = ["127.0.0.0/8"]\n',
            path=EXAMPLES,
        )
        daemon.add_account(ANN, PASSWORD)
        self.addCleanup(daemon.stop)
        daemon.start()
        for port in daemon.ports.values():
            with smtplib.SMTP("127.0.0.1", port, timeout=30) as peer:
                if port == daemon.ports["submission"]:
                    peer.login(ANN, PASSWORD)
                for content in HARD.values():
                    refused = peer.sendmail(SENDER, ["x@example.org", ELSEWHERE], content)
                    self.assertEqual(refused[ELSEWHERE], (550, b"5.1.2 Not our domain"))
        wanted = sorted([*HARD.values()] * 2)
        self.assertEqual(sorted(Folder(folder / "archive").contents()), wanted)
        self.assertEqual(daemon.queued(), 0)
        daemon.stop()
        self.assertIn("All mail goes to archive:archive\n", daemon.log())
        self.assertNotIn("Traceback", daemon.log())


class WrongNameTests(TestCase):
    """What is wrong with ``--delivery`` is one line at start."""

    timeout = 120

    def start(self, *options: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        folder = new_folder("wrong-delivery")
        (folder / "broken.py").write_text("import os\n\n1 / 0\n")
        return subprocess.run(
            [*TWISTD, "-n", "--pidfile=", "smtp", "--state-dir", "state", *options],
            cwd=folder,
            env={**ENVIRONMENT, "PYTHONPATH": f"{ENVIRONMENT['PYTHONPATH']}:{folder}"}
            | environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def test_of_the_command_line(self) -> None:
        done = self.start("--delivery", "nowhere.mail:delivery")
        self.assertEqual(done.returncode, 1)
        wanted = "twistd smtp: --delivery nowhere.mail:delivery: there is no module nowhere\n"
        self.assertEqual((done.stderr, done.stdout), (wanted, ""))

    def test_of_a_settings_file(self) -> None:
        settings = new_folder("wrong-setting") / "postroom.toml"
        settings.write_text('[delivery]\nsite_object = "os:nothing"\n')
        done = self.start("--config", str(settings))
        self.assertEqual(done.returncode, 1)
        wanted = (
            f"twistd smtp: {settings}: delivery.site_object = os:nothing:"
            " the module os has no nothing\n"
        )
        self.assertEqual(done.stderr, wanted)

    def test_a_module_that_fails(self) -> None:
        done = self.start("--delivery", "broken:delivery")
        self.assertEqual(done.returncode, 1)
        self.assertEqual(
            done.stderr,
            "twistd smtp: --delivery broken:delivery: importing broken failed:"
            " ZeroDivisionError: division by zero (POSTROOM_DEBUG=1 shows where)\n",
        )
        shown = self.start("--delivery", "broken:delivery", POSTROOM_DEBUG="1")
        self.assertIn("broken.py", shown.stderr)


class ESMTPTests(TestCase):
    """``docs/examples/esmtp.py``: ESMTP of `twisted.mail` with our portal, in a process."""

    timeout = 120

    def start(self, folder: Path) -> tuple[Daemon, int]:
        # Nobody listens at the next hop, so that what is queued stays there to be looked at.
        daemon = Daemon(folder, "--relay-host", f"smtp://127.0.0.1:{free_port()}?tls=never")
        for address in (ANN, BOB):
            daemon.add_account(address, PASSWORD)
        port = free_port()
        endpoint = f"tcp:{port}:interface=127.0.0.1"
        with (folder / "daemon.log").open("ab") as log:
            daemon.process = subprocess.Popen(
                [sys.executable, EXAMPLES / "esmtp.py", endpoint, *daemon.options],
                cwd=folder,
                env=ENVIRONMENT,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.addCleanup(daemon.stop)
        self.assertTrue(wait_until(lambda: greets(port)), daemon.log())
        return daemon, port

    def queued_content(self, daemon: Daemon, queue_id: str) -> bytes:
        words = ["--state-dir", str(daemon.state), "queue", "show", "--content", queue_id]
        return CliRunner().invoke(cli, words).stdout_bytes

    def test_mail_goes_into_maildirs_and_the_queue(self) -> None:
        daemon, port = self.start(new_folder("esmtp"))
        with smtplib.SMTP("127.0.0.1", port, timeout=30) as peer:
            for content in HARD.values():
                refused = peer.sendmail(SENDER, [ANN, BOB, ELSEWHERE], content)
                self.assertEqual(refused[ELSEWHERE], (550, b"5.7.1 Relaying denied"))
        for address in (ANN, BOB):
            copies = Folder(daemon.maildir(address) / "new").contents()
            stored = [as_sent(delivered(copy)) for copy in copies]
            # No list of contents: trial would look for hours for the difference of long ones.
            self.assertEqual(len(stored), len(HARD))
            self.assertEqual(set(HARD.values()) - set(stored), set())
        for mechanism in ("plain", "login"):
            with smtplib.SMTP("127.0.0.1", port, timeout=30) as peer:
                peer.ehlo()
                peer.user, peer.password = ANN, PASSWORD
                peer.auth(mechanism.upper(), getattr(peer, f"auth_{mechanism}"))
                content = HARD["dots"].replace(SENDER.encode(), ANN.encode())
                peer.sendmail(ANN, [ELSEWHERE], content)
                peer.sendmail(ANN, [BOB], content)
        queued = json.loads(daemon.admin("queue", "list", "--json"))
        self.assertEqual(len(queued), 2)
        for each in queued:
            self.assertEqual(delivered(self.queued_content(daemon, each["id"])), content)
        with smtplib.SMTP("127.0.0.1", port, timeout=30) as peer:
            self.assertRaises(smtplib.SMTPAuthenticationError, peer.login, ANN, "wrong")
        self.assertEqual(daemon.terminate(), 0, daemon.log())
        self.assertNotIn("Traceback", daemon.log())
