"""Real daemons in processes of their own."""

import os

from tests.architecture.sources import ROOT

ENVIRONMENT = {
    **os.environ,
    # Absolute, for trial works in a folder of its own.
    "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
    "PYTHONUNBUFFERED": "1",
}
