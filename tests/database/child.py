"""Python processes beside the one that runs the tests."""

import os
from pathlib import Path

import postroom

_SOURCE = Path(postroom.__file__).absolute().parent.parent
_TESTS = Path(__file__).absolute().parent.parent.parent

ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{_SOURCE}{os.pathsep}{_TESTS}"}
"""An environment in which the package and the tests are found from any folder."""
