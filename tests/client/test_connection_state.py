"""The table of a connection's stages."""

from itertools import product

from twisted.trial.unittest import SynchronousTestCase

from postroom.client.connection_state import OVER, STEPS, Event, Stage, next_stage


def stages(*events: Event) -> list[Stage]:
    """Follow events from the beginning."""
    stage = Stage.CONNECTING
    found = []
    for event in events:
        stage = next_stage(stage, event)
        found.append(stage)
    return found


class StageTests(SynchronousTestCase):
    """Tests for `next_stage`."""

    def test_a_life_with_starttls_and_two_messages(self) -> None:
        self.assertEqual(
            stages(
                *(Event.CONNECTED, Event.REPLY, Event.START_TLS, Event.SECURED, Event.REPLY),
                *(Event.OPENED, Event.MESSAGE, Event.REPLY, Event.DELIVERED, Event.MESSAGE),
                *(Event.DELIVERED, Event.QUIT, Event.CLOSE),
            ),
            [
                *(Stage.INITIATION, Stage.INITIATION, Stage.TLS_HANDSHAKE, Stage.TLS_UNCONFIRMED),
                *(Stage.INITIATION, Stage.IDLE, Stage.SENDING, Stage.SENDING, Stage.IDLE),
                *(Stage.SENDING, Stage.IDLE, Stage.QUITTING, Stage.CLOSED),
            ],
        )

    def test_what_is_over_stays_over(self) -> None:
        for stage, event in product(OVER, Event):
            self.assertIn(next_stage(stage, event), OVER, (stage, event))

    def test_every_stage_can_be_closed(self) -> None:
        for stage in Stage:
            self.assertIs(next_stage(stage, Event.CLOSE), Stage.CLOSED)

    def test_every_stage_and_every_event_is_in_the_table(self) -> None:
        self.assertEqual({stage for stage, _ in STEPS}, set(Stage))
        self.assertEqual({event for _, event in STEPS}, set(Event))
        self.assertEqual({*STEPS.values(), Stage.CONNECTING}, set(Stage))
