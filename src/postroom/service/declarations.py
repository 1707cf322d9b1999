"""How a setting is declared, and what the declaration says of itself.

A setting is one field of a pydantic model, made by `setting`. From the declaration come the check
of a value, the text of the error, ``--help``, ``etc/postroom.toml`` and the reference page: none
of them repeats what it says.

Values come from a TOML file or from the command line, written by the administrator. They are held
to their TOML type: ``"12"`` is not a number and ``1`` is not a truth value, so that a slip is an
error and not a guess.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Final, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.fields import FieldInfo

from postroom.certificates.model import ClientCertificates
from postroom.client.model import SmartHost
from postroom.service.relay_host import parse_relay_host
from postroom.wire.paths import is_domain

Network = IPv4Network | IPv6Network
_DNS_SERVER: Final = re.compile(r"(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+))(?::([0-9]{1,5}))?")
_MECHANISM: Final = re.compile(r"[A-Z0-9_-]{1,20}")
ROLES: Final = ("mx", "submission", "lmtp")


class Section(BaseModel):
    """A group of settings: a table of the TOML file."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


@dataclass(frozen=True, slots=True)
class Allowed:
    """What a value of a type of ours may be, in words."""

    text: str


@dataclass(frozen=True, slots=True)
class Extra:
    """What a declaration says beyond the type, the default and the range.

    Attributes:
        option: the command line's name of it, without dashes; None if it has none.
        example: shown where the default would say nothing.
        shown_default: shown instead of a default that depends on the machine.
        rfc: where it comes from.
        secret: True if its values are not to be shown.
    """

    option: str | None = None
    example: object = None
    shown_default: str | None = None
    rfc: str | None = None
    secret: bool = False


def setting(
    default: object, paragraph: str, *, extra: Extra | None = None, **constraints: Any
) -> Any:  # pydantic's plug-in free way of typing a field
    """Declare a setting.

    Args:
        default: its value when nobody sets it.
        paragraph: what it does, for whoever has to choose a value.
        extra: see `Extra`.
        constraints: pydantic's, as in ``ge=1, le=100``.
    """
    if isinstance(default, bool | int | float):
        constraints["strict"] = True
    if callable(default):
        constraints["default_factory"] = default
    else:
        constraints["default"] = default
    return Field(
        description=" ".join(paragraph.split()),
        json_schema_extra={"setting": extra or Extra()},  # type: ignore[dict-item]  # never JSON
        **constraints,
    )


@dataclass(frozen=True, slots=True)
class Declaration:
    """One setting, as the help, the example and the reference page show it.

    Attributes:
        key: its name in the file, its table's name and a dot in front.
        field: pydantic's record of it.
    """

    key: str
    field: FieldInfo

    @property
    def extra(self) -> Extra:
        """The rest of the declaration."""
        found = self.field.json_schema_extra
        assert isinstance(found, dict)
        value: Any = found["setting"]
        assert isinstance(value, Extra)
        return value

    @property
    def paragraph(self) -> str:
        """What the setting does."""
        return self.field.description or ""

    @property
    def default(self) -> object:
        """Its default; made anew where a function makes it."""
        return self.field.get_default(call_default_factory=True)

    @property
    def allowed(self) -> str:
        """What its value may be, in words."""
        return allowed(self.field)


def declarations(model: type[BaseModel], prefix: str = "") -> Iterator[Declaration]:
    """Give every setting of a model: its own first, in order, then those of its tables."""
    tables = []
    for name, field in model.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, Section):
            tables.append((name, annotation))
        else:
            yield Declaration(prefix + name, field)
    for name, table in tables:
        yield from declarations(table, f"{prefix}{name}.")


LIST_WORDS: Final = "a list, each item "
_TYPES: Final[dict[object, str]] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a string",
    Path: "a path",
}


def _type_text(annotation: Any) -> str:
    """Say in words what an annotation takes."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return next(
            (item.text for item in arguments[1:] if isinstance(item, Allowed)),
            _type_text(arguments[0]),
        )
    if origin is Literal or (isinstance(annotation, type) and issubclass(annotation, Enum)):
        choices = arguments or [item.value for item in annotation]
        return "one of " + ", ".join(f'"{item}"' for item in choices)
    if origin is UnionType or type(None) in arguments:
        return " or ".join(_type_text(item) for item in arguments if item is not type(None))
    if origin is tuple:
        return LIST_WORDS + _type_text(arguments[0])
    if origin is dict:
        return f"a table of {_type_text(arguments[0])} to {_type_text(arguments[1])}"
    return _TYPES.get(annotation, str(annotation))


def allowed(field: FieldInfo) -> str:
    """Say in words what a field takes: its type and its range."""
    words = [item.text for item in field.metadata if isinstance(item, Allowed)]
    text = words[0] if words else _type_text(field.annotation)
    least = next((item.ge for item in field.metadata if isinstance(item, Ge)), None)
    above = next((item.gt for item in field.metadata if isinstance(item, Gt)), None)
    most = next((item.le for item in field.metadata if isinstance(item, Le)), None)
    if least is not None:
        text += f" from {least}"
    elif above is not None:
        text += f" above {above}"
    return text if most is None else f"{text} to {most}"


@dataclass(frozen=True, slots=True)
class Listen:
    """Where to listen, and as what.

    Attributes:
        role: one of `ROLES`.
        endpoint: a Twisted server endpoint string.
        client_certificates: whether clients are to show certificates.
        proxy: a listed proxy has to say whom it speaks for.
        tls: TLS is spoken from the first octet, as on ``ssl:`` endpoints.
    """

    role: str
    endpoint: str
    client_certificates: ClientCertificates = ClientCertificates.NONE
    proxy: bool = False
    tls: bool = False

    def __str__(self) -> str:
        """Give it as it is written in the settings."""
        flags = [name for name, wish in _WISHES.items() if self.client_certificates is wish]
        flags += [name for name in _SWITCHES if getattr(self, name)]
        return "+".join([self.role, *flags]) + f"={self.endpoint}"


_WISHES: Final = {
    "ask-certificate": ClientCertificates.ASK,
    "need-certificate": ClientCertificates.NEED,
}
_SWITCHES: Final = ("proxy", "tls")
_FLAGS: Final = (*_WISHES, *_SWITCHES)


def parse_listen(text: str) -> Listen:
    """Read ``ROLE=ENDPOINT``, the role with flags: ``submission+need-certificate=ssl:465``.

    Raises:
        ValueError: no known role or flag, or no endpoint.
    """
    roles, equals, endpoint = text.partition("=")
    role, *flags = roles.split("+")
    if not equals or role not in ROLES or ":" not in endpoint:
        raise ValueError("not ROLE=ENDPOINT")
    if not set(flags) <= set(_FLAGS):
        raise ValueError("the flags of a role are " + ", ".join(f"+{flag}" for flag in _FLAGS))
    wishes = [_WISHES[flag] for flag in flags if flag in _WISHES]
    if len(wishes) > 1 or len(set(flags)) < len(flags):
        raise ValueError("flags exclude each other")
    wish = wishes[0] if wishes else ClientCertificates.NONE
    return Listen(role, endpoint, wish, "proxy" in flags, "tls" in flags)


def parse_network(text: str) -> Network:
    """Read an address or a network.

    Raises:
        ValueError: it is neither, or has bits set beyond its prefix.
    """
    return ip_network(text)


def parse_address(text: str) -> str:
    """Read an IP address; gives its usual form.

    Raises:
        ValueError: it is none.
    """
    return str(ip_address(text))


def parse_dns_server(text: str) -> tuple[str, int]:
    """Read the address of a DNS server, with its port if that is not 53.

    Raises:
        ValueError: not an IP address, or not a port.
    """
    match = _DNS_SERVER.fullmatch(text)
    host, port = (match[1] or match[2], match[3]) if match else (text, None)
    number = 53 if port is None else int(port)
    if not 0 < number < 65_536:
        raise ValueError("not a port")
    return parse_address(host), number


def parse_domain(text: str) -> str:
    """Parse a domain name; returns it in lower case, without a final dot.

    Underscores are allowed, for there are domains that have them.

    Raises:
        ValueError: it is no name, or too long.

    RFC 5321 s4.1.2, s4.5.3.1.2
    """
    name = text.lower().removesuffix(".")
    if not is_domain(name):
        raise ValueError("not a domain name")
    return name


def parse_mechanism(text: str) -> str:
    """Read the name of a SASL mechanism; gives it in capitals.

    Raises:
        ValueError: it is no name of one.

    RFC 4422 s3.1
    """
    if _MECHANISM.fullmatch(text.upper()) is None:
        raise ValueError("not a SASL mechanism")
    return text.upper()


def _from_text(parse: Callable[[str], object]) -> BeforeValidator:
    """Have a string parsed; anything else is refused, what is parsed already is let through."""

    def convert(value: object) -> object:
        return parse(value) if isinstance(value, str) else value

    return BeforeValidator(convert)


def as_tuple(value: object) -> object:
    """Make a tuple of a list; a string is not taken for a list of its letters."""
    if isinstance(value, str):
        raise ValueError("not a list")
    return tuple(value) if isinstance(value, list) else value


_NETWORK_WORDS: Final = Allowed(
    'an IP address or network such as "192.0.2.0/24" or "2001:db8::/32"'
)
_DOMAIN_WORDS: Final = Allowed('a domain name such as "example.org"')
_SMART_HOST_WORDS: Final = Allowed('"[smtp|smtps]://[user:password@]host[:port][?tls=…]"')

NetworkItem = Annotated[Network, _from_text(parse_network), _NETWORK_WORDS]
Addresses = Annotated[
    tuple[
        Annotated[str, _from_text(parse_address), Allowed('an IP address such as "192.0.2.1"')], ...
    ],
    BeforeValidator(as_tuple),
]
DNSServers = Annotated[
    tuple[
        Annotated[
            tuple[str, int],
            _from_text(parse_dns_server),
            Allowed('an IP address such as "192.0.2.53", "192.0.2.53:5353" or "[::1]:5353"'),
        ],
        ...,
    ],
    BeforeValidator(as_tuple),
]
Networks = Annotated[tuple[NetworkItem, ...], BeforeValidator(as_tuple)]
DomainName = Annotated[str, _from_text(parse_domain), _DOMAIN_WORDS]
DomainNames = Annotated[tuple[DomainName, ...], BeforeValidator(as_tuple)]
ListenItem = Annotated[
    Listen,
    _from_text(parse_listen),
    Allowed('"ROLE=ENDPOINT", ROLE one of mx, submission, lmtp, ENDPOINT as in "tcp:25"'),
]
Listens = Annotated[tuple[ListenItem, ...], BeforeValidator(as_tuple)]
RelayHost = Annotated[SmartHost, _from_text(parse_relay_host), _SMART_HOST_WORDS]
Strings = Annotated[tuple[str, ...], BeforeValidator(as_tuple)]
MechanismItem = Annotated[
    str,
    _from_text(parse_mechanism),
    Allowed('the name of a SASL mechanism such as "PLAIN" or "SCRAM-SHA-256"'),
]
Mechanisms = Annotated[tuple[MechanismItem, ...], BeforeValidator(as_tuple)]
AbsolutePath = Annotated[Path, _from_text(lambda text: Path(text).absolute())]

_PASSWORD = re.compile(r"(://[^:/@\s]*:).*@")


def without_password(text: str) -> str:
    """Give a URL with its password blotted out, for messages and logs."""
    return _PASSWORD.sub(r"\1***@", text)
