"""What other test-suites use: servers on memory or loopback, running the real code."""
