"""Servers in memory or on loopback that run the real code, for any test suite."""
