"""Our daemon on loopback, for whoever tries it from outside; started once."""

from functools import cache

from tests.daemon import Daemon
from tests.interop.certificates import make_certificates
from tests.interop.fixtures import new_folder, stopped_at_exit

DOMAIN = "here.example"
USER, OTHER, PASSWORD = f"user@{DOMAIN}", f"other@{DOMAIN}", "correct horse battery"
_SETTINGS = """
[limits]
errors = 100000
errors_before_delay = 100000
idle_commands = 100000

[auth.lockout]
refusal_seconds = 0
"""


@cache
def daemon() -> Daemon:
    """Start our daemon with two mailboxes; its clients may err as often as they like."""
    folder = new_folder("conformance")
    made = stopped_at_exit(
        Daemon(
            folder,
            *make_certificates(folder).options,
            *("--hostname", f"mx.{DOMAIN}"),
            listeners=("mx", "mx-tls", "submission", "submission-tls", "lmtp"),
            settings=_SETTINGS,
        )
    )
    made.add_account(USER, PASSWORD)
    made.add_account(OTHER, PASSWORD)
    made.start()
    return made
