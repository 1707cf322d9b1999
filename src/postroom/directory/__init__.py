"""Domains, accounts and aliases, and their look-up."""
