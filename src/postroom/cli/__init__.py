"""The ``postroom`` command, for the administrator of a server."""
