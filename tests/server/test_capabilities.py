"""What is offered beyond ours: `IExtension`, and what one must not take."""

from collections.abc import Mapping, Sequence
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from postroom.errors import UserError
from postroom.interfaces import IExtension
from postroom.service.extensions import add_extension
from postroom.wire.parameters import Parameter
from postroom.wire.values import read_flag
from tests.server.scene import Scene


@implementer(IExtension)
class Extension:
    """An extension as a test wants it."""

    def __init__(
        self,
        keyword: str = "XCOLOUR",
        parameter: str = "XCOLOUR",
        of: str | None = None,
        arguments: str = "RED BLUE",
    ) -> None:
        self._keyword = keyword
        self._arguments = arguments
        self._parameter = Parameter(parameter, of or keyword, read_flag)

    def keyword(self) -> str:
        return self._keyword

    def arguments(self, role: str, tls: bool, authenticated: bool) -> str | None:
        return self._arguments

    def mail_parameters(self) -> Sequence[Parameter[Any]]:
        return ()

    def rcpt_parameters(self) -> Sequence[Parameter[Any]]:
        return (self._parameter,)

    def needed_at_next_hop(self, parameters: Mapping[str, str | None]) -> bool:
        return True


class ExtensionTests(SynchronousTestCase):
    """Extensions of others."""

    def test_arguments_and_parameters_of_rcpt(self) -> None:
        scene = Scene()
        scene.factory.listener.add_extension(Extension())
        peer = scene.connect()
        self.assertIn("XCOLOUR RED BLUE", peer.say("EHLO client.example").text)
        peer.say("MAIL FROM:<a@there.example>")
        self.assertEqual(peer.say("RCPT TO:<user@here.example> XCOLOUR").code, 250)
        self.assertEqual(peer.say("RCPT TO:<user@here.example> XCOLOUR=1").code, 501)
        (recipient,) = peer.protocol.session.envelope.recipients
        self.assertEqual(recipient.rcpt.parameters, {"XCOLOUR": None})

    def test_it_takes_nothing_that_is_taken(self) -> None:
        for wrong in (
            Extension("DSN"),
            Extension("MY-CAP", "NOTIFY"),
            Extension("lower"),
            Extension("A B"),
            Extension("XSHAPE", of="XCOLOUR"),
            Extension("XSHAPE", "a=b"),
        ):
            factory = Scene().factory
            self.assertRaises(ValueError, factory.listener.add_extension, wrong)
            self.assertRaises(UserError, add_extension, factory.listener, wrong)
        factory = Scene().factory
        factory.listener.add_extension(Extension())
        self.assertRaises(ValueError, factory.listener.add_extension, Extension())
        self.assertRaises(ValueError, factory.listener.add_extension, Extension("XSHAPE"))

    def test_what_ehlo_cannot_say_is_our_fault_and_is_seen_at_the_start(self) -> None:
        factory = Scene().factory
        wrong = Extension(arguments="a\r\n250 b")
        self.assertRaises(ValueError, factory.listener.add_extension, wrong)

    def test_a_parameter_that_cannot_be_read_by_a_fault_of_ours_is_451(self) -> None:
        def broken(_: str | None) -> bool:
            raise TypeError("a bug")

        extension = Extension()
        extension._parameter = Parameter("XCOLOUR", "XCOLOUR", broken)
        scene = Scene()
        scene.factory.listener.add_extension(extension)
        peer = scene.connect()
        peer.say("EHLO client.example")
        peer.say("MAIL FROM:<a@there.example>")
        refused = peer.say("RCPT TO:<user@here.example> XCOLOUR")
        self.assertEqual((refused.code, refused.enhanced), (451, "4.3.0"))
        self.assertEqual(peer.say("RCPT TO:<user@here.example>").code, 250)
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)
