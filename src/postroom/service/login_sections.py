"""The tables of the settings that are about logins."""

from dataclasses import fields
from functools import partial
from typing import Any

from pydantic import Field

from postroom.delivery.settings import SubmissionSettings
from postroom.logins.guard import GuardSettings
from postroom.logins.hashing import Forms
from postroom.logins.scram import ITERATIONS, MOST_ITERATIONS
from postroom.server.limits import LOOPBACK, ListenerSettings
from postroom.service.declarations import (
    AbsolutePath,
    Extra,
    Mechanisms,
    Networks,
    Section,
    Strings,
    setting,
)


def _setting_of(kind: Any, name: str, paragraph: str, **more: Any) -> Any:
    """Declare a setting whose default another room has."""
    default = next(item.default for item in fields(kind) if item.name == name)
    return setting(default, paragraph, **more)


_guard = partial(_setting_of, GuardSettings)
_listener = partial(_setting_of, ListenerSettings)
_submission = partial(_setting_of, SubmissionSettings)


class LockoutSection(Section):
    """Guessing passwords made slow."""

    refusal_seconds: float = _guard(
        "refusal_seconds",
        """How long after its line a client hears of a wrong login at the earliest, so that the time
        it took to find out tells nothing.""",
        ge=0,
        le=60,
    )
    failures_before_delay: int = _guard(
        "failures_before_delay",
        "Failures of a name, or from an address, after which each further one doubles that wait.",
        ge=0,
        le=1_000_000,
    )
    longest_delay_seconds: float = _guard(
        "longest_delay_seconds", "The wait that is not doubled any more.", ge=0, le=240
    )
    failures_of_account: int = _guard(
        "failures_of_account",
        """Failures of one name that lock it out; not for those who have lately logged in with it
        from the same address.""",
        ge=1,
        le=1_000_000,
    )
    failures_of_address: int = _guard(
        "failures_of_address",
        "Failures from one IPv4 address or one IPv6 /64 that lock it out.",
        ge=1,
        le=1_000_000,
    )
    forget_seconds: float = _guard(
        "forget_seconds", "How long a failure counts.", ge=1, le=2_592_000
    )
    lockout_seconds: float = _guard(
        "lockout_seconds",
        """How long a lock-out lasts; "postroom lockout clear" ends it before.""",
        ge=1,
        le=2_592_000,
    )
    remembered: int = _guard(
        "remembered",
        "How many names and addresses are counted at once; the oldest are forgotten first.",
        ge=100,
        le=100_000_000,
    )
    exempt_networks: Networks = setting(
        LOOPBACK,
        """Networks that are never locked out or made to wait longer, such as a web mail's. Those
        who use this host's programs all come from one address.""",
    )


class TokensSection(Section):
    """Tokens (OAuth 2), for OAUTHBEARER and XOAUTH2; the mechanisms have to be named as well."""

    issuer: str = setting(
        "",
        "Who has to have given a token out: its claim iss.",
        extra=Extra(example="https://login.example.org"),
    )
    audiences: Strings = setting(
        (),
        "Whom a token has to be meant for: one of these among its claim aud.",
        extra=Extra(example=["https://mail.example.org"]),
    )
    keys: str = setting(
        "",
        """The issuer's keys, a file or https URL with a JSON Web Key Set: tokens are then checked
        by their signature. Needs the extra "auth".""",
        extra=Extra(example="https://login.example.org/jwks.json", rfc="RFC 7517 s5"),
    )
    refresh_seconds: float = setting(
        3600.0, "How long keys are used before they are read again.", ge=60, le=2_592_000
    )
    introspection_url: str = setting(
        "",
        """Instead of keys: where each token is shown to its issuer. Needs the extra "auth".""",
        extra=Extra(example="https://login.example.org/introspect", rfc="RFC 7662 s2"),
    )
    client_id: str = setting("", "By which name we ask there.", extra=Extra(example="postroom"))
    client_secret_file: AbsolutePath | None = setting(
        None,
        "The file with the password that we ask there with.",
        extra=Extra(example="/etc/postroom/introspection-secret"),
    )
    ca_file: AbsolutePath | None = setting(
        None,
        "A certificate (PEM) that is trusted for these URLs instead of the system's.",
        extra=Extra(example="/etc/ssl/certs/internal.pem"),
    )
    timeout_seconds: float = setting(10.0, "How long a request may take.", gt=0, le=240)
    scope: str = setting(
        "", "What a token has to allow: among its claim scope.", extra=Extra(example="smtp")
    )
    username_claim: str = setting(
        "email", "Which claim names the account, by its address or another user name.", min_length=1
    )


class SubmissionSection(Section):
    """What is asked of mail after a login; several From or Sender fields are refused always."""

    own_senders: bool = _submission(
        "own_senders",
        """Whoever has logged in may use only their own addresses in MAIL FROM: those of the
        account, aliases that lead to it alone, and its list of senders. Others get 553.""",
        extra=Extra(rfc="RFC 6409 s6.1"),
    )
    own_authors: bool = _submission(
        "own_authors",
        "The same for the From and Sender fields of the header. Others get 550.",
    )
    null_sender: bool = _submission(
        "null_sender",
        """Take MAIL FROM:<> after a login. Programs use it to tell that a message was read.""",
        extra=Extra(rfc="RFC 8098 s2.1"),
    )
    add_date: bool = _submission(
        "add_date",
        """Add a Date field to a message that comes in on a submission listener without one, unless
        a DKIM signature covers its absence. Mail that is relayed stays as it is.""",
        extra=Extra(rfc="RFC 6409 s8.2"),
    )
    add_message_id: bool = _submission(
        "add_message_id", "The same for Message-ID.", extra=Extra(rfc="RFC 6409 s8.3")
    )


class AuthSection(Section):
    """Logins."""

    checkers: Strings = setting(
        (),
        """Further sources of logins beside Postroom's own accounts, as Twisted's credential plugins
        write them; "twistd smtp --help-auth" lists them.""",
        extra=Extra(option="auth", example=["file:/etc/postroom/passwd"]),
    )
    mechanisms: Mechanisms = _listener(
        "mechanisms",
        """SASL mechanisms in the order in which EHLO lists them; none switches logins off. There
        are also OAUTHBEARER, XOAUTH2, EXTERNAL and CRAM-MD5, and those of plugins. One that cannot
        work is not listed: SCRAM-SHA-256 without auth.scram_keys, EXTERNAL without a verified
        certificate of the client, CRAM-MD5 without auth.clear_text_passwords.""",
        extra=Extra(rfc="RFC 4954 s3; RFC 4422 s3.1"),
    )
    clear_text_networks: Networks = setting(
        (),
        "Networks that are offered AUTH without TLS: passwords then cross them in clear text.",
        extra=Extra(example=["127.0.0.0/8"], rfc="RFC 4954 s4"),
    )
    scram_keys: bool = setting(
        False,
        """Store the keys of SCRAM-SHA-256 beside the hash of a password: when it is set, and when
        its owner next logs in with PLAIN. Stolen keys are cheaper to guess passwords with than the
        hash is. Needs the extra "auth".""",
        extra=Extra(rfc="RFC 7677 s4"),
    )
    scram_iterations: int = setting(
        ITERATIONS,
        "How often such keys are hashed; clients have to do the same at each login.",
        ge=4096,
        le=MOST_ITERATIONS,
        extra=Extra(rfc="RFC 7677 s4"),
    )
    clear_text_passwords: bool = setting(
        False,
        """Store passwords in clear text beside the hash, as CRAM-MD5 wants it. Whoever reads the
        database then has them all. Switched off again, each goes when its owner next logs in.""",
    )
    lockout: LockoutSection = Field(default_factory=LockoutSection)
    tokens: TokensSection = Field(default_factory=TokensSection)

    def forms(self) -> Forms:
        """Give the forms in which passwords are stored."""
        return Forms(self.scram_keys, self.clear_text_passwords, self.scram_iterations)
