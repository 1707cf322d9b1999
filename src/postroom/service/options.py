"""The command line of ``twistd smtp``.

Theory: an option sets a setting of the same name and wins over the settings file; its help is the
setting's own text. `Options.postOptions` makes a `Settings` of it all, and nothing further on looks
at options again but for what is twistd's own (log file, user id).

What is wrong raises `usage.UsageError`. On that ``twistd`` prints its whole help and, at the end,
the message; so under twistd the message alone goes to standard error, one line for each error, and
the exit status is 1.
"""

from pathlib import Path
from typing import Any

from twisted.cred import credentials, strcred
from twisted.cred.checkers import (
    ICredentialsChecker,
    InMemoryUsernamePasswordDatabaseDontUse,
)
from twisted.python import usage

from postroom import __version__
from postroom.errors import UserError
from postroom.service.settings import Settings, load_settings
from postroom.service.state import Owner
from postroom.settings.declarations import Declaration, declarations
from postroom.settings.writing import default_text

_BY_OPTION = {
    item.setting["option"]: item for item in declarations(Settings) if "option" in item.setting
}


def _help(declaration: Declaration) -> str:
    return f"{declaration.setting['paragraph']} [default: {default_text(declaration)}]"


def _octets(value: str | bytes) -> bytes:
    return value.encode("utf-8") if isinstance(value, str) else value


class Options(usage.Options, strcred.AuthOptionMixin):
    """What ``twistd smtp`` understands.

    Attributes:
        settings: the result, after `postOptions`.
        checkers: of ``--auth`` and of the setting ``auth.checkers``, in that order.
    """

    synopsis = "[options]"
    longdesc = (
        "Receives mail for local domains into Maildirs and relays other mail for those who may. "
        "Without options it listens on loopback, port 2525 (mx) and 2587 (submission), and keeps "
        "everything in ./postroom-state. All other settings go into a file: --config."
    )
    supportedInterfaces = (credentials.IUsernamePassword,)

    settings: Settings

    optParameters = [
        ["config", "c", None, "The settings file (TOML)."],
        *(
            [name, None, None, _help(_BY_OPTION[name])]
            for name in (
                "state-dir",
                "hostname",
                "relay-host",
                "database",
                "tls-certificate",
                "tls-key",
                "max-message-size",
                "delivery",
            )
        ),
    ]

    def __init__(self) -> None:
        """Create the options, with none of them set."""
        super().__init__()  # type: ignore[no-untyped-call]
        self._lists: dict[str, list[str]] = {}
        for name in ("domain", "listen", "relay-network"):
            self.docs[name] = _help(_BY_OPTION[name]) + " May be given several times."

    def opt_domain(self, value: str) -> None:
        """Store the value; the setting of this name explains it."""
        self._append("domain", value)

    def opt_listen(self, value: str) -> None:
        """Store the value; the setting of this name explains it."""
        self._append("listen", value)

    def opt_relay_network(self, value: str) -> None:
        """Store the value; the setting of this name explains it."""
        self._append("relay-network", value)

    def opt_version(self) -> None:
        """Print the version and exit."""
        print(f"Postroom {__version__}")  # noqa: T201  # it is what the option is for
        raise SystemExit(0)

    def _append(self, option: str, value: str) -> None:
        self._lists.setdefault(_BY_OPTION[option].key, []).append(value)

    def parseOptions(self, options: list[str] | None = None) -> None:
        """Parse the command line.

        Raises:
            SystemExit: something is wrong, under twistd.
            usage.UsageError: the same, anywhere else.
        """
        try:
            super().parseOptions(options)  # type: ignore[no-untyped-call]
        except usage.UsageError as error:
            if self.parent is None:
                raise
            lines = [f"twistd smtp: {line}" for line in str(error).splitlines()]
            raise SystemExit("\n".join(lines)) from None

    def postOptions(self) -> None:
        """Make the settings.

        Raises:
            usage.UsageError: a line for each error.
        """
        overrides: dict[str, object] = dict(self._lists)
        for name, declaration in _BY_OPTION.items():
            value = self.get(name)
            if value is not None:
                overrides[declaration.key] = value
        size = overrides.get("limits.message_octets")
        if isinstance(size, str) and size.isascii() and size.isdigit():
            overrides["limits.message_octets"] = int(size)
        config = self["config"]
        try:
            self.settings = load_settings(Path(config) if config else None, overrides)
        except UserError as error:
            raise usage.UsageError(str(error)) from error
        for description in self.settings.auth.checkers:
            self.opt_auth(description)  # type: ignore[no-untyped-call]

    def addChecker(self, checker: ICredentialsChecker) -> None:
        """Store a checker of ``--auth``.

        Twisted's ``memory:`` keeps names and passwords as text, and compares them with octets.
        """
        if isinstance(checker, InMemoryUsernamePasswordDatabaseDontUse):
            checker.users = {_octets(name): _octets(word) for name, word in checker.users.items()}
        super().addChecker(checker)  # type: ignore[no-untyped-call]

    @property
    def checkers(self) -> list[ICredentialsChecker]:
        """The checkers of logins that the user asked for."""
        found: list[ICredentialsChecker] = self.get("credCheckers", [])
        return found

    def of_twistd(self, name: str) -> Any:
        """Return the value of an option of ``twistd`` itself; None outside of it."""
        return None if self.parent is None else self.parent.get(name)

    @property
    def owner(self) -> Owner:
        """Whom twistd will make the process belong to."""
        return Owner(self.of_twistd("uid"), self.of_twistd("gid"))
