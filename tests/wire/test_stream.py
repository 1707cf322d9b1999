"""Cutting what one side says into pieces."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from postroom.wire.data import DotDecoder
from postroom.wire.stream import (
    IN_AUTH,
    IN_COMMANDS,
    IN_DATA,
    IN_HANDSHAKE,
    IN_REPLIES,
    Mode,
    StreamState,
    cut,
    in_chunk,
)


def cut_all(
    octets: bytes, state: StreamState = IN_COMMANDS
) -> tuple[list[tuple[Mode, bytes, bool]], StreamState]:
    """Cut until nothing is left."""
    view, at, pieces = memoryview(octets), 0, []
    while at < len(view):
        piece = cut(view, at, state)
        pieces.append((piece.mode, bytes(view[at : piece.end]), piece.complete))
        at, state = piece.end, piece.after
    return pieces, state


class ClientTests(SynchronousTestCase):
    """The client's side."""

    def assert_pieces(self, octets: bytes, *pieces: tuple[Mode, bytes]) -> None:
        found = [(mode, said) for mode, said, _ in cut_all(octets)[0]]
        self.assertEqual(found, list(pieces))

    def test_a_group_of_commands(self) -> None:
        self.assert_pieces(
            b"RSET\r\nMAIL FROM:<>\r\n", (Mode.COMMANDS, b"RSET\r\n"),
            (Mode.COMMANDS, b"MAIL FROM:<>\r\n"),
        )  # fmt: skip

    def test_data_is_followed_by_content_to_its_one_end(self) -> None:
        self.assert_pieces(
            b"data\r\na\r\n..\r\n\n.\n.\r\nb\r\n.\r\nQUIT\r\n",
            (Mode.COMMANDS, b"data\r\n"),
            (Mode.CONTENT, b"a\r\n..\r\n\n.\n.\r\nb\r\n.\r\n"),
            (Mode.COMMANDS, b"QUIT\r\n"),
        )

    def test_data_with_an_argument_is_refused_and_followed_by_commands(self) -> None:
        self.assert_pieces(
            b"DATA x\r\nQUIT\r\n", (Mode.COMMANDS, b"DATA x\r\n"), (Mode.COMMANDS, b"QUIT\r\n")
        )

    def test_bdat_is_followed_by_just_its_octets(self) -> None:
        self.assert_pieces(
            b"BDAT 7\r\nQUIT\r\n.BDAT 0 LAST\r\nQUIT\r\n",
            (Mode.COMMANDS, b"BDAT 7\r\n"),
            (Mode.CHUNK, b"QUIT\r\n."),
            (Mode.COMMANDS, b"BDAT 0 LAST\r\n"),
            (Mode.COMMANDS, b"QUIT\r\n"),
        )

    def test_a_bad_bdat_is_followed_by_commands(self) -> None:
        for argument in (b"", b" -1", b" 1_0", b" 5 LASTX", b"  5", b" " + b"9" * 21):
            pieces, _ = cut_all(b"BDAT" + argument + b"\r\nQUIT\r\n")
            self.assertEqual([mode for mode, _, _ in pieces], [Mode.COMMANDS] * 2, argument)

    def test_a_chunk_knows_what_is_left_of_it(self) -> None:
        pieces, state = cut_all(b"BDAT 100 LAST\r\n12345")
        self.assertEqual(pieces[-1], (Mode.CHUNK, b"12345", False))
        self.assertEqual(state, in_chunk(95))

    def test_auth_is_followed_by_responses_and_then_by_commands(self) -> None:
        self.assert_pieces(
            b"AUTH LOGIN\r\ndXNlcg==\r\ncGFzcw==\r\nMAIL FROM:<>\r\n",
            (Mode.COMMANDS, b"AUTH LOGIN\r\n"),
            (Mode.RESPONSE, b"dXNlcg==\r\n"),
            (Mode.RESPONSE, b"cGFzcw==\r\n"),
            (Mode.COMMANDS, b"MAIL FROM:<>\r\n"),
        )

    def test_a_response_that_was_asked_for_is_one_even_if_it_looks_like_a_command(self) -> None:
        self.assertEqual(cut_all(b"QUIT\r\n", IN_AUTH)[0][0][0], Mode.RESPONSE)

    def test_starttls_is_followed_by_tls(self) -> None:
        hello = b"\x16\x03\x01\x00\x05hello\r\n"
        pieces, state = cut_all(b"STARTTLS\r\n" + hello)
        self.assertEqual(pieces[1], (Mode.TLS, hello, True))
        self.assertIs(state.mode, Mode.TLS)

    def test_clear_text_after_starttls_is_no_command(self) -> None:
        pieces, state = cut_all(b"STARTTLS\r\nRSET\r\n")
        self.assertEqual(pieces[1], (Mode.HANDSHAKE, b"RSET\r\n", True))
        self.assertEqual(state, IN_HANDSHAKE)

    def test_tls_from_the_first_octet(self) -> None:
        for state in (IN_COMMANDS, IN_REPLIES):
            self.assertIs(cut_all(b"\x16\x03\x01\x02\x00", state)[0][0][0], Mode.TLS)


class ServerTests(SynchronousTestCase):
    """The server's side."""

    def test_the_lines_of_a_reply_are_one_piece(self) -> None:
        pieces, _ = cut_all(b"250-a\r\n250-b\r\n250 c\r\n354 go\r\n", IN_REPLIES)
        self.assertEqual([said[:5] for _, said, _ in pieces], [b"250-a", b"354 g"])

    def test_a_line_that_is_no_reply_ends_the_one_before_it(self) -> None:
        pieces, _ = cut_all(b"250-a\r\nhello\r\n250 b\r\n", IN_REPLIES)
        self.assertEqual(
            [said for _, said, _ in pieces], [b"250-a\r\n", b"hello\r\n", b"250 b\r\n"]
        )

    def test_a_reply_that_goes_on_is_not_complete(self) -> None:
        for octets in (b"25", b"250-a\r\n", b"250-a\r\n250", b"250-a\r\n250 b\r"):
            self.assertEqual(cut_all(octets, IN_REPLIES)[0], [(Mode.REPLIES, octets, False)])


class SegmentationTests(SynchronousTestCase):
    """Content ends where the server's decoder says, however it is cut."""

    @given(st.lists(st.sampled_from([b"\r", b"\n", b".", b"a", b"\r\n", b"\r\n.\r\n"])))
    def test_the_end_of_content(self, segments: list[bytes]) -> None:
        decoder, state = DotDecoder(), IN_DATA
        for segment in segments:
            decoder.feed(segment)
            piece = cut(memoryview(segment), 0, state)
            self.assertEqual(piece.complete, decoder.ended)
            if decoder.ended:
                self.assertEqual(segment[piece.end :], decoder.rest)
                return
            state = piece.after
