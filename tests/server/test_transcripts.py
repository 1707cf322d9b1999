"""Every dialogue of ``tests/transcripts``, each a test of its own."""

import re
from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from postroom.testing.transcript import Dialogue
from tests.dialogue import TRANSCRIPTS, dialogues, run

# Attacks and extensions, to which it makes no difference what they come through.
_THE_SAME_OVER_TLS = frozenset(
    "addresses open-relay prdr rfc1985-etrn rfc2920-pipelining rfc3030-chunking rfc5321-vrfy-expn"
    " rfc6152-8bitmime rfc6531-smtputf8 smuggling smuggling-mended state-confusion"
    " xclient".split()
)


def _test(dialogue: Dialogue, over_tls: bool) -> "Callable[[SynchronousTestCase], None]":
    over_tls = over_tls and "tls" not in dialogue.settings

    def test(self: SynchronousTestCase) -> None:
        run(dialogue, over_tls=over_tls)

    test.__doc__ = dialogue.title
    return test


def _cases() -> dict[str, type]:
    cases = {}
    for path in sorted(TRANSCRIPTS.glob("*.txt")):
        words = re.split(r"[^A-Za-z0-9]+", path.stem)
        name = "".join(word.capitalize() for word in words) + "Tests"
        tests: dict[str, object] = {"__module__": __name__, "__doc__": f"Dialogues of {path.name}."}
        for number, dialogue in enumerate(dialogues(path), 1):
            slug = re.sub(r"[^a-z0-9]+", "_", dialogue.title.lower()).strip("_")[:80]
            tests[f"test_{number:03}_{slug}"] = _test(dialogue, path.stem in _THE_SAME_OVER_TLS)
        cases[name] = type(SynchronousTestCase)(name, (SynchronousTestCase,), tests)
    return cases


globals().update(_cases())
