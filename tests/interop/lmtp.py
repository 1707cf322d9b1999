"""Dovecot's LMTP server: mailboxes for some users of any domain, over TCP and a UNIX socket."""

import os
import shutil
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.daemon import free_port, greets, wait_until
from tests.interop.clients import program
from tests.interop.mail import Folder


class DovecotLMTP:
    """Dovecot as the server that keeps the mailboxes.

    Attributes:
        port: of LMTP on loopback.
        path: of its UNIX socket.
    """

    def __init__(self, users: Sequence[str], folder: Path) -> None:
        """Start it.

        Args:
            users: local parts of those who have mailboxes; all others get 550.
            folder: takes its files.

        Raises:
            RuntimeError: it did not start; with what it logged.
        """
        self.port = free_port()
        self.path = Path(
            f"/tmp/postroom-lmtp-{os.getpid()}-{self.port}"
        )  # short enough for a socket
        self.path.mkdir()
        self._folder = folder
        log, config, passwd = folder / "dovecot.log", folder / "dovecot.conf", folder / "passwd"
        reader = "nobody" if os.geteuid() == 0 else str(os.geteuid())
        passwd.write_text("".join(f"{user}::::::\n" for user in users))
        (folder / "mail").mkdir()
        if os.geteuid() == 0:
            shutil.chown(folder / "mail", "nobody", "nogroup")
        config.write_text(f"""
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {log}
protocols = lmtp
listen = 127.0.0.1
ssl = no
auth_username_format = %n
mail_location = maildir:{folder}/mail/%n:INDEX=MEMORY
first_valid_uid = 1
default_internal_user = dovecot
lmtp_save_to_detail_mailbox = no
recipient_delimiter = +
service lmtp {{
  chroot =
  inet_listener lmtp {{
    port = {self.port}
  }}
  unix_listener {self.path}/lmtp {{
    mode = 0666
  }}
}}
service anvil {{
  chroot =
}}
passdb {{
  driver = passwd-file
  args = {passwd}
}}
userdb {{
  driver = passwd-file
  args = {passwd}
  override_fields = uid={reader} gid=nogroup home={folder}/mail/%n
}}
""")
        with log.open("ab") as output:
            command = [program("dovecot"), "-F", "-c", str(config)]
            self._process = subprocess.Popen(command, stdout=output, stderr=output)
        wait_until(lambda: self._process.poll() is not None or greets(self.port))
        if self._process.poll() is not None or not greets(self.port):
            self.stop()
            raise RuntimeError(f"dovecot did not start:\n{log.read_text()}")

    @property
    def socket(self) -> str:
        """The path of its UNIX socket."""
        return f"{self.path}/lmtp"

    def received(self, user: str) -> list[bytes]:
        """Give the messages of a user."""
        new = self._folder / "mail" / user / "new"
        return Folder(new).contents() if new.exists() else []

    def speaks(self) -> bytes:
        """Give its greeting on the UNIX socket."""
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(self.socket)
            return peer.recv(1000)

    def stop(self) -> None:
        """Stop it."""
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait(15)
        shutil.rmtree(self.path, ignore_errors=True)
