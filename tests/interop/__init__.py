"""Postroom against clients, next hops and readers of other projects, all on loopback.

Debian packages that take part are in ``packages.txt``; ``install`` fetches them, and what comes
from npm. A test whose part is missing skips and says which.
"""
