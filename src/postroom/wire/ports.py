"""The ports on which SMTP is spoken."""

from typing import Final

SMTP_PORT: Final = 25  # RFC 5321 s4.5.4.2
SMTPS_PORT: Final = 465  # RFC 8314 s7.3
SMTP_SUBMISSION_PORT: Final = 587  # RFC 6409 s3.1
SMTP_ALTERNATE_PORT: Final = 2525
"""No standard names it; it is where SMTP listens that may not or cannot use the others."""

SMTP_PORTS: Final = (SMTP_PORT, SMTP_SUBMISSION_PORT, SMTPS_PORT, SMTP_ALTERNATE_PORT)
