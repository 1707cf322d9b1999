"""Daemons that share a queue: a node that was killed takes its own mail up again at once."""

import smtplib
import socket
from pathlib import Path

from sqlalchemy import select
from twisted.trial.unittest import SynchronousTestCase

from postroom.database import open_database
from postroom.queue.tables import recipient
from tests.daemon import Daemon, free_port, wait_until
from tests.database.postgresql import new_postgresql_url
from tests.interop.fixtures import new_folder
from tests.interop.peers import Aiosmtpd


class RestartTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.url = new_postgresql_url()
        self.engine = open_database(self.url)
        self.addCleanup(self.engine.dispose)
        self.hop = free_port()

    def node(self, name: str) -> Daemon:
        """Make a daemon of the cluster."""
        folder: Path = new_folder(name)
        daemon = Daemon(
            folder,
            *("--hostname", f"{name}.test", "--database", self.url),
            *("--relay-network", "127.0.0.0/8"),
            *("--relay-host", f"smtp://127.0.0.1:{self.hop}"),
        )
        self.addCleanup(daemon.stop)
        return daemon

    def owners(self) -> list[str | None]:
        with self.engine.connect() as connection:
            return list(connection.scalars(select(recipient.c.lease_owner)))

    def test_a_killed_node_takes_its_leases_back_and_nobody_elses(self) -> None:
        silent = socket.create_server(("127.0.0.1", self.hop))
        nodes = [self.node("one"), self.node("two")]
        for number, node in enumerate(nodes):
            node.start()
            with smtplib.SMTP("127.0.0.1", node.port, timeout=30) as smtp:
                smtp.sendmail("a@b.test", [f"r{number}@there.test"], b"a: b\r\n\r\nc\r\n")
        self.assertTrue(wait_until(lambda: len(set(self.owners()) - {None}) == 2))
        nodes[0].kill()
        silent.close()
        hop = Aiosmtpd(self.hop)
        self.addCleanup(hop.stop)
        nodes[0].start()
        self.assertTrue(wait_until(lambda: ["r0@there.test"] in hop.recipients))
        taken_up = "1 recipients of an earlier run are due again"
        self.assertTrue(wait_until(lambda: taken_up in nodes[0].log()), nodes[0].log())
        # The other's claim stands: its own connection decides, nobody else's.
        self.assertNotIn("r1@there.test", nodes[0].log())
