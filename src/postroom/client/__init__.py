"""Sending: the SMTP client, its connections, the choice of hosts and addresses, TLS policy."""
