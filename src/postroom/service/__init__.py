"""Settings, options and assembly of the daemon."""
