"""Tests for `postroom.later`."""

from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from postroom.later import chain, now_or_later, result_of


class NowOrLaterTests(SynchronousTestCase):
    """Tests for `now_or_later`."""

    def test_what_is_known_is_given_at_once(self) -> None:
        async def coroutine() -> str:
            return "x"

        for answer in ("x", succeed("x"), coroutine(), succeed(None).addCallback(lambda _: "x")):
            self.assertEqual(now_or_later(answer), "x")

    def test_what_has_failed_is_raised_and_logged_nowhere(self) -> None:
        async def coroutine() -> str:
            raise ValueError

        for answer in (fail(ValueError()), coroutine()):
            self.assertRaises(ValueError, now_or_later, answer)

    def test_what_is_not_known_stays_a_deferred(self) -> None:
        later: Deferred[str] = Deferred()

        async def coroutine() -> str:
            return await later

        chained = succeed(None).addCallback(lambda _: later)
        for answer in (Deferred(), coroutine(), chained):
            self.assertIsInstance(now_or_later(answer), Deferred)

    def test_an_answer_asked_for_within_its_own_callback_comes_later(self) -> None:
        inner: list[object] = []
        answer: Deferred[str] = Deferred()

        def ask(value: str) -> str:
            inner.append(now_or_later(answer))
            return value

        answer.addCallback(ask)
        answer.callback("x")
        assert isinstance(inner[0], Deferred)
        self.assertEqual(self.successResultOf(inner[0]), "x")


class ChainTests(SynchronousTestCase):
    """Tests for `chain`."""

    def test_now_or_later(self) -> None:
        self.assertEqual(chain("a", str.replace, "a", "b"), "b")
        later: Deferred[str] = Deferred()
        result = chain(later, str.replace, "a", "b")
        later.callback("a")
        assert isinstance(result, Deferred)
        self.assertEqual(self.successResultOf(result), "b")


class ResultOfTests(SynchronousTestCase):
    """Tests for `result_of`."""

    def test_it_waits_only_for_what_is_not_known(self) -> None:
        later: Deferred[str] = Deferred()
        for answer in ("x", succeed("x"), later):
            waiting = Deferred.fromCoroutine(result_of(answer))
            if answer is later:
                self.assertNoResult(waiting)
                later.callback("x")
            self.assertEqual(self.successResultOf(waiting), "x")

    def test_a_failure_is_raised(self) -> None:
        waiting = Deferred.fromCoroutine(result_of(fail(ValueError())))
        self.failureResultOf(waiting, ValueError)
