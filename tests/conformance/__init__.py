"""What the RFCs ask, tried on our server and client, and the table of it."""
