"""The ``postroom`` command, for whoever runs the server."""
