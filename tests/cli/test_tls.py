"""``postroom tls``: what it shows of files, and the self-signed certificate."""

import datetime
import json
import os
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

import trustme
from click.testing import CliRunner, Result
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from postroom.certificates.identity import read_kept
from postroom.cli.main import cli

AUTHORITY = trustme.CA()


class Case(SynchronousTestCase):
    """A settings file, and the command run on it."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        (self.folder / "state").mkdir(parents=True)
        self.own = self.folder / "state" / "self-signed.pem"
        self.settings = 'hostname = "mx.example.org"\nstate_dir = "state"\n'

    def issue(self, file: str, *names: str, days: float = 100.5, kind: str = "ECDSA") -> None:
        until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
        leaf = AUTHORITY.issue_cert(*names, not_after=until, key_type=trustme.KeyType[kind])
        leaf.private_key_and_cert_chain_pem.write_to_path(str(self.folder / file))

    def run_command(self, *words: str, stdin: str = "") -> Result:
        path = self.folder / "postroom.toml"
        path.write_text(self.settings)
        return CliRunner().invoke(cli, ["--config", str(path), "tls", *words], input=stdin)

    def succeed(self, *words: str, stdin: str = "") -> str:
        result = self.run_command(*words, stdin=stdin)
        self.assertEqual((result.exit_code, result.exception), (0, None), result.output)
        return result.stdout

    def status(self) -> list[dict[str, Any]]:
        found = json.loads(self.succeed("status", "--json"))
        return list(found["certificates"])


class StatusTests(Case):
    """``postroom tls status``."""

    def test_each_certificate_is_a_row(self) -> None:
        self.issue("a.pem", "mx.example.org", "mail.example.org", kind="RSA")
        self.issue("b.pem", "mx.example.net", days=5.5)
        self.settings += (
            '[tls]\ncertificate = "a.pem"\nkey = "a.pem"\n'
            '[[tls.sni]]\ncertificate = "b.pem"\nkey = "b.pem"\n'
        )
        titles, first, second = self.succeed("status").splitlines()
        self.assertEqual(titles.split()[:5], ["NAMES", "KEY", "FROM", "EXPIRES", "DAYS"])
        self.assertRegex(
            first, r"^mx.example.org, mail.example.org  RSA +file  +\d{4}-\d\d-\d\d +100 "
        )
        self.assertIn(str(self.folder / "b.pem"), second)
        found = self.status()
        self.assertEqual([each["days"] for each in found], [100, 5])
        self.assertEqual([each["key"] for each in found], ["RSA", "ECDSA"])
        self.assertEqual([each["renewed_from"] for each in found], [None, None])

    def test_what_is_wrong_is_a_note(self) -> None:
        self.issue("a.pem", "mx.example.org", days=-1)
        (self.folder / "b.pem").write_text("junk")
        self.settings += (
            '[tls]\ncertificate = "a.pem"\nkey = "a.pem"\n'
            '[[tls.sni]]\ncertificate = "b.pem"\nkey = "b.pem"\n'
        )
        notes = self.run_command("status").stderr.splitlines()
        self.assertEqual(len(notes), 2)
        self.assertTrue(notes[0].startswith(f"note: {self.folder}/a.pem: expired on "), notes)
        self.assertEqual(
            notes[1], f"note: tls.sni[0].certificate {self.folder}/b.pem: no PEM certificate in it"
        )

    def test_the_self_signed_one_is_shown_and_never_made(self) -> None:
        (found,) = self.status()
        self.assertEqual((found["from"], found["names"]), ("self-signed", []))
        self.assertIn("does not exist yet; the server creates it when it starts", found["error"])
        self.assertFalse(self.own.exists())
        self.succeed("self-signed")
        (found,) = self.status()
        self.assertEqual((found["names"], found["error"]), (["mx.example.org"], None))

    def test_before_the_first_order(self) -> None:
        self.settings += '[tls.acme]\ndomains = ["mx.example.org"]\nagree_to_terms = true\n'
        acme, _ = self.status()
        self.assertEqual(acme["from"], "acme")
        self.assertIn("'postroom tls renew' orders one", acme["error"])


class RenewTests(Case):
    """``postroom tls renew``; what works is in tests/interop."""

    def test_without_domains_there_is_nothing_to_renew(self) -> None:
        result = self.run_command("renew")
        self.assertEqual((result.exit_code, result.stdout), (1, ""))
        self.assertTrue(
            result.stderr.startswith("postroom: nothing to renew: tls.acme.domains names no domain")
        )

    def test_tls_alpn_01_takes_a_daemon(self) -> None:
        self.settings += (
            '[tls.acme]\ndomains = ["mx.example.org"]\nagree_to_terms = true\n'
            'challenge = "tls-alpn-01"\n'
        )
        result = self.run_command("renew")
        self.assertEqual(result.exit_code, 1)
        self.assertIn("start the daemon", result.stderr)


class SelfSignedTests(Case):
    """``postroom tls self-signed``."""

    def test_it_is_for_the_server_and_further_names(self) -> None:
        text = self.succeed("self-signed", "--name", "MAIL.example.org", "--name", "mx.example.org")
        made = read_kept(self.own)
        assert made is not None
        self.assertEqual(made.names, ("mx.example.org", "mail.example.org"))
        self.assertIn(f"Made {self.own} for mx.example.org, mail.example.org", text)
        self.assertRegex(text, r"SHA-256 ([0-9a-f]{2}:){31}[0-9a-f]{2}\n")
        self.assertEqual(self.own.stat().st_mode & 0o777, 0o600)

    def test_a_good_one_is_replaced_only_on_demand(self) -> None:
        self.succeed("self-signed")
        before = self.own.read_bytes()
        for answer in ("n\n", ""):
            result = self.run_command("self-signed", stdin=answer)
            self.assertEqual(result.exit_code, 1)
            self.assertEqual(self.own.read_bytes(), before)
        self.succeed("self-signed", stdin="y\n")
        self.assertNotEqual(self.own.read_bytes(), before)
        before = self.own.read_bytes()
        made = json.loads(self.succeed("self-signed", "--yes", "--json"))
        self.assertNotEqual(self.own.read_bytes(), before)
        self.assertEqual(made["names"], ["mx.example.org"])

    def test_it_says_when_it_will_not_serve(self) -> None:
        self.issue("a.pem", "mx.example.org")
        self.settings += '[tls]\ncertificate = "a.pem"\nkey = "a.pem"\n'
        self.assertIn("note: the settings name", self.run_command("self-signed").stderr)

    def test_a_name_that_is_none(self) -> None:
        result = self.run_command("self-signed", "--name", "a b")
        self.assertEqual(result.exit_code, 1)
        self.assertEqual(result.stderr, "postroom: --name a b: not a domain name\n")
        self.assertFalse(self.own.exists())

    def test_what_root_makes_belongs_to_the_owner_of_the_state_directory(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("only root can act as somebody else")
        state = Path(mkdtemp(prefix="postroom-"))  # where somebody else can reach it
        self.addCleanup(rmtree, state)
        os.chown(state, 65_534, 65_534)
        self.settings = f'hostname = "mx.example.org"\nstate_dir = "{state}"\n'
        self.succeed("self-signed")
        self.assertEqual((state / "self-signed.pem").stat().st_uid, 65_534)
