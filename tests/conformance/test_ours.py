"""Every requirement, tried on our server or client, each a test of its own.

The server is tried as it comes and set up strictly, and keeps the same in both; but for what it
tolerates, which the dialogue says, and which it keeps as soon as it does not tolerate just that.
"""

import re
from collections.abc import Callable, Iterable

from twisted.trial.unittest import SynchronousTestCase

from postroom.testing.conformance.catalogue import Requirement
from tests.conformance.ours import STRICT, not_tolerating, requirements, try_on_ours
from tests.conformance.scripted import client_requirements, play

Test = Callable[[SynchronousTestCase], None]


def _server_test(requirement: Requirement) -> Test:
    def test(self: SynchronousTestCase) -> None:
        _check(self, requirement, try_on_ours(requirement, STRICT))
        as_it_comes = try_on_ours(requirement)
        if requirement.strict:
            self.assertTrue(as_it_comes, "kept as it comes, too")
            _check(self, requirement, try_on_ours(requirement, not_tolerating(requirement)))
        else:
            _check(self, requirement, as_it_comes)

    return test


def _client_test(requirement: Requirement) -> Test:
    def test(self: SynchronousTestCase) -> None:
        _check(self, requirement, play(requirement))

    return test


def _check(case: SynchronousTestCase, requirement: Requirement, why: str) -> None:
    """Check that nothing differed, or that something did where we say so."""
    if "deviation" in requirement.dialogue.notes:
        case.assertTrue(why, "deviates no longer")
    else:
        case.assertEqual(why, "")


def _cases(
    kind: str, found: Iterable[Requirement], test_of: Callable[[Requirement], Test]
) -> dict[str, type]:
    cases: dict[str, dict[str, object]] = {}
    for each in found:
        tests = cases.setdefault(f"{kind}RFC{each.rfc}Tests", {"__module__": __name__})
        slug = re.sub(r"[^a-z0-9]+", "_", f"{each.name} {each.text}".lower()).strip("_")
        test = tests[f"test_{slug[:90]}"] = test_of(each)
        test.__doc__ = each.text
    return {
        name: type(SynchronousTestCase)(name, (SynchronousTestCase,), tests)
        for name, tests in cases.items()
    }


globals().update(_cases("Server", requirements(), _server_test))
globals().update(_cases("Client", client_requirements(), _client_test))
