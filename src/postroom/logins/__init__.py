"""Who may log in: credentials, their checks, tokens, and lock-outs."""
