"""Our daemon on loopback, for whoever tries it from outside; started once in each mode."""

from functools import cache

from tests.daemon import Daemon
from tests.interop.certificates import make_certificates
from tests.interop.fixtures import new_folder, stopped_at_exit
from tests.modes import DEFAULT, Mode

DOMAIN = "here.example"
USER, OTHER, PASSWORD = f"user@{DOMAIN}", f"other@{DOMAIN}", "correct horse battery"
_LIMITS = """
errors = 100000
errors_before_delay = 100000
idle_commands = 100000
"""
_LOGINS = """
[auth.lockout]
refusal_seconds = 0
"""


def daemon(mode: Mode = DEFAULT) -> Daemon:
    """Start our daemon with two mailboxes; its clients may err as often as they like."""
    return _started(mode)


@cache
def _started(mode: Mode) -> Daemon:
    folder = new_folder(f"conformance-{mode.name}")
    made = stopped_at_exit(
        Daemon(
            folder,
            *make_certificates(folder).options,
            *("--hostname", f"mx.{DOMAIN}"),
            listeners=("mx", "mx-tls", "submission", "submission-tls", "lmtp"),
            settings=mode.file(limits=_LIMITS, rest=_LOGINS),
        )
    )
    made.add_account(USER, PASSWORD)
    made.add_account(OTHER, PASSWORD)
    made.start()
    return made
