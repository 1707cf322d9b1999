"""Claims about opening what is in a Maildir."""

import os
import stat

from twisted.trial.unittest import SynchronousTestCase

from postroom.maildirs import directories
from postroom.maildirs.directories import create_file, make_directory, open_below, open_file


class Opening(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = os.path.abspath(self.mktemp())
        os.mkdir(self.path)
        self.parent = os.open(self.path, os.O_RDONLY)
        self.addCleanup(os.close, self.parent)

    def test_nothing_is_opened_over_a_link(self) -> None:
        os.mkdir(f"{self.path}/directory")
        open(f"{self.path}/file", "w").close()
        os.symlink("directory", f"{self.path}/to-directory")
        os.symlink("file", f"{self.path}/to-file")
        self.assertRaises(OSError, open_below, "to-directory", self.parent)
        self.assertRaises(OSError, open_file, "to-file", self.parent)
        self.assertRaises(OSError, create_file, "to-file", self.parent)

    def test_what_is_no_regular_file_is_not_read_and_nobody_waits_for_it(self) -> None:
        os.mkfifo(f"{self.path}/fifo")
        os.mkdir(f"{self.path}/directory")
        for name in ("fifo", "directory"):
            self.assertRaises(OSError, open_file, name, self.parent)

    def test_new_files_are_for_the_owner_alone_and_replace_none(self) -> None:
        os.close(create_file("new", self.parent))
        self.assertEqual(stat.S_IMODE(os.stat(f"{self.path}/new").st_mode), 0o600)
        self.assertRaises(FileExistsError, create_file, "new", self.parent)

    def test_what_root_makes_belongs_to_the_owner_of_the_directory(self) -> None:
        if os.geteuid() != 0:
            given: list[tuple[int, int]] = []
            self.patch(directories.os, "geteuid", lambda: 0)
            self.patch(directories, "_give_away", lambda made, parent: given.append((made, parent)))
            os.close(create_file("file", self.parent))
            self.assertEqual(len(given), 1)
            return
        os.chown(self.path, 65534, 65534)
        os.close(create_file("file", self.parent))
        make_directory("made", self.parent)
        for name in ("file", "made"):
            status = os.stat(f"{self.path}/{name}")
            self.assertEqual((status.st_uid, status.st_gid), (65534, 65534), name)
