"""The command as a whole: state directories, settings, errors, terminals."""

import json
import os
import pty
import sqlite3
import stat
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from unittest import SkipTest

from click.testing import CliRunner
from twisted.trial.unittest import SynchronousTestCase

from postroom.cli.main import cli
from postroom.cli.output import octets, printable
from postroom.cli.site import Places
from postroom.directory import accounts
from postroom.service.settings import load_settings
from tests.cli.support import COMMAND, CommandTestCase, environment, run_process


class FreshStateTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.place = Path(self.mktemp()).absolute()
        self.place.mkdir()

    def test_a_state_directory_is_made_for_its_owner_alone(self) -> None:
        state = self.place / "deep" / "state"
        old = os.umask(0o022)
        try:
            result = run_process("--state-dir", str(state), "account", "list", "--json")
        finally:
            os.umask(old)
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertEqual(json.loads(result.stdout)[0]["address"], "postmaster@localhost")
        self.assertEqual(stat.S_IMODE(state.stat().st_mode), 0o700)
        self.assertEqual(stat.S_IMODE((state / "postroom.db").stat().st_mode), 0o600)

    def test_without_options_the_state_is_in_the_working_directory(self) -> None:
        result = run_process("mailbox", "path", "postmaster@localhost", cwd=self.place)
        self.assertEqual(
            result.stdout, f"{self.place}/postroom-state/mail/localhost/postmaster\n", result.stderr
        )

    def test_a_settings_file_says_where_everything_is(self) -> None:
        config = self.place / "postroom.toml"
        config.write_text('state_dir = "here"\ndomains = ["a.example"]\n')
        result = run_process("--config", str(config), "account", "list", "--json")
        self.assertEqual(
            [each["maildir"] for each in json.loads(result.stdout)],
            [f"{self.place}/here/mail/a.example/postmaster"],
        )
        result = run_process("--config", str(config), "domain", "remove", "a.example")
        self.assertEqual(result.returncode, 1)

    def test_the_places_without_a_file_are_those_of_the_settings(self) -> None:
        for chosen in (None, Path("relative"), Path("/absolute")):
            overrides = {} if chosen is None else {"state_dir": str(chosen)}
            self.assertEqual(
                Places.by_default(chosen), Places.of_settings(load_settings(None, overrides))
            )

    def test_a_state_directory_that_cannot_be_is_one_line(self) -> None:
        file = self.place / "file"
        file.write_text("")
        broken = self.place / "broken"
        broken.mkdir()
        (broken / "postroom.db").write_bytes(b"this is no database, but long enough" * 500)
        for state, why in (
            (file, "is not a directory"),
            (file / "below", "Not a directory"),
            (broken, "file is not a database"),
        ):
            result = run_process("--state-dir", str(state), "alias", "list")
            self.assertEqual((result.returncode, result.stdout), (1, ""))
            self.assertEqual(len(result.stderr.splitlines()), 1, result.stderr)
            self.assertIn(why, result.stderr)

    def test_what_root_makes_belongs_to_the_owner_of_the_state_directory(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("only root can act as somebody else")
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o755)
            state = Path(folder) / "state"
            state.mkdir(mode=0o700)
            os.chown(state, 65534, 65534)
            result = run_process("--state-dir", str(state), "domain", "add", "a.example")
            self.assertEqual((result.returncode, result.stderr), (0, ""))
            # The log files stay for as long as somebody has the database open.
            with closing(sqlite3.connect(state / "postroom.db")) as connection:
                connection.execute("SELECT count(*) FROM domain").fetchone()
                run_process("--state-dir", str(state), "domain", "add", "b.example")
                owners = {path.name: path.stat().st_uid for path in state.iterdir()}
        names = ("postroom.db", "postroom.db-shm", "postroom.db-wal")
        self.assertEqual(owners, dict.fromkeys(names, 65534))


class TerminalTests(SynchronousTestCase):
    """On a pseudo-terminal, as people use it."""

    def run_on_terminal(self, *arguments: str, answers: tuple[bytes, ...] = (), **more: str) -> str:
        child, terminal = pty.fork()
        if not child:
            try:
                variables = environment(**{"TERM": "xterm", **more})
                os.execve(sys.executable, [*COMMAND, *arguments], variables)
            finally:
                os._exit(99)
        seen = b""
        waiting = list(answers)
        try:
            while piece := os.read(terminal, 1024):
                seen += piece
                if waiting and seen.rstrip(b" ").endswith(b":") and not seen.endswith(b"\n"):
                    os.write(terminal, waiting.pop(0) + b"\n")
                    seen += b"|"
        except OSError:  # how Linux says that the other end has closed
            pass
        os.close(terminal)
        _, self.status = os.waitpid(child, 0)
        return seen.decode()

    def test_the_password_is_asked_for_twice_and_not_shown(self) -> None:
        state = self.mktemp()
        arguments = ("--state-dir", state, "account", "add", "joe@localhost")
        output = self.run_on_terminal(*arguments, answers=(b"correct horse", b"correct horse"))
        self.assertEqual(self.status, 0, output)
        self.assertIn("Password of joe@localhost: |", output)
        self.assertIn("Repeat the password: |", output)
        self.assertNotIn("horse", output)

    def test_tables_have_bold_titles_on_a_terminal_unless_colours_are_unwanted(self) -> None:
        arguments = ("--state-dir", self.mktemp(), "domain", "list")
        self.assertIn("\x1b[1m", self.run_on_terminal(*arguments))
        plain = self.run_on_terminal(*arguments, NO_COLOR="1", TERM="dumb")
        self.assertNotIn("\x1b", plain)
        self.assertIn("localhost", plain)


class ErrorTests(CommandTestCase):
    def break_list(self, error: Exception) -> None:
        def fail(engine: object) -> None:
            raise error

        self.patch(accounts, "list_accounts", fail)

    def test_what_nobody_foresaw_is_one_line(self) -> None:
        self.break_list(ValueError("first\nsecond"))
        self.refuse("ValueError: first", "account", "list")
        self.break_list(KeyError())
        self.refuse("KeyError", "account", "list")

    def test_an_error_of_the_system_is_told_in_its_words(self) -> None:
        self.break_list(PermissionError(13, "Permission denied", "/x"))
        self.refuse("/x: Permission denied", "account", "list")

    def test_an_error_of_the_database_comes_without_the_statement(self) -> None:
        self.succeed("account", "list")
        with self.engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE alias RENAME TO lost")
        self.refuse("OperationalError: no such table: alias", "alias", "list")

    def test_debug_shows_the_traceback(self) -> None:
        self.break_list(ValueError("x"))
        arguments = ["--state-dir", str(self.state_dir), "account", "list"]
        result = CliRunner().invoke(cli, ["--debug", *arguments])
        self.assertIsInstance(result.exception, ValueError)
        result = CliRunner().invoke(cli, arguments, env={"POSTROOM_DEBUG": "1"})
        self.assertIsInstance(result.exception, ValueError)

    def test_a_wrong_command_line_is_status_2(self) -> None:
        self.misuse("No such command", "acount")
        self.misuse("No such option", "account", "list", "--jsn")
        self.misuse("ADDRESS", "account", "add")

    def test_a_reader_that_leaves_early_gets_no_traceback(self) -> None:
        process = subprocess.Popen(
            [*COMMAND, "--state-dir", str(self.state_dir), "config", "check"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
        )
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        errors = process.stderr.read()
        process.stderr.close()
        process.wait()
        self.assertEqual(errors, b"")


class ConfigTests(CommandTestCase):
    def write(self, text: str) -> str:
        path = self.state_dir / "postroom.toml"
        path.write_text(text)
        return str(path)

    def test_the_settings_in_force_are_printed_by_their_keys(self) -> None:
        values = self.succeed_json("config", "check")
        self.assertIn("blanks", values["session.tolerate"])
        self.assertIsInstance(values["session.tolerate"], list)
        self.assertEqual(values["state_dir"], str(self.state_dir))
        self.assertEqual(values["limits.recipients"], 1000)
        self.assertIn("mx=tcp:2525:interface=127.0.0.1", values["listen"])
        self.assertIn("limits.recipients", self.succeed("config", "check"))

    def test_passwords_are_not_printed(self) -> None:
        config = self.write(
            'relay_host = "smtps://joe:hunter2@mail.example.net"\n'
            'database = "postgresql://joe:hunter2@db/postroom"\n'
            '[routes]\n"b.example" = "smtp://joe:hunter2@127.0.0.1:26"\n'
            '[accounts.static.users]\n"ann@b.example" = "{PLAIN}hunter2"\n'
            '[accounts.sql]\nurl = "postgresql://joe:hunter2@db/mail"\n'
        )
        for output in ((), ("--json",)):
            result = CliRunner().invoke(cli, ["--config", config, "config", "check", *output])
            self.assertEqual(result.exit_code, 0, result.output)
            self.assertIn("mail.example.net", result.stdout)
            self.assertNotIn("hunter2", result.output)

    def test_a_wrong_setting_is_one_line_that_names_file_and_key(self) -> None:
        config = self.write("recipents = 5\n[limits]\nrecipients = 1\n")
        result = CliRunner().invoke(cli, ["--config", config, "config", "check"])
        self.assertEqual((result.exit_code, result.stdout), (1, ""))
        lines = result.stderr.splitlines()
        self.assertEqual(len(lines), 2)
        for line in lines:
            self.assertTrue(line.startswith(f"postroom: {config}: "), line)

    def test_a_settings_file_that_is_not_there_is_refused(self) -> None:
        for command in (("config", "check"), ("alias", "list")):
            self.refuse("/nonexistent", "--config", "/nonexistent", *command)

    def test_checking_makes_nothing(self) -> None:
        state = Path(self.mktemp())
        CliRunner().invoke(cli, ["--state-dir", str(state), "config", "check"])
        self.assertFalse(state.exists())


class ImportTests(SynchronousTestCase):
    def imported(self, *arguments: str) -> set[str]:
        """Give the packages that a run of the command imports."""
        code = (
            "import sys, atexit\n"
            "atexit.register(lambda: print(*sys.modules, file=sys.stderr))\n"
            "from postroom.cli.main import main\nmain()"
        )
        run = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            capture_output=True,
            text=True,
            env=environment(),
            check=True,
        )
        return {name.partition(".")[0] for name in run.stderr.split()}

    def test_each_command_imports_only_what_it_uses(self) -> None:
        heavy = {"sqlalchemy", "twisted", "pydantic", "alembic", "argon2", "rich"}
        state = self.mktemp()
        self.assertEqual(self.imported("--help") & heavy, set())
        run_process("--state-dir", state, "domain", "list")
        imported = self.imported("--state-dir", state, "alias", "add", "a@localhost", "b@c.example")
        self.assertEqual(imported & heavy, {"sqlalchemy"})


class OutputTests(SynchronousTestCase):
    def test_sizes_are_written_for_people(self) -> None:
        for size, text in (
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (52_428_800, "50.0 MiB"),
            (3 * 1024**4, "3.0 TiB"),
        ):
            self.assertEqual(octets(size), text)

    def test_what_must_not_reach_a_terminal_is_replaced(self) -> None:
        self.assertEqual(printable("café \x1b[0m\u00a0\u202e\udc80"), "café \ufffd[0m \ufffd\ufffd")
