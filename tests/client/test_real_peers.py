"""Other people's servers on loopback: Postfix's smtp-sink and aiosmtpd."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from aiosmtpd.controller import Controller
from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.trial.unittest import SkipTest, TestCase

from postroom.client.model import Destination, Outgoing, Sent, SmartHost, TLSMode
from postroom.client.sender import Sender
from postroom.client.settings import ClientSettings
from tests.client.parts import MemorySource, TableResolver, outgoing
from tests.ports import free_port

LONG = b"Subject: long\r\n\r\n" + b".a line that begins with a dot\r\n" * 100_000


def pieces(content: bytes) -> MemorySource:
    return MemorySource(*(content[at : at + 262_144] for at in range(0, len(content), 262_144)))


class Keeper:
    """An aiosmtpd handler that keeps what it gets."""

    def __init__(self) -> None:
        self.got: list[tuple[str, list[str], bytes]] = []

    async def handle_DATA(self, server: object, session: object, envelope) -> str:  # type: ignore[no-untyped-def]
        self.got.append((envelope.mail_from, envelope.rcpt_tos, envelope.original_content))
        return "250 2.0.0 kept"


class RealPeerCase(TestCase):
    async def send(self, port: int, *messages: Outgoing) -> list[Sent]:
        sender = Sender(reactor, TableResolver(), ClientSettings("us.example"))
        destination = Destination("", SmartHost("127.0.0.1", port, TLSMode.OPPORTUNISTIC))
        try:
            return await gatherResults([sender.send(destination, each) for each in messages])
        finally:
            await sender.stop(5)


class AiosmtpdTests(RealPeerCase):
    def setUp(self) -> None:
        self.keeper = Keeper()
        self.controller = Controller(self.keeper, "127.0.0.1", free_port())
        self.controller.start()
        self.addCleanup(self.controller.stop)

    async def test_messages_arrive_octet_for_octet(self) -> None:
        contents = [b"Subject: a\r\n\r\n.\r\n..\r\nx\r\n", b"\xff\xfe\r\n", LONG]
        messages = [
            outgoing("a@x.example", "b@y.example", source=pieces(each)) for each in contents
        ]
        sent = await self.send(self.controller.port, *messages)
        self.assertEqual({reply.code for each in sent for reply in each.replies}, {250})
        self.assertEqual(sorted(each[2] for each in self.keeper.got), sorted(contents))
        self.assertEqual(
            {(each[0], tuple(each[1])) for each in self.keeper.got},
            {("from@here.example", ("a@x.example", "b@y.example"))},
        )

    async def test_many_messages_arrive_once_each(self) -> None:
        messages = [outgoing(f"r{n}@x.example") for n in range(200)]
        await self.send(self.controller.port, *messages)
        recipients = sorted(each[1][0] for each in self.keeper.got)
        self.assertEqual(recipients, sorted(f"r{n}@x.example" for n in range(200)))


@contextmanager
def smtp_sink(*options: str) -> Iterator[int]:
    program = shutil.which("smtp-sink") or "/usr/sbin/smtp-sink"
    if not os.path.exists(program):
        raise SkipTest("smtp-sink is not installed")
    port = free_port()
    user = ["-u", "nobody"] if os.getuid() == 0 else []
    command = [program, *user, *options, f"127.0.0.1:{port}", "100"]
    sink = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.02)
        yield port
    finally:
        sink.terminate()
        sink.wait()


class SmtpSinkTests(RealPeerCase):
    async def codes(self, *options: str, count: int = 30) -> set[int]:
        with smtp_sink(*options) as port:
            sent = await self.send(port, *(outgoing(f"r{n}@x.example") for n in range(count)))
        return {reply.code for each in sent for reply in each.replies}

    async def test_with_and_without_pipelining_and_ehlo(self) -> None:
        for options in ((), ("-p",), ("-e",)):
            self.assertEqual(await self.codes(*options), {250})

    async def test_what_it_refuses_is_refused(self) -> None:
        self.assertEqual(await self.codes("-r", "MAIL"), {450})
        self.assertEqual(await self.codes("-r", "RCPT"), {450})
        self.assertEqual(await self.codes("-f", "RCPT"), {500})
        self.assertEqual(await self.codes("-f", "."), {500})

    async def test_where_it_hangs_up_the_mail_is_kept(self) -> None:
        for step in ("CONNECT", "MAIL", "RCPT", "DATA", "."):
            self.assertEqual(await self.codes("-q", step, count=3), {451}, step)

    async def test_long_messages_arrive(self) -> None:
        with smtp_sink() as port:
            sent = await self.send(port, *(outgoing(source=pieces(LONG)) for _ in range(4)))
        self.assertEqual({reply.code for each in sent for reply in each.replies}, {250})
