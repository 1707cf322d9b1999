"""The tables of the settings that are about logins."""

from postroom.accounts.hashing import Forms
from postroom.accounts.scram import ITERATIONS, MOST_ITERATIONS
from postroom.server.limits import ListenerSettings
from postroom.service.declarations import (
    Extra,
    Mechanisms,
    Networks,
    Section,
    Strings,
    setting,
)

__all__ = ["AuthSection"]


class AuthSection(Section):
    """Logins."""

    checkers: Strings = setting(
        (),
        """Further sources of logins beside Postroom's own accounts, as Twisted's credential plugins
        write them; "twistd smtp --help-auth" lists them.""",
        extra=Extra(option="auth", example=["file:/etc/postroom/passwd"]),
    )
    mechanisms: Mechanisms = setting(
        ListenerSettings.__dataclass_fields__["mechanisms"].default,
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

    def forms(self) -> Forms:
        """Give the forms in which passwords are stored."""
        return Forms(self.scram_keys, self.clear_text_passwords, self.scram_iterations)
