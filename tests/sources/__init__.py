"""Sources of accounts: one contract for all, and what is peculiar to each."""
