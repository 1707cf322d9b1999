"""Writes a session as lines for people, or as one JSON value for programs.

Neither shows a secret: an `ConversationEntry` has secrets only in its octets.
"""

import time
from collections.abc import Iterator
from typing import Any, Final

from postroom.capture.conversation import Conversation
from postroom.capture.entries import ConversationEntry
from postroom.capture.sessions import CapturedSession

_SPEAKERS: Final = {"C": "client", "S": "server", "-": None}


def text_lines(session: CapturedSession) -> Iterator[str]:
    """Yield a session's transcript: a heading, then each line with its time and violations."""
    talk = session.conversation
    began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(session.began))
    seconds = session.ended - session.began
    heading = f"Session {session.number}: {session.client} > {session.server}, {began}"
    yield f"{heading}, {seconds:.3f} s"
    for name, value in _facts(talk):
        yield f"  {name}: {value}"
    for entry in talk.entries:
        yield from _entry_lines(entry, session.began)


def _facts(talk: Conversation) -> Iterator[tuple[str, str]]:
    """Yield the facts of the heading."""
    if talk.unheard is not None:
        yield "capture", f"nothing of what the {talk.unheard} said"
    elif not talk.complete:
        yield "capture", "not the whole session"
    if talk.extensions:
        words = [f"{key} {rest}" if rest else key for key, rest in talk.extensions.items()]
        yield "extensions", ", ".join(words)
    for mechanism, code in talk.mechanisms:
        yield "AUTH", f"{mechanism}, {code or 'not answered'}"
    sizes = content_sizes(talk)
    if sizes:
        yield "content", ", ".join(f"{size} octets" for size in sizes)
    count = sum(len(entry.violations) for entry in talk.entries)
    if count:
        yield "violations", str(count)


def content_sizes(talk: Conversation) -> list[int]:
    """Return the size of each content and of each chunk, in octets as sent."""
    return [entry.size_octets for entry in talk.entries if entry.size_octets is not None]


def _entry_lines(entry: ConversationEntry, began: float) -> Iterator[str]:
    moment = f"{entry.time - began:10.3f}  "
    for line in entry.lines:
        yield f"{moment}{entry.speaker}: {line}"
        moment = " " * len(moment)
    for violation in entry.violations:
        yield f"{' ' * len(moment)}!! {violation}"


def document(session: CapturedSession) -> dict[str, Any]:
    """Return a session as a value for JSON."""
    talk = session.conversation
    return {
        "session": session.number,
        "client": str(session.client),
        "server": str(session.server),
        "began": session.began,
        "seconds": round(session.ended - session.began, 6),
        "complete": talk.complete,
        "tls": talk.tls,
        "extensions": talk.extensions,
        "auth": [{"mechanism": name, "code": code} for name, code in talk.mechanisms],
        "content_octets": content_sizes(talk),
        "violations": sum(len(entry.violations) for entry in talk.entries),
        "transcript": [_entry_document(entry, session.began) for entry in talk.entries],
    }


def _entry_document(entry: ConversationEntry, began: float) -> dict[str, Any]:
    return {
        "at": round(entry.time - began, 6),
        "from": _SPEAKERS[entry.speaker],
        "lines": entry.lines,
        "octets": entry.size_octets,
        "violations": entry.violations,
    }
