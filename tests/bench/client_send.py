"""Messages a second that the client hands to a server on loopback, and what each costs.

    smtp-sink -u nobody -c 127.0.0.1:2626 1024 &        # -P "hh" is not needed; see smtp-sink(1)
    python tests/bench/client_send.py 127.0.0.1:2626 [MESSAGES [CONNECTIONS [OCTETS]]]

Add ``--profile FILE`` to write a cProfile file.
"""

import cProfile
import resource
import sys
import time

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import react

from postroom.client.dns import Resolver
from postroom.client.model import Destination, Outgoing, SmartHost, TLSMode
from postroom.client.sender import Sender
from postroom.client.settings import ClientSettings
from postroom.envelope import NewMessage
from postroom.wire.commands import Rcpt
from postroom.wire.paths import mailbox


class MemorySource:
    def __init__(self, content: bytes, piece: int = 262_144) -> None:
        self.size_octets = len(content)
        self._pieces = [content[i : i + piece] for i in range(0, len(content), piece)]

    def chunk(self, index: int) -> bytes:
        return self._pieces[index] if index < len(self._pieces) else b""


async def run(argv: list[str]) -> None:
    host, _, port = argv[0].partition(":")
    count, connections, octets = (
        int(x) for x in (argv[1:] + ["5000", "20", "4096"][len(argv) - 1 :])
    )
    line = b"x" * 70 + b"\r\n"
    source = MemorySource(b"Subject: bench\r\n\r\n" + line * (octets // 72))
    settings = ClientSettings(
        "bench.test", connections_per_destination=connections, messages_per_connection=1000
    )
    sender = Sender(reactor, Resolver(reactor), settings)
    destination = Destination("", SmartHost(host, int(port), TLSMode.NEVER))
    sender_box, rcpt = mailbox("from@load.test"), mailbox("rcpt@bench.test")

    def send(n: int) -> "Deferred[object]":
        message = NewMessage(str(n), sender_box, (Rcpt(rcpt),), 0.0)
        return sender.send(destination, Outgoing(message, source))

    await gatherResults([send(n) for n in range(connections * 2)])
    before, cpu = time.perf_counter(), _cpu()
    results = await gatherResults([send(n) for n in range(count)])
    took, used = time.perf_counter() - before, _cpu() - cpu
    bad = [r for r in results if r.replies[0].code != 250]
    print(f"{count / took:.0f} messages/s, {used / count * 1e6:.0f} us CPU each, {len(bad)} failed")
    if bad:
        print(bad[0])
    await sender.stop(5)


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    arguments = sys.argv[1:]
    profile = None
    if "--profile" in arguments:
        at = arguments.index("--profile")
        profile = arguments[at + 1]
        del arguments[at : at + 2]
    main = lambda _: Deferred.fromCoroutine(run(arguments))  # noqa: E731
    if profile:
        cProfile.run("try:\n react(main)\nexcept SystemExit: pass", profile)
    else:
        react(main)
