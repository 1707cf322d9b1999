"""What checks tokens, put together from the settings: files and HTTP come in here.

Requests follow no redirect, have a deadline, and take no more than `MOST_OCTETS`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from OpenSSL import crypto
from twisted.cred.checkers import ICredentialsChecker
from twisted.internet.defer import Deferred
from twisted.internet.ssl import Certificate, trustRootFromCertificates
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool
from twisted.web.client import Agent, BrowserLikePolicyForHTTPS
from twisted.web.http_headers import Headers

from postroom.errors import UserError
from postroom.interfaces import ITokenReader
from postroom.logins.introspection import IntrospectedTokens
from postroom.logins.signed_tokens import IssuerKeys, SignedTokens, parse_keys
from postroom.logins.tokens import TokenChecker
from postroom.service.sections import TokensSection

MOST_OCTETS: Final = 262_144
_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")


def make_token_checker(
    reactor: Any, section: TokensSection, look_ups: ThreadPool, accounts: ICredentialsChecker
) -> TokenChecker | None:
    """Make what checks tokens; None if the settings name nobody who gives any out.

    Args:
        reactor: the daemon's.
        section: the settings.
        look_ups: threads that read files.
        accounts: knows who may log in.

    Raises:
        UserError: the settings contradict each other, a file cannot be used, or a package is
            missing.
    """
    if not section.keys and not section.introspection_url:
        return None
    _check(section)
    reader: ITokenReader
    if section.keys:
        fetch = _key_source(reactor, section, look_ups)
        reader = SignedTokens(IssuerKeys(fetch, reactor, section.refresh_seconds))
    else:
        reader = IntrospectedTokens(_Web(reactor, section).post)
    return TokenChecker(section.claims, reader, accounts)


def _check(section: TokensSection) -> None:
    try:
        import jwt  # noqa: F401
        import treq  # noqa: F401
    except ImportError:
        raise UserError("auth.tokens needs more packages: pip install 'postroom[auth]'") from None
    if section.keys and section.introspection_url:
        raise UserError("auth.tokens: keys and introspection_url exclude each other")
    if section.keys and not (section.claims.issuer and section.claims.audiences):
        raise UserError(
            "auth.tokens: keys need issuer and audiences, or tokens for others would be taken"
        )
    if section.introspection_url and section.client_secret_file is None:
        raise UserError("auth.tokens: introspection_url needs client_id and client_secret_file")
    for name in ("keys", "introspection_url"):
        url = urlsplit(getattr(section, name))
        if url.scheme == "http" and url.hostname not in _LOOPBACK:
            raise UserError(f"auth.tokens.{name}: use https; http is for this host alone")
        if name == "introspection_url" and url.scheme not in ("", "http", "https"):
            raise UserError(f"auth.tokens.{name}: not a URL of http or https")


def _key_source(reactor: Any, section: TokensSection, look_ups: ThreadPool) -> Any:
    if urlsplit(section.keys).scheme in ("http", "https"):
        return _Web(reactor, section).get_keys
    path = Path(section.keys).absolute()
    try:
        parse_keys(path.read_bytes())
    except OSError as error:
        raise UserError(f"auth.tokens.keys {path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"auth.tokens.keys {path}: {error}") from error
    return lambda: deferToThreadPool(reactor, look_ups, path.read_bytes)


class _Web:
    """Requests to an issuer."""

    def __init__(self, reactor: Any, section: TokensSection) -> None:
        from treq.client import HTTPClient

        self._section = section
        trusted = None if section.ca_file is None else _trusted(section.ca_file)
        policy = BrowserLikePolicyForHTTPS(trustRoot=trusted)
        self._client = HTTPClient(Agent(reactor, policy, connectTimeout=section.timeout_seconds))
        self._auth = (section.client_id, _secret(section.client_secret_file))

    def get_keys(self) -> Deferred[bytes]:
        """Fetch the issuer's keys."""
        return Deferred.fromCoroutine(self._request("GET", self._section.keys))

    def post(self, form: Mapping[str, str]) -> Deferred[bytes]:
        """Send a form to where tokens are looked into."""
        url = self._section.introspection_url
        return Deferred.fromCoroutine(self._request("POST", url, data=form, auth=self._auth))

    async def _request(self, method: str, url: str, **more: Any) -> bytes:
        import treq

        response = await self._client.request(
            method,
            url,
            headers=Headers({"Accept": ["application/json"]}),
            allow_redirects=False,
            timeout=self._section.timeout_seconds,
            **more,
        )
        if response.code != 200:
            raise OSError(f"{url} answers {response.code}")
        received = bytearray()

        def take(octets: bytes) -> None:
            received.extend(octets)
            if len(received) > MOST_OCTETS:
                raise ValueError(f"{url} sends more than {MOST_OCTETS} octets")

        await treq.collect(response, take)
        return bytes(received)


def _secret(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise UserError(f"auth.tokens.client_secret_file {path}: {reason}") from error


def _trusted(path: Path) -> Any:
    try:
        return trustRootFromCertificates([Certificate.loadPEM(path.read_bytes())])
    except OSError as error:
        raise UserError(f"auth.tokens.ca_file {path}: {error.strerror}") from error
    except crypto.Error as error:
        raise UserError(f"auth.tokens.ca_file {path}: no PEM certificate in it") from error
