"""How strictly a server is set up: what the attacks, and the conformance dialogues, try in turn.

A mode is written down once, as in the settings file. The daemon reads it there; a listener in
memory gets the same (`Mode.listener`).
"""

import tomllib
from dataclasses import dataclass
from typing import Any

from postroom.server.limits import ListenerSettings
from postroom.wire.tolerance import Tolerance
from tests.server.scene import settings


@dataclass(frozen=True)
class Mode:
    """One way to set up a server.

    Attributes:
        name: for messages.
        session: of ``[session]`` in the settings file.
        limits: of ``[limits]`` there.
    """

    name: str
    session: str = ""
    limits: str = ""

    @property
    def tolerant(self) -> bool:
        """Whether addresses and greetings may deviate from the grammar."""
        return "tolerate" not in tomllib.loads(self.session)

    @property
    def mends(self) -> bool:
        """Whether bare CRs and LFs in content are mended."""
        return "bare_newline" not in tomllib.loads(self.session)

    def listener(self, **changes: Any) -> ListenerSettings:
        """Return the settings of a listener in memory, those of the mode and these."""
        session = tomllib.loads(self.session)
        if "tolerate" in session:
            session["tolerate"] = frozenset(map(Tolerance, session["tolerate"]))
        return settings(**session, **changes)

    def file(self, session: str = "", limits: str = "", rest: str = "") -> str:
        """Return a settings file with those of the mode and these."""
        return f"[session]\n{self.session}\n{session}\n[limits]\n{self.limits}\n{limits}\n{rest}"


DEFAULT = Mode("default")
STRICT = Mode("strict", "tolerate = []")
REFUSE = Mode("refuse", 'bare_newline = "refuse"')
LETTER = Mode(
    "letter",
    'tolerate = []\nbare_newline = "refuse"\nbinarymime = true',
    "text_line_octets = 998",
)
"""The letter of the RFCs, in everything that can be set."""
