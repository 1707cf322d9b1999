"""The state directory and its lock."""

import os
import pwd
import socket
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from postroom.errors import UserError
from postroom.service.state import Owner, open_state_directory
from tests.filesystem import RecordingDisk, forbid_leaks
from tests.service.daemons import ENVIRONMENT


class LockTests(SynchronousTestCase):
    """One process at a time."""

    def test_it_is_made_for_its_owner_alone(self) -> None:
        path = Path(self.mktemp()) / "deep" / "state"
        state = open_state_directory(path, Owner())
        self.addCleanup(state.close)
        self.assertEqual(path.stat().st_mode & 0o777, 0o700)

    def test_a_second_process_is_told_who_has_it(self) -> None:
        path = Path(self.mktemp())
        forbid_leaks(self, path)
        state = open_state_directory(path, Owner())
        self.addCleanup(state.close)
        state.sign()
        error = self.assertRaises(UserError, open_state_directory, path, Owner())
        self.assertEqual(
            str(error),
            f"the state directory {path} is in use by another process (process {os.getpid()})",
        )

    def test_it_is_free_again_when_its_process_was_killed(self) -> None:
        path = Path(self.mktemp()).absolute()
        script = (
            "import os, sys; from pathlib import Path\n"
            "from postroom.service.state import *\n"
            "state = open_state_directory(Path(sys.argv[1]), Owner()); state.sign()\n"
            "print('ready', flush=True); sys.stdin.read()"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=ENVIRONMENT,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        with process, process.stdin, process.stdout:
            self.assertEqual(process.stdout.readline(), b"ready\n")
            self.assertRaises(UserError, open_state_directory, path, Owner())
            process.kill()
            process.wait()
        open_state_directory(path, Owner()).close()

    def test_a_fork_keeps_the_lock(self) -> None:
        path = Path(self.mktemp())
        state = open_state_directory(path, Owner())
        heir = os.dup(state._lock)  # as a forked child has it
        state.close()
        self.assertRaises(UserError, open_state_directory, path, Owner())
        os.close(heir)
        open_state_directory(path, Owner()).close()

    def test_a_file_in_its_place_is_an_error(self) -> None:
        path = Path(self.mktemp())
        path.write_text("")
        error = self.assertRaises(UserError, open_state_directory, path, Owner())
        self.assertIn(f"the state directory {path} cannot be used by ", str(error))
        self.assertTrue(str(error).endswith(": File exists"))


class NodeTests(SynchronousTestCase):
    """The name by which the queue knows a daemon."""

    def name_in(self, path: Path) -> str:
        state = open_state_directory(path, Owner())
        try:
            return state.node_name()
        finally:
            state.close()

    def test_it_is_kept_and_each_has_its_own(self) -> None:
        one, other = Path(self.mktemp()), Path(self.mktemp())
        name = self.name_in(one)
        self.assertEqual(self.name_in(one), name)
        self.assertNotEqual(self.name_in(other), name)
        self.assertLessEqual(len(name), 32)

    def test_a_power_cut_leaves_it_whole_or_not_at_all(self) -> None:
        path = Path(self.mktemp())
        path.mkdir()
        disk = RecordingDisk(self, path)
        self.name_in(path)
        self.assertEqual((disk.events[-1], disk.torn), ("replace node", []))

    def test_a_directory_that_was_copied_to_another_machine_is_another_node(self) -> None:
        path = Path(self.mktemp())
        name = self.name_in(path)
        self.patch(socket, "gethostname", lambda: "elsewhere")
        self.assertNotEqual(self.name_in(path), name)


class OwnerTests(SynchronousTestCase):
    """Acting as somebody else, which only root can."""

    def setUp(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("only root can act as somebody else")
        user = pwd.getpwnam("nobody")
        self.nobody = Owner(user.pw_uid)
        self.ids = (user.pw_uid, user.pw_gid)
        self.folder = Path("/tmp") / f"postroom-test-{os.getpid()}"
        self.folder.mkdir(mode=0o755)
        self.addCleanup(self.remove)

    def remove(self) -> None:
        subprocess.run(["rm", "-rf", str(self.folder)], check=True)

    def test_what_is_made_belongs_to_the_daemons_user(self) -> None:
        state = open_state_directory(self.folder / "state", self.nobody)
        self.addCleanup(state.close)
        for path in (self.folder / "state", self.folder / "state" / "lock"):
            status = path.stat()
            self.assertEqual((status.st_uid, status.st_gid), self.ids, path)

    def test_we_are_root_again_afterwards(self) -> None:
        groups = os.getgroups()
        with self.nobody.acting():
            self.assertEqual((os.geteuid(), os.getegid()), self.ids)
        self.assertEqual((os.geteuid(), os.getegid(), os.getgroups()), (0, 0, groups))

    def test_a_directory_of_somebody_else_is_refused_now_and_not_after_the_start(self) -> None:
        (self.folder / "state").mkdir(mode=0o700)
        error = self.assertRaises(
            UserError, open_state_directory, self.folder / "state", self.nobody
        )
        self.assertEqual(
            str(error),
            f"the state directory {self.folder}/state cannot be used by nobody: Permission denied",
        )

    def test_a_user_without_a_record_needs_a_group(self) -> None:
        with self.assertRaises(UserError) as caught, Owner(54_321).acting():
            pass
        self.assertIn("--uid 54321: there is no such user", str(caught.exception))
