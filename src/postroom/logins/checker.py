"""The credentials checker, which checks logins against the sources of accounts.

Sources are asked in order, and the first that knows the user decides. Every wrong login (unknown or
disabled account, no password, wrong password) gets the same failure after the same work: the same
look-ups, and one verification of one hash. Only our own faults are different, 454, so that no
client discards a password that was right.

Three kinds of credentials are checked here: a password; a response that can only be checked with
the password itself (CRAM-MD5); and a user who is authenticated already and only needs an account.

A password that is stored in an outdated form is stored again, without making the login wait.

Who controls the input: the peer, all of it.

Known limits: a source that checks passwords itself (an LDAP bind) takes its own time. With such a
source, unknown users are hidden only by `postroom.logins.guard`, which delays every refusal.
"""

from collections.abc import Sequence

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernameHashedPassword, IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from postroom.credentials import Credential, Knowledge, ScramKeys
from postroom.errors import Refusal, Unavailable
from postroom.interfaces import (
    ICredentialSource,
    ICredentialStore,
    ILoginSecrets,
    IProvenUser,
)
from postroom.logins.hashing import offered_password
from postroom.logins.passwords import BUSY, PasswordPool
from postroom.logins.schemes import SCRAM_SHA_256, parse_stored
from postroom.logins.scram import DummyScramKeys, read_keys
from postroom.logins.secrets import app_password_key, app_password_letters
from postroom.wire.replies import reply

UNAVAILABLE = reply(454, "4.7.0", "Temporary authentication failure, try again later")
_REFUSED = "Authentication credentials invalid"
_NOBODY = Credential("")

_log = Logger()


@implementer(ICredentialsChecker, ILoginSecrets)
class SourcesChecker:
    """Checks logins; the avatar id is the account's address, as bytes."""

    credentialInterfaces = (IUsernamePassword, IUsernameHashedPassword, IProvenUser)

    def __init__(
        self,
        sources: Sequence[ICredentialSource],
        passwords: PasswordPool,
        dummy_keys: DummyScramKeys,
    ) -> None:
        """Store the sources.

        Args:
            sources: the first is asked first.
            passwords: where passwords are verified; the caller starts and stops it.
            dummy_keys: makes SCRAM keys for unknown users.
        """
        self._sources = sources
        self._passwords = passwords
        self._dummy_keys = dummy_keys

    @property
    def knows(self) -> frozenset[Knowledge]:
        """See `ILoginSecrets.knows`."""
        return frozenset().union(*(source.knows for source in self._sources))

    def requestAvatarId(self, credentials: object) -> Deferred[bytes | tuple[()]]:
        """Check a login.

        Returns:
            The account's address. It fails with `UnauthorizedLogin` (535 5.7.8), or with
            a `Refusal` of 454 4.7.0 if the fault is ours or too many logins wait.

        RFC 4954 s4, s6; RFC 4616 s2
        """
        return Deferred.fromCoroutine(self._check(credentials))

    def scram_keys(self, username: bytes) -> Deferred[ScramKeys]:
        """See `ILoginSecrets.scram_keys`."""
        return Deferred.fromCoroutine(self._scram_keys(username))

    async def _check(self, credentials: object) -> bytes | tuple[()]:
        try:
            if IUsernamePassword.providedBy(credentials):
                address = await self._check_password(credentials.username, credentials.password)
            elif IUsernameHashedPassword.providedBy(credentials):
                address = await self._check_response(credentials)
            else:
                assert IProvenUser.providedBy(credentials)
                address = await self._check_account(credentials.username)
        except (Refusal, UnauthorizedLogin):
            raise
        except Unavailable:  # the source has logged it
            raise Refusal(UNAVAILABLE) from None
        except Exception:
            _log.failure("A login could not be checked")
            raise Refusal(UNAVAILABLE) from None
        return address.encode("utf-8")

    async def _check_password(self, username: bytes, password: bytes) -> str:
        if self._passwords.full:  # a flood must not cost a look-up each
            raise Refusal(BUSY)
        source, found = await self._find(username)
        usable = found if found.enabled else _NOBODY
        letters = app_password_letters(password)
        app = None
        if letters is not None:
            key = app_password_key(letters)
            app = next((each for each in usable.app_passwords if each.key == key), None)
        if app is not None and letters is not None:
            verdict = await self._passwords.verify((app.stored,), letters)
            if not verdict.matches:
                raise UnauthorizedLogin(_REFUSED)
            self._store_learnt(source, "app_password_used", found.address, app.key)
            return found.address
        if usable.verify is not None:
            if offered_password(password) is None or not await usable.verify(password):
                raise UnauthorizedLogin(_REFUSED)
            return found.address
        verdict = await self._passwords.verify(usable.stored, password)
        if not verdict.matches:
            raise UnauthorizedLogin(_REFUSED)
        if verdict.new_stored is not None:
            self._store_learnt(
                source, "replace_stored", found.address, usable.stored, verdict.new_stored
            )
        return found.address

    async def _check_response(self, credentials: IUsernameHashedPassword) -> str:
        """Check a response computed from the password, as in CRAM-MD5."""
        _, found = await self._find(credentials.username)
        clear_text = _clear_text(found) if found.enabled else None
        right = credentials.checkPassword(b"nobody's" if clear_text is None else clear_text)
        if not right or clear_text is None:
            raise UnauthorizedLogin(_REFUSED)
        return found.address

    async def _check_account(self, username: bytes) -> str:
        _, found = await self._find(username)
        if found is _NOBODY or not found.enabled:
            raise UnauthorizedLogin(_REFUSED)
        return found.address

    async def _scram_keys(self, username: bytes) -> ScramKeys:
        try:
            _, found = await self._find(username)
            made_up = self._dummy_keys.keys(username)
            keys = _stored_keys(found) if found.enabled else None
        except Refusal:
            raise
        except Exception:
            _log.failure("Keys for SCRAM could not be read")
            raise Refusal(UNAVAILABLE) from None
        return made_up if keys is None else keys

    async def _find(self, username: bytes) -> tuple[ICredentialSource | None, Credential]:
        """Return the first source that knows a user, and what it knows; or nobody.

        Raises:
            Refusal: no source knows the user, and one could not be asked.
        """
        trouble = False
        for source in self._sources:
            try:
                found = await source.find_credential(username)
            except Unavailable:  # the source has logged it
                trouble = True
                continue
            except Exception:
                _log.failure("A source of logins cannot be asked: {source}", source=source)
                trouble = True
                continue
            if found is not None:
                return source, found
        if trouble:
            raise Refusal(UNAVAILABLE)
        return None, _NOBODY

    def _store_learnt(self, source: object, method: str, address: str, *args: object) -> None:
        """Pass what a login has shown to a source that stores it; the login does not wait."""
        if not ICredentialStore.providedBy(source):
            return
        noted: Deferred[None] = getattr(source, method)(address, *args)
        noted.addErrback(
            lambda failure: _log.failure(
                "What was learnt from a login of {address} was not stored", failure, address=address
            )
        )


def _clear_text(found: Credential) -> bytes | None:
    for text in found.stored:
        form = parse_stored(text)
        if form.scheme == "PLAIN":
            return form.data.encode("utf-8")
    return None


def _stored_keys(found: Credential) -> ScramKeys | None:
    for text in found.stored:
        form = parse_stored(text)
        if form.scheme == SCRAM_SHA_256:
            return read_keys(form, found.address)
    return None
