"""The users of the system, and PAM to check their passwords.

A mailbox is a user name in one of the domains of the settings. The name is looked up with
``getpwnam``, as by any program: in files, SSSD, LDAP or NIS, as the machine is set up. Users with a
uid below the least, such as root and daemons, have no mailbox.

``getpwnam_r`` is called directly, because `pwd.getpwnam` raises the same `KeyError` for an unknown
user and for a name service that is down. `pamela`, a thin layer over PAM, checks passwords with a
service of our own (``/etc/pam.d/postroom``). If PAM cannot know (`_UNAVAILABLE`), the source is
down.

Known limit: modules that read ``/etc/shadow`` themselves allow an unprivileged process to check
only its own password. pam_unix uses a setuid program for that, and so do most others.

Who controls the input: the peer, names and passwords; the administrator, users and PAM.
"""

import ctypes
import errno
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from postroom.credentials import Credential, Knowledge
from postroom.directory.addresses import foreign_forms, login_address
from postroom.envelope import Account, Domain
from postroom.errors import UserError
from postroom.sources.profile import Maildirs, SourceDown, make_account
from postroom.sources.settings import SystemSettings

# The names that useradd accepts, with the dot that many sites allow.
_NAME = re.compile(r"[a-z_][a-z0-9_.-]{0,31}")
# "The given name or uid was not found", in the words of getpwnam_r(3).
_NOT_FOUND: Final = frozenset({0, errno.ENOENT, errno.ESRCH, errno.EBADF, errno.EPERM})
# PAM_OPEN_ERR, _SYMBOL_ERR, _SERVICE_ERR, _SYSTEM_ERR, _BUF_ERR, _AUTHINFO_UNAVAIL, _CONV_ERR,
# _ABORT, _MODULE_UNKNOWN
_UNAVAILABLE: Final = frozenset({1, 2, 3, 4, 5, 9, 19, 26, 28})
PAM_DIRECTORIES: Final = (Path("/etc/pam.d"), Path("/usr/lib/pam.d"))
_BUFFER_OCTETS: Final = 65_536


class _Passwd(ctypes.Structure):
    """``struct passwd`` of Linux."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("password", ctypes.c_char_p),
        ("uid", ctypes.c_uint32),
        ("gid", ctypes.c_uint32),
        ("gecos", ctypes.c_char_p),
        ("home", ctypes.c_char_p),
        ("shell", ctypes.c_char_p),
    )


class SystemUsers:
    """The look-ups of the system's users; see `LookUps`."""

    knows = frozenset({Knowledge.CHECKABLE})

    def __init__(self, settings: SystemSettings, maildirs: Maildirs) -> None:
        """Store the settings.

        Raises:
            UserError: PAM, or the extra for it, is not installed.
        """
        self._settings = settings
        self._maildirs = maildirs
        self._authenticate = _authenticator()

    def version(self) -> None:
        """See `LookUps`: the system does not tell."""

    def domain(self, name: str) -> Domain | None:
        """See `LookUps`."""
        return Domain(name) if name in self._settings.domains else None

    def address(self, address: str) -> Account | None:
        """See `LookUps`."""
        _, name, domain = foreign_forms(address)
        if domain not in self._settings.domains or _NAME.fullmatch(name) is None:
            return None
        found = find_user(name)
        if found is None or found[0] < self._settings.least_uid:
            return None
        return make_account(address, {"home": found[1]}, self._maildirs)

    def credential(self, username: bytes) -> Credential | None:
        """See `LookUps`; `ThreadedSource` sets `Credential.verify`."""
        first = next(iter(self._settings.domains), None)
        address = login_address(username, first) or ""
        found = self.address(address)
        return None if found is None else Credential(found.address)

    def verify(self, address: str, password: bytes) -> bool:
        """Return whether a password is right, by PAM.

        Raises:
            SourceDown: PAM cannot know.
        """
        if b"\0" in password or not password:
            return False
        service = self._settings.service
        if not any((directory / service).is_file() for directory in PAM_DIRECTORIES):
            # PAM would ask the service "other", which refuses everybody, or does not.
            raise SourceDown(f"there is no PAM service {service} in {PAM_DIRECTORIES[0]}")
        _, name, _ = foreign_forms(address)
        code, reason = self._authenticate(name, password, service)
        if code in _UNAVAILABLE:
            raise SourceDown(f"PAM service {service}: {reason}")
        return code == 0

    def close(self) -> None:
        """See `LookUps`."""


def find_user(name: str) -> tuple[int, str] | None:
    """Look up a user of the system.

    Returns:
        The uid and the home directory; None if there is no such user.

    Raises:
        SourceDown: the name service cannot know.
    """
    getpwnam_r = ctypes.CDLL(None, use_errno=True).getpwnam_r
    entry, found = _Passwd(), ctypes.POINTER(_Passwd)()
    buffer = ctypes.create_string_buffer(_BUFFER_OCTETS)
    code = getpwnam_r(
        name.encode("ascii"),
        ctypes.byref(entry),
        buffer,
        ctypes.c_size_t(_BUFFER_OCTETS),
        ctypes.byref(found),
    )
    if not found:
        if code in _NOT_FOUND:
            return None
        raise SourceDown(f"the system's users: {os.strerror(code)}")
    return entry.uid, (entry.home or b"").decode("utf-8", "surrogateescape")


def _authenticator() -> Callable[[str, bytes, str], tuple[int, str]]:
    """Return a function that asks PAM; imports late, since it needs PAM's library."""
    try:
        import pamela
    except (ImportError, OSError, AttributeError) as error:
        raise UserError(f'accounts.system needs PAM and the extra "pam": {error}') from None

    def authenticate(name: str, password: bytes, service: str) -> tuple[int, str]:
        try:
            pamela.authenticate(name, (password,), service, resetcred=0)
        except pamela.PAMError as error:
            known: Any = error
            return int(known.errno or 4), str(error)
        return 0, ""

    return authenticate
