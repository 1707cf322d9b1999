"""Certificates: where they come from, how they are kept fresh, and the TLS that they serve."""
