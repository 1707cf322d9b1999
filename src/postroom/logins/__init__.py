"""Logins: checking credentials and tokens, password hashes, lock-outs."""
