"""Mailboxes of accounts: listed, made, renamed, deleted, and their messages read and changed.

Plain functions and objects on the path of a Maildir, which block. They work beside a running
daemon and beside Dovecot, as any mail program does: a message is known by the base name of its
file, and Dovecot's own files (``dovecot-uidlist``, indexes, keywords) are never touched, so UIDs
stay what Dovecot says they are.
"""
