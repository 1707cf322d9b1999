"""Running the command: in this process, and as a process of its own."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
from twisted.trial.unittest import SynchronousTestCase

from postroom.cli.main import cli
from postroom.logins.hashing import Hashing, HashParameters
from tests.directory.support import fresh_database

COMMAND = [sys.executable, "-c", "from postroom.cli.main import main; main()"]


def environment(**more: str) -> dict[str, str]:
    """Give a process what it needs to find the package, and no more of ours than that."""
    kept = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
    return {**kept, "PYTHONPATH": os.pathsep.join(sys.path), **more}


def run_process(*arguments: str, **options: Any) -> "subprocess.CompletedProcess[str]":
    """Run the command as it is run from a shell."""
    options.setdefault("env", environment())
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=60, check=False, **options
    )


class CommandTestCase(SynchronousTestCase):
    """A state directory whose database is migrated, and the command run on it."""

    def setUp(self) -> None:
        self.engine = fresh_database(self)
        self.state_dir = Path(str(self.engine.url.database)).parent
        self.mail_root = self.state_dir / "mail"
        # Real hashes take longer than all the rest; their own tests make them.
        cheap = partial(Hashing, HashParameters(passes=1, memory_kib=8))
        self.patch(sys.modules["postroom.logins.hashing"], "Hashing", cheap)

    def run_command(self, *arguments: str, stdin: str | bytes | None = None) -> Result:
        return CliRunner().invoke(cli, ["--state-dir", str(self.state_dir), *arguments], stdin)

    def succeed(self, *arguments: str, stdin: str | bytes | None = None) -> str:
        """Run it, and give its standard output."""
        result = self.run_command(*arguments, stdin=stdin)
        self.assertEqual((result.exit_code, result.exception), (0, None), result.output)
        return result.stdout

    def succeed_json(self, *arguments: str, stdin: str | bytes | None = None) -> Any:
        """Run it with ``--json``, and give the document that is its whole standard output."""
        return json.loads(self.succeed(*arguments, "--json", stdin=stdin))

    def refuse(self, why: str, *arguments: str, stdin: str | bytes | None = None) -> None:
        """Run it: one line on standard error says why not, and nothing was printed."""
        result = self.run_command(*arguments, stdin=stdin)
        self.assertEqual(result.exit_code, 1, result.output)
        self.assertEqual(result.stdout, "")
        lines = result.stderr.splitlines()
        self.assertEqual(len(lines), 1, lines)
        self.assertTrue(lines[0].startswith("postroom: "), lines)
        self.assertIn(why, lines[0])

    def misuse(self, why: str, *arguments: str) -> None:
        """Run it: the command line itself is wrong."""
        result = self.run_command(*arguments)
        self.assertEqual(result.exit_code, 2, result.output)
        self.assertIn(why, result.stderr)
