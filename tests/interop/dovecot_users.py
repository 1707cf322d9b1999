"""Dovecot with users of somebody else's: a passwd-file or a database that Postroom reads too."""

import os
import subprocess
from imaplib import IMAP4
from pathlib import Path

from tests.daemon import free_port, wait_until
from tests.interop.clients import program


class SharedDovecot:
    """Dovecot's IMAP server, which finds users, passwords and Maildirs where it is told."""

    def __init__(self, folder: Path, users: str, mail_location: str) -> None:
        """Start it.

        Args:
            folder: takes its own files.
            users: the ``passdb`` and ``userdb`` blocks.
            mail_location: Dovecot's, of users whose ``userdb`` names none.
        """
        self.port = free_port()
        root = os.geteuid() == 0
        internal = "" if root else f"default_internal_user = {os.getlogin()}\n"
        config = folder / "dovecot.conf"
        self._log = folder / "dovecot.log"
        config.write_text(f"""
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {self._log}
protocols = imap
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain
auth_cache_size = 0
{internal}mail_location = {mail_location}
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
{users}
""")
        command = [program("dovecot"), "-F", "-c", str(config)]
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=output)
        if not wait_until(self._greets, 15):
            self.stop()
            raise RuntimeError(f"dovecot did not start:\n{self._log.read_text()}")

    def _greets(self) -> bool:
        try:
            with IMAP4("127.0.0.1", self.port, timeout=5):
                return True
        except (OSError, IMAP4.error):
            return self._process.poll() is not None

    def subjects(self, user: str, password: str) -> list[str] | None:
        """Give the subjects of the inbox; None if the login is refused."""
        with IMAP4("127.0.0.1", self.port, timeout=30) as imap:
            try:
                imap.login(user, password)
            except IMAP4.error as error:
                if "AUTHENTICATIONFAILED" in str(error):
                    return None
                raise RuntimeError(f"{error}:\n{self._log.read_text()}") from error
            _, (count,) = imap.select()
            if not int(count or b"0"):
                return []
            _, data = imap.fetch("1:*", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
            fields = [item[1].decode() for item in data if isinstance(item, tuple)]
            return sorted(field.partition(":")[2].strip() for field in fields)

    def stop(self) -> None:
        """Stop it; its master takes its processes along."""
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait(15)
