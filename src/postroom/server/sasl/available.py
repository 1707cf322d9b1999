"""All available SASL mechanisms: ours, and those of Twisted plugins."""

from collections.abc import Iterator, Sequence
from typing import Final, cast

from twisted.plugin import getPlugins

from postroom.errors import UserError
from postroom.interfaces import ISASLMechanism
from postroom.server.sasl.bearer import OAUTHBEARER, XOAUTH2
from postroom.server.sasl.clear import LOGIN, PLAIN
from postroom.server.sasl.cram_md5 import CRAM_MD5
from postroom.server.sasl.external import EXTERNAL
from postroom.server.sasl.mechanism import Mechanism
from postroom.server.sasl.scram import SCRAM_SHA_256, SCRAM_SHA_256_PLUS

OURS: Final[dict[str, Mechanism]] = {
    each.name: each
    for each in (
        SCRAM_SHA_256_PLUS,
        SCRAM_SHA_256,
        OAUTHBEARER,
        XOAUTH2,
        EXTERNAL,
        PLAIN,
        LOGIN,
        CRAM_MD5,
    )
}


def mechanisms_named(names: Sequence[str]) -> tuple[ISASLMechanism, ...]:
    """Return the mechanisms of these names; load plugins only if a name is not one of ours.

    Raises:
        UserError: a mechanism does not exist.
    """
    found: dict[str, ISASLMechanism] = {**OURS}
    if any(name not in found for name in names):
        found = {**{each.name: each for each in _plugins()}, **found}
    missing = [name for name in names if name not in found]
    if missing:
        raise UserError(
            f"auth.mechanisms: there is no mechanism {missing[0]!r}; there are {', '.join(found)}"
        )
    return tuple(found[name] for name in names)


def _plugins() -> Iterator[ISASLMechanism]:
    return cast(Iterator[ISASLMechanism], getPlugins(ISASLMechanism))
