"""Settings of a shop, with one of everything that can be declared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal

from postroom.settings.declaring import computed, part, setting, table
from postroom.settings.values import Address, DomainName, FilePath, Networks, Parsed, matching


class Fruit(Enum):
    APPLE = "apple"
    PEAR = "pear"


def parse_even(number: int) -> int:
    if number % 2:
        raise ValueError("odd")
    return number


Even = Annotated[int, Parsed(parse_even, "an even number", int)]
Letter = Annotated[str, matching("[a-z]", "a letter")]


@dataclass(frozen=True, slots=True)
class Till:
    """What is paid.

    Attributes:
        owner: whose it is; no setting.
    """

    owner: str
    limit_cents: int = setting(500, "The most that is taken.", within=(1, 1000), option="limit")
    wait_seconds: float = setting(1, "How long it is waited.", above=0, most=60)
    opened: bool = setting(False, "Whether it is open.", shown_default="by day")
    pairs: Even = setting(2, "Gloves.", most=10)
    letter: Letter = setting("a", "Its name.")

    def __post_init__(self) -> None:
        if self.limit_cents == 13:
            raise ValueError("13 is bad luck")


@dataclass(frozen=True, slots=True)
class Door:
    """How people come in."""

    width: int = setting(1, "In metres.", within=(1, 9))
    key: Literal["brass", "steel"] = setting("brass", "Its metal.")
    key_file: FilePath | None = setting(None, "Its plan.", key="shop.door_plan", example="/plan")


@dataclass(frozen=True, slots=True)
class Poster:
    """One of a list."""

    picture: FilePath
    text: str = ""


@dataclass(frozen=True, slots=True)
class Shop:
    """The shop."""

    till: Till = table(Till, owner="nobody")
    door: Door = part(Door)
    fruits: frozenset[Fruit] = setting(frozenset(Fruit), "What is sold.")
    best: Fruit = setting(Fruit.PEAR, "What is praised.")
    posters: Sequence[Poster] = setting((), "On the wall.", allowed="tables of picture and text")


@dataclass(frozen=True, slots=True)
class Town:
    """Everything."""

    name: DomainName = computed(lambda: "town.example", "What it is called.", option="name")
    shop: Shop = table(Shop)
    streets: Networks = setting((ip_network("192.0.2.0/24"),), "Where people live.")
    homes: Sequence[Address] = setting((), "Where they sleep.", key="shop.homes", option="home")
    signs: Mapping[DomainName, Sequence[str]] = setting({}, "What they say.", secret=True)
    plan: FilePath = setting(Path("/plan"), "Its plan.", rfc="RFC 1 s2")
