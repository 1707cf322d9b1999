"""A delivery of a site's own: every message becomes a file in the folder ``archive``.

PYTHONPATH=docs/examples twistd -n smtp --delivery archive:archive
"""

import os
from pathlib import Path

from twisted.internet.threads import deferToThread
from twisted.python.components import registerAdapter
from zope.interface import implementer

from postroom.interfaces import IDeliveryTransaction, ITransactionDelivery
from postroom.wire.replies import reply


class Archive:
    """Keeps files; it knows nothing of mail."""

    def __init__(self, folder):
        self.folder = Path(folder)

    def store(self, name, content):
        """Store a file so that it survives a power cut; it blocks."""
        self.folder.mkdir(exist_ok=True)
        unfinished = self.folder / f".{name}"
        with unfinished.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(self.folder / name)
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@implementer(ITransactionDelivery)
class ArchiveDelivery:
    """Adapts an archive; each session gets an adapter of its own."""

    def __init__(self, archive):
        self.archive = archive

    def validate_sender(self, envelope):
        return None

    def validate_recipient(self, envelope, rcpt):
        if rcpt.forward_path.domain_key != "example.org":
            return reply(550, "5.1.2", "Not our domain")
        return "accepted"

    def begin(self, envelope):
        return Message(self.archive, envelope)


@implementer(IDeliveryTransaction)
class Message:
    """One message; all of it is in memory until it is stored."""

    def __init__(self, archive, envelope):
        self.archive, self.envelope = archive, envelope
        self.chunks = []

    def write(self, chunk):
        self.chunks.append(chunk)

    def commit(self):
        stored = deferToThread(self.archive.store, self.envelope.id, b"".join(self.chunks))
        answer = reply(250, "2.0.0", f"Archived as {self.envelope.id}")
        return stored.addCallback(lambda _: [answer] * len(self.envelope.recipients))

    def abort(self):
        self.chunks.clear()


registerAdapter(ArchiveDelivery, Archive, ITransactionDelivery)
archive = Archive("archive")
