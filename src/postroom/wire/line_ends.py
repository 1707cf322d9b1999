"""Whether octets hold any line end but CRLF.

Every octet of content is scanned on its way in and on its way out, so this scan decides the cost of
large messages. The standard library has one scanner that answers it in a single pass in C: the
decoder behind universal newlines, which notes the kinds of line end that it meets. It takes a third
of the time of counting CRs, LFs and CRLFs, and a thirtieth of a regular expression's
(`tests/bench/wire.py`).
"""

from io import IncrementalNewlineDecoder


def only_crlf(octets: bytes | memoryview) -> bool:
    """Return whether every CR and every LF stands in a CRLF.

    A CR at the end, whose LF may come in the next chunk, counts as bare.

    RFC 5321 s2.3.8
    """
    decoder = IncrementalNewlineDecoder(None, translate=False)
    decoder.decode(str(octets, "latin-1"), final=True)
    return decoder.newlines in (None, "\r\n")
