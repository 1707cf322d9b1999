"""Calls from a worker thread into the reactor's thread.

The reactor is woken by an octet written to a pipe of its own. If even that write fails (descriptors
or memory are short, a fault is injected), the call is still in the reactor's queue, and runs with
its next turn. The thread that called must not end for it: it is the only one that writes the queue,
or the Maildirs.
"""

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReactorFromThreads
from twisted.logger import Logger

_log = Logger()


def call_in_reactor(
    reactor: IReactorFromThreads, call: Callable[..., object], *arguments: Any
) -> None:
    """Call a function in the reactor's thread; a wake-up that fails is logged, never raised."""
    try:
        reactor.callFromThread(call, *arguments)
    except OSError as error:
        _log.warn("the reactor could not be woken: {error}", error=str(error))
