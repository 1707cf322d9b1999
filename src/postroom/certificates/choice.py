"""Chooses the certificates for a client by the name that it asks for.

For one name there may be several certificates, of different kinds of keys: OpenSSL shows each
client the one that it can verify. Of two with keys of one kind only the first is ever shown. A name
gets the certificates that name it, and then those for ``*.`` and its parent.

A client that asks for no name, or for an unknown one, gets the first certificate of all.
Certificates of other kinds that share a name with it are offered beside it. Mail servers seldom
send a name, and still must get a certificate that they can verify.

Who controls the input: the administrator.
"""

from collections.abc import Iterable, Sequence

from postroom.certificates.identity import Identity

Choice = tuple[Identity, ...]
"""Certificates for one client, no two with keys of the same kind."""


def choose_by_name(identities: Sequence[Identity]) -> dict[str, Choice]:
    """Return the certificates for each name that there is; some names begin with ``*.``."""
    naming: dict[str, list[Identity]] = {}
    for identity in identities:
        for name in identity.names:
            naming.setdefault(name, []).append(identity)
    return {
        name: _one_of_each_kind([*exact, *naming.get(wildcard_of(name), ())])
        for name, exact in naming.items()
    }


def choose_for_unknown(identities: Sequence[Identity]) -> Choice:
    """Return the certificates for clients that ask for no name, or for an unknown one."""
    first = identities[0]
    return _one_of_each_kind([first, *(each for each in identities if _share_name(first, each))])


def wildcard_of(name: str) -> str:
    """Return the wildcard that stands for a name."""
    return "*." + name.partition(".")[2]


def _share_name(one: Identity, other: Identity) -> bool:
    """Return whether two certificates share a name."""
    return _names_one_of(one, other) or _names_one_of(other, one)


def _names_one_of(one: Identity, other: Identity) -> bool:
    return any(name in one.names or wildcard_of(name) in one.names for name in other.names)


def _one_of_each_kind(identities: Iterable[Identity]) -> Choice:
    chosen: dict[str, Identity] = {}
    for identity in identities:
        chosen.setdefault(identity.kind, identity)
    return tuple(chosen.values())
