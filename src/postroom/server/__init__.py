"""The Twisted server: framing, pausing, timeouts, SASL steps, TLS. No grammar, no policy."""
