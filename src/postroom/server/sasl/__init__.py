"""SASL mechanisms: a few steps each, which end in credentials for the portal."""
