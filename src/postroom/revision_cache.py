"""Answers kept for as long as a revision stays the same.

An `IDirectory` has a revision, a number that changes when any of its answers may have changed.
Whoever keeps its answers keeps them here: all of them go when the revision changes, and the one
used least recently goes when there are too many.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

_K = TypeVar("_K", bound=Hashable)
_V = TypeVar("_V")


class RevisionCache(Generic[_K, _V]):
    """Keeps answers until the revision changes."""

    def __init__(self, revision: Callable[[], int], most: int) -> None:
        """Start empty.

        Args:
            revision: returns the revision of now, as `IDirectory.revision` does.
            most: how many answers are kept.
        """
        self._revision_now = revision
        self._most = most
        self._revision: int | None = None
        self._kept: OrderedDict[_K, _V] = OrderedDict()

    def revision(self) -> int:
        """Return the revision of now, to be passed to `keep` with what is about to be asked."""
        revision = self._revision_now()
        if revision != self._revision:
            self._revision = revision
            self._kept.clear()
        return revision

    def __getitem__(self, key: _K) -> _V:
        """Return the answer kept for a key; raises `KeyError` if there is none."""
        self.revision()
        answer = self._kept[key]
        self._kept.move_to_end(key)
        return answer

    def get(self, key: _K) -> _V | None:
        """Return the answer kept for a key; None if there is none."""
        if self._revision_now() != self._revision:  # spares the hot path a call
            self.revision()
        answer = self._kept.get(key)
        if answer is not None:
            self._kept.move_to_end(key)
        return answer

    def keep(self, key: _K, answer: _V, revision: int) -> None:
        """Keep an answer, unless it may be out of date already.

        Args:
            key: what was asked.
            answer: what the directory said.
            revision: what `revision` returned before the directory was asked.
        """
        if revision != self.revision():
            return
        self._kept[key] = answer
        self._kept.move_to_end(key)
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)
