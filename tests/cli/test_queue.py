"""``postroom queue``."""

import time

from sqlalchemy import insert, select

from postroom.database import transaction
from postroom.envelope import Trait
from postroom.queue.tables import HELD, content, message, recipient
from tests.cli.support import CommandTestCase

ID = "0BDLMN0001WXYZ"


class QueueTests(CommandTestCase):
    def enqueue(
        self, message_id: str = ID, *addresses: bytes, due_in: float = 600.0, **more: object
    ) -> None:
        with transaction(self.engine) as connection:
            connection.execute(
                insert(message).values(
                    id=message_id,
                    sender=b"joe@a.example",
                    parameters={"BODY": "8BITMIME"},
                    priority=4,
                    traits=Trait.TRUSTED,
                    identity=None,
                    received_at=1_700_000_000.0,
                    size_octets=5,
                )
            )
            connection.execute(
                insert(content).values(message_id=message_id, number=0, octets=b"a\xff\r\nb")
            )
            for number, address in enumerate(addresses or (b"zoe@b.example",)):
                connection.execute(
                    insert(recipient).values(
                        message_id=message_id,
                        number=number,
                        address=address,
                        domain="b.example",
                        attempts=number,
                        due_at=time.time() + due_in,
                        lease_owner=None,
                        last_reply="451 4.3.0 Later" if number else "",
                        **more,
                    )
                )

    def due(self, message_id: str = ID) -> bool:
        query = select(recipient.c.due_at).where(recipient.c.message_id == message_id)
        with self.engine.connect() as connection:
            return all(at <= time.time() for at in connection.scalars(query))

    def test_an_empty_queue_lists_nothing(self) -> None:
        result = self.run_command("queue", "list")
        self.assertEqual((result.stdout, result.stderr), ("", "note: nothing to list\n"))
        self.assertEqual(self.succeed_json("queue", "list"), [])

    def test_the_queue_is_listed(self) -> None:
        self.enqueue(ID, b"zoe@b.example", b"ann@b.example")
        line = self.succeed("queue", "list").splitlines()[1]
        self.assertTrue(line.startswith(ID))
        self.assertIn("joe@a.example", line)
        self.assertIn("(+1)", line)
        listed = self.succeed_json("queue", "list")[0]
        self.assertEqual(
            (listed["id"], listed["sender"], listed["size_octets"], listed["parameters"]),
            (ID, "joe@a.example", 5, {"BODY": "8BITMIME"}),
        )
        self.assertEqual(
            sorted(listed["recipients"][0]),
            [
                *("address", "attempts", "claimed", "held"),
                *("last_reply", "next_attempt_at", "parameters"),
            ],
        )

    def test_a_message_is_shown_with_all_its_recipients(self) -> None:
        self.enqueue(ID, b"zoe@b.example", b"ann@b.example")
        output = self.succeed("queue", "show", ID)
        for text in (ID, "zoe@b.example", "ann@b.example", "451 4.3.0 Later", "BODY=8BITMIME"):
            self.assertIn(text, output)
        shown = self.succeed_json("queue", "show", ID)
        self.assertEqual((shown["id"], shown["priority"], shown["traits"]), (ID, 4, ["TRUSTED"]))

    def test_what_is_held_is_shown_with_its_parameters_and_stays_held(self) -> None:
        self.enqueue(ID, b"zoe@b.example", rank=HELD, rcpt_parameters={"NOTIFY": "NEVER"})
        output = self.succeed("queue", "show", ID)
        self.assertIn("held until", output)
        self.assertIn("NOTIFY=NEVER", output)
        self.assertIn("held until", self.succeed("queue", "list"))
        self.assertEqual(self.succeed_json("queue", "retry", "--all"), {"recipients": 0})
        self.assertEqual(self.succeed_json("queue", "retry", ID), {"recipients": 1})
        self.assertIn("due", self.succeed("queue", "list"))

    def test_the_content_is_printed_octet_for_octet(self) -> None:
        self.enqueue()
        result = self.run_command("queue", "show", ID, "--content")
        self.assertEqual(result.stdout_bytes, b"a\xff\r\nb")
        self.misuse("exclude each other", "queue", "show", ID, "--content", "--json")

    def test_messages_are_made_due(self) -> None:
        self.enqueue(ID)
        self.enqueue("OTHER")
        self.assertEqual(self.succeed("queue", "retry", ID), "1 recipient is due now\n")
        self.assertEqual((self.due(ID), self.due("OTHER")), (True, False))
        self.assertEqual(self.succeed_json("queue", "retry", "--all"), {"recipients": 2})
        self.assertTrue(self.due("OTHER"))

    def test_retry_wants_ids_or_all(self) -> None:
        self.misuse("--all", "queue", "retry")
        self.misuse("--all", "queue", "retry", ID, "--all")

    def test_a_message_is_removed(self) -> None:
        self.enqueue()
        self.assertIn("its sender gets no report", self.succeed("queue", "remove", ID))
        self.assertEqual(self.succeed_json("queue", "list"), [])

    def test_an_unknown_id_is_refused(self) -> None:
        for command in (("show",), ("retry",), ("remove",), ("show", "--content")):
            self.refuse("no message NOSUCH in the queue", "queue", *command, "NOSUCH")
