"""Tests of the queue."""  # noqa: A005
