"""The Sender Rewriting Scheme: reverse-paths that survive forwarding.

A host that forwards a message off-site with its reverse-path unchanged sends in the name of a
domain that does not list it, and SPF checks fail. So the reverse-path is rewritten to an address of
ours that holds the old one, and whatever comes back to that address goes to the old one. The
grammar, after the scheme's paper (M. Wong and S. Hardy, 2003) and what its implementations write:

    SRS0-address  = "SRS0" separator hash "=" timestamp "=" host "=" user "@" forwarder
    SRS1-address  = "SRS1" separator hash "=" first-forwarder "=" opaque "@" forwarder
    separator     = "=" / "+" / "-"
    opaque        = what followed "SRS0" at the first forwarder: its separator and all the rest
    hash          = base64 of HMAC-SHA1, its first `HASH_LETTERS` letters; over timestamp, host and
                    user for SRS0, over first-forwarder and opaque for SRS1, all in lower case
    timestamp     = two digits of base 32 ("A" to "Z", "2" to "7"): days since 1970, modulo 1024

An address that was rewritten before, by somebody else, is not wrapped once more: SRS1 remembers the
first forwarder only, so that addresses do not grow however many hosts forward in turn.

Invariants: what `Rewriting.reverse` accepts was made by `Rewriting.forward` with one of our
secrets, and an SRS0 address is at most `lifetime_days` old. So nobody can make us relay mail to an
address of their choice. Case is lost in transit at some hosts: hashes and timestamps are compared
without it (of some 24 bits of hash about 20 are left: enough, with an expiry, to make guessing
expensive).

Who controls the input: the peer, both ways. A secret is ours, and never leaves the state directory.

Known limit: a rewritten local part may be longer than the 64 octets of RFC 5321 s4.5.3.1.1, which
other hosts accept, and `postroom.wire.paths` too; beyond `PATH_OCTETS` in all the reverse-path
stays as it was.
"""

import hmac
import re
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from postroom.wire.paths import PATH_OCTETS, TOLERATED_DOMAIN, Mailbox

HASH_LETTERS: Final = 4
DAY_SECONDS: Final = 86_400
_BASE32: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_DAYS: Final = len(_BASE32) ** 2
_PREFIX = re.compile(rb"SRS([01])([-+=])(.+)", re.IGNORECASE | re.DOTALL)
_SRS0 = re.compile(rb"([^=]+)=([^=]{2})=([^=]+)=(.+)", re.DOTALL)
_SRS1 = re.compile(rb"([^=]+)=([^=]+)=([-+=].+)", re.DOTALL)


class SRSError(ValueError):
    """An address in the form of ours that is not valid: forged, expired or malformed."""


@dataclass(frozen=True, slots=True)
class Rewriting:
    """Rewrites reverse-paths to addresses of one domain, and back.

    Attributes:
        domain: ours, lower case; it has to bring mail here.
        secrets: returns the secrets, the newest first; hashes are made with that one alone.
        now: returns POSIX time, in seconds.
        lifetime_days: how long an address is answered; below 1024.
    """

    domain: str
    secrets: Callable[[], Sequence[bytes]]
    now: Callable[[], float]
    lifetime_days: int = 21

    def concerns(self, mailbox: Mailbox) -> bool:
        """Return whether an address is in our domain and in the form of a rewritten one."""
        return (
            mailbox.local_part[:3].upper() == b"SRS"
            and mailbox.domain_key == self.domain
            and _PREFIX.fullmatch(mailbox.local_part) is not None
        )

    def forward(self, sender: Mailbox) -> Mailbox:
        """Return the reverse-path with which a message is forwarded.

        Args:
            sender: the one that it came with.

        Returns:
            An address of ours; the sender itself if that is in our domain or leaves no room.
        """
        if sender.domain_key == self.domain:
            return sender
        secret = self.secrets()[0]
        match = _PREFIX.fullmatch(sender.local_part)
        found = match and _SRS1.fullmatch(match[3]) if match and match[1] == b"1" else None
        if match is not None and match[1] == b"0":
            local = self._srs1(secret, sender.domain, match[2] + match[3])
        elif found:
            local = self._srs1(secret, found[2], found[3])
        else:
            stamp = self._timestamp()
            digest = _hash(secret, stamp, sender.domain, sender.local_part)
            local = b"=".join((b"SRS0", digest, stamp, sender.domain, sender.local_part))
        rewritten = Mailbox(local, self.domain.encode("ascii"))
        return rewritten if len(bytes(rewritten)) <= PATH_OCTETS - 2 else sender

    def reverse(self, mailbox: Mailbox) -> Mailbox:
        """Return the address that a rewritten one stands for.

        Args:
            mailbox: one that `concerns` us.

        Raises:
            SRSError: it is forged, too old or malformed; the message tells which.
        """
        match = _PREFIX.fullmatch(mailbox.local_part)
        if match is None:
            raise SRSError("not a rewritten address")
        return self._reverse0(match[3]) if match[1] == b"0" else self._reverse1(match[3])

    def _reverse0(self, text: bytes) -> Mailbox:
        match = _SRS0.fullmatch(text)
        if match is None:
            raise SRSError("malformed SRS0 address")
        digest, stamp, host, user = match.groups()
        self._check(digest, stamp, host, user)
        try:
            high, low = (_BASE32.index(digit) for digit in stamp.upper())
        except ValueError:
            raise SRSError("malformed timestamp") from None
        age = (self._today() - (high * len(_BASE32) + low)) % _DAYS
        if age > self.lifetime_days and age != _DAYS - 1:  # a clock may lag behind by a day
            raise SRSError(f"expired {age - self.lifetime_days} days ago")
        return _mailbox(user, host)

    def _reverse1(self, text: bytes) -> Mailbox:
        match = _SRS1.fullmatch(text)
        if match is None:
            raise SRSError("malformed SRS1 address")
        digest, host, opaque = match.groups()
        self._check(digest, host, opaque)
        return _mailbox(b"SRS0" + opaque, host)

    def _srs1(self, secret: bytes, host: bytes, opaque: bytes) -> bytes:
        return b"=".join((b"SRS1", _hash(secret, host, opaque), host, opaque))

    def _check(self, digest: bytes, *parts: bytes) -> None:
        offered = digest.lower()
        for secret in self.secrets():
            if hmac.compare_digest(offered, _hash(secret, *parts).lower()):
                return
        raise SRSError("forged")

    def _today(self) -> int:
        return int(self.now() // DAY_SECONDS)

    def _timestamp(self) -> bytes:
        high, low = divmod(self._today() % _DAYS, len(_BASE32))
        return _BASE32[high : high + 1] + _BASE32[low : low + 1]


def _mailbox(local: bytes, domain: bytes) -> Mailbox:
    if TOLERATED_DOMAIN.fullmatch(domain) is None:
        raise SRSError("malformed domain")
    return Mailbox(local, domain)


def _hash(secret: bytes, *parts: bytes) -> bytes:
    digest = hmac.digest(secret, b"".join(parts).lower(), "sha1")
    return b64encode(digest)[:HASH_LETTERS]
