"""Streams out of segments."""

import random

from twisted.trial.unittest import SynchronousTestCase

from postroom.capture import tcp
from postroom.capture.files import Endpoint, Segment
from postroom.capture.tcp import StreamPart, TcpConnection

CLIENT, SERVER = Endpoint("192.0.2.1", 1), Endpoint("192.0.2.2", 25)
START = 2**32 - 5  # numbers wrap within every test


def segment(
    at: int, octets: bytes = b"", ack: int | None = None, server: bool = False, **flags: bool
) -> Segment:
    """Make a segment whose place is counted from the first octet."""
    ends = (SERVER, CLIENT) if server else (CLIENT, SERVER)
    flags = {"syn": False, "fin": False, "rst": False, **flags}
    number = None if ack is None else (START + 1 + ack) % 2**32
    return Segment(1.0, *ends, (START + 1 + at) % 2**32, number, payload=octets, **flags)


def deliveries(segments: list[Segment], from_start: bool = True) -> list[tuple[bytes, int]]:
    """Put segments together; gives what was said, and what was lost, in its order."""
    connection = TcpConnection(CLIENT, SERVER, from_start)
    found: list[StreamPart] = []
    if from_start:
        found += connection.take(segment(-1, syn=True))
    for each in segments:
        found += connection.take(each)
    found += connection.finish()
    said: list[tuple[bytes, int]] = []
    for each in found:
        if said and not each.lost and not said[-1][1]:
            said[-1] = (said[-1][0] + each.octets, 0)
        else:
            said.append((each.octets, each.lost))
    return said


class ReassemblyTests(SynchronousTestCase):
    """One direction."""

    def test_in_order(self) -> None:
        self.assertEqual(deliveries([segment(0, b"abc"), segment(3, b"def")]), [(b"abcdef", 0)])

    def test_out_of_order_repeated_and_overlapping(self) -> None:
        self.assertEqual(
            deliveries([segment(6, b"ghi"), segment(3, b"def"), segment(0, b"abcd"),
                        segment(0, b"abcdefgh"), segment(8, b"ijk"), segment(3, b"xxx")]),
            [(b"abcdefghijk", 0)],
        )  # fmt: skip

    def test_any_order_gives_the_same(self) -> None:
        text = bytes(range(200))
        pieces = [segment(at, text[at : at + 7]) for at in range(0, 200, 5)]
        for seed in range(50):
            random.Random(seed).shuffle(pieces)
            self.assertEqual(deliveries(pieces), [(text, 0)], seed)

    def test_a_hole_that_the_receiver_does_not_have(self) -> None:
        answer = segment(0, b"", ack=9, server=True)
        self.assertEqual(
            deliveries([segment(0, b"abc"), segment(6, b"ghi"), answer, segment(9, b"jkl")]),
            [(b"abc", 0), (b"", 3), (b"ghijkl", 0)],
        )

    def test_a_hole_that_is_known_before_what_follows_it_comes(self) -> None:
        answer = segment(0, b"", ack=6, server=True)
        self.assertEqual(
            deliveries([segment(0, b"abc"), answer, segment(6, b"ghi")]),
            [(b"abc", 0), (b"", 3), (b"ghi", 0)],
        )

    def test_a_hole_is_told_as_soon_as_it_is_known(self) -> None:
        for later in (
            [segment(6, b"ghi"), segment(0, b"", ack=9, server=True)],
            [segment(0, b"", ack=6, server=True), segment(6, b"ghi")],
        ):
            connection = TcpConnection(CLIENT, SERVER, True)
            found: list[StreamPart] = []
            for each in (segment(-1, syn=True), segment(0, b"abc"), *later):
                found += connection.take(each)
            self.assertEqual([each.lost for each in found], [0, 3, 0])

    def test_what_is_sent_again_before_it_is_acknowledged_is_no_hole(self) -> None:
        early = segment(0, b"", ack=3, server=True)
        self.assertEqual(
            deliveries([segment(0, b"abc"), segment(6, b"ghi"), early, segment(3, b"def")]),
            [(b"abcdefghi", 0)],
        )

    def test_what_never_came(self) -> None:
        answer = segment(0, b"", ack=8, server=True)
        self.assertEqual(deliveries([segment(0, b"abc"), answer]), [(b"abc", 0), (b"", 5)])

    def test_the_number_of_the_fin_is_no_hole(self) -> None:
        answer = segment(0, b"", ack=4, server=True)
        self.assertEqual(deliveries([segment(0, b"abc", fin=True), answer]), [(b"abc", 0)])
        self.assertEqual(deliveries([segment(0, b"abc"), answer]), [(b"abc", 0)])

    def test_the_middle_of_a_connection(self) -> None:
        self.assertEqual(deliveries([segment(50, b"abc")], from_start=False), [(b"abc", 0)])

    def test_what_waits_is_bounded(self) -> None:
        self.patch(tcp, "WAITING_OCTETS", 10)
        self.assertEqual(
            deliveries([segment(5, b"x" * 8), segment(13, b"y" * 8), segment(21, b"z")]),
            [(b"", 5), (b"x" * 8 + b"y" * 8 + b"z", 0)],
        )

    def test_a_probe_of_a_quiet_peer_is_nothing(self) -> None:
        self.assertEqual(deliveries([segment(0, b"abc"), segment(2, b"\0")]), [(b"abc", 0)])


class ConnectionTests(SynchronousTestCase):
    """Both directions."""

    def test_the_end(self) -> None:
        connection = TcpConnection(CLIENT, SERVER, True)
        for each in (segment(-1, syn=True), segment(0, fin=True)):
            list(connection.take(each))
        self.assertFalse(connection.over)
        list(connection.take(segment(0, fin=True, server=True)))
        self.assertTrue(connection.over)

    def test_a_reset(self) -> None:
        connection = TcpConnection(CLIENT, SERVER, True)
        list(connection.take(segment(0, rst=True, server=True)))
        self.assertTrue(connection.over and connection.reset)
