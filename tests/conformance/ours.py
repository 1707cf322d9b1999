"""Our server in memory, as the dialogues know it: as it comes, and set up strictly."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from postroom.testing.conformance.catalogue import Requirement, ServerUnderTest, shipped
from postroom.testing.conformance.examination import (
    OCTETS_APART,
    begins_with_greeting,
    lacking,
    octets_of,
    through_starttls,
)
from postroom.testing.conversation import Cut, Mismatch
from postroom.testing.transcript import Dialogue
from tests.dialogue import MemoryRun, listener_of
from tests.server.scene import LOCAL_DOMAIN, PASSWORD, USER, Scene

SERVER = ServerUnderTest(
    LOCAL_DOMAIN,
    recipient=f"user@{LOCAL_DOMAIN}",
    other=f"other@{LOCAL_DOMAIN}",
    unknown=f"unknown@{LOCAL_DOMAIN}",
    user=USER.decode(),
    password=PASSWORD.decode(),
    limit=52_428_800,
)

AS_IT_COMES: Final[Mapping[str, str]] = {}
STRICT: Final = {"strict": "yes"}


def not_tolerating(requirement: Requirement) -> Mapping[str, str]:
    """Return the settings with which a server tolerates all but what breaks a requirement."""
    return {"without": ",".join(requirement.strict)}


def requirements() -> list[Requirement]:
    """Give all dialogues, written for our server."""
    return shipped(SERVER)


class Loose(MemoryRun):
    """A conversation that is about what an RFC asks, and no more; we insist on our turn."""

    strict = False
    synchronised = True

    def check_storage(self) -> None:
        """Look at what was stored where the dialogue says what."""
        if self.dialogue.storage:
            super().check_storage()


def offered(dialogue: Dialogue, tls: bool) -> dict[str, str]:
    """Ask our server what it offers where a dialogue is had."""
    role = dialogue.settings.get("role", "mx")
    peer = Scene(listener_of(dialogue)).connect(tls=tls)
    reply = peer.say(b"LHLO client.example" if role == "lmtp" else b"EHLO client.example")
    words = [line.partition(" ") for line in reply.text[1:]]
    return {keyword: rest for keyword, _, rest in words}


def ways(requirement: Requirement, settings: Mapping[str, str]) -> Iterator[tuple[Dialogue, bool]]:
    """Yield the dialogue as it is had in each way, and whether TLS stands from the start."""
    asked = requirement.dialogue.settings
    ours = dict(word.split("=", 1) for word in requirement.dialogue.notes.get("ours", "").split())
    # What makes it strict comes first: a dialogue may set one limit otherwise.
    settings = {**settings, "role": requirement.role, **ours, **asked}
    dialogue = replace(requirement.dialogue, settings=settings)
    if requirement.over != "tls" and not lacking(requirement, offered(dialogue, False)):
        yield dialogue, False
    if requirement.over != "clear" and not lacking(requirement, offered(dialogue, True)):
        yield dialogue, True
        if not begins_with_greeting(dialogue):
            yield through_starttls(dialogue), False


def try_on_ours(requirement: Requirement, settings: Mapping[str, str] = AS_IT_COMES) -> str:
    """Have a dialogue with our server in every way; return what differed.

    Each is had in whole groups with answers that come late, and octet by octet with answers that
    are there at once.

    Args:
        requirement: which.
        settings: of the server, as in ``with:``.
    """
    found = list(ways(requirement, settings))
    for dialogue, tls in found:
        short = octets_of(dialogue) <= OCTETS_APART
        for cut, late in ((Cut.GROUPS, True), (Cut.OCTETS if short else Cut.GROUPS, False)):
            try:
                Loose(dialogue, cut, late, tls).run()
            except Mismatch as mismatch:
                return str(mismatch).removeprefix(dialogue.title).strip()
    return "" if found else "not offered"
