"""The ``postroom`` admin command."""
