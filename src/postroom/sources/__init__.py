"""Sources of accounts besides the database: files, other databases, LDAP, the system, settings.

Each kind of source is one module. A source is an `IDirectory`, which finds domains and addresses,
and an `ICredentialSource`, which finds credentials. `postroom.sources.source_chain` makes one
directory of several. All of them are read-only.
"""
