"""What the bytes mean: sans-IO SMTP, on the standard library alone."""
