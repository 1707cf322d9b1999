"""A Maildir to try things on."""

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.filesystem import forbid_leaks


class MaildirCase(SynchronousTestCase):
    """An account's Maildir that is not there yet."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp()).absolute()
        forbid_leaks(self, self.path)

    def put(self, name: str, content: bytes = b"Subject: x\r\n\r\n", received_at: int = 0) -> Path:
        """Put a message there: ``new/…``, ``.Lists/cur/…``; makes the directories."""
        path = self.path / name
        for part in ("tmp", "new", "cur"):
            (path.parent.parent / part).mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        if received_at:
            os.utime(path, (received_at, received_at))
        return path

    def names(self, directory: str = "cur") -> list[str]:
        """Give the names in a directory of the Maildir; none if it is not there."""
        path = self.path / directory
        return sorted(os.listdir(path)) if path.is_dir() else []

    def snapshot(self) -> list[tuple[str, int, int]]:
        """Give everything about the Maildir that reading must not change."""
        return sorted(
            (str(path), path.stat().st_mtime_ns, path.stat().st_size)
            for path in self.path.rglob("*")
        )
