"""The initiation of a session, until it is ready for mail: greeting, EHLO, STARTTLS, AUTH.

It happens once for each connection, so it is a coroutine that reads like the dialogue. Whatever
goes wrong is a `HostFailed`. It is a `TLSFailed` if the same host may be tried again in clear text,
which the sender decides.

Credentials are sent inside TLS only, whatever the policy is, except to a loopback address: a
password that was sent in clear text over a network is no longer a secret (RFC 4954 s9). The name of
the server is checked only under `TLSMode.REQUIRED` and `IMPLICIT`.
"""

import base64
from typing import Protocol

from postroom.client import failures
from postroom.client.failures import HostFailed, TLSFailed
from postroom.client.model import TLSMode
from postroom.client.target import Policy, Target
from postroom.wire import encode
from postroom.wire.client_session import ClientPhase, ClientSession
from postroom.wire.replies import Reply


class HostDialogue(Protocol):
    """What the initiation needs of a connection."""

    target: Target
    policy: Policy
    session: ClientSession

    @property
    def secure(self) -> bool:
        """True inside TLS."""

    async def answer(self) -> Reply:
        """Wait for the reply to what was sent last; raise `HostFailed` if none comes."""

    async def ask(self, phase: ClientPhase, line: bytes) -> Reply:
        """Send a command and wait for its reply; raise `HostFailed` if none comes."""

    async def start_tls(self) -> None:
        """Negotiate TLS, and replace the session after STARTTLS; raise `HostFailed` if it fails."""


async def initiate(dialogue: HostDialogue, hostname: bytes) -> None:
    """Initiate a session on a new connection, until it is ready for mail.

    Args:
        dialogue: the connection.
        hostname: our name for EHLO.

    Raises:
        HostFailed: the host cannot be used now.

    RFC 5321 s3.1, s3.2; RFC 3207 s4; RFC 8314 s3.3
    """
    if dialogue.policy.tls is TLSMode.IMPLICIT:
        await dialogue.start_tls()
    greeting = await dialogue.answer()
    if greeting.code >= 400:
        raise HostFailed(greeting, answered=True)
    await _hello(dialogue, hostname)
    if dialogue.policy.tls in (TLSMode.OPPORTUNISTIC, TLSMode.REQUIRED):
        await _upgrade(dialogue, hostname)
    if dialogue.policy.requiretls and "REQUIRETLS" not in dialogue.session.capabilities:
        raise HostFailed(failures.no_requiretls(str(dialogue.target)), answered=True)
    if dialogue.policy.user is not None:
        await _log_in(dialogue, dialogue.policy.user, dialogue.policy.password or "")


async def _hello(dialogue: HostDialogue, hostname: bytes) -> None:
    """Send EHLO; to a host that does not know it HELO, unless an extension is needed.

    RFC 5321 s3.2; RFC 2033 s4.1
    """
    hello = encode.lhlo if dialogue.policy.lmtp else encode.ehlo
    reply = await dialogue.ask(ClientPhase.EHLO, hello(hostname))
    if reply.code < 400:
        return
    if reply.code >= 500 and dialogue.policy.tls is TLSMode.REQUIRED and not dialogue.secure:
        raise HostFailed(_no_tls(dialogue, f"EHLO was refused: {reply}"))
    if reply.code >= 500 and dialogue.policy.user is None and not dialogue.policy.lmtp:
        reply = await dialogue.ask(ClientPhase.HELO, encode.helo(hostname))
        if reply.code < 400:
            return
    raise HostFailed(reply, answered=True)


def _no_tls(dialogue: HostDialogue, why: str) -> Reply:
    return failures.tls_failed(str(dialogue.target), why, dialogue.policy.requiretls)


async def _upgrade(dialogue: HostDialogue, hostname: bytes) -> None:
    if "STARTTLS" not in dialogue.session.capabilities:
        if dialogue.policy.tls is TLSMode.REQUIRED:
            raise HostFailed(_no_tls(dialogue, "STARTTLS is not offered"))
        return
    reply = await dialogue.ask(ClientPhase.STARTTLS, encode.STARTTLS)
    if reply.code >= 400:
        raise TLSFailed(_no_tls(dialogue, f"STARTTLS was refused: {reply}"))
    await dialogue.start_tls()
    await _hello(dialogue, hostname)


async def _log_in(dialogue: HostDialogue, user: str, password: str) -> None:
    """Log in by AUTH PLAIN; by LOGIN if only that is offered. RFC 4954 s4; RFC 4616 s2."""
    remote = str(dialogue.target)
    if not dialogue.secure and not dialogue.target.loopback:
        raise HostFailed(failures.login_failed(remote, "no password is sent without TLS"))
    offered = dialogue.session.capabilities.mechanisms
    name, secret = user.encode(), password.encode()
    if "PLAIN" in offered:
        response = b"\0" + name + b"\0" + secret
        line = encode.auth("PLAIN", base64.b64encode(response))
        reply = await _exchange(dialogue, line, response)
    elif "LOGIN" in offered:
        reply = await _exchange(dialogue, encode.auth("LOGIN"), name, secret)
    else:
        raise HostFailed(failures.login_failed(remote, "neither AUTH PLAIN nor LOGIN is offered"))
    if reply.code // 100 != 2:
        raise HostFailed(failures.login_failed(remote, str(reply)), answered=True)


async def _exchange(dialogue: HostDialogue, line: bytes, *responses: bytes) -> Reply:
    """Send AUTH, and answer each challenge with the next response."""
    reply = await dialogue.ask(ClientPhase.AUTH, line)
    for response in responses:
        if reply.code != 334:
            break
        reply = await dialogue.ask(ClientPhase.AUTH, encode.auth_response(response))
    return reply
