"""What ``docs/packets.rst`` shows is what happens."""

import contextlib
import io
import re
import runpy
import textwrap
import time
from pathlib import Path

from click.testing import CliRunner
from twisted.trial.unittest import SynchronousTestCase

from postroom.cli.main import cli
from tests.architecture.sources import ROOT
from tests.capture.wire import Line, write_pcap

PAGE = (ROOT / "docs/packets.rst").read_text()


def blocks() -> list[str]:
    """Give the blocks of text on the page."""
    found = re.findall(r"\.\. code-block:: text\n\n((?:    .*\n|\n)+)", PAGE)
    return [textwrap.dedent(block).strip() for block in found]


class PageTests(SynchronousTestCase):
    def test_the_example(self) -> None:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            runpy.run_path(str(ROOT / "docs/examples/packets.py"))
        # A set is printed in no order.
        ordered = "{'DELAY', 'FAILURE'}"
        text = printed.getvalue().replace("{'FAILURE', 'DELAY'}", ordered)
        self.assertEqual(text.strip(), blocks()[0])

    def test_the_transcript(self) -> None:
        line = Line()
        line.time = time.mktime((2026, 1, 2, 3, 4, 5, 0, 0, -1))
        line.open().server(b"220 mx.example\r\n").client(b"EHLO client.example\r\n")
        line.server(b"250-mx.example\r\n250-SIZE 1000\r\n250 AUTH PLAIN\r\n")
        line.client(b"AUTH PLAIN AGpvZQBjb3JyZWN0aG9yc2U=\r\n")
        line.server(b"235 2.7.0 Authentication succeeded\r\n")
        line.client(b"MAIL FROM:<ann@there.example>\r\nRCPT TO:<joe@here.example>\r\nDATA\r\n")
        path = write_pcap(Path(self.mktemp()), line.frames)
        shown = CliRunner().invoke(cli, ["dissect", str(path)]).stdout
        self.assertEqual(shown.strip(), blocks()[1])

    def test_the_options_and_targets_exist(self) -> None:
        text = CliRunner().invoke(cli, ["dissect", "--help"]).stdout
        for option in set(re.findall(r"``(--[a-z]+)", PAGE)) - {"--input"}:
            self.assertIn(option, text)
