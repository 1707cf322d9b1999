"""A daemon that runs another checkout's code, to compare what it did with what it does now."""

import os
import subprocess
import sys
from pathlib import Path

from tests.daemon import ENVIRONMENT, Daemon

_ADMIN = [sys.executable, "-c", "from postroom.cli.main import cli; cli()"]


class CheckoutDaemon(Daemon):
    """A `Daemon` whose code is another checkout's, or this one's if none is named."""

    def __init__(
        self,
        folder: Path,
        *options: str,
        checkout: Path | None = None,
        listeners: tuple[str, ...] = ("mx",),
        settings: str = "",
    ) -> None:
        """Choose ports; nothing runs yet.

        Args:
            folder: exists; takes state directory, settings file and log.
            options: of ``twistd smtp``, besides those for state and listeners.
            checkout: the directory that has ``src``; it is only read.
            listeners: names from `tests.daemon.LISTENERS`.
            settings: TOML, given with ``--config``.
        """
        super().__init__(folder, *options, listeners=listeners, settings=settings)
        if checkout is not None:
            self._environment = {
                **ENVIRONMENT,
                "PYTHONPATH": os.pathsep.join([str(checkout / "src"), str(checkout)]),
                "PYTHONDONTWRITEBYTECODE": "1",
            }

    def admin(self, *words: str, stdin: str = "") -> str:
        """Run the checkout's own admin command on the state directory."""
        command = [*_ADMIN, "--state-dir", str(self.state), *words]
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, env=self._environment, timeout=60
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(words)}: {done.stdout}{done.stderr}")
        return done.stdout
