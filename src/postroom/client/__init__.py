"""The outbound side: protocol, connection pool, MX and address choice, TLS policy."""
