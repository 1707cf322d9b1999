"""SMTP in captured traffic: segments put together, sessions told as transcripts."""
