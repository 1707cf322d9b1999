"""Addresses that two parsers read in two ways: ours has one reading, and it is by the octet.

A recipient is taken only if the octets after its last ``@`` are our domain in some case, whatever
decoding, folding or mapping would make of the others; what is taken is what was sent. A server that
tolerates deviations takes those of `TOLERATED` besides, each as the one mailbox that stands beside
it; all others are refused in every mode. Each address in clear text, through STARTTLS and within
TLS, with SMTPUTF8 and without.
"""

from itertools import product

from tests.attacks.attack import TRANSPORTS, Attack, connected
from tests.modes import REFUSE, STRICT

OURS = b"here.example"
ENCODED = [
    b"=?x?q?a=40evil=3e=%02x?=foo" % tail for tail in (*range(0x20), 0x20, 0x2C, 0x3E, 0x40)
] + [
    b"=?utf-7?q?a&AEA-evil&ACw-?=",
    b"=?utf-8?b?YUB0aGVyZS5leGFtcGxl?=",
    b"a=?x?b?QA==?=evil=?x?b?LA==?=",
    b"=?iso-8859-1?q?=61=62=63?=",
    b"=?x?q?collab=40there.example=3e=00?=",
]
LOCAL_PARTS = [
    b"user%there.example", b"there.example!user", b'"user@there.example"', b'"a>b"', b'"a<b"',
    b'"a\\"b"', b'"a\\\\"', b'"a,b"', b'"a;b"', b'"a:b"', b'"(a)"', b'"a b"', b'""', b'" "',
    b'"@"', b'"a@b"', b'"a@b>"', b'"user\\@there.example"', b"a=40b", b"a&amp;b", b"user+tag",
    b"user/tag", b"user=tag", b"{user}", b"$user", b"#user", b"~user", b"`user`", b"^user",
    b"|user", b"'user'", b"!", b"*", b"-", b"_", b"?",
]  # fmt: skip
DOMAINS = [
    "here\uff0eexample",  # full-width dots and others that are mapped to one
    "here\u3002example",
    "here\uff61example",
    "here\u2024example",
    "\uff48\uff45\uff52\uff45.example",  # full-width letters
    "h\u0435re.example",  # Cyrillic
    "here.e\u0445ample",
    "here.exampl\u00e9",
    "here\u200d.example",  # joiners and what is ignored
    "here\u00ad.example",
    "here.example\u200b",
    "\u02b0ere.example",  # what compatibility folds
    "here.\u212fxample",
    "\u017fhere.example",
    "here.exa\u1e41ple",
    "xn--here-qoa.example",
    "xn--here-.example",
    "here.xn--example-",
    "xn--here.example",
    "here.example..",
    ".here.example",
    "here..example",
    "here.example\\",
    "here.example/",
    "here.example:25",
    "here.example#x",
    "here.example%00",
    "here.example;x",
    "here.example,there.example",
    "(c)here.example",
    "here.example(c)",
    "[here.example]",
    "[192.0.2.1]",
    "[127.1]",
    "[2130706433]",
    "[0x7f000001]",
    "[IPv6:::1]",
    "[IPv6:::ffff:127.0.0.1]",
    "[x:here.example]",
    "here_example",
    "localhost",
    "here",
    "example",
]
PATHS = [
    b"<user@here.example@there.example>",
    b"<user@there.example@here.example>",
    b"<user@here.example,x@there.example>",
    b"<user@here.example>,<x@there.example>",
    b"<user@here.example><x@there.example>",
    b"<<user@here.example>>",
    b"<user@here.example",
    b"user@here.example>",
    b"<@there.example:user@there.example>",
    b"<@here.example:user@there.example>",
    b"<@here.example:@there.example>",
    b"<:user@here.example>",
    b"<@:user@here.example>",
    b"<@a,:user@here.example>",
    b"<@a,b:user@here.example>",
    b"<user @here.example>",
    b"<user@ here.example>",
    b"<user(c)@here.example>",
    b"<(c)user@here.example>",
    b'<"user"x@here.example>',
    b'<x"user"@here.example>',
    b'<"us"."er"@here.example>',
    b'<"user@here.example>',
    b'<user"@here.example>',
    b'<"user\\"@here.example>',
    b"<us\\er@here.example>",
    b"<@here.example>",
    b"<user@>",
    b"<>",
    b"<@>",
    b"<user@here.example\0>",
    b"<user\0@here.example>",
    b"<user@here.example\r>",
    b"<user\n@here.example>",
    b"<us\x7fer@here.example>",
    b"<us\x1ber@here.example>",
    b"<user@" + b"a" * 64 + b".example>",
    b"<user@" + b"a." * 130 + b"example>",
    b"<" + b"u" * 256 + b"@here.example>",
    b"<" + b"u" * 300 + b">",
    b"<user@here.example>.",
    b"user@here.example@there.example",
    b"user@here.example,other@here.example",
    b"user@here.example;",
    b"user@here.example user@there.example",
    b"user@here.example <user@there.example>",
    b"user@here.example <",
    b"user@here.example(c)",
    b"user @here.example",
    b"user@ here.example",
    b"(c) user@here.example",
    b"user\\@x@here.example",
    b"<>user@here.example",
    b"<><user@here.example>",
    b"<user\t@here.example>",
    b'<"user\t"@here.example>',
    b"<\tuser@here.example\0>",
    b"<user@[10.0.0.1].>",
    b"<user%there.example@[10.0.0.1]>",
    b"<there.example!user@[10.0.0.1]>",
    b'<"user@there.example"@[10.0.0.1]>',
    b"NOTIFY=NEVER",
    b" NOTIFY=NEVER",
    b"SIZE=100",
    b"\t",
    b" ",
    b"",
    b'<"">',
    b'""',
]
TOLERATED = {
    b"user@here.example": "user@here.example",
    b"user@here.example.": "user@here.example",
    b"user@here.example NOTIFY=NEVER": "user@here.example",
    b'"user"@here.example': "user@here.example",
    b'"us er"@here.example': '"us er"@here.example',
    b'"a@b>c"@here.example': '"a@b>c"@here.example',
    b" <user@here.example>": "user@here.example",
    b"\t<user@here.example>": "user@here.example",
    b"< user@here.example>": "user@here.example",
    b"<user@here.example >": "user@here.example",
    b"<user@here.example\t>": "user@here.example",
    b"<user@here.example.>": "user@here.example",
    b'<"user"@HERE.example. >': "user@HERE.example",
    b"<.user@here.example>": '".user"@here.example',
    b"<user.@here.example>": '"user."@here.example',
    b"<us..er@here.example>": '"us..er"@here.example',
    b"<...@here.example>": '"..."@here.example',
    b"<user>": "user@here.example",
    b"user": "user@here.example",
    b'<"us er">': '"us er"@here.example',
    b"<user%there.example>": "user%there.example@here.example",
    b"<there.example!user>": "there.example!user@here.example",
    b"< postmaster >": "postmaster",
    b"<postmaster.>": '"postmaster."@here.example',
    b"<@a.:user@here.example>": "user@here.example",
    b"<@_a,@b_:user@here.example>": "user@here.example",
    b"<" + b"u" * 65 + b"@here.example>": "u" * 65 + "@here.example",
    b'<"' + b"q" * 65 + b'"@here.example>': "q" * 65 + "@here.example",
    b"<" + b"u" * 241 + b"@here.example>": "u" * 241 + "@here.example",
}
"""What a tolerant server takes, and as which mailbox; a strict one refuses it."""

TOLERATED_SENDERS = {b"< >": "<>", b"<\t>": "<>"}
"""The same of senders alone."""

NO_SENDERS = [
    path
    for path in TOLERATED
    if b"NOTIFY" in path or path.rpartition(b"@")[2] == path  # strangers say their domain
]

SENDERS = {
    b"<>": "<>",
    b"<@there.example:user@there.example>": "user@there.example",
    b"<@here.example:user@there.example>": "user@there.example",
    b"<user%there.example@[10.0.0.1]>": "user%there.example@[10.0.0.1]",
    b"<there.example!user@[10.0.0.1]>": "there.example!user@[10.0.0.1]",
    b'<"user@there.example"@[10.0.0.1]>': '"user@there.example"@[10.0.0.1]',
}
"""Of the paths that are no mailbox of ours, those that mail may come from."""

OWN_LITERALS = {
    b"<user@[10.0.0.1]>": "user@here.example",
    b"<POSTMASTER@[10.0.0.1]>": "POSTMASTER@here.example",
    b"<@there.example:user@[10.0.0.1]>": "user@here.example",
}
"""Mail for the address that the client connected to, which every server takes."""

FLOODS = [
    b'"',
    b"(",
    b"\\",
    b"@",
    b"<",
    b">",
    b".",
    b"a.",
    b'\\"',
    b"@a,",
    b"[",
    b"=?",
    b"\xc3\xa4",
]


class AddressTests(Attack):
    """One reading of an address."""

    def named(self, path: bytes, transport: str, utf8: bool) -> str | None:
        """Name a recipient; return the mailbox that was taken, None if none was."""
        scene = self.scene()
        peer = connected(scene, transport)
        peer.say("EHLO client.example")
        parameter = " SMTPUTF8" if utf8 else ""
        self.assertEqual(peer.say(f"MAIL FROM:<a@there.example>{parameter}").code, 250)
        code = peer.say(b"RCPT TO:" + path).code
        if b"\n" in path:
            self.assertTrue(peer.closed, path)
        else:
            self.assertEqual(peer.say("NOOP").code, 250)
        taken = [call for call in scene.world.calls if call.startswith("recipient ")]
        self.assertLessEqual(len(taken), 1)
        return taken[0].removeprefix("recipient ") if code == 250 else None

    def each_way(self, path: bytes) -> list[str | None]:
        return [
            self.named(path, transport, utf8)
            for transport, utf8 in product(TRANSPORTS, (False, True))
        ]

    def test_local_parts_are_taken_to_the_letter(self) -> None:
        for local in (*ENCODED, *LOCAL_PARTS):
            (taken,) = set(self.each_way(b"<" + local + b"@" + OURS + b">"))
            if taken is not None:
                name, _, domain = taken.rpartition("@")
                self.assertEqual(domain, OURS.decode())
                self.assertIn(name.encode(), (local, local.replace(b"\\@", b"@")), local)

    def test_no_domain_is_taken_for_ours(self) -> None:
        for domain in DOMAINS:
            found = set(self.each_way(b"<user@" + domain.encode() + b">"))
            self.assertEqual(found, {None}, domain)

    def test_no_other_form_is_a_mailbox(self) -> None:
        for path in PATHS:
            self.assertEqual(set(self.each_way(path)), {None}, path)

    def test_what_is_tolerated_is_one_mailbox(self) -> None:
        for path, mailbox in TOLERATED.items():
            taken = mailbox if self.mode.tolerant else None
            self.assertEqual(set(self.each_way(path)), {taken}, path)

    def test_our_own_address_is_ours(self) -> None:
        for path, mailbox in OWN_LITERALS.items():
            self.assertEqual(set(self.each_way(path)), {mailbox}, path)

    def test_what_is_no_utf_8_is_no_address(self) -> None:
        for octets in (
            b"\xff", b"\xc0\xae", b"\xc0\x80", b"\xe0\x80\xae", b"\xed\xa0\x80",
            b"\xf4\x90\x80\x80", b"\xe2\x82", b"\xc3", b"\x80",
        ):  # fmt: skip
            for path in (
                b"<us%ber@here.example>",
                b"<user@he%bre.example>",
                b"<user%b@here.example>",
                b"us%ber@here.example",
                b"<us%ber>",
            ):
                self.assertEqual(set(self.each_way(path % octets)), {None}, path % octets)

    def test_ours_is_ours_in_any_case(self) -> None:
        for domain in (b"here.example", b"HERE.EXAMPLE", b"Here.Example"):
            self.assertNotIn(None, self.each_way(b"<user@" + domain + b">"))

    def test_floods_are_refused_and_forgotten(self) -> None:
        for unit in FLOODS:
            for path in (
                b"<" + unit * (4000 // len(unit)) + b"@here.example>",
                b"<user@" + unit * (4000 // len(unit)) + b">",
                b"<" + unit * (10_000 // len(unit)) + b">",
                b'<"' + unit * (3000 // len(unit)) + b'"@here.example>',
                unit * (4000 // len(unit)) + b"@here.example",
            ):
                self.assertIsNone(self.named(path, "clear", utf8=True), unit)

    def sent_by(self, path: bytes) -> str | None:
        """Name a sender; return the mailbox that was taken, None if none was."""
        scene = self.scene()
        peer = scene.connect()
        peer.say("EHLO client.example")
        code = peer.say(b"MAIL FROM:" + path).code
        if b"\n" not in path:
            self.assertEqual(peer.say("NOOP").code, 250)
        self.assertIn(code // 100, (2, 5), path)
        taken = [call for call in scene.world.calls if call.startswith("sender ")]
        self.assertEqual(len(taken), code == 250, path)
        return taken[0].removeprefix("sender ") if taken else None

    def test_senders_are_read_the_same_way(self) -> None:
        for path in PATHS:
            self.assertEqual(self.sent_by(path), SENDERS.get(path), path)
        for domain in DOMAINS:
            path = b"<user@" + domain.encode() + b">"
            self.assertIn(self.sent_by(path), (None, f"user@{domain}"), path)

    def test_senders_are_tolerated_in_the_same_way(self) -> None:
        for path, mailbox in {**TOLERATED, **TOLERATED_SENDERS}.items():
            read = self.mode.tolerant and path not in NO_SENDERS
            self.assertEqual(self.sent_by(path), mailbox if read else None, path)


class StrictAddressTests(AddressTests):
    """Nothing is tolerated."""

    mode = STRICT


class RefuseAddressTests(AddressTests):
    """Bare newlines in content are refused, which changes nothing here."""

    mode = REFUSE
