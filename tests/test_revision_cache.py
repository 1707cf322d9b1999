"""Answers kept by revision."""

from twisted.trial.unittest import SynchronousTestCase

from postroom.revision_cache import RevisionCache


class RevisionCacheTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.now = 1
        self.cache: RevisionCache[str, str | None] = RevisionCache(lambda: self.now, 2)

    def keep(self, *keys: str) -> None:
        for key in keys:
            self.cache.keep(key, key.upper(), self.cache.revision())

    def test_an_answer_stays_while_the_revision_does(self) -> None:
        self.keep("a")
        self.assertEqual(self.cache.get("a"), "A")
        self.assertEqual(self.cache["a"], "A")

    def test_all_answers_go_with_the_revision(self) -> None:
        self.keep("a", "b")
        self.now = 2
        self.assertIsNone(self.cache.get("a"))
        self.assertRaises(KeyError, self.cache.__getitem__, "b")
        self.now = 1
        self.assertIsNone(self.cache.get("a"))

    def test_an_answer_from_before_a_change_is_not_kept(self) -> None:
        revision = self.cache.revision()
        self.now = 2
        self.cache.keep("a", "A", revision)
        self.assertIsNone(self.cache.get("a"))

    def test_that_there_is_nothing_is_an_answer_too(self) -> None:
        self.cache.keep("nobody", None, self.cache.revision())
        self.assertIsNone(self.cache["nobody"])

    def test_the_one_used_least_recently_goes_first(self) -> None:
        self.keep("a", "b")
        self.cache.get("a")
        self.keep("c")
        self.assertEqual([self.cache.get(key) for key in "abc"], ["A", None, "C"])
        self.assertEqual(self.cache["a"], "A")
        self.keep("d")
        self.assertEqual([self.cache.get(key) for key in "acd"], ["A", None, "D"])

    def test_an_answer_kept_again_counts_as_used(self) -> None:
        self.keep("a", "b", "a", "c")
        self.assertEqual([self.cache.get(key) for key in "abc"], ["A", None, "C"])
