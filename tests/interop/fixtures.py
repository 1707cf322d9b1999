"""What outlives a test: directories, and servers that many tests share.

Trial knows no set-up of classes or modules. So a shared server is made by a cached function when
the first test wants it, and stopped, by its process id, when the test process ends.
"""

import atexit
import tempfile
from pathlib import Path
from shutil import rmtree
from typing import Protocol, TypeVar


class Stoppable(Protocol):
    """Whatever runs on until it is stopped."""

    def stop(self) -> object:
        """Stop it; it may have ended already."""


Server = TypeVar("Server", bound=Stoppable)


def stopped_at_exit(server: Server) -> Server:
    """See to it that a server does not outlive the tests."""
    atexit.register(server.stop)
    return server


def new_folder(name: str) -> Path:
    """Make a directory, readable to the users that servers run as, and removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix=f"postroom-{name}-"))
    folder.chmod(0o755)
    atexit.register(rmtree, folder, ignore_errors=True)
    return folder
