"""Starts that are to fail, and real daemons in the background, in processes of their own."""

import os
import subprocess
import time
from pathlib import Path

from tests.daemon import ENVIRONMENT, TWISTD, wait_until

__all__ = ["ENVIRONMENT", "Background", "failed_start"]


def failed_start(folder: Path, *options: str, daemonise: bool = False) -> tuple[int, str, str]:
    """Start ``twistd smtp``, which ends at once; gives status, standard output, standard error."""
    done = subprocess.run(
        [*TWISTD, *([] if daemonise else ["-n"]), "--pidfile=", "smtp", *options],
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


class Background:
    """``twistd smtp`` as it is started without ``-n``: it forks, and has a pidfile."""

    def __init__(self, folder: Path, *options: str, twistd: tuple[str, ...] = ()) -> None:
        """Start it; it has returned to the shell when this returns."""
        self.folder = folder
        self._pidfile = folder / "twistd.pid"
        self.started = subprocess.run(
            [*TWISTD, *twistd, f"--pidfile={self._pidfile}", "smtp", *options],
            cwd=folder,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        wait_until(self._pidfile.exists, 10)
        self.pid = int(self._pidfile.read_text()) if self._pidfile.exists() else 0

    def send(self, signal_number: int) -> None:
        os.kill(self.pid, signal_number)

    def stop(self) -> None:
        """Stop it with SIGTERM and wait for its end."""
        if self.pid:
            self.send(15)
            wait_until(lambda: not Path(f"/proc/{self.pid}").exists(), 30)
            self.pid = 0

    def log(self, name: str = "twistd.log") -> str:
        """Give the log, when what was written last has had time to be there."""
        time.sleep(0.4)
        return (self.folder / name).read_text()
