"""Settings: what is read, and what a wrong one is told."""

from dataclasses import fields
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from postroom.client.settings import ClientSettings, Timeouts
from postroom.delivery.settings import DeliverySettings
from postroom.errors import UserError
from postroom.queue.schedule import Schedule
from postroom.server.limits import Limits, ListenerSettings
from postroom.service.listen import Listen
from postroom.service.settings import Settings, load_settings
from postroom.settings.declarations import declarations
from tests.architecture.rfc_index import WELL_FORMED


class Files(SynchronousTestCase):
    """Writes settings files."""

    def write(self, text: str) -> Path:
        folder = Path(self.mktemp())
        folder.mkdir()
        path = folder / "postroom.toml"
        path.write_text(text, "utf-8")
        return path.absolute()

    def errors(self, text: str, overrides: dict[str, Any] | None = None) -> list[str]:
        """Give the lines of the error that a file gets, its path taken off."""
        path = self.write(text)
        error = self.assertRaises(UserError, load_settings, path, overrides or {})
        return [line.removeprefix(f"{path}: ") for line in str(error).splitlines()]


class DefaultTests(SynchronousTestCase):
    """Without any setting."""

    def test_the_daemon_listens_on_loopback_alone(self) -> None:
        self.assertEqual(
            load_settings(None, {}).listen,
            (
                Listen("mx", "tcp:2525:interface=127.0.0.1"),
                Listen("submission", "tcp:2587:interface=127.0.0.1"),
            ),
        )

    def test_nobody_may_relay_without_login(self) -> None:
        settings = load_settings(None, {})
        self.assertEqual(settings.relay_networks, ())
        self.assertEqual(settings.session.clear_text_auth_networks, ())

    def test_state_is_kept_in_the_working_directory(self) -> None:
        settings = load_settings(None, {})
        self.assertEqual(settings.state_dir, Path.cwd() / "postroom-state")
        self.assertEqual(settings.mail_root(), settings.state_dir / "mail")
        self.assertEqual(settings.database_url(), f"sqlite:///{settings.state_dir}/postroom.db")

    def test_the_rooms_run_on_their_own_defaults(self) -> None:
        settings = load_settings(None, {"hostname": "mx.example.org"})
        self.assertEqual(settings.limits, Limits())
        self.assertEqual(settings.sending(), ClientSettings("mx.example.org"))
        self.assertEqual(settings.retry, Schedule())
        self.assertEqual(
            settings.listener("mx", Limits()), ListenerSettings("mx", "mx.example.org")
        )


class CompletenessTests(SynchronousTestCase):
    """Every field of the rooms' settings can be set."""

    def test_each_field_has_a_setting(self) -> None:
        keys = {item.key for item in declarations(Settings)}
        made_elsewhere = {
            Limits: set(),
            # role and hostname are the listener's and the server's, limits a table of its own.
            ListenerSettings: {
                *("role", "limits", "clear_text_auth_networks", "mechanisms"),
                # delivery.origin, relay_networks and delivery.literal_addresses
                *("origin", "origin_networks", "own_addresses"),
            },
            ClientSettings: {"timeouts", "extensions"},
            Timeouts: set(),
            DeliverySettings: {"postmaster_domain", "spool_directory", "hands_over"},
            Schedule: set(),
        }
        tables = {
            Limits: "limits.",
            ListenerSettings: "session.",
            ClientSettings: "client.",
            Timeouts: "client.timeouts.",
            DeliverySettings: "delivery.",
            Schedule: "retry.",
        }
        for kind, known in made_elsewhere.items():
            names = {item.name for item in fields(kind)} - known - {"hostname", "relay_networks"}
            self.assertEqual({tables[kind] + name for name in names} - keys, set(), kind)
        self.assertTrue({"auth.clear_text_networks", "auth.mechanisms"} <= keys)

    def test_each_setting_has_a_paragraph(self) -> None:
        for item in declarations(Settings):
            self.assertRegex(item.setting["paragraph"], r"^[A-Z].*\.$", item.key)

    def test_each_source_has_the_form_of_docstrings(self) -> None:
        for item in declarations(Settings):
            if "rfc" in item.setting:
                self.assertIsNotNone(WELL_FORMED.fullmatch(item.setting["rfc"]), item.key)


class FileTests(Files):
    """What stands in a file."""

    def test_values_reach_the_rooms(self) -> None:
        path = self.write(
            """
            hostname = "MX.Example.ORG"
            relay_networks = ["192.0.2.0/24", "2001:db8::1"]
            listen = ["mx=tcp:25"]
            [limits]
            recipients = 500
            [session]
            unlimited_networks = ["127.0.0.0/8"]
            [auth]
            mechanisms = ["PLAIN"]
            clear_text_networks = ["::1"]
            [client]
            connections_per_destination = 3
            own_names = ["a.example"]
            [client.timeouts]
            idle_seconds = 1
            [retry]
            lifetime_seconds = 60
            [delivery]
            sub_address_separator = "-"
            """
        )
        settings = load_settings(path, {})
        limits = settings.limits.capped(700)
        listener = settings.listener("submission", limits)
        self.assertEqual(listener.hostname, "mx.example.org")
        self.assertEqual((listener.limits.recipients, listener.limits.connections), (500, 700))
        self.assertEqual(listener.mechanisms, ("PLAIN",))
        self.assertEqual([str(item) for item in listener.clear_text_auth_networks], ["::1/128"])
        self.assertEqual([str(item) for item in listener.unlimited_networks], ["127.0.0.0/8"])
        sending = settings.sending()
        self.assertEqual(sending.connections_per_destination, 3)
        self.assertEqual(sending.own_names, frozenset({"a.example"}))
        self.assertEqual(sending.timeouts.idle_seconds, 1)
        self.assertEqual(settings.retry.lifetime_seconds, 60)
        deliveries = settings.deliveries("example.org")
        self.assertEqual(deliveries.sub_address_separator, "-")
        self.assertEqual([str(item) for item in deliveries.relay_networks][1], "2001:db8::1/128")

    def test_relative_paths_start_from_the_files_folder(self) -> None:
        path = self.write('state_dir = "state"\n[tls]\ncertificate = "c.pem"\nkey = "/k.pem"\n')
        settings = load_settings(path, {})
        self.assertEqual(settings.state_dir, path.parent / "state")
        self.assertEqual(settings.tls.certificate, path.parent / "c.pem")
        self.assertEqual(settings.tls.key, Path("/k.pem"))

    def test_the_command_line_wins(self) -> None:
        path = self.write('state_dir = "state"\n[limits]\nrecipients = 100\nerrors = 5\n')
        settings = load_settings(path, {"state_dir": "here", "limits.recipients": 200})
        self.assertEqual(settings.state_dir, Path("here").absolute())
        self.assertEqual((settings.limits.recipients, settings.limits.errors), (200, 5))

    def test_odd_state_directories_make_a_good_database_url(self) -> None:
        from sqlalchemy import make_url

        settings = load_settings(None, {"state_dir": "/tmp/a ?b%20#c"})
        self.assertEqual(make_url(settings.database_url()).database, "/tmp/a ?b%20#c/postroom.db")


class ErrorTests(Files):
    """What wrong settings are told, a line each."""

    def test_an_unknown_key_names_the_nearest_known_one(self) -> None:
        self.assertEqual(
            self.errors('hostnam = "a"\n[limits]\nrecipient = 1\n[client.timeouts]\nconnect = 1\n'),
            [
                "unknown key recipient in [limits]; did you mean limits.recipients?",
                "unknown key connect in [client.timeouts]; "
                "did you mean client.timeouts.connect_seconds?",
                "unknown key hostnam; did you mean hostname?",
            ],
        )

    def test_a_key_in_the_wrong_table_is_found(self) -> None:
        self.assertEqual(
            self.errors("recipients = 100\n"),
            ["unknown key recipients; did you mean limits.recipients?"],
        )

    def test_a_value_out_of_range_is_told_what_is_allowed(self) -> None:
        self.assertEqual(
            self.errors("[limits]\nrecipients = 1\n[client]\nport = 70000\n"),
            [
                "limits.recipients = 1; allowed: a whole number from 100 to 1000000",
                "client.port = 70000; allowed: a whole number from 1 to 65535",
            ],
        )

    def test_a_limit_of_lines_is_none_or_one_that_can_be_kept(self) -> None:
        for octets in (-1, 77, 1_000_001):
            (line,) = self.errors(f"[client]\ntext_line_octets = {octets}\n")
            self.assertIn("allowed: 0, or a whole number from 78 to 1000000", line)
        for octets in (0, 78, 998):
            path = self.write(f"[client]\ntext_line_octets = {octets}\n")
            self.assertEqual(load_settings(path, {}).sending().text_line_octets, octets)

    def test_domains_may_have_underscores_and_final_dots_in_a_file(self) -> None:
        path = self.write('[routes]\n"Foo_Bar.example." = "smtp://mail_1.example.net.:26"\n')
        route = load_settings(path, {}).routes["foo_bar.example"]
        self.assertEqual(str(route), "mail_1.example.net:26")
        (line,) = self.errors('domains = ["a..b"]\n')
        self.assertIn("domains[0]", line)

    def test_types_are_not_guessed(self) -> None:
        for value in ('"12"', "true", "12.0", "[12]"):
            (line,) = self.errors(f"[limits]\nerrors = {value}\n")
            self.assertIn("allowed: a whole number from 1", line)
        (line,) = self.errors('[session]\nvrfy = "yes"\n')
        self.assertEqual(line, 'session.vrfy = "yes"; allowed: true or false')

    def test_an_item_of_a_list_is_named(self) -> None:
        (line,) = self.errors('relay_networks = ["192.0.2.0/24", "192.0.2.1/24"]\n')
        self.assertEqual(
            line,
            'relay_networks[1] = "192.0.2.1/24" (192.0.2.1/24 has host bits set); allowed: '
            'an IP address or network such as "192.0.2.0/24" or "2001:db8::/32"',
        )

    def test_a_lone_string_is_no_list(self) -> None:
        (line,) = self.errors('domains = "example.org"\n')
        self.assertTrue(line.startswith('domains = "example.org" (not a list); allowed: a list'))

    def test_a_role_is_one_of_ours(self) -> None:
        (line,) = self.errors('listen = ["smtp=tcp:25"]\n')
        self.assertIn('listen[0] = "smtp=tcp:25"', line)
        self.assertIn("ROLE one of mx, submission", line)

    def test_a_password_is_never_shown(self) -> None:
        lines = self.errors(
            'relay_host = "http://me:geheim@host"\ndatabase = 3\n'
            '[routes]\n"example.com" = "smtp://me:geheim@host:99999"\n'
        )
        self.assertEqual(len(lines), 3)
        self.assertNotIn("geheim", "\n".join(lines))
        self.assertTrue(lines[-1].startswith('routes[example.com] = "smtp://me:***@host:99999"'))

    def test_control_characters_stay_out_of_the_terminal(self) -> None:
        (line,) = self.errors('hostname = "\\u001b[2J\\n"\n')
        self.assertTrue(line.startswith('hostname = "\\x1b[2J\\n" (not a domain name)'), line)
        (line,) = self.errors('"\\u001b[2J" = 1\n')
        self.assertEqual(line, "unknown key \\x1b[2J")

    def test_a_table_that_is_no_table(self) -> None:
        self.assertEqual(
            self.errors("log = 3\n"), ["log is not a table; write its settings below [log]"]
        )

    def test_certificate_and_key_come_together(self) -> None:
        (line,) = self.errors('[tls]\ncertificate = "c.pem"\n')
        self.assertIn("tls.certificate and tls.key come together", line)

    def test_steps_that_contradict_each_other(self) -> None:
        (line,) = self.errors("[retry]\nfirst_seconds = 10\nlongest_seconds = 5\n")
        self.assertIn("first_seconds must be above 0 and at most longest_seconds", line)

    def test_an_option_is_named_as_such(self) -> None:
        (line,) = self.errors("", {"limits.message_octets": 1})
        self.assertTrue(line.startswith("--max-message-size = 1; allowed: "), line)

    def test_files_that_cannot_be_read(self) -> None:
        for path, reason in (
            (Path("/nonexistent.toml"), "cannot be read: No such file or directory"),
            (self.write("a = "), "not TOML: Invalid value (at end of document)"),
        ):
            error = self.assertRaises(UserError, load_settings, path, {})
            self.assertEqual(str(error), f"{path}: {reason}")
        path = self.write("")
        path.write_bytes(b'a = "\xff"')
        error = self.assertRaises(UserError, load_settings, path, {})
        self.assertEqual(str(error), f"{path}: not UTF-8 at octet 5")
