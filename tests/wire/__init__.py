"""Machines are noisy: no example has a deadline."""

from hypothesis import settings

settings.register_profile("postroom", deadline=None)
settings.load_profile("postroom")
