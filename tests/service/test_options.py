"""The command line of ``twistd smtp``."""

from pathlib import Path

from twisted.cred.credentials import UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import maybeDeferred
from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from postroom.service.options import Options


def parse(*arguments: str) -> Options:
    options = Options()
    options.parseOptions(list(arguments))
    return options


class OptionTests(SynchronousTestCase):
    """Options become settings."""

    def test_every_option_sets_its_setting(self) -> None:
        settings = parse(
            *("--state-dir", "/tmp/s", "--hostname", "mx.example.org"),
            *("--domain", "a.example", "--domain", "b.example"),
            *("--listen", "mx=tcp:25", "--listen", "submission=ssl:465"),
            *("--relay-host", "smtps://me:pw@h", "--relay-network", "192.0.2.0/24"),
            *("--relay-network", "::1", "--database", "postgresql://h/d"),
            *("--tls-certificate", "/c.pem", "--tls-key", "/k.pem"),
            *("--max-message-size", "100000"),
        ).settings
        self.assertEqual(settings.state_dir, Path("/tmp/s"))
        self.assertEqual(settings.hostname, "mx.example.org")
        self.assertEqual(settings.domains, ("a.example", "b.example"))
        self.assertEqual([str(x) for x in settings.listen], ["mx=tcp:25", "submission=ssl:465"])
        assert settings.relay_host is not None
        self.assertEqual(settings.relay_host.host, "h")
        self.assertEqual(len(settings.relay_networks), 2)
        self.assertEqual(settings.database_url(), "postgresql://h/d")
        self.assertEqual(settings.tls.key, Path("/k.pem"))
        self.assertEqual(settings.limits.message_octets, 100_000)

    def test_an_option_wins_over_the_file(self) -> None:
        path = Path(self.mktemp())
        path.write_text('hostname = "a.example"\ndomains = ["a.example"]\n[limits]\nerrors = 5\n')
        settings = parse("--config", str(path), "--hostname", "b.example").settings
        self.assertEqual((settings.hostname, settings.domains), ("b.example", ("a.example",)))
        self.assertEqual(settings.limits.errors, 5)

    def test_a_wrong_value_is_a_usage_error_that_names_the_option(self) -> None:
        for option, value, text in (
            ("--listen", "smtp=tcp:25", "--listen[0] = "),
            ("--relay-network", "10.0.0.1/8", "--relay-network[0] = "),
            ("--relay-host", "smtp://a@", "--relay-host = "),
            ("--max-message-size", "10M", "--max-message-size = "),
            ("--hostname", "a b", "--hostname = "),
            ("--domain", "-", "--domain[0] = "),
            ("--config", "/nonexistent", "/nonexistent: cannot be read"),
            ("--tls-key", "/k.pem", "tls.certificate and tls.key come together"),
            ("--auth", "nonsense:1", "Auth plugin not recognized: nonsense"),
            ("--nonsense", "1", "option --nonsense not recognized"),
        ):
            error = self.assertRaises(usage.UsageError, parse, option, value)
            self.assertIn(text, str(error))

    def test_what_is_no_option_is_an_error(self) -> None:
        self.assertRaises(usage.UsageError, parse, "start")

    def test_under_twistd_an_error_is_its_message_alone(self) -> None:
        options = Options()
        options.parent = usage.Options()
        error = self.assertRaises(SystemExit, options.parseOptions, ["--domain", "-"])
        self.assertTrue(str(error.code).startswith("twistd smtp: --domain[0] = "))

    def test_help_is_what_the_settings_say(self) -> None:
        text = " ".join(str(Options()).split())
        self.assertIn("--relay-host= The host that takes all mail for other domains", text)
        self.assertIn("--domain= Domains whose mail is delivered here", text)
        self.assertIn("--auth", text)


class AuthTests(SynchronousTestCase):
    """Checkers from the command line and from the file."""

    def accepts(self, options: Options, user: bytes, password: bytes) -> list[bool]:
        """Say which checkers accept a login."""
        found = []
        for checker in options.checkers:
            outcome: list[object] = []
            result = maybeDeferred(checker.requestAvatarId, UsernamePassword(user, password))
            result.addCallbacks(outcome.append, lambda failure: failure.trap(UnauthorizedLogin))
            found.append(bool(outcome))
        return found

    def test_both_are_asked(self) -> None:
        path = Path(self.mktemp())
        path.write_text('[auth]\ncheckers = ["memory:b:2"]\n')
        options = parse("--auth", "memory:a:1", "--config", str(path))
        self.assertEqual(self.accepts(options, b"a", b"1"), [True, False])
        self.assertEqual(self.accepts(options, b"b", b"2"), [False, True])

    def test_none_by_default(self) -> None:
        self.assertEqual(parse().checkers, [])
