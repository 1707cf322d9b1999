"""Dovecot, which reads a Maildir for mail programs."""

import getpass
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from imaplib import IMAP4
from pathlib import Path

from tests.daemon import free_port, wait_until
from tests.interop.clients import program

_PASSWORD = "secret"


class Dovecot:
    """Dovecot's IMAP server on one Maildir, with files of its own.

    As root it does its work as ``nobody``, whom the Maildir has to belong to; it refuses to read
    mail as root.
    """

    def __init__(
        self, maildir: Path, folder: Path, *, inside: bool = False, quota_rule: str | None = None
    ) -> None:
        """Start it.

        Args:
            maildir: what it reads.
            folder: takes its own files.
            inside: True to have it keep UIDs and indexes in the Maildir, as it does by default.
            quota_rule: makes it keep quotas by ``maildirsize``, with this rule; empty for those
                that it finds there.

        Raises:
            RuntimeError: it did not start; with what it logged.
        """
        self.port = free_port()
        config, log = folder / "dovecot.conf", folder / "dovecot.log"
        self._log = log
        beside = "" if inside else f":INDEX=MEMORY:CONTROL={folder}/control"
        plugins = "" if quota_rule is None else "quota imap_quota"
        rule = f"quota_rule = {quota_rule}" if quota_rule else ""
        root = os.geteuid() == 0
        reader, group = ("nobody", "nogroup") if root else (getpass.getuser(), "")
        login = "dovenull" if root else reader
        config.write_text(f"""
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {log}
protocols = imap
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
default_login_user = {login}
default_internal_user = {"dovecot" if root else reader}
mail_location = maildir:{maildir}{beside}
mail_plugins = {plugins}
first_valid_uid = 1
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {self.port}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service anvil {{
  chroot =
}}
passdb {{
  driver = static
  args = password={_PASSWORD}
}}
userdb {{
  driver = static
  args = uid={reader} gid={group or os.getegid()} home={folder}/home
}}
plugin {{
  quota = maildir:User quota
  {rule}
}}
""")
        (folder / "control").mkdir()
        if root:
            shutil.chown(folder / "control", reader, group)
        command = [program("dovecot"), "-F", "-c", str(config)]
        with log.open("ab") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=output)
        if not wait_until(self._greets, 15):
            self.stop()
            raise RuntimeError(f"dovecot did not start:\n{log.read_text()}")

    def _greets(self) -> bool:
        try:
            with IMAP4("127.0.0.1", self.port, timeout=5):
                return True
        except (OSError, IMAP4.error):
            return self._process.poll() is not None

    @contextmanager
    def session(self) -> Iterator[IMAP4]:
        """Log in; logs out in the end."""
        with IMAP4("127.0.0.1", self.port, timeout=30) as imap:
            imap.login("ann", _PASSWORD)
            yield imap

    def complaints(self) -> list[str]:
        """Give what it has logged that is worse than information."""
        levels = ("Warning:", "Error:", "Fatal:", "Panic:")
        lines = self._log.read_text().splitlines()
        return [line for line in lines if any(level in line for level in levels)]

    def messages(self, part: str = "") -> list[bytes]:
        """Give all messages of the inbox, or ``TEXT`` of each, as a mail program gets them."""
        with self.session() as imap:
            _, (count,) = imap.select()
            if not int(count or b"0"):
                return []
            _, data = imap.fetch("1:*", f"(BODY.PEEK[{part}])")
            return [item[1] for item in data if isinstance(item, tuple)]

    def stop(self) -> None:
        """Stop it; its master takes its processes along."""
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait(15)
