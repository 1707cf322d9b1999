"""A PostgreSQL server that a test stops and starts; `tests.database` has one that only runs."""

import os
import shutil
import subprocess
from pathlib import Path

import psycopg

from tests.daemon import free_port


class Postgresql:
    """A server on loopback with a database of its own.

    Attributes:
        port: on loopback.
        url: of the database.
    """

    def __init__(self, folder: Path) -> None:
        """Make the database and start the server."""
        initdb = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))[-1]
        self._pg_ctl = str(initdb.with_name("pg_ctl"))
        folder.mkdir()
        self._who: dict[str, object] = {"cwd": folder}
        if os.getuid() == 0:  # it refuses to run as root
            shutil.chown(folder, "nobody", "nogroup")
            self._who.update(user="nobody", group="nogroup", extra_groups=[])
        self._data = str(folder / "data")
        self.port = port = free_port()
        self._options = f"-F -p {port} -c listen_addresses=127.0.0.1 -k {folder}"
        self.url = f"postgresql://postroom@127.0.0.1:{port}/postgres"
        self._run(str(initdb), "-D", self._data, "-U", "postroom", "-A", "trust", "--no-sync")
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        log = f"{self._data}.log"
        self._run(self._pg_ctl, "-D", self._data, "-l", log, "-o", self._options, "-w", "start")

    def stop(self) -> None:
        """Stop it, with connections or without."""
        if (Path(self._data) / "postmaster.pid").exists():
            self._run(self._pg_ctl, "-D", self._data, "-m", "immediate", "-w", "stop")

    def execute(self, *statements: str) -> None:
        """Run statements."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)  # type: ignore[arg-type]

    def _run(self, *command: str) -> None:
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run(command, check=True, **quiet, **self._who)  # type: ignore[call-overload]
