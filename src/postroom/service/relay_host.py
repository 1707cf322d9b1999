"""How a fixed next hop is written: ``SCHEME://[user:password@]host[:port][?tls=MODE]``.

``smtp`` is port 25 and STARTTLS where it is offered; ``smtps`` is port 465 and TLS from the first
octet; ``lmtp`` is port 24, for a server of mailboxes such as Dovecot, and ``lmtp+unix:/path`` its
socket on this machine. User and password are percent-encoded (``@`` is ``%40``, ``:`` in the user
``%3A``, ``/`` ``%2F``); an IPv6 address stands in brackets.

A password must not go to whoever answers first: with a user, ``smtp`` wants STARTTLS with a
certificate that proves the host, unless the host is this machine. ``?tls=`` overrides:
``never``, ``opportunistic``, ``required`` or ``implicit``.
"""

from ipaddress import ip_address
from typing import Annotated, Final
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from postroom.client.model import SmartHost, TLSMode
from postroom.settings.values import Parsed
from postroom.wire.paths import is_domain
from postroom.wire.ports import SMTP_PORT, SMTPS_PORT

_PORTS: Final = {"smtp": SMTP_PORT, "smtps": SMTPS_PORT, "lmtp": 24}
_UNIX: Final = "lmtp+unix:"
_SOCKET_PATH_OCTETS: Final = 107  # sun_path of Linux


def _check_host(host: str) -> None:
    try:
        ip_address(host)
    except ValueError:
        if not is_domain(host):
            raise ValueError("the host is neither a name nor an IP address") from None


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _credential(text: str | None, what: str) -> str | None:
    if text is None:
        return None
    try:
        decoded = unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ValueError(f"the {what} is not UTF-8 when percent-decoded") from None
    if not decoded or "\0" in decoded:
        raise ValueError(f"the {what} is empty or holds NUL")
    return decoded


def _mode(scheme: str, query: str, *, wants_proof: bool) -> TLSMode:
    if query:
        options = parse_qsl(query, keep_blank_values=True)
        if len(options) != 1 or options[0][0] != "tls":
            raise ValueError('after "?" only tls=never|opportunistic|required|implicit')
        try:
            return TLSMode(options[0][1])
        except ValueError:
            raise ValueError("tls is one of never, opportunistic, required, implicit") from None
    if scheme == "smtps":
        return TLSMode.IMPLICIT
    return TLSMode.REQUIRED if wants_proof else TLSMode.OPPORTUNISTIC


def parse_relay_host(text: str) -> SmartHost:
    """Read a fixed next hop.

    Raises:
        ValueError: what is wrong with it; the message never holds the password.

    RFC 8314 s3.3
    """
    if not text.isprintable() or " " in text:
        raise ValueError("blanks and control characters have to be percent-encoded")
    if text.startswith(_UNIX):
        return _socket(text.removeprefix(_UNIX))
    parts = urlsplit(text)
    if parts.scheme not in _PORTS:
        raise ValueError("it does not begin with smtp://, smtps://, lmtp:// or lmtp+unix:/")
    if parts.path not in ("", "/") or parts.fragment:
        raise ValueError('after the port nothing but "?tls=" may follow ("/" and "#" are %2F, %23)')
    if parts.hostname is None:
        raise ValueError("there is no host")
    host = parts.hostname.removesuffix(".")
    _check_host(host)
    try:
        port = parts.port
    except ValueError:
        raise ValueError("the port is not a number from 1 to 65535") from None
    if port == 0:
        raise ValueError("the port is not a number from 1 to 65535")
    user = _credential(parts.username, "user")
    password = _credential(parts.password, "password")
    if (user is None) != (password is None):
        raise ValueError("user and password come together")
    wants_proof = user is not None and not _is_this_machine(host)
    mode = _mode(parts.scheme, parts.query, wants_proof=wants_proof)
    lmtp = parts.scheme == "lmtp"
    return SmartHost(host, port or _PORTS[parts.scheme], mode, user, password, lmtp)


def _socket(text: str) -> SmartHost:
    """Read the path of a UNIX socket."""
    path = unquote(text.removeprefix("//"))
    if not path.startswith("/") or "\0" in path:
        raise ValueError("after lmtp+unix: comes the absolute path of a socket")
    if len(path.encode()) > _SOCKET_PATH_OCTETS:
        raise ValueError(f"the path of a socket has at most {_SOCKET_PATH_OCTETS} octets")
    return SmartHost("", 0, TLSMode.NEVER, lmtp=True, path=path)


RelayHost = Annotated[
    SmartHost,
    Parsed(parse_relay_host, '"[smtp|smtps]://[user:password@]host[:port][?tls=…]"'),
]


def relay_host_text(host: SmartHost) -> str:
    """Write a next hop for messages and logs, the password blotted out."""
    if host.path is not None:
        return _UNIX + quote(host.path)
    scheme = "lmtp" if host.lmtp else "smtp"
    if host.tls is TLSMode.IMPLICIT and not host.lmtp:
        scheme = "smtps"
    user = "" if host.user is None else f"{quote(host.user, safe='')}:***@"
    name = f"[{host.host}]" if ":" in host.host else host.host
    return f"{scheme}://{user}{name}:{host.port}"
