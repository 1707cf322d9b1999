"""Where accounts come from beside the database: files, other databases, LDAP, the system, settings.

Each kind of source is one module. A source is an `IDirectory`, which says what mail is taken, and
an `ICredentialSource`, which says who may log in; `postroom.sources.source_chain` makes one
directory of several. None of them is written to.
"""
