"""Mail and logins that go on while something else is stopped and started."""

import smtplib
import threading
from collections import Counter
from dataclasses import dataclass, field

from tests.daemon import Daemon, wait_until

_PAUSE_SECONDS = 0.05


@dataclass
class Codes:
    """How often each reply code came, for each kind of question.

    Attributes:
        known: RCPT of somebody whom the source knows.
        unknown: RCPT of somebody whom nobody knows.
        logins: AUTH with the right password.
    """

    known: Counter[int] = field(default_factory=Counter)
    unknown: Counter[int] = field(default_factory=Counter)
    logins: Counter[int] = field(default_factory=Counter)


class Traffic:
    """A client that asks all three questions again and again, each time on new connections."""

    def __init__(self, daemon: Daemon, address: str, password: str) -> None:
        """Begin."""
        self.codes = Codes()
        self.faults: list[BaseException] = []
        self._daemon = daemon
        self._address = address
        self._password = password
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._ended.set()
        self._thread.join(60)

    def wait_for(self, code: int, kind: str) -> bool:
        """Wait until a code has come once more than until now."""
        counter: Counter[int] = getattr(self.codes, kind)
        before = counter[code]
        return wait_until(lambda: counter[code] > before or self.faults, 40)

    def _run(self) -> None:
        try:
            while not self._ended.wait(_PAUSE_SECONDS):
                self._ask()
        except BaseException as fault:
            self.faults.append(fault)

    def _ask(self) -> None:
        domain = self._address.partition("@")[2]
        with smtplib.SMTP("127.0.0.1", self._daemon.port, timeout=30) as client:
            client.ehlo("client.example")
            client.mail("sender@remote.test")
            self.codes.known[client.rcpt(self._address)[0]] += 1
            self.codes.unknown[client.rcpt(f"nobody-at-all@{domain}")[0]] += 1
        self.codes.logins[login(self._daemon, self._address, self._password)] += 1


def login(daemon: Daemon, name: str, password: str) -> int:
    """Log in; give the reply code."""
    with smtplib.SMTP("127.0.0.1", daemon.ports["submission"], timeout=30) as client:
        client.ehlo("client.example")
        try:
            code, _ = client.login(name, password)
        except smtplib.SMTPAuthenticationError as error:
            return error.smtp_code
        return code


def send(daemon: Daemon, recipient: str, subject: str) -> None:
    """Send a message; raises if it is not taken."""
    with smtplib.SMTP("127.0.0.1", daemon.port, timeout=30) as client:
        client.sendmail(
            "sender@remote.test",
            [recipient],
            f"From: sender@remote.test\r\nSubject: {subject}\r\n\r\nHello.\r\n",
        )
