"""The fields of an account in a source, as text, and the account made from them.

The names of the fields are the same for all sources: columns of a query, attributes of an entry
under the names that the settings map, ``userdb_`` fields of a passwd-file:

    maildir          path of the Maildir, absolute or below the mail root
    mail             the same in Dovecot's notation: ``maildir:/path``
    home             home directory, for templates of Maildirs
    enabled, active  no, n, false, f, off and 0 disable the account; anything else leaves it enabled
    addresses        further addresses, separated by commas, as are the next
    forwards         addresses to which mail is forwarded
    keeps_copy       whether mail that is forwarded is also kept
    senders          addresses that it may send as
    quota_octets     and quota_messages, messages_per_day, recipients_per_day, message_octets:
                     whole numbers, as in `AccountLimits`
    quota_rule       Dovecot's, such as ``*:storage=100M:messages=1000``

A value that is not valid is a temporary failure (`SourceError`); it never makes an account without
the limit.

Who controls the input: whoever fills the source, possibly users who edit their own entries. So an
address becomes part of a path only in the form of `maildir_name`.
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
    """An answer of a source that cannot be used: a temporary failure for one account."""


class SourceDown(SourceError):
    """A source that cannot be asked: a temporary failure for everybody."""


@dataclass(frozen=True, slots=True)
class Maildirs:
    """Decides where an account's Maildir is.

    Attributes:
        mail_root: the directory below which our Maildirs are; absolute.
        template: a path in which `PLACES` in braces stand for what the account has; empty for the
            place that the accounts of the database have, below the mail root.
    """

    mail_root: Path
    template: str = ""

    def __post_init__(self) -> None:
        """Check the template.

        Raises:
            ValueError: it is not absolute, or has an unknown placeholder.
        """
        if not self.template:
            return
        if not self.template.startswith(("/", "{home}")):
            raise ValueError(f"{self.template!r} is not an absolute path")
        for name in _PLACE.findall(self.template):
            if name not in PLACES:
                known = ", ".join(f"{{{place}}}" for place in PLACES)
                raise ValueError(f"{{{name}}} is not a placeholder; those of a path are {known}")

    def of(self, address: str, given: str, home: str) -> str:
        """Return the absolute path of an account's Maildir.

        Args:
            address: the account's first address.
            given: the path in its source; absolute, below the mail root, or empty.
            home: its home directory; empty if it has none.

        Raises:
            SourceError: the path would leave the mail root, or the template needs a home and there
                is none.
        """
        if given:
            return self._given(given)
        directory, _, name = maildir_name(parse_address(address)).partition("/")
        if not self.template:
            return str(self.mail_root / directory / name)
        if "{home}" in self.template and not home.startswith("/"):
            raise SourceError(f"{address} has no home directory for its Maildir")
        values = {"home": home, "user": name, "domain": directory, "address": f"{name}@{directory}"}
        return _PLACE.sub(lambda match: values[match[1]], self.template)

    def _given(self, path: str) -> str:
        if ".." in path.split("/") or "\0" in path:
            raise SourceError(f"{path!r} is not a path of a Maildir")
        return str(self.mail_root / path)


def make_account(address: str, said: Mapping[str, str], maildirs: Maildirs) -> Account:
    """Return an account made from the fields in a source.

    Args:
        address: its first address, in canonical form.
        said: the fields, by the names above; others are ignored.
        maildirs: decides where its Maildir is.

    Raises:
        SourceError: a field is not valid; the message names account and field.
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
    """Return whether a value is other than the forms of no."""
    return text.strip().lower() not in _NO


def _maildir(said: Mapping[str, str]) -> str:
    if said.get("maildir"):
        return said["maildir"]
    kind, colon, rest = said.get("mail", "").partition(":")
    if not colon:
        return kind
    if kind != "maildir":
        raise ValueError(f"mail is in {kind!r}: only maildir: is supported")
    return rest.partition(":")[0]


def _limits(said: Mapping[str, str]) -> AccountLimits:
    found: dict[str, int] = {}
    if said.get("quota_rule"):
        found |= _quota_rule(said["quota_rule"])
    for field in fields(AccountLimits):
        text = said.get(field.name, "").strip()
        if text:
            if not text.isascii() or not text.isdigit():
                raise ValueError(f"{field.name} {text!r} is not a whole number")
            found[field.name] = int(text)
    return AccountLimits(**{name: value for name, value in found.items() if value > 0})


def _quota_rule(text: str) -> dict[str, int]:
    """Parse Dovecot's quota rule for all mailboxes; zero is no limit."""
    mailbox, _, rule = text.partition(":")
    found = {}
    for part in rule.split(":"):
        name, _, value = part.partition("=")
        match = _STORAGE.fullmatch(value)
        if mailbox != "*" or match is None or name not in ("storage", "bytes", "messages"):
            raise ValueError(f"quota_rule {text!r} is not supported")
        if name == "messages":
            found["quota_messages"] = int(match[1])
        else:
            unit = "B" if name == "bytes" and not match[2] else match[2].upper()
            found["quota_octets"] = int(match[1]) * _UNITS[unit]
    return found
