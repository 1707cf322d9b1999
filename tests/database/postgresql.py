"""A PostgreSQL server of our own for the tests: on loopback, unprivileged, gone at exit."""

import atexit
import os
import shutil
import subprocess
import tempfile
from functools import cache
from itertools import count
from pathlib import Path
from unittest import SkipTest

from tests.ports import free_port

_numbers = count()


@cache
def _cluster() -> str:
    """Start the server, once for all tests; gives the URL of its maintenance database."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    initdb = shutil.which("initdb") or (str(found[-1]) if found else None)
    if initdb is None:
        raise SkipTest("PostgreSQL's initdb is not installed")
    pg_ctl = str(Path(initdb).with_name("pg_ctl"))
    folder = tempfile.mkdtemp(prefix="postroom-postgresql-")
    who: dict[str, object] = {"cwd": folder}
    if os.getuid() == 0:
        # The server refuses to run as root.
        shutil.chown(folder, "nobody", "nogroup")
        who.update(user="nobody", group="nogroup", extra_groups=[])
    port = free_port()
    data = f"{folder}/data"
    options = f"-F -p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}"
    run(initdb, "-D", data, "-U", "postroom", "-A", "trust", "-E", "UTF8", "--no-sync", **who)
    run(pg_ctl, "-D", data, "-l", f"{folder}/log", "-o", options, "-w", "start", **who)

    def stop() -> None:
        run(pg_ctl, "-D", data, "-m", "immediate", "stop", **who)
        shutil.rmtree(folder)

    atexit.register(stop)
    return f"postgresql://postroom@127.0.0.1:{port}/postgres"


def run(*command: str, **how: object) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, **how)  # type: ignore[call-overload]


def new_postgresql_url() -> str:
    """Give the URL of an empty database.

    Raises:
        SkipTest: PostgreSQL is not installed.
    """
    import psycopg

    server = _cluster()
    name = f"test{next(_numbers)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return server.removesuffix("postgres") + name
