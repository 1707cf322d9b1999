"""Which function answers which command.

A function is called with the session and the command, and returns a reply or a Deferred of one. The
factory passes the table to each connection, so that nothing below it has to import all commands.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from postroom.server import content, etrn, housekeeping, transactions, vrfy, xclient
from postroom.server.session import Session
from postroom.wire import verbs
from postroom.wire.session import Response

CommandTable = Mapping[str, Callable[[Session, Any], object]]

COMMANDS: Final[CommandTable] = {
    verbs.CMD_EHLO: housekeeping.hello,
    verbs.CMD_HELO: housekeeping.hello,
    verbs.CMD_LHLO: housekeeping.hello,
    verbs.CMD_MAIL: transactions.mail,
    verbs.CMD_RCPT: transactions.rcpt,
    verbs.CMD_DATA: content.data,
    verbs.CMD_BDAT: content.bdat,
    verbs.CMD_RSET: housekeeping.noop,
    verbs.CMD_NOOP: housekeeping.noop,
    verbs.CMD_QUIT: housekeeping.quit_,
    verbs.CMD_VRFY: vrfy.vrfy,
    verbs.CMD_EXPN: vrfy.expn,
    verbs.CMD_HELP: housekeeping.help_,
    verbs.CMD_ETRN: etrn.etrn,
    verbs.CMD_AUTH: housekeeping.auth,
    Response.verb: housekeeping.auth_response,
    verbs.CMD_STARTTLS: housekeeping.starttls,
    verbs.CMD_XCLIENT: xclient.xclient,
    verbs.CMD_XFORWARD: xclient.xforward,
}
"""The function of each verb; a response within AUTH has a verb of its own."""
