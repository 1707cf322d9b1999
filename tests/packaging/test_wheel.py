"""The wheel works where it is installed: alone, in an environment of its own."""

import os
import shutil
import subprocess
import sys
import zipfile
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from twisted.trial.unittest import SynchronousTestCase

from tests.architecture.sources import ROOT

SOURCES = ("setup.cfg", "pyproject.toml", "README.rst", "LICENSE", "src", "twisted")
# Nothing of the checkout or of this run may help.
ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    if done.returncode:
        raise AssertionError(f"{command}: {done.stdout}{done.stderr}")
    return done


@cache
def installation() -> tuple[Path, Path]:
    """Build the wheel and install it; give the environment and the wheel, made once."""
    folder = Path(mkdtemp(prefix="postroom-wheel-"))
    source = folder / "source"
    source.mkdir()
    leave = shutil.ignore_patterns("__pycache__", "*.egg-info", "dropin.cache")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=leave)
        else:
            shutil.copy(ROOT / name, source / name)
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, source, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    run(folder / "venv/bin/pip", "install", "-q", wheel, cwd=folder)
    return folder / "venv", wheel


class WheelTests(SynchronousTestCase):
    """What ``pip install`` gives."""

    def run_installed(self, *command: str) -> str:
        environment, _ = installation()
        folder = Path(self.mktemp())
        folder.mkdir()
        program = environment / "bin" / command[0]
        return run(program, *command[1:], cwd=folder.absolute()).stdout

    def test_twistd_knows_smtp(self) -> None:
        lines = self.run_installed("twistd", "--help").splitlines()
        (line,) = [line for line in lines if line.split()[:1] == ["smtp"]]
        self.assertIn("Receive, deliver and relay mail", line)

    def test_twistd_smtp_explains_itself(self) -> None:
        self.assertIn("--relay-host=", self.run_installed("twistd", "smtp", "--help"))

    def test_the_admin_command_is_there(self) -> None:
        self.assertIn("Usage: postroom", self.run_installed("postroom", "--help"))

    def test_the_dialogues_for_other_servers_are_there(self) -> None:
        count = (
            "from postroom.testing.conformance.catalogue import ServerUnderTest, shipped;"
            "print(len(shipped(ServerUnderTest('d', 'a@d', 'a@d', 'a@d'))))"
        )
        self.assertGreater(int(self.run_installed("python", "-c", count)), 200)

    def test_the_database_can_be_made_by_what_was_installed(self) -> None:
        self.assertIn("localhost", self.run_installed("postroom", "domain", "list"))

    def test_the_wheel_has_every_module_and_adds_only_a_plugin_to_twisted(self) -> None:
        _, wheel = installation()
        with zipfile.ZipFile(wheel) as archive:
            names = {name for name in archive.namelist() if ".dist-info/" not in name}
        package = ROOT / "src" / "postroom"
        expected = {
            str(path.relative_to(package.parent))
            for pattern in ("*.py", "py.typed", "dialogues/*.txt")
            for path in package.rglob(pattern)
        }
        self.assertEqual(names, expected | {"twisted/plugins/postroom_smtp.py"})
