"""The tables of the settings that say whose mail is taken, and in whose name it is passed on."""

from postroom.accounts.srs_secrets import Rotation
from postroom.service.declarations import DomainName, Extra, Section, setting

_ROTATION = Rotation()


class SRSSection(Section):
    """How the reverse-path of mail that is forwarded off-site is rewritten, so that SPF holds."""

    enabled: bool = setting(
        True,
        """Rewrite the reverse-paths of strangers in what aliases and accounts forward to other
        sites. It needs a domain whose mail comes here, other than localhost.""",
    )
    domain: DomainName | None = setting(
        None,
        "The domain of rewritten addresses; its mail has to come to this server.",
        extra=Extra(example="example.org", shown_default="the oldest local domain"),
    )
    lifetime_days: int = setting(
        _ROTATION.lifetime_days,
        "How long what comes back to a rewritten address reaches the sender.",
        ge=1,
        le=1000,
    )
    rotation_days: int = setting(
        _ROTATION.rotation_days,
        """After how many days a new secret signs rewritten addresses; the old one is known for
        lifetime_days more. 0 keeps one for ever.""",
        ge=0,
        le=36_500,
    )

    def rotation(self) -> Rotation:
        """Give how long secrets last."""
        return Rotation(self.rotation_days, self.lifetime_days)
