"""Writes the daemon's settings down: ``etc/postroom.toml``, and the reference page.

python -m postroom.service.example > etc/postroom.toml
python -m postroom.service.example --rst > docs/settings.rst
"""

import sys
from typing import Final

from postroom.service.settings import Settings
from postroom.settings import writing

_TOML_HEADING: Final = """\
# Postroom's settings.
#
# Every setting is shown with its default, or where that would say nothing with an example, and is
# commented out. Relative paths start from this file's folder. Check a file with
# "postroom --config FILE config check".
"""
_RST_HEADING: Final = """\
Settings
========

A settings file is TOML; ``twistd smtp --config FILE`` reads it, and
``etc/postroom.toml`` is one to begin with. A setting whose name has a dot stands in the
table before the dot: ``limits.recipients`` is ``recipients`` below ``[limits]``.
Unknown names are errors.
"""


def toml_text() -> str:
    """Return the commented example file."""
    return writing.toml_text(Settings, _TOML_HEADING)


def rst_text() -> str:
    """Return the reference page."""
    return writing.rst_text(Settings, _RST_HEADING)


def main() -> None:
    """Write to standard output what the argument asks for."""
    sys.stdout.write(rst_text() if sys.argv[1:] == ["--rst"] else toml_text())


if __name__ == "__main__":
    main()
