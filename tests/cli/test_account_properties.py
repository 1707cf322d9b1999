"""``postroom account``, ``domain`` and ``alias`` beyond names and passwords."""

from tests.cli.support import CommandTestCase


class PropertyTests(CommandTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.succeed("domain", "add", "a.example")
        self.succeed("account", "add", "joe@a.example", "--password-stdin", stdin="correct horse")

    def show(self) -> dict[str, object]:
        found: dict[str, object] = self.succeed_json("account", "show", "joe@a.example")
        return found

    def test_an_account_is_shown_whole(self) -> None:
        found = self.show()
        self.assertEqual(
            {key: found[key] for key in found if key != "created_at"},
            {
                "address": "joe@a.example",
                "addresses": [],
                "enabled": True,
                "maildir": f"{self.mail_root}/a.example/joe",
                "forwards": [],
                "keeps_copy": True,
                "senders": [],
                "limits": {
                    "quota_octets": None,
                    "quota_messages": None,
                    "messages_per_day": None,
                    "recipients_per_day": None,
                    "message_octets": None,
                },
            },
        )
        self.assertIn("may send as", self.succeed("account", "show", "joe@a.example"))

    def test_addresses_are_added_and_removed_and_lead_to_the_account(self) -> None:
        output = self.succeed("account", "address", "add", "joe@a.example", "Jo@a.example")
        self.assertEqual(output, "joe@a.example has the further addresses jo@a.example\n")
        self.assertEqual(
            self.succeed_json("account", "show", "jo@a.example")["address"], "joe@a.example"
        )
        self.refuse(
            "it is a further address of the account joe@a.example",
            "account",
            "add",
            "jo@a.example",
            "--password-stdin",
        )
        self.refuse("it is an account", "account", "address", "remove", "joe@a.example")
        output = self.succeed("account", "address", "remove", "jo@a.example")
        self.assertEqual(output, "joe@a.example has no further address\n")
        self.refuse("no further address", "account", "address", "remove", "jo@a.example")

    def test_mail_is_forwarded_with_a_copy_or_without(self) -> None:
        output = self.succeed("account", "forward", "joe@a.example", "x@b.example")
        self.assertEqual(
            output, "Mail for joe@a.example is forwarded to x@b.example; a copy is kept\n"
        )
        self.succeed("account", "forward", "joe@a.example", "y@b.example", "--no-copy")
        found = self.show()
        self.assertEqual((found["forwards"], found["keeps_copy"]), (["y@b.example"], False))
        self.succeed("account", "forward", "joe@a.example", "--none")
        found = self.show()
        self.assertEqual((found["forwards"], found["keeps_copy"]), ([], True))

    def test_whoever_forwards_to_an_account_that_goes_is_named(self) -> None:
        self.succeed("account", "add", "ann@a.example", "--password-stdin", stdin="correct horse")
        self.succeed("account", "forward", "joe@a.example", "Ann@a.example")
        result = self.run_command("account", "remove", "ann@a.example")
        self.assertIn("the account joe@a.example still refers to ann@a.example", result.stderr)

    def test_wrong_forwards_are_refused(self) -> None:
        self.refuse("to itself", "account", "forward", "joe@a.example", "JOE@a.example")
        self.refuse("only an alias", "account", "forward", "joe@a.example", "discard:")
        self.misuse("--none", "account", "forward", "joe@a.example")
        self.misuse("--none", "account", "forward", "joe@a.example", "--none", "--no-copy")
        result = self.run_command("account", "forward", "joe@a.example", "gone@a.example")
        self.assertIn("there is no gone@a.example yet", result.stderr)

    def test_what_it_may_send_as(self) -> None:
        output = self.succeed("account", "send-as", "joe@a.example", "@B.example", "s@c.test")
        self.assertEqual(output, "joe@a.example may send as joe@a.example, @b.example, s@c.test\n")
        self.succeed("account", "send-as", "joe@a.example", "--none")
        self.assertEqual(self.show()["senders"], [])
        self.refuse("not a domain name", "account", "send-as", "joe@a.example", "@x/y")
        self.misuse("--none", "account", "send-as", "joe@a.example")

    def test_limits_are_set_one_by_one_and_taken_away(self) -> None:
        self.succeed("account", "limit", "joe@a.example", "--messages-per-day", "50")
        found = self.succeed_json("account", "limit", "joe@a.example", "--message-octets", "100000")
        self.assertEqual(found["limits"]["messages_per_day"], 50)
        self.assertEqual(found["limits"]["message_octets"], 100_000)
        self.succeed("account", "limit", "joe@a.example", "--messages-per-day", "none")
        limits = self.show()["limits"]
        assert isinstance(limits, dict)
        self.assertIsNone(limits["messages_per_day"])
        for wrong in ("0", "-1", "many"):
            self.misuse(
                "neither a number above 0 nor none",
                *("account", "limit", "joe@a.example", "--messages-per-day", wrong),
            )
        self.misuse("at least one", "account", "limit", "joe@a.example")


class KindsOfDomains(CommandTestCase):
    def test_an_alias_of_another(self) -> None:
        output = self.succeed("domain", "add", "too.example", "--alias-of", "localhost")
        self.assertEqual(output, "Added too.example; its addresses stand for those of localhost\n")
        self.assertIn("alias of localhost", self.succeed("domain", "list"))
        self.refuse("use the address in localhost", "alias", "add", "x@too.example", "y@b.example")
        self.refuse("is an alias itself", "domain", "add", "b.example", "--alias-of", "too.example")
        self.refuse("of itself", "domain", "add", "b.example", "--alias-of", "b.example")
        self.refuse("unknown domain", "domain", "add", "b.example", "--alias-of", "c.example")
        self.refuse("not a local domain", "domain", "catch-all", "too.example", "x@b.example")

    def test_underscores_and_a_final_dot_are_taken(self) -> None:
        output = self.succeed("domain", "add", "Foo_Bar.example.")
        self.assertEqual(output, "Added foo_bar.example; mail for unknown addresses is refused\n")
        self.succeed("domain", "add", "--relay", "any", "--", "-x-.example")
        self.succeed("domain", "catch-all", "foo_bar.example.", "postmaster@localhost.")
        self.refuse("foo_bar.example exists already", "domain", "add", "foo_bar.example")
        self.refuse("labels are letters", "domain", "add", "foo..example")
        self.succeed("domain", "remove", "foo_bar.example.")

    def test_what_others_stand_for_stays(self) -> None:
        self.succeed("domain", "add", "a.example")
        self.succeed("domain", "add", "too.example", "--alias-of", "a.example")
        self.refuse("too.example is an alias of", "domain", "remove", "a.example")
        self.succeed("domain", "add", "b.example")
        self.succeed("account", "address", "add", "postmaster@localhost", "x@b.example")
        self.refuse("x@b.example in the domain b.example", "domain", "remove", "b.example")

    def test_a_relay_only_one_lists_its_recipients(self) -> None:
        result = self.run_command("domain", "add", "r.example", "--relay", "listed")
        self.assertIn("postroom domain recipient add", result.stderr)
        self.succeed("domain", "recipient", "add", "Ann@r.example", "joe@r.example")
        self.assertEqual(
            self.succeed_json("domain", "recipient", "list", "r.example"),
            ["ann@r.example", "joe@r.example"],
        )
        self.assertIn("relay, 2 listed", self.succeed("domain", "list"))
        self.succeed("domain", "recipient", "remove", "ann@r.example")
        self.refuse("no relay recipient", "domain", "recipient", "remove", "ann@r.example")
        self.refuse("a local domain, not", "domain", "recipient", "add", "x@localhost")
        self.refuse("no accounts here", "account", "add", "x@r.example", "--password-stdin")
        self.assertIn("all recipients", self.succeed("domain", "relay", "r.example", "any"))
        self.assertIn("relay, any recipient", self.succeed("domain", "list"))
        self.succeed("domain", "remove", "r.example")

    def test_one_is_of_one_kind(self) -> None:
        wrong = ("--relay", "any", "--alias-of", "localhost")
        self.misuse("one of", "domain", "add", "r.example", *wrong)
        self.refuse("not a relay-only domain", "domain", "relay", "localhost", "any")


class Groups(CommandTestCase):
    def test_members_come_and_go(self) -> None:
        self.succeed("alias", "add", "g@localhost", "a@b.example", "--writers", "members")
        output = self.succeed("alias", "add-target", "g@localhost", "c@b.example", "a@b.example")
        self.assertEqual(output, "Changed g@localhost -> a@b.example, c@b.example\n")
        self.succeed("alias", "remove-target", "g@localhost", "a@b.example")
        self.assertEqual(
            self.succeed_json("alias", "list"),
            [
                {
                    "address": "g@localhost",
                    "targets": ["c@b.example"],
                    "writers": "members",
                    "passes_tags": True,
                }
            ],
        )

    def test_the_last_one_stays_and_strangers_are_told(self) -> None:
        self.succeed("alias", "add", "g@localhost", "a@b.example")
        self.refuse("alias remove", "alias", "remove-target", "g@localhost", "a@b.example")
        self.refuse("has no target", "alias", "remove-target", "g@localhost", "x@b.example")
        self.refuse("would loop", "alias", "add-target", "g@localhost", "G@localhost")

    def test_who_may_write_is_changed(self) -> None:
        self.succeed("alias", "add", "g@localhost", "a@b.example")
        changed = self.succeed_json("alias", "writers", "g@localhost", "users")
        self.assertEqual(changed["writers"], "users")
        self.misuse("anyone", "alias", "writers", "g@localhost", "friends")

    def test_whether_tags_go_on_is_changed(self) -> None:
        self.succeed("alias", "add", "g@localhost", "a@b.example", "--no-tags")
        self.assertIn("no", self.succeed("alias", "list").splitlines()[1].split())
        changed = self.succeed_json("alias", "tags", "g@localhost", "yes")
        self.assertIs(changed["passes_tags"], True)
        self.assertIn("yes", self.succeed("alias", "list").splitlines()[1].split())
        self.misuse("yes", "alias", "tags", "g@localhost", "maybe")
        self.refuse("no alias", "alias", "tags", "x@localhost", "no")
