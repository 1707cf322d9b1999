"""The tests.

Machines are noisy: no example of a property has a deadline, nor does a slow one count as a failure.
"""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "postroom", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("postroom")
