"""``twistd smtp`` as a process: how it starts, runs, stops, and fails to start."""

import json
import os
import pwd
import signal
import smtplib
import socket
import ssl
import subprocess
import time
from pathlib import Path
from tempfile import mkdtemp

import trustme
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.daemon import ENVIRONMENT, TWISTD, Daemon, free_port, wait_until
from tests.service.daemons import Background, failed_start

TEXT = "Subject: hello\r\n\r\nA line.\r\n"


class Case(SynchronousTestCase):
    """Has a folder."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)

    def daemon(self, *options: str, **more: object) -> Daemon:
        """Start a daemon; it is stopped after the test."""
        daemon = Daemon(self.folder, *options, **more)  # type: ignore[arg-type]
        daemon.start()
        self.addCleanup(daemon.stop)
        return daemon


def send(port: int, recipient: str = "postmaster@localhost") -> None:
    with smtplib.SMTP("127.0.0.1", port) as smtp:
        smtp.sendmail("you@example.org", recipient, TEXT)


class FailedStartTests(Case):
    """What cannot be is told in one line, and the exit status is 1."""

    def check(self, expected: str, *options: str, daemonise: bool = False) -> None:
        status, output, error = failed_start(self.folder, *options, daemonise=daemonise)
        self.assertEqual((status, output), (1, ""), error)
        (line,) = error.splitlines()
        self.assertTrue(line.startswith("twistd smtp: "), line)
        self.assertIn(expected, line)

    def test_a_wrong_option(self) -> None:
        self.check("option --nonsense not recognized", "--nonsense")

    def test_a_wrong_setting(self) -> None:
        path = self.folder / "p.toml"
        path.write_text("[limits]\nrecipient = 5\n")
        self.check(
            f"{path}: unknown key recipient in [limits]; did you mean limits.recipients?",
            "--config",
            "p.toml",
        )

    def test_a_port_in_use(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            endpoint = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
            for daemonise in (False, True):
                self.check(
                    f"listen mx={endpoint}: cannot listen: Address already in use",
                    *("--listen", f"mx={endpoint}"),
                    daemonise=daemonise,
                )

    def test_a_wrong_endpoint(self) -> None:
        self.check("listen mx=tpc:25: not a server endpoint", "--listen", "mx=tpc:25")

    def test_a_state_directory_in_use(self) -> None:
        daemon = self.daemon()
        assert daemon.process is not None
        self.check(
            f"the state directory {daemon.state} is in use by another process "
            f"(process {daemon.process.pid})",
            *("--state-dir", str(daemon.state), "--listen", f"mx=tcp:{free_port()}"),
        )

    def test_a_state_directory_that_cannot_be_made(self) -> None:
        (self.folder / "file").write_text("")
        self.check(
            f"the state directory {self.folder}/file/state cannot be used by ",
            *("--state-dir", "file/state"),
        )

    def test_a_database_that_cannot_be_opened(self) -> None:
        for daemonise in (False, True):
            self.check(
                "cannot create the database /nonexistent/p.db: No such file or directory",
                *("--database", "sqlite:////nonexistent/p.db"),
                daemonise=daemonise,
            )
        (self.folder / "junk").write_text("junk" * 1000)
        self.check("file is not a database", "--database", f"sqlite:///{self.folder}/junk")

    def test_a_key_that_cannot_be_read(self) -> None:
        issued = trustme.CA().issue_cert("localhost")
        issued.cert_chain_pems[0].write_to_path(str(self.folder / "c.pem"))
        options = ("--tls-certificate", "c.pem", "--tls-key", "k.pem")
        self.check(f"tls.key {self.folder}/k.pem: cannot be read: No such file", *options)
        (self.folder / "k.pem").write_text("-----BEGIN PRIVATE KEY-----\n")
        self.check(f"tls.key {self.folder}/k.pem: no PEM private key in it", *options)

    def test_a_log_that_cannot_be_opened(self) -> None:
        (self.folder / "p.toml").write_text('[log]\nfile = "missing/log"\n')
        self.check(f"the log {self.folder}/missing/log cannot be opened", "--config", "p.toml")

    def test_several_errors_are_a_line_each(self) -> None:
        status, _, error = failed_start(self.folder, "--domain", "-", "--relay-network", "x")
        self.assertEqual((status, len(error.splitlines())), (1, 2), error)


class RunningTests(Case):
    """What it does while it runs."""

    def test_it_says_what_it_does_and_how_to_go_on(self) -> None:
        daemon = self.daemon("--hostname", "mx.example.org", "--relay-host", "smtp://a:b@h:587")
        self.assertTrue(wait_until(lambda: "account add" in daemon.log(), 10))
        log = daemon.log()
        for text in (
            "is mx.example.org",
            f"Listening on 127.0.0.1:{daemon.port} (mx)",
            f"Mail for localhost goes to Maildirs below {daemon.state}/mail",
            "Mail for other domains, from those who log in, goes to smtp://a:***@h:587",
            f"postroom --state-dir {daemon.state} account add NAME@localhost",
        ):
            self.assertIn(text, log)

    def test_tls_is_there_without_any_setting(self) -> None:
        daemon = self.daemon(listeners=("mx", "submission-tls"))
        context = ssl._create_unverified_context()
        with smtplib.SMTP_SSL("127.0.0.1", daemon.ports["submission-tls"], context=context) as s:
            s.ehlo()
            self.assertEqual(s.esmtp_features["auth"].split(), ["PLAIN", "LOGIN"])
            self.assertNotIn("starttls", s.esmtp_features)
        with smtplib.SMTP("127.0.0.1", daemon.port) as s:
            self.assertEqual(s.starttls(context=context)[0], 220)

    def test_a_certificate_from_files_is_served(self) -> None:
        authority = trustme.CA()
        issued = authority.issue_cert("localhost")
        issued.private_key_and_cert_chain_pem.write_to_path(str(self.folder / "both.pem"))
        both = str(self.folder / "both.pem")
        daemon = self.daemon("--tls-certificate", both, "--tls-key", both)
        context = ssl.create_default_context()
        authority.configure_trust(context)
        with smtplib.SMTP("localhost", daemon.port) as s:
            self.assertEqual(s.starttls(context=context)[0], 220)

    def test_logins_come_from_our_accounts_and_from_further_checkers(self) -> None:
        daemon = self.daemon("--auth", "memory:bob:1234", listeners=("mx", "submission-tls"))
        daemon.add_account("ann@localhost", "correct horse battery")
        context = ssl._create_unverified_context()
        for user, password, good in (
            ("ann@localhost", "correct horse battery", True),
            ("bob", "1234", True),
            ("ann@localhost", "1234", False),
            ("bob", "correct horse battery", False),
        ):
            port = daemon.ports["submission-tls"]
            with smtplib.SMTP_SSL("127.0.0.1", port, context=context) as s:
                try:
                    s.login(user, password)
                except smtplib.SMTPAuthenticationError as error:
                    self.assertEqual((good, error.smtp_code), (False, 535))
                else:
                    self.assertTrue(good, user)

    def test_the_log_can_be_json(self) -> None:
        daemon = self.daemon(settings='[log]\nformat = "json"\n')
        send(daemon.port)
        self.assertTrue(wait_until(lambda: "you@example.org" in daemon.log(), 5))
        records = [json.loads(line) for line in daemon.log().splitlines()]
        (record,) = [item for item in records if "you@example.org" in str(item.get("sender"))]
        self.assertIn("size", record)
        self.assertNotIn("\x1b", daemon.log())


class SocketActivationTests(Case):
    """Ports that systemd holds."""

    def test_a_socket_of_systemd_is_served(self) -> None:
        script = (
            "import os, socket, sys\n"
            "held = socket.create_server(('127.0.0.1', 0))\n"
            "print(held.getsockname()[1], flush=True)\n"
            "os.dup2(held.fileno(), 3); os.set_inheritable(3, True)\n"
            "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1')\n"
            "os.environ.update(LISTEN_FDNAMES='smtp')\n"
            "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
        )
        listen = "mx=systemd:INET:name=smtp"
        process = subprocess.Popen(
            [TWISTD[0], "-c", script, *TWISTD[1:], "-n", "--pidfile=", "smtp", "--listen", listen],
            cwd=self.folder,
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        with process, process.stdout:
            port = int(process.stdout.readline())
            send(port)
            process.terminate()
            log = process.stdout.read().decode()
        self.assertIn(f"Listening on 127.0.0.1:{port} (mx)", log)
        self.assertNotIn("Traceback", log)


class StopTests(Case):
    """SIGTERM."""

    def test_idle_sessions_are_told_and_the_queue_directory_is_free_again(self) -> None:
        daemon = self.daemon()
        with socket.create_connection(("127.0.0.1", daemon.port)) as idle:
            stream = idle.makefile("rb")
            stream.readline()
            daemon.terminate()
            self.assertTrue(stream.readline().startswith(b"421 4.3.2 "))
            self.assertEqual(stream.readline(), b"")
        daemon.start()

    def test_a_running_transaction_may_finish(self) -> None:
        daemon = self.daemon()
        with socket.create_connection(("127.0.0.1", daemon.port)) as busy:
            stream = busy.makefile("rwb", 0)
            stream.readline()
            for command in (b"HELO a", b"MAIL FROM:<a@b.c>", b"RCPT TO:<postmaster>", b"DATA"):
                stream.write(command + b"\r\n")
                answer = stream.readline()
            self.assertTrue(answer.startswith(b"354"))
            assert daemon.process is not None
            daemon.process.terminate()
            time.sleep(0.5)
            self.assertRaises(ConnectionRefusedError, send, daemon.port)
            stream.write(TEXT.encode() + b".\r\n")
            self.assertTrue(stream.readline().startswith(b"250 "))
        daemon.process.wait(20)
        self.assertEqual(len(list((daemon.maildir("postmaster@localhost") / "new").iterdir())), 1)

    def test_a_peer_that_never_finishes_is_cut_off_at_the_deadline(self) -> None:
        daemon = self.daemon(settings="shutdown_deadline_seconds = 1\n")
        with socket.create_connection(("127.0.0.1", daemon.port)) as slow:
            stream = slow.makefile("rwb", 0)
            stream.readline()
            for command in (b"HELO a", b"MAIL FROM:<a@b.c>", b"RCPT TO:<postmaster>", b"DATA"):
                stream.write(command + b"\r\n")
                stream.readline()
            began = time.monotonic()
            daemon.terminate()
            self.assertTrue(0.9 < time.monotonic() - began < 8)
        self.assertNotIn("Traceback", daemon.log())

    def test_a_second_signal_is_not_a_failure(self) -> None:
        daemon = self.daemon()
        assert daemon.process is not None
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
            daemon.process.send_signal(number)
        daemon.process.wait(20)
        self.assertNotIn("Traceback", daemon.log())
        self.assertIn("Server Shut Down.", daemon.log())


class BackgroundTests(Case):
    """Without ``-n``."""

    def start(self, *options: str, twistd: tuple[str, ...] = ()) -> tuple[Background, int]:
        port = free_port()
        listen = f"mx=tcp:{port}:interface=127.0.0.1"
        background = Background(self.folder, "--listen", listen, *options, twistd=twistd)
        self.addCleanup(background.stop)
        error = background.started.stdout + background.started.stderr
        self.assertEqual((background.started.returncode, error), (0, ""))
        return background, port

    def test_it_takes_mail_and_opens_its_log_anew(self) -> None:
        background, port = self.start()
        send(port)
        log = self.folder / "twistd.log"
        self.assertIn("you@example.org", background.log())
        log.rename(self.folder / "old.log")
        background.send(signal.SIGHUP)
        self.assertTrue(wait_until(log.exists, 10))
        send(port)
        background.stop()
        self.assertEqual(background.log().count("you@example.org"), 1)
        self.assertEqual(background.log("old.log").count("you@example.org"), 1)
        self.assertNotIn("Traceback", background.log())

    def test_twistds_own_log_options_are_heeded(self) -> None:
        background, _ = self.start(twistd=("--logfile=mine.log",))
        said = "[postroom] Listening on"  # the log is written a moment later
        self.assertTrue(wait_until(lambda: said in background.log("mine.log"), 10))
        other = self.folder / "other"
        other.mkdir()
        self.folder = other
        background, _ = self.start(twistd=("--logger=twisted.logger.STDLibLogObserver",))
        self.assertFalse((other / "twistd.log").exists())


class PrivilegeTests(Case):
    """``twistd --uid``, which only root can say."""

    def setUp(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("only root can become somebody else")
        # A folder that somebody else can reach, which trial's is not where root's home is closed.
        self.folder = Path(mkdtemp(prefix="postroom-", dir="/tmp"))
        self.folder.chmod(0o755)
        self.addCleanup(subprocess.run, ["rm", "-rf", str(self.folder)], check=True)

    def low_port(self) -> int:
        for port in range(1023, 600, -1):
            with socket.socket() as probe:
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    continue
                return port
        raise SkipTest("every low port is in use")

    def test_a_low_port_is_bound_and_everything_belongs_to_the_user(self) -> None:
        port = self.low_port()
        issued = trustme.CA().issue_cert("localhost")
        issued.private_key_and_cert_chain_pem.write_to_path(str(self.folder / "both.pem"))
        (self.folder / "both.pem").chmod(0o600)
        both = str(self.folder / "both.pem")
        nobody = pwd.getpwnam("nobody")
        background = Background(
            self.folder,
            *("--listen", f"mx=tcp:{port}:interface=127.0.0.1"),
            *("--tls-certificate", both, "--tls-key", both),
            twistd=("--uid", "nobody"),
        )
        self.addCleanup(background.stop)
        self.assertEqual(background.started.returncode, 0, background.started.stderr)
        send(port)
        log = background.log()
        self.assertIn("you@example.org", log)
        self.assertNotIn("Traceback", log)
        status = Path(f"/proc/{background.pid}/status").read_text()
        self.assertIn(f"Uid:\t{nobody.pw_uid}\t{nobody.pw_uid}\t{nobody.pw_uid}\t", status)
        state = self.folder / "postroom-state"
        for path in (state, *state.rglob("*"), self.folder / "twistd.log"):
            self.assertEqual(path.stat().st_uid, nobody.pw_uid, path)
        (delivered,) = state.glob("mail/*/*/new/*")
        self.assertIn("A line.", delivered.read_text())

    def test_a_state_directory_of_root_is_refused_at_once(self) -> None:
        (self.folder / "state").mkdir(mode=0o700)
        background = Background(
            self.folder, "--state-dir", "state", twistd=("--uid", "nobody", "-n")
        )
        self.addCleanup(background.stop)
        self.assertEqual(background.started.returncode, 1)
        self.assertEqual(
            background.started.stderr,
            f"twistd smtp: the state directory {self.folder}/state cannot be used by nobody: "
            "Permission denied\n",
        )
