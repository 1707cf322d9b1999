"""From endpoint strings to bound ports.

The strings are Twisted's, so ``systemd:`` and ``haproxy:`` come for free. Two things are added. An
``ssl:`` without ``privateKey=`` serves our own certificate, instead of a ``server.pem`` in the
working directory. And the backlog, where none is given, is what a mail server under load needs
rather than 50: when it overflows, the kernel makes clients wait whole seconds.

Ports are bound while the daemon is still being put together, before `twistd` forks or sheds
privileges: only then can a port in use be told on the terminal, and one below 1024 be had at all.
Connections that arrive before the reactor runs wait in the backlog.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import (
    IListeningPort,
    IProtocolFactory,
    IReactorCore,
    IStreamServerEndpoint,
)
from twisted.python.failure import Failure

from postroom.errors import UserError
from postroom.service.listen import Listen

BACKLOG: Final = 511
_BARE: Final = ("tcp", "tcp6", "unix", "systemd", "fd")
_FIELDS: Final = re.compile(r"(?:[^:\\]|\\.)+")


def make_endpoint(reactor: IReactorCore, listen: Listen) -> tuple[IStreamServerEndpoint, bool]:
    """Make the endpoint of a listener.

    Args:
        reactor: what will listen.
        listen: role and endpoint string.

    Returns:
        The endpoint, and whether our TLS is to be spoken on it: with ``+tls``, and on ``ssl:``
        without ``privateKey=``.

    Raises:
        UserError: the string means nothing, or what others do comes before what we would.
    """
    kind, *arguments = _FIELDS.findall(listen.endpoint) or [""]
    named = {item.partition("=")[0] for item in arguments if "=" in item}
    if kind in ("tcp", "tcp6", "ssl") and "backlog" not in named:
        arguments.append(f"backlog={BACKLOG}")
    is_ours = kind == "ssl" and "privateKey" not in named
    if (listen.proxy or listen.tls) and kind not in _BARE and not is_ours:
        raise UserError(
            f"listen {listen}: +proxy and +tls go with tcp:, tcp6:, unix:, systemd:, and ssl:"
            " without privateKey="
        )
    description = ":".join(["tcp" if is_ours else kind, *arguments])
    return parse_endpoint(reactor, description, f"listen {listen}"), is_ours or listen.tls


def parse_endpoint(reactor: IReactorCore, description: str, what: str) -> IStreamServerEndpoint:
    """Make an endpoint from Twisted's string.

    Args:
        reactor: what will listen.
        description: the string.
        what: names the setting, for messages.

    Raises:
        UserError: the string means nothing.
    """
    try:
        endpoint: IStreamServerEndpoint = serverFromString(reactor, description)
    except Exception as error:  # each endpoint plugin raises what it likes
        raise UserError(f"{what}: not a server endpoint: {_reason(error)}") from error
    return endpoint


def _reason(error: BaseException | None) -> str:
    """Return an exception on one line."""
    text = " ".join(str(error).split())
    return text or type(error).__name__


@dataclass(slots=True)
class Listener:
    """One listener.

    Attributes:
        listen: role and endpoint string.
        endpoint: what it binds.
        factory: makes its sessions.
        port: what is bound.
    """

    listen: Listen
    endpoint: IStreamServerEndpoint
    factory: IProtocolFactory
    port: IListeningPort | None = None


def bind(listener: Listener) -> None:
    """Bind a listener.

    Raises:
        UserError: the address is in use, not ours, or not for us.
    """
    listener.port = bind_port(listener.endpoint, listener.factory, f"listen {listener.listen}")


def bind_port(
    endpoint: IStreamServerEndpoint, factory: IProtocolFactory, what: str
) -> IListeningPort:
    """Bind an endpoint.

    Args:
        endpoint: one that binds at once, as all server endpoints do.
        factory: makes its sessions.
        what: names the setting, for messages.

    Raises:
        UserError: the address is in use, not ours, or not for us.
    """
    failures: list[Failure] = []
    ports: list[IListeningPort] = []
    waiting: Deferred[Any] = endpoint.listen(factory)
    waiting.addCallbacks(ports.append, failures.append)
    for failure in failures:
        error = failure.value
        if isinstance(error, CannotListenError):
            error = error.socketError
        reason = getattr(error, "strerror", None) or _reason(error)
        raise UserError(f"{what}: cannot listen: {reason}")
    return ports[0]


def stop_listening(listeners: Sequence[Listener]) -> Deferred[Any]:
    """Close all ports; connections that were made live on."""
    closing = []
    for listener in listeners:
        port, listener.port = listener.port, None
        if port is not None:
            closing.append(maybeDeferred(port.stopListening))
    return DeferredList(closing, consumeErrors=True)


def address_text(listener: Listener) -> str:
    """Return the address of a listener, for the log."""
    if listener.port is None:
        return listener.listen.endpoint
    address = listener.port.getHost()
    if isinstance(address, IPv4Address):
        return f"{address.host}:{address.port}"
    if isinstance(address, IPv6Address):
        return f"[{address.host}]:{address.port}"
    if isinstance(address, UNIXAddress):
        return os.fsdecode(address.name or "unix")
    return str(address)
