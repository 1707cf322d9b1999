"""What the RFCs ask of a server, as dialogues that can be had with any server.

``python -m postroom.testing.conformance HOST:PORT`` has them with yours.
"""
