"""The site's own delivery, which replaces ours: ``--delivery package.module:object``.

The object is imported at start, by the user that starts the daemon. Every session gets what the
object, or what it returns when it is called without arguments, is adapted to:
`ITransactionDelivery`, or one of Twisted's two interfaces. Adapters are those of
`twisted.python.components`; the module registers its own when it is imported.

Who controls the input: the administrator, who may be mistaken. All that can be found out at start
is said then, in one line.
"""

import os
from collections.abc import Callable
from importlib import import_module
from operator import attrgetter
from typing import Any

from twisted.mail.interfaces import IMessageDelivery, IMessageDeliveryFactory

from postroom.delivery.avatars import SiteRealm
from postroom.errors import UserError
from postroom.interfaces import ITransactionDelivery


def load_site_realm(name: str, place: str) -> SiteRealm:
    """Import a site's delivery.

    Args:
        name: ``package.module:object``; the object may be an attribute of another, with dots.
        place: where the name stands, for messages.

    Raises:
        UserError: there is no such object, it is no delivery, or one of the two fails.
    """
    module, _, path = name.partition(":")
    parts = (*module.split("."), *path.split("."))
    if not all(part.isidentifier() for part in parts):
        raise UserError(f"{place}: write it as package.module:object")
    found = _find(module, path, place)
    if _try(lambda: adapted(found), place, f"adapting {path}") is not None:
        return SiteRealm(lambda: _adapted_for_sure(found))
    if not callable(found):
        raise UserError(f"{place}: {path} is no delivery{_WANTED}")
    made = _try(found, place, f"calling {path}()")
    if _try(lambda: adapted(made), place, f"adapting {path}()") is None:
        raise UserError(f"{place}: {path}() returns no delivery{_WANTED}")
    return SiteRealm(lambda: _adapted_for_sure(found()))


_WANTED = (
    ": it provides neither ITransactionDelivery nor IMessageDelivery nor IMessageDeliveryFactory,"
    " and no adapter to them is registered for it"
)


def adapted(candidate: object) -> ITransactionDelivery | None:
    """Adapt an object to `ITransactionDelivery`, if need be by way of an interface of Twisted's.

    Returns:
        None if it cannot be adapted.
    """
    found: ITransactionDelivery | None = ITransactionDelivery(candidate, None)
    for interface in (IMessageDeliveryFactory, IMessageDelivery):
        if found is None:
            found = ITransactionDelivery(interface(candidate, None), None)
    return found


def _adapted_for_sure(candidate: object) -> ITransactionDelivery:
    delivery = adapted(candidate)
    if delivery is None:
        raise TypeError(f"the site's delivery is none this time: {candidate!r:.200}")
    return delivery


def _find(module: str, path: str, place: str) -> Any:
    try:
        imported = import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module}.".startswith(f"{error.name}."):
            raise UserError(f"{place}: there is no module {error.name}") from None
        raise _failed(place, f"importing {module}", error) from error
    except (Exception, SystemExit) as error:
        raise _failed(place, f"importing {module}", error) from error
    try:
        return attrgetter(path)(imported)
    except AttributeError:
        raise UserError(f"{place}: the module {module} has no {path}") from None


def _try(call: Callable[[], Any], place: str, what: str) -> Any:
    try:
        return call()
    except (Exception, SystemExit) as error:
        raise _failed(place, what, error) from error


def _failed(place: str, what: str, error: BaseException) -> BaseException:
    """Return the one line about an exception in the site's code; or the exception, to debug it."""
    if os.environ.get("POSTROOM_DEBUG"):
        return error
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return UserError(f"{place}: {what} failed: {text} (POSTROOM_DEBUG=1 shows where)")
