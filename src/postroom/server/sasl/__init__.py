"""SASL mechanisms: each is a few steps that end in credentials for the portal."""
