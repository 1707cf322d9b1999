"""Postroom: a mail server on Twisted, a library to embed, and a decoder of SMTP."""

__version__ = "0.1.0"
