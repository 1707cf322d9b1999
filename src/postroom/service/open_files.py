"""How many files the process may have open, and so how many connections it may take.

A session is one descriptor, and one more while its message is too large for memory. Out of
descriptors a server cannot accept, nor store what it has accepted: so connections are cut to what
surely fits, and peers beyond that hear 421 instead of silence.
"""

import resource
from typing import Final

_OUR_OWN: Final = 256
"""For the database, Maildirs, look-ups, logs and imports."""


def raise_open_files_limit() -> int:
    """Raise the soft limit on open files to the hard one; gives what holds afterwards."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (ValueError, OSError):  # some kernels allow less than they say
            return soft
    return hard


def affordable_connections(open_files: int, outgoing: int) -> int:
    """Return how many sessions fit into the limit on open files.

    Args:
        open_files: the limit; negative for none.
        outgoing: how many connections may be open to other servers besides.
    """
    if open_files < 0:
        return 2**31
    return max(1, open_files - _OUR_OWN - min(outgoing, open_files // 4), open_files // 4)
