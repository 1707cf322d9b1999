"""What attackers send, generated: each sequence in every place, transport and cut."""
