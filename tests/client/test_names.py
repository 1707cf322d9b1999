"""Names of domains as DNS knows them."""

from twisted.trial.unittest import SynchronousTestCase

from postroom.client.names import ascii_domain
from postroom.errors import Refusal
from postroom.wire.paths import is_domain


class NameTests(SynchronousTestCase):
    def test_a_name_in_any_script_has_its_a_labels(self) -> None:
        for name, expected in {
            "example.org": "example.org",
            "[192.0.2.1]": "[192.0.2.1]",
            "bücher.example": "xn--bcher-kva.example",
            "bu\u0308cher.example": "xn--bcher-kva.example",
            "BÜCHER.example": "xn--bcher-kva.example",
            "\uff45\uff58.例え\u3002テスト": "ex.xn--r8jz45g.xn--zckzah",
            "straße.example": "xn--strae-oqa.example",
            "foo_bar.example": "foo_bar.example",
            "-x-.example.": "-x-.example",
            "Foo_Bar.-x-.Bücher.example.": "foo_bar.-x-.xn--bcher-kva.example",
        }.items():
            self.assertEqual(ascii_domain(name), expected)

    def test_what_is_no_name_is_refused_for_good(self) -> None:
        for name in (
            "ü..example",
            "\u2603\u0301-.example",
            "ü" * 64 + ".example",
            "\ud800.example",
            "bü_cher.example",
            "a b.bücher.example",
            "xn--zz.bücher.example",
            "ü." + "a" * 64 + ".example",
            ".".join(["ü" * 30] * 8),
        ):
            with self.assertRaises(Refusal) as caught:
                ascii_domain(name)
            self.assertEqual(str(caught.exception.reply)[:9], "550 5.1.2")
            self.assertTrue(str(caught.exception.reply).isascii())

    def test_hosts_may_have_underscores_and_outer_hyphens_but_no_empty_label(self) -> None:
        for name in ("a", "a.b", "foo_bar.example", "_x.-y", "-x-.example", "A" * 63, "1.2"):
            self.assertTrue(is_domain(name), name)
        for name in (
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "A" * 64,
            "a b",
            "*.a",
            "a\n",
            "ü.a",
            "a/b",
            "_",
            "a.-",
        ):
            self.assertFalse(is_domain(name), name)
        self.assertFalse(is_domain(".".join(["a" * 63] * 4) + ".b"))
