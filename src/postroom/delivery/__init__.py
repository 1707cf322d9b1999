"""Where accepted mail goes: routing, Maildirs, trace headers, and the adapters to Twisted's."""
