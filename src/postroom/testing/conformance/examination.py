"""Tries the dialogues with one server, and reports the result of each."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum

from postroom.testing.conformance.catalogue import Requirement
from postroom.testing.conversation import Cut, DialogueConnection, DialogueRun, Mismatch, Silence
from postroom.testing.transcript import Dialogue, Expect, Send, StartTLS, Step, Wait

LONGEST_WAIT_SECONDS = 2.0
OCTETS_APART = 1_500
"""Of a dialogue that sends more, only whole groups are sent."""


class Compliance(Enum):
    """Whether a requirement is kept."""

    KEPT = "kept"
    BROKEN = "broken"
    NOT_OFFERED = "not offered"
    NOT_TRIED = "not tried"


@dataclass(frozen=True, slots=True)
class Result:
    """The result for one requirement.

    Attributes:
        requirement: which.
        verdict: what.
        why: what differed, or what was missing; empty if the requirement is kept.
    """

    requirement: Requirement
    verdict: Compliance
    why: str = ""


class Access(Enum):
    """The way to reach a server."""

    CLEAR = "in clear text"
    STARTTLS = "through STARTTLS"
    IMPLICIT = "through TLS from the start"


_HELLO = {"lmtp": b"LHLO client.example\r\n"}
_EHLO = b"EHLO client.example\r\n"


def through_starttls(dialogue: Dialogue) -> Dialogue:
    """Return the dialogue as it runs after STARTTLS."""
    hello = _HELLO.get(dialogue.notes.get("role", ""), _EHLO)
    before: list[Step] = [
        Send(0, hello),
        Expect(0, "250"),
        Send(0, b"STARTTLS\r\n"),
        Expect(0, "220"),
        StartTLS(0),
    ]
    return replace(dialogue, steps=[*before, *dialogue.steps])


def begins_with_greeting(dialogue: Dialogue) -> bool:
    """Return whether the dialogue is about the greeting."""
    return bool(dialogue.steps) and isinstance(dialogue.steps[0], Expect)


def octets_of(dialogue: Dialogue) -> int:
    """Return how many octets a client sends in a dialogue."""
    return sum(len(step.octets) for step in dialogue.steps if isinstance(step, Send))


def lacking(requirement: Requirement, extensions: Mapping[str, str]) -> str:
    """Return the first extension that a requirement needs and is not offered; empty for none."""
    for need in requirement.extensions:
        keyword, _, word = need.partition("=")
        if keyword not in extensions or word not in ("", *extensions[keyword].split()):
            return need
    return ""


class Examination:
    """Tries the dialogues with one server.

    Attributes:
        role: the server's.
        implicit: TLS begins with the connection.
        starttls: every dialogue that can run over TLS does, by STARTTLS; else only those that must.
        user: an account is known that can log in.
    """

    def __init__(
        self,
        connect: Callable[[], DialogueConnection],
        role: str = "mx",
        *,
        implicit: bool = False,
        starttls: bool = False,
        user: bool = False,
    ) -> None:
        """Store the function that opens a connection."""
        self._connect = connect
        self.role = role
        self.implicit = implicit
        self.starttls = starttls
        self.user = user
        self._extensions: dict[Access, Mapping[str, str]] = {}

    def extensions(self, access: Access) -> Mapping[str, str]:
        """Return what the server offers: EHLO keyword to arguments; empty if it lacks TLS.

        Raises:
            Silence: it does not speak SMTP.
        """
        if access not in self._extensions:
            if access is Access.STARTTLS and "STARTTLS" not in self.extensions(Access.CLEAR):
                return {}
            self._extensions[access] = self._ask(access)
        return self._extensions[access]

    def _ask(self, access: Access) -> Mapping[str, str]:
        line, hello = self._connect(), _HELLO.get(self.role, _EHLO)
        try:
            line.hear()
            if access is Access.STARTTLS:
                for octets in (hello, b"STARTTLS\r\n"):
                    line.send(octets)
                    line.hear()
                line.start_tls()
            line.send(hello)
            words = [text.upper().partition(" ") for text in line.hear().text[1:]]
        finally:
            line.lose()
        return {keyword: rest for keyword, _, rest in words}

    @property
    def size_limit(self) -> int:
        """The largest message, as the server has it; 0 if it names none."""
        limit = self.extensions(self._access("")).get("SIZE", "")
        return int(limit) if limit.isdecimal() else 0

    def _access(self, over: str) -> Access:
        if self.implicit:
            return Access.IMPLICIT
        tls = over == "tls" or (self.starttls and over != "clear")
        return Access.STARTTLS if tls else Access.CLEAR

    def examine(self, requirements: Iterable[Requirement]) -> Iterator[Result]:
        """Try the requirements for this kind of server."""
        for each in requirements:
            if each.role == self.role:
                yield self._examine(each)

    def _examine(self, requirement: Requirement) -> Result:
        dialogue, access = requirement.dialogue, self._access(requirement.over)
        if access is Access.STARTTLS and begins_with_greeting(dialogue):
            access = Access.CLEAR
        obstacle = self._obstacle(requirement, access)
        if obstacle is not None:
            return Result(requirement, *obstacle)
        if access is Access.STARTTLS:
            dialogue = through_starttls(dialogue)
        cuts = [Cut.GROUPS]
        if octets_of(dialogue) <= OCTETS_APART:
            cuts.append(Cut.OCTETS)
        for cut in cuts:
            why = self._have(dialogue, access, cut)
            if why:
                return Result(requirement, Compliance.BROKEN, why)
        return Result(requirement, Compliance.KEPT)

    def _obstacle(self, requirement: Requirement, access: Access) -> tuple[Compliance, str] | None:
        dialogue = requirement.dialogue
        if dialogue.settings:
            return Compliance.NOT_TRIED, "needs settings"
        if requirement.over == "clear" and access is Access.IMPLICIT:
            return Compliance.NOT_TRIED, "is about clear text"
        if any(isinstance(s, Wait) and s.seconds > LONGEST_WAIT_SECONDS for s in dialogue.steps):
            return Compliance.NOT_TRIED, "takes long"
        if requirement.needs_user and not self.user:
            return Compliance.NOT_TRIED, "needs a user"
        try:
            extensions = self.extensions(access)
        except Silence as silence:
            if access is not Access.STARTTLS:
                raise
            return Compliance.BROKEN, str(silence)
        if access is Access.STARTTLS and not extensions:
            return Compliance.NOT_OFFERED, "STARTTLS"
        lacks = lacking(requirement, extensions)
        return (Compliance.NOT_OFFERED, lacks) if lacks else None

    def _have(self, dialogue: Dialogue, access: Access, cut: Cut) -> str:
        """Run one dialogue; return what differed."""
        try:
            line = self._connect()
        except OSError as error:
            return f"no connection: {error}"
        conversation = DialogueRun(dialogue, line, cut)
        conversation.checks_enhanced = "ENHANCEDSTATUSCODES" in self.extensions(access)
        try:
            conversation.run()
        except Mismatch as mismatch:
            return str(mismatch).removeprefix(dialogue.title).strip()
        finally:
            line.lose()
        return ""
