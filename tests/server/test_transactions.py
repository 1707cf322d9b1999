"""MAIL: what is taken from a stranger, and what there is no room for."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.server.scene import Peer, Scene, settings

PLAIN = "AUTH PLAIN AHVzZXJAaGVyZS5leGFtcGxlAGNvcnJlY3QgaG9yc2U="


class TrustTests(SynchronousTestCase):
    """Parameters that only somebody who has logged in may set."""

    def parameters(self, peer: Peer, sent: str) -> Any:
        peer.say(f"MAIL FROM:<a@there.example> {sent}")
        found = peer.protocol.session.envelope.mail.parameters
        peer.say("RSET")
        return found

    def test_a_stranger_speaks_for_nobody(self) -> None:
        peer = Scene().connect(tls=True)
        peer.say("EHLO client.example")
        self.assertEqual(self.parameters(peer, "AUTH=boss@there.example"), {"AUTH": "<>"})
        self.assertEqual(self.parameters(peer, "AUTH=<>"), {"AUTH": "<>"})

    def test_who_has_logged_in_may_say_for_whom_he_submits(self) -> None:
        peer = Scene().connect(tls=True)
        peer.say("EHLO client.example")
        peer.say(PLAIN)
        found = self.parameters(peer, "AUTH=boss@there.example")
        self.assertEqual(found, {"AUTH": "boss@there.example"})

    def test_a_stranger_does_not_get_ahead(self) -> None:
        peer = Scene(settings(role="lmtp")).connect()
        peer.say("LHLO client.example")
        self.assertEqual(self.parameters(peer, "MT-PRIORITY=5"), {"MT-PRIORITY": "0"})
        self.assertEqual(self.parameters(peer, "MT-PRIORITY=-5"), {"MT-PRIORITY": "-5"})

    def test_who_has_logged_in_does(self) -> None:
        peer = Scene(settings(role="submission")).connect(tls=True)
        peer.say("EHLO client.example")
        peer.say(PLAIN)
        self.assertEqual(self.parameters(peer, "MT-PRIORITY=5"), {"MT-PRIORITY": "5"})


class RoomTests(SynchronousTestCase):
    """RFC 1870 s6.1: room on the disk."""

    def test_a_message_that_has_no_room_now_may_come_again(self) -> None:
        scene = Scene()
        scene.room_octets = 1000
        peer = scene.connect()
        peer.say("EHLO client.example")
        refused = peer.say("MAIL FROM:<a@there.example> SIZE=1001")
        self.assertEqual((refused.code, refused.enhanced), (452, "4.3.1"))
        self.assertEqual(peer.say("MAIL FROM:<a@there.example> SIZE=1000").code, 250)

    def test_nor_does_one_of_unknown_size_on_a_full_disk(self) -> None:
        scene = Scene()
        scene.room_octets = -1
        peer = scene.connect()
        peer.say("EHLO client.example")
        self.assertEqual(peer.say("MAIL FROM:<a@there.example>").code, 452)
