"""ETRN: a host that is on line again asks for the mail that waits for it.

It counts as a command that moves no mail. Only listed networks are offered it.

Who controls the input: the peer.
"""

from typing import Final

from postroom.later import chain
from postroom.server.session import Session
from postroom.wire.commands import Etrn
from postroom.wire.replies import Reply, reply

NOTHING_WAITS: Final = reply(251, "2.0.0", "Ok, no messages waiting for that node")
NODE_NOT_ALLOWED: Final = reply(459, "4.7.1", "Node not allowed")


def etrn(session: Session, command: Etrn) -> object:
    """Answer ETRN: start the delivery of mail that waits for a domain. RFC 1985 s5."""
    session.count_idle_command()
    flush = session.listener.environment.flush
    if flush is None or command.option == b"#":  # there are no named queues here
        return NODE_NOT_ALLOWED
    domain = command.node.decode("ascii").lower()
    return chain(flush.flush_domain(domain, command.option == b"@"), _flushed, command)


def _flushed(waiting: object, command: Etrn) -> Reply:
    if waiting is None:
        return NODE_NOT_ALLOWED
    if not waiting:
        return NOTHING_WAITS
    node = command.node.decode("ascii")
    return reply(253, "2.0.0", f"Ok, {waiting} pending messages for node {node} started")
