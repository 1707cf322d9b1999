"""Garbage collections of a daemon."""

import gc

from twisted.trial.unittest import SynchronousTestCase

from postroom.service.collection import freeze_what_is_loaded


class CollectionTests(SynchronousTestCase):
    def test_what_is_loaded_is_not_looked_at_again(self) -> None:
        self.addCleanup(gc.unfreeze)
        before = len(gc.get_objects())
        freeze_what_is_loaded()
        self.assertLess(len(gc.get_objects()), before // 10)
