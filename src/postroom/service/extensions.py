"""SMTP extensions that others have written: Twisted plugins which provide `IExtension`."""

from collections.abc import Sequence

from twisted.plugin import getPlugins

from postroom.errors import UserError
from postroom.interfaces import IExtension
from postroom.server.listener import Listener


def find_extensions() -> Sequence[IExtension]:
    """Return the extensions that are installed, by keyword."""
    return sorted(getPlugins(IExtension), key=lambda extension: extension.keyword())


def add_extension(listener: Listener, extension: IExtension) -> None:
    """Add an extension to a listener.

    Raises:
        UserError: it takes a name that is taken, or has one that cannot be sent.
    """
    try:
        listener.add_extension(extension)
    except ValueError as error:
        where = type(extension).__module__
        raise UserError(f"a plugin cannot be used: {error} ({where})") from error
