"""``postroom dissect``."""

import gzip
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner, Result
from twisted.trial.unittest import SynchronousTestCase

from postroom.cli.main import cli
from tests.capture.test_replay import Server
from tests.capture.wire import SYN, Frame, Line, write_pcap
from tests.cli.support import COMMAND, environment

SECRET = "AGpvZQBjb3JyZWN0aG9yc2U="


def first() -> Line:
    line = Line().open().server(b"220 mx.example ready\r\n").client(b"EHLO c.example\r\n")
    line.server(b"250-mx.example\r\n250-SIZE 1000\r\n250 AUTH PLAIN\r\n")
    line.client(f"AUTH PLAIN {SECRET}\r\n".encode()).server(b"235 2.7.0 ok\r\n")
    line.client(b"MAIL FROM:<a@b.example>\r\nRSET\r\n").server(b"250 ok\r\n250 ok\r\n")
    return line.client(b"QUIT\r\n").server(b"221 \x1b[2Jbye\r\n").close()


def second() -> Line:
    line = Line(2525, "2001:db8::1", "2001:db8::2").open().server(b"220 b\r\n")
    return line.client(b"HELO c\r\n").server(b"250 b\r\n").close()


class DissectTests(SynchronousTestCase):
    """The command."""

    def file(self, *frames: Frame, name: str = "a.pcap") -> str:
        folder = Path(self.mktemp())
        folder.mkdir()
        return str(write_pcap(folder / name, frames or [*first().frames, *second().frames]))

    def run_command(self, *arguments: str) -> Result:
        return CliRunner().invoke(cli, ["dissect", *arguments])

    def succeed(self, *arguments: str) -> str:
        result = self.run_command(*arguments)
        self.assertEqual((result.exit_code, result.stderr), (0, ""), result.output)
        return result.stdout

    def refuse(self, why: str, *arguments: str) -> Result:
        result = self.run_command(*arguments)
        self.assertEqual(result.exit_code, 1, result.output)
        self.assertRegex(result.stderr, rf"^postroom: .*{why}")
        self.assertEqual(len(result.stderr.splitlines()), 1)
        return result

    def test_a_transcript(self) -> None:
        lines = self.succeed(self.file()).splitlines()
        self.assertRegex(
            lines[0], r"^Session 1: 192\.0\.2\.1:40000 > 192\.0\.2\.2:25, \S+ \S+, 0\.011 s$"
        )
        self.assertEqual(
            lines[1:14],
            [
                "  extensions: SIZE 1000, AUTH PLAIN",
                "  AUTH: PLAIN, 235",
                "  violations: 1",
                "     0.003  S: 220 mx.example ready",
                "     0.004  C: EHLO c.example",
                "     0.005  S: 250-mx.example",
                "            S: 250-SIZE 1000",
                "            S: 250 AUTH PLAIN",
                "     0.006  C: AUTH PLAIN [24 octets]",
                "     0.007  S: 235 2.7.0 ok",
                "     0.008  C: MAIL FROM:<a@b.example>",
                "     0.008  C: RSET",
                "            !! pipelined, which was not offered",
            ],
        )
        self.assertIn("Session 2: [2001:db8::1]:40000 > [2001:db8::2]:2525", "\n".join(lines))

    def test_nothing_drives_a_terminal_and_no_secret_is_printed(self) -> None:
        for options in ((), ("--json",)):
            text = self.succeed(self.file(), *options)
            self.assertNotIn("\x1b", text)
            self.assertNotIn(SECRET, text)
            self.assertNotIn("correcthorse", text)

    def test_json(self) -> None:
        sessions = json.loads(self.succeed(self.file(), "--json"))
        self.assertEqual([each["session"] for each in sessions], [1, 2])
        self.assertEqual(sessions[0]["auth"], [{"mechanism": "PLAIN", "code": 235}])
        self.assertEqual(sessions[0]["extensions"], {"SIZE": "1000", "AUTH": "PLAIN"})
        self.assertEqual(
            sessions[0]["transcript"][1],
            {
                "at": 0.004,
                "from": "client",
                "lines": ["EHLO c.example"],
                "octets": None,
                "violations": [],
            },
        )

    def test_one_session(self) -> None:
        text = self.succeed(self.file(), "--session", "2")
        self.assertTrue(text.startswith("Session 2: "))
        self.assertNotIn("Session 1", text)
        self.refuse("there is no session 3, the capture has 2", self.file(), "--session", "3")

    def test_a_port(self) -> None:
        path = self.file(*Line(9999).open().server(b"220 a\r\n").client(b"RSET\r\n").frames)
        self.assertEqual(self.run_command(path).stderr, "note: no SMTP in the capture\n")
        self.assertIn("RSET", self.succeed(path, "--port", "9999"))

    def test_files_that_are_no_captures(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        for name, octets, why in (
            ("empty", b"", "empty: the file is empty"),
            ("mail", b"From: a@b.example\r\n\r\nhello\r\n", "mail: not a pcap or pcapng file"),
            ("zeros", bytes(1000), "zeros: not a pcap or pcapng file"),
        ):
            (folder / name).write_bytes(octets)
            self.refuse(why, str(folder / name))
        self.refuse("Is a directory", str(folder))
        self.refuse("No such file", str(folder / "none"))

    def test_a_file_that_is_cut_off_is_shown_as_far_as_it_goes(self) -> None:
        path = Path(self.file())
        path.write_bytes(path.read_bytes()[:-30])
        result = self.refuse("cut off at octet", str(path))
        self.assertIn("C: QUIT", result.stdout)

    def test_a_gzipped_file_that_is_cut_off_is_shown_as_far_as_it_goes(self) -> None:
        path = Path(self.file())
        whole = gzip.compress(path.read_bytes())
        path.write_bytes(whole)
        self.assertIn("C: HELO c", self.succeed(str(path)))
        path.write_bytes(whole[:-8])
        result = self.refuse("the gzip data is cut off", str(path))
        self.assertIn("C: QUIT", result.stdout)

    def test_what_is_no_session_is_noted(self) -> None:
        web = Line(587).open().client(b"GET / HTTP/1.1\r\n").server(b"HTTP/1.1 400 no\r\n")
        scan = Line(2525)._segment(0, SYN)
        result = self.run_command(self.file(*scan.frames, *web.frames, *second().frames))
        self.assertEqual(result.exit_code, 0)
        self.assertTrue(result.stdout.startswith("Session 1: [2001:db8::1]:40000"))
        self.assertNotIn("Session 2", result.stdout)
        self.assertEqual(
            result.stderr,
            "note: 192.0.2.1:40000 > 192.0.2.2:587: neither SMTP nor TLS, "
            'the client began with "GET / HTTP/1.1"\n',
        )

    def test_packets_that_cannot_be_read_are_counted(self) -> None:
        cut_off = first().frames[0][1][:40]
        frames = [(1.0, cut_off), *first().frames]
        result = self.run_command(self.file(*frames))
        note = f"note: 1 of {len(frames)} packets cannot be read\n"
        self.assertEqual(result.stderr, note)
        self.assertEqual(result.exit_code, 0)

    def test_without_dpkt(self) -> None:
        import dpkt

        self.addCleanup(sys.modules.__setitem__, "dpkt", dpkt)
        sys.modules["dpkt"] = None  # type: ignore[assignment]
        self.refuse(r"pip install 'postroom\[capture\]'", self.file())

    def test_a_replay(self) -> None:
        script = ((b"", b"220 new\r\n"), (b"HELO c\r\n", b"550 5.7.1 go away\r\n"))
        server = Server(*script)
        self.addCleanup(server.stop)
        target = f"127.0.0.1:{server.port}"
        text = self.succeed(self.file(), "--session", "2", "--replay", target)
        self.assertEqual(
            text.splitlines(),
            [
                *("   S: 220 b", "   C: HELO c", "   S: 250 b", "!= S: 550 5.7.1 go away"),
                "2 replies, 1 of them differ",
            ],
        )
        server = Server(*script)
        self.addCleanup(server.stop)
        target = f"127.0.0.1:{server.port}"
        steps = json.loads(
            self.succeed(self.file(), "--session", "2", "--replay", target, "--json")
        )
        self.assertEqual([each["differs"] for each in steps], [False, False, True])

    def test_a_replay_that_is_cut_short_is_summed_up(self) -> None:
        hello = (b"", b"220 b\r\n"), (b"HELO c\r\n", b"250 b\r\n421 4.3.2 down\r\n")
        more = Line().open().server(b"220 b\r\n").client(b"HELO c\r\n").server(b"250 b\r\n")
        more.client(b"RSET\r\n").server(b"250 b\r\n").client(b"QUIT\r\n")
        path = self.file(*more.server(b"221 b\r\n").frames)
        for script, why, summary in (
            (hello, "the replay was not completed", "4 replies, 2 of them differ"),
            (((b"", b"220 b\r\n"),), "was not completed", "2 replies, 1 of them differ"),
            (((b"", b"220 b\r\n421"),), "was not completed", "2 replies, 1 of them differ"),
            (((b"", b"220 b\r\nSSH-2\r\n"),), "no reply", "1 replies, 0 of them differ"),
        ):
            for options in ((), ("--json",)):
                server = Server(*script, closes=True)
                self.addCleanup(server.stop)
                target = f"127.0.0.1:{server.port}"
                result = self.refuse(why, path, "--replay", target, *options)
                if options:
                    self.assertEqual(json.loads(result.stdout)[0]["lines"], ["220 b"])
                else:
                    self.assertEqual(result.stdout.splitlines()[-1], summary)
                    self.assertIn("   S: 220 b", result.stdout)

    def test_a_replay_of_what_and_whereto(self) -> None:
        for target in ("here", ":25", "a:0", "a:65536", "a:x", "a:" + "9" * 5000):
            result = self.run_command(self.file(), "--replay", target)
            self.assertEqual(result.exit_code, 2, result.output)
        result = self.run_command(self.file(), "--replay", "127.0.0.1:1")
        self.assertIn("choose one of 2 sessions with --session", result.stderr)
        self.assertEqual(result.exit_code, 2)


class ProgressTests(SynchronousTestCase):
    """A large file on a terminal."""

    def test_a_bar_is_drawn_on_standard_error_if_it_is_a_terminal(self) -> None:
        path = Path(self.mktemp())
        junk = [(1.0, bytes(1400))] * 4000
        write_pcap(path, [*junk, *second().frames])
        for terminal in (True, False):
            near, far = pty.openpty()
            done = subprocess.run(
                [*COMMAND, "dissect", str(path)],
                stdout=subprocess.PIPE,
                stderr=far if terminal else subprocess.PIPE,
                env=environment(TERM="xterm", COLUMNS="80"),
                timeout=60,
                check=True,
            )
            os.close(far)
            drawn = b"" if not terminal else os.read(near, 100_000)
            os.close(near)
            self.assertEqual(b"MB" in drawn, terminal)
            self.assertEqual(done.stderr or b"", b"")
            self.assertIn(b"C: HELO c", done.stdout)
            self.assertNotIn(b"\x1b", done.stdout)
