"""Programs that read Maildirs: each gives the text of every message of one, by subject."""

import os
import pty
import select
import subprocess
import time
from collections.abc import Iterator, Mapping
from email import message_from_bytes
from pathlib import Path

from tests.interop.clients import program

_SECONDS = 30
_MUTTRC = """
set quit=yes wait_key=no pipe_decode=no
"""
_NOTMUCH = """
[database]
path={maildir}
[user]
name=Ann
primary_email=ann@local.test
[new]
tags=
"""


def by_mutt(maildir: Path, folder: Path) -> Mapping[str, bytes]:
    """Pipe all messages out of mutt, which is told by keystrokes and so needs a terminal."""
    (folder / "muttrc").write_text(_MUTTRC)
    script, out = folder / "keep", folder / "out"
    out.mkdir()
    script.write_text(f"#!/bin/sh\nexec cat >$(mktemp {out}/XXXXXX)\n")
    script.chmod(0o755)
    count = len([*maildir.glob("new/*"), *maildir.glob("cur/*")])
    each = (f"<jump>{number}<enter><pipe-message>{script}<enter>" for number in range(1, count + 1))
    keys = "".join(each) + "<exit>"
    command = [program("mutt"), "-n", "-F", str(folder / "muttrc"), "-R", "-f", str(maildir)]
    _in_terminal([*command, "-e", f'push "{keys}"'], folder)
    return dict(_by_subject(path.read_bytes() for path in out.iterdir()))


def by_mblaze(maildir: Path) -> Mapping[str, bytes]:
    """Have mblaze take the text out of each message."""
    files = _run("mlist", str(maildir)).decode().split()
    return {
        _run("mhdr", "-h", "Subject", file).decode().strip(): _run("mshow", "-O", file, "1")
        for file in files
    }


def by_notmuch(maildir: Path, folder: Path) -> Mapping[str, bytes]:
    """Have notmuch index the Maildir, find all messages, and give their text."""
    config = folder / "notmuch"
    config.write_text(_NOTMUCH.format(maildir=maildir))
    environment = {"NOTMUCH_CONFIG": str(config)}
    _run("notmuch", "new", **environment)
    found = {}
    for name in _run("notmuch", "search", "--output=messages", "*", **environment).split():
        whole = _run("notmuch", "show", "--format=raw", name.decode(), **environment)
        subject = str(message_from_bytes(whole)["Subject"])
        found[subject] = _run(
            "notmuch", "show", "--format=raw", "--part=1", name.decode(), **environment
        )
    return found


def _by_subject(messages: Iterator[bytes]) -> Iterator[tuple[str, bytes]]:
    for octets in messages:
        head, empty, text = octets.partition(b"\n\n")
        yield str(message_from_bytes(head + empty)["Subject"]), text


def _run(name: str, *arguments: str, **environment: str) -> bytes:
    done = subprocess.run(
        [program(name), *arguments],
        env=os.environ | environment,
        capture_output=True,
        timeout=_SECONDS,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{name} {arguments}: {done.stderr.decode('utf-8', 'replace')}")
    return done.stdout


def _in_terminal(command: list[str], home: Path) -> None:
    """Run a program that wants a terminal, and throw away what it shows there."""
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "vt100", "HOME": str(home), "LC_ALL": "C.UTF-8"}
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, cwd=home
    )
    os.close(theirs)
    try:
        shown, end = b"", time.monotonic() + _SECONDS
        while process.poll() is None and time.monotonic() < end:
            if select.select([ours], [], [], 0.2)[0]:
                try:
                    shown += os.read(ours, 4096)
                except OSError:  # it has closed the terminal
                    break
        if process.wait(1):
            raise RuntimeError(f"{command[0]} failed: {shown[-500:]!r}")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        os.close(ours)
