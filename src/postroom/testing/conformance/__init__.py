"""The requirements of the RFCs, as dialogues that can be tried with any server.

``python -m postroom.testing.conformance HOST:PORT`` tries them with yours.
"""
