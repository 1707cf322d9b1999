"""Runs every fuzz target for a moment, and checks that none is missing.

    POSTROOM_FUZZ_EXAMPLES=100000 trial tests.fuzz

runs them for longer. What hypothesis makes up is the same in each run.
"""

import importlib
import inspect
import os
import pkgutil
import re

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from postroom import wire
from tests.fuzz.alphabet import fold, raw, seeds
from tests.fuzz.targets import TARGETS, Target, distinct

# Values and tables: nothing goes into them that a parser has not read.
_PASSIVE = ("errors", "state", "scapy")
_FEW = 60
_EXAMPLES = int(os.environ.get("POSTROOM_FUZZ_EXAMPLES", str(_FEW)))


def public_entries() -> set[str]:
    """Give the functions of `postroom.wire`, and the classes that are fed."""
    entries = set()
    for found in pkgutil.iter_modules(wire.__path__):
        if found.name in _PASSIVE:
            continue
        module = importlib.import_module(f"postroom.wire.{found.name}")
        for name, item in vars(module).items():
            ours = getattr(item, "__module__", None) == module.__name__
            fed = inspect.isclass(item) and (hasattr(item, "feed") or hasattr(item, "receive"))
            if ours and not name.startswith("_") and (inspect.isfunction(item) or fed):
                entries.add(f"{found.name}.{name}")
    return entries


def _inputs() -> st.SearchStrategy[bytes]:
    """Words of the protocol, or raw octets that begin as a dialogue does, cut in some way."""
    begins = st.sampled_from(seeds()).map(lambda seed: b"".join(fold(seed)))
    octets = st.builds(bytes.__add__, begins, st.binary(max_size=20))
    return st.one_of(st.binary(max_size=60), st.builds(raw, octets, st.integers(0, 9)))


def _test(target: Target) -> object:
    @settings(
        max_examples=_EXAMPLES,
        suppress_health_check=list(HealthCheck),
        derandomize=_EXAMPLES == _FEW,
        database=None,
    )
    @given(_inputs())
    def test(self: SynchronousTestCase, octets: bytes) -> None:
        target(octets)
        for error in self.flushLoggedErrors():
            raise AssertionError(error)

    return test


class TargetTests(SynchronousTestCase):
    """Each target, and that there is one for each entry."""

    def test_every_public_entry_has_a_target(self) -> None:
        self.assertEqual(public_entries() - set(TARGETS), set())


for _name, _target in distinct():
    setattr(TargetTests, "test_" + re.sub(r"\W+", "_", _name.lower()), _test(_target))
