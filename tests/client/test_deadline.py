"""How long the client waits."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from postroom.client.deadline import Deadline, seconds_by_phase
from postroom.client.model import Destination, SmartHost, TLSMode
from postroom.client.settings import Timeouts
from postroom.wire.client_session import ClientPhase
from tests.client.parts import PIPELINING, SILENCE, World


class TableTests(SynchronousTestCase):
    """Tests for `seconds_by_phase`."""

    def test_the_defaults_are_those_of_the_rfc(self) -> None:
        times = seconds_by_phase(Timeouts())
        for phase, seconds in {  # RFC 5321 s4.5.3.2
            ClientPhase.GREETING: 300, ClientPhase.MAIL: 300, ClientPhase.RCPT: 300,
            ClientPhase.DATA: 120, ClientPhase.CONTENT: 180, ClientPhase.FINAL_DOT: 600,
        }.items():  # fmt: skip
            self.assertGreaterEqual(times[phase], seconds, phase)

    def test_every_phase_has_its_time(self) -> None:
        self.assertEqual(set(seconds_by_phase(Timeouts())), set(ClientPhase))


class DeadlineTests(SynchronousTestCase):
    """Tests for `Deadline`."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.passed: list[float] = []
        self.deadline = Deadline(self.clock, 5.0, lambda: self.passed.append(self.clock.seconds()))

    def test_it_passes_once_and_in_time(self) -> None:
        self.deadline.watch(12)
        self.clock.pump([1] * 30)
        self.assertEqual(self.passed, [12])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_it_can_be_moved_either_way(self) -> None:
        self.deadline.watch(12)
        self.clock.advance(4)
        self.deadline.move(300)
        self.clock.pump([1] * 299)
        self.assertEqual(self.passed, [])
        self.deadline.move(7)
        self.clock.pump([1] * 12)
        self.assertEqual(len(self.passed), 1)

    def test_watching_twice_makes_one_timer(self) -> None:
        self.deadline.watch(12)
        self.deadline.watch(13)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_after_stop_nothing_passes(self) -> None:
        self.deadline.watch(12)
        self.deadline.stop()
        self.deadline.stop()
        self.clock.pump([1] * 20)
        self.assertEqual(self.passed, [])


class ReplyTests(SynchronousTestCase):
    """The time for replies where something else was waited for before."""

    def test_within_tls_ehlo_gets_the_whole_time_for_its_reply(self) -> None:
        destination = Destination("", SmartHost("192.0.2.1", 25, TLSMode.OPPORTUNISTIC))
        answers = {"STARTTLS": "220 2.0.0 go"}
        world = World(peers=lambda _: {"answers": answers, "extensions": (*PIPELINING, "STARTTLS")})
        sending = world.send(destination)
        (peer,) = world.peers
        peer.answers["EHLO"] = SILENCE
        peer.protocol.handshakeCompleted()  # type: ignore[attr-defined]
        world.pump()
        self.assertEqual(peer.commands, ["EHLO us.example", "STARTTLS", "EHLO us.example"])
        world.advance(250)
        self.assertNoResult(sending)
        self.assertFalse(peer.transport.closed)

    def test_a_message_on_an_idle_connection_gets_the_whole_time_for_its_reply(self) -> None:
        for extensions in (PIPELINING, ("SIZE 1000000",)):
            world = World(peers=lambda _, extensions=extensions: {"extensions": extensions})
            self.successResultOf(world.send())
            (peer,) = world.peers
            world.advance(4)  # of the five that a connection is kept
            peer.answers["MAIL"] = SILENCE
            sending = world.send()
            world.advance(250)
            self.assertNoResult(sending)
            self.assertEqual(len(world.peers), 1)
            self.assertFalse(peer.transport.closed)
