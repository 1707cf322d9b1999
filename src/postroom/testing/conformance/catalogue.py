r"""The requirements: each a dialogue under a title that names it.

The files of ``dialogues`` are transcripts (`postroom.testing.transcript`), one for each RFC or part
of one. A title is::

    == RFC5321-3.3-b MUST RCPT before MAIL is refused

RFC (or PRDR, which is a draft) and section, a letter that tells requirements of one section apart,
the level, and the requirement in one line. Notes below it state for which servers the dialogue is:

- ``needs: SIZE AUTH=PLAIN`` the EHLO keywords (with a word that their line has) without which the
  requirement is void; ``user`` is an account that can log in;
- ``over: tls`` or ``over: clear`` only there;
- ``role: submission`` or ``role: lmtp`` with a server of that kind; else with one that
  accepts mail for its domain from anybody;
- ``with:`` settings that the server must have: such a dialogue is tried with Postroom
  alone;
- ``ours:`` settings that turn on what Postroom does not offer by default;
- ``strict: blanks`` what a server must not tolerate to keep this, by the names of
  `postroom.wire.tolerance`: a matter of form, in which many servers are tolerant. Ours keeps it
  only where ``session.tolerate`` lacks these names;
- ``deviation:`` we do something else, and why.

``$NAME`` stands for what differs from server to server: see `ServerUnderTest`.
"""

import re
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

from postroom.testing.transcript import Dialogue, TranscriptError, read_transcript

LEVELS: Final = ("MUST", "SHOULD", "MAY")
_TITLE: Final = re.compile(
    r"(?P<name>(?:RFC(?P<rfc>[0-9]+)|PRDR)-(?P<section>[0-9A-Z.]+)-[a-z]+) "
    rf"(?P<level>{'|'.join(LEVELS)}) (?P<text>\S.*)"
)
_VARIABLE: Final = re.compile(r"\$([A-Z][A-Z0-9_]*)")


@dataclass(frozen=True, slots=True)
class ServerUnderTest:
    """The facts about a server that dialogues use.

    Attributes:
        domain: a domain for which the server accepts mail.
        recipient: a mailbox in it.
        other: another one.
        unknown: an address in it that does not exist.
        foreign: an address for which the server does not accept mail.
        sender: the sender of the mail.
        user: an account that can log in and submit mail from this address.
        password: the user's password.
        limit: the largest message, as SIZE states it; 0 if it states none.
    """

    domain: str
    recipient: str
    other: str
    unknown: str
    foreign: str = "user@there.example"
    sender: str = "a@there.example"
    user: str = "user"
    password: str = ""
    limit: int = 0

    def variables(self) -> Mapping[str, str]:
        """Return the variables that dialogues may use."""
        local = self.recipient.rpartition("@")[0]
        return {
            "DOMAIN": self.domain,
            "DOMAIN_UPPER": self.domain.upper(),
            "RECIPIENT": self.recipient,
            "LOCAL": local,
            "OTHER": self.other,
            "UNKNOWN": self.unknown,
            "FOREIGN": self.foreign,
            "FOREIGN_DOMAIN": self.foreign.rpartition("@")[2],
            "SENDER": self.sender,
            "USER": self.user,
            "USER64": _base64(self.user),
            "PASSWORD64": _base64(self.password),
            "PLAIN": _base64(f"\0{self.user}\0{self.password}"),
            "WRONG_PASSWORD": _base64(f"\0{self.user}\0wrong{self.password}"),
            "WRONG_USER": _base64(f"\0nobody{self.user}\0{self.password}"),
            "LIMIT": str(self.limit),
            "OVER_LIMIT": str(self.limit + 1),
        }


def _base64(text: str) -> str:
    return b64encode(text.encode()).decode("ascii")


@dataclass(frozen=True, slots=True)
class Requirement:
    """One line of an RFC.

    Attributes:
        name: ``RFC5321-3.3-b``.
        rfc: the number; 0 for PRDR, which has none.
        section: ``3.3``.
        level: one of `LEVELS`.
        text: what is required.
        dialogue: shows whether it is kept.
    """

    name: str
    rfc: int
    section: str
    level: str
    text: str
    dialogue: Dialogue

    @property
    def extensions(self) -> tuple[str, ...]:
        """EHLO keywords without which the requirement is void."""
        needs = self.dialogue.notes.get("needs", "").split()
        return tuple(need for need in needs if need != "user")

    @property
    def needs_user(self) -> bool:
        """True if somebody must be known who can log in."""
        return "user" in self.dialogue.notes.get("needs", "").split()

    @property
    def strict(self) -> tuple[str, ...]:
        """What a server must not tolerate to keep this, by the names of `wire.tolerance`."""
        return tuple(self.dialogue.notes.get("strict", "").split())

    @property
    def over(self) -> str:
        """``"clear"``, ``"tls"``, or empty where it makes no difference."""
        return self.dialogue.notes.get("over", "")

    @property
    def role(self) -> str:
        """``"mx"``, ``"submission"`` or ``"lmtp"``."""
        return self.dialogue.notes.get("role", "mx")


def requirements_of(text: str, variables: Mapping[str, str]) -> Iterator[Requirement]:
    """Read the requirements of one file.

    Args:
        text: the file's.
        variables: what stands for ``$NAME``.

    Raises:
        TranscriptError: what is wrong, and in which line.
    """

    def value(match: re.Match[str]) -> str:
        if match[1] not in variables:
            raise TranscriptError(f"unknown variable ${match[1]}")
        return variables[match[1]]

    for dialogue in read_transcript(_VARIABLE.sub(value, text)):
        title = _TITLE.fullmatch(dialogue.title)
        if title is None:
            raise TranscriptError(f"not the title of a requirement: {dialogue.title!r}")
        yield Requirement(
            title["name"],
            int(title["rfc"] or 0),
            title["section"],
            title["level"],
            title["text"],
            dialogue,
        )


def shipped(server: ServerUnderTest) -> list[Requirement]:
    """Return the requirements that come with Postroom, in the order of RFC and section.

    Raises:
        TranscriptError: what is wrong, and in which file and line.
    """
    folder = files("postroom.testing.conformance") / "dialogues"
    found: dict[str, Requirement] = {}
    for file in sorted(folder.iterdir(), key=lambda each: each.name):
        try:
            for each in requirements_of(file.read_text("utf-8"), server.variables()):
                if each.name in found:
                    raise TranscriptError(f"{each.name} is there twice")
                found[each.name] = each
        except TranscriptError as error:
            raise TranscriptError(f"{file.name}: {error}") from None
    return sorted(found.values(), key=order)


_LAST: Final = 1_000_000


def order(requirement: Requirement) -> tuple[object, ...]:
    """Return the sort key: RFC, section part by part, then the letter."""
    parts = tuple(
        (0, int(part), "") if part.isdecimal() else (1, 0, part)
        for part in requirement.section.split(".")
    )
    letter = requirement.name.rpartition("-")[2]
    return requirement.rfc or _LAST, parts, (len(letter), letter)
