"""Every requirement, tried on our server or client, each a test of its own."""

import re
from collections.abc import Callable, Iterable

from twisted.trial.unittest import SynchronousTestCase

from postroom.testing.conformance.catalogue import Requirement
from tests.conformance.ours import requirements, try_on_ours
from tests.conformance.scripted import client_requirements, play

Play = Callable[[Requirement], str]


def _test(requirement: Requirement, play: Play) -> "Callable[[SynchronousTestCase], None]":
    def test(self: SynchronousTestCase) -> None:
        why = play(requirement)
        if "deviation" in requirement.dialogue.notes:
            self.assertTrue(why, "deviates no longer")
        else:
            self.assertEqual(why, "")

    test.__doc__ = requirement.text
    return test


def _cases(kind: str, found: Iterable[Requirement], play: Play) -> dict[str, type]:
    cases: dict[str, dict[str, object]] = {}
    for each in found:
        tests = cases.setdefault(f"{kind}RFC{each.rfc}Tests", {"__module__": __name__})
        slug = re.sub(r"[^a-z0-9]+", "_", f"{each.name} {each.text}".lower()).strip("_")
        tests[f"test_{slug[:90]}"] = _test(each, play)
    return {
        name: type(SynchronousTestCase)(name, (SynchronousTestCase,), tests)
        for name, tests in cases.items()
    }


globals().update(_cases("Server", requirements(), try_on_ours))
globals().update(_cases("Client", client_requirements(), play))
