"""The revisions: ``NNNN_name.py`` has ``revision = "NNNN"`` and follows the number before it."""
