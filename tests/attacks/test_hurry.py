"""Talking before one's turn: a stranger who does not wait where he has to is cut off.

RFC 2920 s3.1 names the commands that end a group. What follows one of them in the same segment is
a bot's or a smuggler's; it is never obeyed.
"""

from typing import Any

from tests.attacks.attack import TRANSPORTS, Attack, connected
from tests.attacks.test_smuggling import EVIL
from tests.modes import REFUSE, STRICT
from tests.server.scene import Scene


class HurryTests(Attack):
    """What comes too early is not obeyed."""

    def scene(self, **changes: Any) -> Scene:
        return super().scene(synchronised=True, **changes)

    def cut_off(self, scene: Scene, transport: str, before: list[str], octets: bytes) -> None:
        peer = connected(scene, transport)
        for line in before:
            peer.say(line)
        peer.send(octets)
        peer.settle()
        codes = [reply.code for reply in peer.hear_all()]
        self.assertEqual(codes[-1], 554, octets)
        self.assertTrue(peer.closed, octets)
        self.assertNotIn("sender evil@there.example", scene.world.calls)
        self.assertEqual(scene.world.stored, [])

    def test_behind_commands_that_end_a_group(self) -> None:
        mail = ["EHLO c", "MAIL FROM:<a@there.example>", "RCPT TO:<user@here.example>"]
        for transport in TRANSPORTS:
            for before, command in (
                ([], b"EHLO client.example\r\n"),
                ([], b"HELO client.example\r\n"),
                (mail, b"DATA\r\n"),
            ):
                self.cut_off(self.scene(), transport, before, command + EVIL)

    def test_behind_starttls_it_is_not_obeyed(self) -> None:
        scene = self.scene()
        peer = scene.connect()
        peer.say("EHLO c")
        peer.send(b"STARTTLS\r\n" + EVIL)
        peer.settle()
        self.assertIn([each.code for each in peer.hear_all()], ([220], [554]))
        self.assertNotIn("sender evil@there.example", scene.world.calls)

    def test_before_the_greeting(self) -> None:
        scene = self.scene(greeting_delay_seconds=2)
        peer = scene.connect(greeted=False)
        peer.send(b"EHLO client.example\r\n")
        scene.wait(3, peer)
        self.assertEqual([reply.code for reply in peer.hear_all()], [554])
        self.assertTrue(peer.closed)

    def test_a_group_that_is_one_is_served(self) -> None:
        for transport in TRANSPORTS:
            scene = self.scene()
            peer = connected(scene, transport)
            peer.say("EHLO c")
            peer.send(b"MAIL FROM:<a@there.example>\r\nRCPT TO:<user@here.example>\r\nDATA\r\n")
            peer.settle()
            self.assertEqual([each.code for each in peer.hear_all()], [250, 250, 354])
            peer.send(b"x\r\n.\r\nMAIL FROM:<b@there.example>\r\nRSET\r\nQUIT\r\n")
            peer.settle()
            self.assertEqual([each.code for each in peer.hear_all()], [250, 250, 250, 221])
            self.assertEqual(len(scene.world.stored), 1)


class StrictHurryTests(HurryTests):
    """Nothing is tolerated."""

    mode = STRICT


class RefuseHurryTests(HurryTests):
    """Bare newlines in content are refused."""

    mode = REFUSE
