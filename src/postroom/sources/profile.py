"""What a source says of an account, field by field, as text; and the account that it makes.

The names of the fields are the same for all sources: columns of a query, attributes of an entry
under the names that the settings map, ``userdb_`` fields of a passwd-file:

    maildir          path of the Maildir, absolute or below the mail root
    mail             the same in Dovecot's notation: ``maildir:/path``
    home             home directory, for templates of Maildirs
    enabled, active  no, n, false, f, off and 0 switch the account off; anything else leaves it on
    addresses        further addresses, with commas between them; so are
    forwards         where mail goes as well
    keeps_copy       whether it is also kept
    senders          what it may send as
    quota_octets     and quota_messages, messages_per_day, recipients_per_day, message_octets:
                     whole numbers, as in `AccountLimits`
    quota_rule       Dovecot's, as in ``*:storage=100M:messages=1000``

A value that cannot be understood makes a temporary failure (`SourceError`), never an account with a
limit less.

Who controls the input: whoever fills the source; it may be a user who edits an entry of their own,
so an address is put into a path only as `maildir_name` writes it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

from postroom.directory.addresses import (
    local_address,
    maildir_name,
    parse_address,
    parse_target,
)
from postroom.envelope import Account, AccountLimits
from postroom.errors import Unavailable, UserError

PLACES: Final = ("home", "user", "domain", "address")
_PLACE = re.compile(r"\{([a-z]*)\}")
_NO: Final = frozenset({"", "no", "n", "false", "f", "off", "0"})
_UNITS: Final = {"B": 1, "": 1024, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
_STORAGE = re.compile(r"([0-9]+)([BKMGT]?)B?", re.IGNORECASE)


class SourceError(Unavailable):
    """An answer of a source that cannot be used: a temporary failure for whom it is about."""


class SourceDown(SourceError):
    """A source that cannot be asked: a temporary failure for everybody."""


@dataclass(frozen=True, slots=True)
class Maildirs:
    """Decides where an account's Maildir is.

    Attributes:
        mail_root: the directory of ours below which Maildirs are; absolute.
        template: a path in which `PLACES` in braces stand for what the account has; empty for the
            place that the accounts of the database have, below the mail root.
    """

    mail_root: Path
    template: str = ""

    def __post_init__(self) -> None:
        """Check the template.

        Raises:
            ValueError: it is not absolute, or has an unknown place in it.
        """
        if not self.template:
            return
        if not self.template.startswith(("/", "{home}")):
            raise ValueError(f"{self.template!r} is no absolute path")
        for name in _PLACE.findall(self.template):
            if name not in PLACES:
                known = ", ".join(f"{{{place}}}" for place in PLACES)
                raise ValueError(f"{{{name}}} means nothing in a path; what does is {known}")

    def of(self, address: str, given: str, home: str) -> str:
        """Return the absolute path of an account's Maildir.

        Args:
            address: the account's first address.
            given: what its source says; absolute, below the mail root, or empty.
            home: its home directory; empty if it has none.

        Raises:
            SourceError: the path would leave the mail root, or the template wants a home and there
                is none.
        """
        if given:
            return self._given(given)
        directory, _, name = maildir_name(parse_address(address)).partition("/")
        if not self.template:
            return str(self.mail_root / directory / name)
        if "{home}" in self.template and not home.startswith("/"):
            raise SourceError(f"{address} has no home directory to keep its Maildir in")
        values = {"home": home, "user": name, "domain": directory, "address": f"{name}@{directory}"}
        return _PLACE.sub(lambda match: values[match[1]], self.template)

    def _given(self, path: str) -> str:
        if ".." in path.split("/") or "\0" in path:
            raise SourceError(f"{path!r} is no path of a Maildir")
        return str(self.mail_root / path)


def make_account(address: str, said: Mapping[str, str], maildirs: Maildirs) -> Account:
    """Make an account of what a source says of it.

    Args:
        address: its first address, in canonical form.
        said: the fields, by the names above; others are passed over.
        maildirs: says where its Maildir is.

    Raises:
        SourceError: a field cannot be understood; says whose and which.
    """
    try:
        forwards = tuple(parse_target(text) for text in _several(said, "forwards"))
        return Account(
            address,
            maildirs.of(address, _maildir(said), said.get("home", "")),
            is_yes(said.get("enabled", "yes")) and is_yes(said.get("active", "yes")),
            addresses=tuple(local_address(text) for text in _several(said, "addresses")),
            forwards=forwards,
            keeps_copy=not forwards or is_yes(said.get("keeps_copy", "yes")),
            senders=tuple(text.lower() for text in _several(said, "senders")),
            limits=_limits(said),
        )
    except (UserError, SourceError, ValueError) as error:
        raise SourceError(f"{address}: {error}") from None


def _several(said: Mapping[str, str], name: str) -> Sequence[str]:
    return [text.strip() for text in said.get(name, "").split(",") if text.strip()]


def is_yes(text: str) -> bool:
    """Return True unless a source says no."""
    return text.strip().lower() not in _NO


def _maildir(said: Mapping[str, str]) -> str:
    if said.get("maildir"):
        return said["maildir"]
    kind, colon, rest = said.get("mail", "").partition(":")
    if not colon:
        return kind
    if kind != "maildir":
        raise ValueError(f"mail is in a {kind!r}: only maildir: can be delivered to")
    return rest.partition(":")[0]


def _limits(said: Mapping[str, str]) -> AccountLimits:
    found: dict[str, int] = {}
    if said.get("quota_rule"):
        found |= _quota_rule(said["quota_rule"])
    for field in fields(AccountLimits):
        text = said.get(field.name, "").strip()
        if text:
            if not text.isascii() or not text.isdigit():
                raise ValueError(f"{field.name} {text!r} is no whole number")
            found[field.name] = int(text)
    return AccountLimits(**{name: value for name, value in found.items() if value > 0})


def _quota_rule(text: str) -> dict[str, int]:
    """Read a quota rule of Dovecot's for all mailboxes; zero is no limit."""
    mailbox, _, rule = text.partition(":")
    found = {}
    for part in rule.split(":"):
        name, _, value = part.partition("=")
        match = _STORAGE.fullmatch(value)
        if mailbox != "*" or match is None or name not in ("storage", "bytes", "messages"):
            raise ValueError(f"quota_rule {text!r} means nothing here")
        if name == "messages":
            found["quota_messages"] = int(match[1])
        else:
            unit = "B" if name == "bytes" and not match[2] else match[2].upper()
            found["quota_octets"] = int(match[1]) * _UNITS[unit]
    return found
