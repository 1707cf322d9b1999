"""Orders certificates from an ACME server (RFC 8555), with the library of certbot.

The library blocks, so an order runs in a thread of its own. Each request has a time limit, and so
has the order as a whole. An order leaves behind the account's key and, if it succeeded, one file
with key and certificate. Both are replaced whole, with mode 0600. The account is requested again
with each order, which is the same request as creating it, so no local copy can be out of date.

Who controls the input: the ACME server. Its answer is used only if it is a certificate for exactly
the names that were ordered and for the key that we made.

Known limit: external account binding (RFC 8555 s7.3.4) is not supported.
"""

import datetime
import hashlib
import threading
from collections.abc import Iterator
from typing import Any, Final

import requests
from acme import challenges as acme_challenges
from acme import client, crypto_util, errors, messages
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from josepy.errors import Error as JOSEError
from josepy.jwa import ES256
from josepy.jwk import JWK, JWKEC

from postroom import __version__
from postroom.certificates.challenges import Challenges
from postroom.certificates.identity import Identity, parse_chain, parse_key, read, write_private
from postroom.certificates.model import HTTP_01, TLS_ALPN_01, ACMESettings
from postroom.errors import UserError

REQUEST_SECONDS: Final = 30
ORDER_SECONDS: Final = 180
_POLL_SECONDS: Final = 1.0

# The last of these are what the library raises when JSON is not of the shape that it expects.
_TROUBLE: Final = (
    *(errors.Error, requests.RequestException, JOSEError, ValueError, OSError),
    *(KeyError, AttributeError, TypeError),
)


class _TLSALPN01Response(acme_challenges.KeyAuthorizationChallengeResponse):
    typ = TLS_ALPN_01


class _TLSALPN01(acme_challenges.KeyAuthorizationChallenge):
    """The challenge tls-alpn-01, which the library does not support any more."""

    response_cls = _TLSALPN01Response
    typ = TLS_ALPN_01

    def validation(self, account_key: JWK, **_: Any) -> bytes:
        return hashlib.sha256(self.key_authorization(account_key).encode("ascii")).digest()


acme_challenges.ChallengeResponse.register(_TLSALPN01Response)
acme_challenges.Challenge.register(_TLSALPN01)


class Order:
    """One order, from the registration of the account to the certificate in its file."""

    def __init__(self, settings: ACMESettings, challenges: Challenges) -> None:
        """Store what to order; `run` places the order."""
        self._settings = settings
        self._challenges = challenges
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Ask `run` to stop early."""
        self._stopped.set()

    def run(self) -> Identity:
        """Place the order and store the certificate; block for `ORDER_SECONDS` at most.

        Raises:
            UserError: there is no certificate; the text says why, in one line.
        """
        try:
            return self._run()
        except _TROUBLE as error:
            raise UserError(_one_line(self._explain(error))) from error
        finally:
            self._challenges.clear()

    def _run(self) -> Identity:
        settings = self._settings
        try:
            settings.folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise UserError(f"{settings.folder}: cannot be made: {error.strerror}") from error
        account = JWKEC(key=self._account_key())
        acme = self._log_in(account)
        key = ec.generate_private_key(ec.SECP256R1())
        order = acme.new_order(crypto_util.make_csr(_pem_of(key), list(settings.domains)))
        deadline = datetime.datetime.now() + datetime.timedelta(seconds=ORDER_SECONDS)
        self._prove(acme, order, account, deadline)
        filled = acme.finalize_order(order, deadline)
        identity = self._checked(filled.fullchain_pem, key)
        write_private(settings.certificate, identity.pem())
        return identity

    def _account_key(self) -> Any:
        path = self._settings.account_key
        if not path.exists():
            write_private(path, _pem_of(ec.generate_private_key(ec.SECP256R1())))
        key = parse_key(read(path, str(path)), str(path))
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise UserError(
                f"{path}: not a key that Postroom made; remove it to have a new account"
            )
        return key

    def _log_in(self, account: JWK) -> client.ClientV2:
        """Make the account, or find it."""
        settings = self._settings
        net = client.ClientNetwork(
            account,
            alg=ES256,
            # The library hands it to requests, which takes a path as well.
            verify_ssl=str(settings.ca_file) if settings.ca_file else True,  # type: ignore[arg-type]
            user_agent=f"postroom/{__version__}",
            timeout=REQUEST_SECONDS,
        )
        acme = client.ClientV2(client.ClientV2.get_directory(settings.directory, net), net)
        contact = tuple(f"mailto:{address}" for address in settings.contact)
        wanted = messages.NewRegistration.from_data(contact=contact, terms_of_service_agreed=True)
        try:
            acme.new_account(wanted)
        except errors.ConflictError as found:
            net.account = messages.RegistrationResource(
                body=messages.Registration(), uri=found.location
            )
        return acme

    def _prove(
        self,
        acme: client.ClientV2,
        order: messages.OrderResource,
        account: JWK,
        deadline: datetime.datetime,
    ) -> None:
        """Prove for each name that we control it."""
        asked = list(self._asked(order))
        for name, body in asked:
            response = body.chall.response(account)
            if self._settings.challenge == HTTP_01:
                self._challenges.answer_http(body.chall.encode("token"), response.key_authorization)
            else:
                self._challenges.answer_tls(name, body.chall.validation(account))
        for _, body in asked:
            acme.answer_challenge(body, body.chall.response(account))
        for authorization in order.authorizations:
            self._await(acme, authorization, deadline)

    def _asked(self, order: messages.OrderResource) -> Iterator[tuple[str, messages.ChallengeBody]]:
        """Yield each name that is not yet authorised, with its challenge."""
        wanted = self._settings.challenge
        for authorization in order.authorizations:
            body = authorization.body
            if body.status == messages.STATUS_VALID:
                continue
            name = body.identifier.value
            found = [each for each in body.challenges if each.chall.typ == wanted]
            if not found:
                raise UserError(f"the ACME server offers no {wanted} for {name}")
            yield name, found[0]

    def _await(
        self,
        acme: client.ClientV2,
        authorization: messages.AuthorizationResource,
        deadline: datetime.datetime,
    ) -> None:
        while datetime.datetime.now() < deadline:
            authorization, _ = acme.poll(authorization)
            if authorization.body.status == messages.STATUS_VALID:
                return
            if authorization.body.status not in (
                messages.STATUS_PENDING,
                messages.STATUS_PROCESSING,
            ):
                raise errors.ValidationError([authorization])
            if self._stopped.wait(_POLL_SECONDS):
                raise UserError("the order was given up: the daemon stops")
        raise errors.TimeoutError()

    def _checked(self, pem: str, key: ec.EllipticCurvePrivateKey) -> Identity:
        chain = parse_chain(pem.encode("ascii", "replace"), "what the ACME server gave")
        identity = Identity(chain, key, str(self._settings.certificate))
        if chain[0].public_key() != key.public_key():
            raise UserError("the ACME server gave a certificate for another key")
        if not set(self._settings.domains) <= set(identity.names):
            raise UserError("the ACME server gave a certificate for other names")
        return identity

    def _explain(self, error: Exception) -> str:
        """Return in one line why there is no certificate."""
        server = self._settings.directory
        if isinstance(error, errors.ValidationError):
            return "; ".join(_failed(each) for each in error.failed_authzrs)
        if isinstance(error, errors.IssuanceError):
            error = error.error
        if isinstance(error, messages.Error):
            return f"{server} refuses: {error.detail or error.title or error.typ}"
        if isinstance(error, errors.TimeoutError):
            return f"{server}: no result in {ORDER_SECONDS} seconds"
        if isinstance(error, requests.exceptions.SSLError):
            hint = "" if self._settings.ca_file else "; for a private one set tls.acme.ca_file"
            return f"{server}: its own certificate is not trusted{hint}"
        if isinstance(error, requests.Timeout):
            return f"{server}: no answer in {REQUEST_SECONDS} seconds"
        if isinstance(error, requests.ConnectionError):
            return f"{server} cannot be reached: {_innermost(error)}"
        return f"{server}: not understood: {type(error).__name__}: {error}"


def _failed(authorization: messages.AuthorizationResource) -> str:
    name = authorization.body.identifier.value
    found = [each.error for each in authorization.body.challenges if each.error is not None]
    why = "; ".join(str(each.detail or each.typ) for each in found)
    return f"{name} could not be shown to be ours: {why or authorization.body.status.name}"


def _innermost(error: BaseException) -> str:
    """Return the innermost reason of an error that requests wrapped several times."""
    inner: BaseException | None = error
    while inner is not None:
        error = inner
        wrapped = (getattr(error, "reason", None), error.__cause__, *error.args)
        inner = next((item for item in wrapped if isinstance(item, BaseException)), None)
    return getattr(error, "strerror", None) or str(error)


def _one_line(text: str) -> str:
    return " ".join(text.split())[:500]


def _pem_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
