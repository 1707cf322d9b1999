"""Types of settings that are written as text: what each is read by, and how its form is described.

Only types that several rooms use stand here; the others stand beside the room that uses them.

Who controls the input: the administrator.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Final

from postroom.wire.paths import is_domain


@dataclass(frozen=True, slots=True)
class Parsed:
    """Marks a type whose values are read by a function: ``Annotated[Type, Parsed(...)]``.

    Attributes:
        by: makes a value of what is written; a `ValueError` says what is wrong with it.
        words: what may be written.
        written: the type that it is written as.
    """

    by: Callable[[Any], object]
    words: str
    written: type = str

    def __get_pydantic_core_schema__(self, source: object, handler: object) -> Any:
        """Let `Parsed.by` alone decide; pydantic, which calls this, is imported by then."""
        from pydantic_core import PydanticCustomError, core_schema

        def read(value: object) -> object:
            if type(value) is not self.written:
                raise PydanticCustomError("wrong_type", "of another type")
            return self.by(value)

        return core_schema.no_info_plain_validator_function(read)


def matching(pattern: str, words: str) -> Parsed:
    """Return the mark of a string that has to match a regular expression as a whole."""
    compiled = re.compile(pattern)

    def read(text: str) -> str:
        if compiled.fullmatch(text) is None:
            raise ValueError
        return text

    return Parsed(read, words)


def parse_address(text: str) -> str:
    """Parse an IP address; returns it in its usual form.

    Raises:
        ValueError: it is none.
    """
    return str(ip_address(text))


def parse_domain(text: str) -> str:
    """Parse a domain name; returns it in lower case, without a final dot.

    Raises:
        ValueError: it is no name, or too long.

    RFC 5321 s4.1.2, s4.5.3.1.2
    """
    name = text.lower().removesuffix(".")
    if not is_domain(name):
        raise ValueError("not a domain name")
    return name


def parse_path(text: str) -> Path:
    """Parse a path; a relative one starts from the working directory."""
    return Path(text).absolute()


Network = IPv4Network | IPv6Network
_NETWORK: Final = Parsed(
    ip_network, 'an IP address or network such as "192.0.2.0/24" or "2001:db8::/32"'
)
Networks = Sequence[Annotated[Network, _NETWORK]]
LOOPBACK: Final[Networks] = (IPv4Network("127.0.0.0/8"), IPv6Network("::1"))

Address = Annotated[str, Parsed(parse_address, 'an IP address such as "192.0.2.1"')]
Addresses = Sequence[Address]

DomainName = Annotated[str, Parsed(parse_domain, 'a domain name such as "example.org"')]
DomainNames = Sequence[DomainName]

FilePath = Annotated[Path, Parsed(parse_path, "a path")]

_PASSWORD: Final = re.compile(r"(://[^:/@\s]*:).*@")


def without_password(text: str) -> str:
    """Return a URL with its password blotted out, for messages and logs."""
    return _PASSWORD.sub(r"\1***@", text)
