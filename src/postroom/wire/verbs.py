"""The verbs of SMTP, each once, including those that this server does not accept.

The parsers, the session tables, the packet view and the builder all name verbs by these constants.
"""

from typing import Final

CMD_EHLO: Final = "EHLO"  # RFC 5321 s4.1.1.1
CMD_HELO: Final = "HELO"  # RFC 5321 s4.1.1.1
CMD_LHLO: Final = "LHLO"  # RFC 2033 s4.1
CMD_MAIL: Final = "MAIL"  # RFC 5321 s4.1.1.2
CMD_RCPT: Final = "RCPT"  # RFC 5321 s4.1.1.3
CMD_DATA: Final = "DATA"  # RFC 5321 s4.1.1.4
CMD_BDAT: Final = "BDAT"  # RFC 3030 s2
CMD_RSET: Final = "RSET"  # RFC 5321 s4.1.1.5
CMD_NOOP: Final = "NOOP"  # RFC 5321 s4.1.1.9
CMD_QUIT: Final = "QUIT"  # RFC 5321 s4.1.1.10
CMD_VRFY: Final = "VRFY"  # RFC 5321 s4.1.1.6
CMD_EXPN: Final = "EXPN"  # RFC 5321 s4.1.1.7
CMD_HELP: Final = "HELP"  # RFC 5321 s4.1.1.8
CMD_AUTH: Final = "AUTH"  # RFC 4954 s4
CMD_STARTTLS: Final = "STARTTLS"  # RFC 3207 s4
CMD_ETRN: Final = "ETRN"  # RFC 1985 s5
CMD_ATRN: Final = "ATRN"  # RFC 2645 s5.2
CMD_BURL: Final = "BURL"  # RFC 4468 s3
CMD_TURN: Final = "TURN"  # RFC 821 s3.8
CMD_SEND: Final = "SEND"  # RFC 821 s3.4
CMD_SOML: Final = "SOML"  # RFC 821 s3.4
CMD_SAML: Final = "SAML"  # RFC 821 s3.4
CMD_XCLIENT: Final = "XCLIENT"  # https://www.postfix.org/XCLIENT_README.html
CMD_XFORWARD: Final = "XFORWARD"  # https://www.postfix.org/XFORWARD_README.html

SMTP_COMMANDS: Final = (
    *(CMD_EHLO, CMD_HELO, CMD_LHLO, CMD_MAIL, CMD_RCPT, CMD_DATA, CMD_BDAT, CMD_RSET, CMD_NOOP),
    *(CMD_QUIT, CMD_VRFY, CMD_EXPN, CMD_HELP, CMD_AUTH, CMD_STARTTLS, CMD_ETRN, CMD_ATRN),
    *(CMD_BURL, CMD_TURN, CMD_SEND, CMD_SOML, CMD_SAML, CMD_XCLIENT, CMD_XFORWARD),
)
"""Every verb that has a meaning somewhere: what is not here is answered 500, not 502.

RFC 5321 s4.2.4
"""
