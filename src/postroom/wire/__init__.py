"""What the bytes mean: sans-IO SMTP, on the standard library alone.

Tables of ports, verbs and reply codes can be had from here, and the packet view and builder, which
are only loaded when they are asked for: a daemon that never looks at a capture does without.
"""

from typing import TYPE_CHECKING, Any

from postroom.wire.codes import *  # noqa: F403
from postroom.wire.ports import *  # noqa: F403
from postroom.wire.verbs import *  # noqa: F403

if TYPE_CHECKING:
    from postroom.wire.builder import SmtpBuilder as SmtpBuilder
    from postroom.wire.layer import SMTP_FIELD_NAMES as SMTP_FIELD_NAMES
    from postroom.wire.layer import SMTP_MIN_HEADER_LEN as SMTP_MIN_HEADER_LEN
    from postroom.wire.layer import SmtpLayer as SmtpLayer
    from postroom.wire.layer import is_smtp_payload as is_smtp_payload
    from postroom.wire.layer import smtp_show_fields as smtp_show_fields
    from postroom.wire.stream import StreamState as StreamState

_LATER = {
    "SmtpBuilder": "builder",
    "SmtpLayer": "layer",
    "StreamState": "stream",
    "SMTP_FIELD_NAMES": "layer",
    "SMTP_MIN_HEADER_LEN": "layer",
    "is_smtp_payload": "layer",
    "smtp_show_fields": "layer",
}


def __getattr__(name: str) -> Any:
    """Load what is not loaded with the package."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
    globals()[name] = value
    return value
