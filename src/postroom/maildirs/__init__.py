"""Maildirs on disk: directories, mailboxes, messages, usage, import and export."""
