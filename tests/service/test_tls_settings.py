"""The settings of TLS: what is read, and what a wrong one is told."""

import sys
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from postroom.certificates.model import ClientCertificates, Profile
from postroom.certificates.store import ACMESource, FileSource, SelfSignedSource
from postroom.errors import UserError
from postroom.service.acme import acme_settings
from postroom.service.listen import Listen, parse_listen
from postroom.service.settings import load_settings
from postroom.service.tls import sources_of
from tests.service.test_settings import Files

AGREED = '[tls.acme]\nagree_to_terms = true\ndomains = ["mx.example.org"]\n'
PAIR = '[tls]\ncertificate = "c.pem"\nkey = "k.pem"\n'
PROFILES = '"compatible", "intermediate", "modern"'
SNI = '[[tls.sni]]\ncertificate = "b/c.pem"\nkey = "/etc/k.pem"\n'


class ListenTests(SynchronousTestCase):
    """The flags of a listener."""

    def test_flags_are_read_and_written(self) -> None:
        for text, listen in {
            "mx=tcp:25": Listen("mx", "tcp:25"),
            "mx+ask-certificate=tcp:25": Listen("mx", "tcp:25", ClientCertificates.ASK),
            "submission+need-certificate=ssl:465:interface=a": Listen(
                "submission", "ssl:465:interface=a", ClientCertificates.NEED
            ),
            "mx+proxy=tcp:25": Listen("mx", "tcp:25", proxy=True),
            "mx+proxy+tls=unix:/a": Listen("mx", "unix:/a", proxy=True, tls=True),
            "mx+ask-certificate+proxy=tcp:25": Listen("mx", "tcp:25", ClientCertificates.ASK, True),
        }.items():
            self.assertEqual(parse_listen(text), listen)
            self.assertEqual(str(listen), text)

    def test_others_are_refused(self) -> None:
        for role in (
            *("mx+", "mx+certificate", "+ask-certificate", "mx ask-certificate", "ask-certificate"),
            *("mx+ask-certificate+need-certificate", "mx+proxy+proxy"),
        ):
            with self.assertRaises(ValueError, msg=role):
                parse_listen(f"{role}=tcp:25")


class SourceTests(Files):
    """Where certificates come from, in the order in which they serve unknown names."""

    def sources(self, text: str) -> list[object]:
        self.path = self.write(text)
        return list(sources_of(load_settings(self.path, {"hostname": "mx.example.org"})))

    def test_without_any_setting_it_is_self_signed(self) -> None:
        (source,) = self.sources("")
        assert isinstance(source, SelfSignedSource)
        self.assertEqual((source.path.name, source.hostname), ("self-signed.pem", "mx.example.org"))

    def test_with_all_of_them(self) -> None:
        files, acme, sni = self.sources(PAIR + SNI + AGREED)
        folder = self.path.parent
        self.assertEqual(files, FileSource(folder / "c.pem", folder / "k.pem"))
        assert isinstance(acme, ACMESource)
        self.assertEqual(
            sni, FileSource(folder / "b/c.pem", Path("/etc/k.pem"), setting="tls.sni[0]")
        )

    def test_a_self_signed_one_stands_in_for_what_is_not_ordered_yet(self) -> None:
        kinds = [type(source) for source in self.sources(AGREED)]
        self.assertEqual(kinds, [ACMESource, SelfSignedSource])


class ExtraTests(Files):
    """Without the library."""

    def test_the_extra_is_named(self) -> None:
        settings = load_settings(self.write(AGREED), {})
        modules: dict[str, Any] = sys.modules
        for name in ("acme", "postroom.certificates.acme"):
            if name in modules:
                self.addCleanup(modules.__setitem__, name, modules.pop(name))
        modules["acme"] = None
        self.addCleanup(modules.pop, "acme")
        error = self.assertRaises(UserError, acme_settings, settings)
        self.assertTrue(
            str(error).startswith(
                "tls.acme.domains: ACME needs the extra 'acme': pip install 'postroom[acme]'"
            ),
            error,
        )


class ErrorTests(Files):
    """What is wrong is told in a line."""

    def test_a_profile_is_one_of_mozillas(self) -> None:
        self.assertIs(
            load_settings(self.write('[tls]\nprofile = "modern"\n'), {}).tls.profile,
            Profile.MODERN,
        )
        (line,) = self.errors('[tls]\nprofile = "old"\n')
        self.assertEqual(line, f'tls.profile = "old"; allowed: one of {PROFILES}')

    def test_old_hosts_are_spoken_to_where_mail_comes_in_unless_the_settings_say_otherwise(
        self,
    ) -> None:
        for text, mx, submission in (
            ("", Profile.COMPATIBLE, Profile.INTERMEDIATE),
            ('profile = "intermediate"\n', Profile.COMPATIBLE, Profile.INTERMEDIATE),
            ('profile = "modern"\n', Profile.MODERN, Profile.MODERN),
            ('profile = "compatible"\n', Profile.COMPATIBLE, Profile.COMPATIBLE),
            ('mx_profile = "intermediate"\n', Profile.INTERMEDIATE, Profile.INTERMEDIATE),
            (
                'profile = "modern"\nmx_profile = "compatible"\n',
                *(Profile.COMPATIBLE, Profile.MODERN),
            ),
        ):
            tls = load_settings(self.write("[tls]\n" + text), {}).tls
            self.assertEqual([tls.profile_of(role) for role in ("mx", "lmtp")], [mx, mx], text)
            self.assertIs(tls.profile_of("submission"), submission, text)
        (line,) = self.errors('[tls]\nmx_profile = "old"\n')
        self.assertEqual(line, f'tls.mx_profile = "old"; allowed: one of {PROFILES}')

    def test_asking_for_certificates_takes_an_authority(self) -> None:
        (line,) = self.errors('listen = ["mx=tcp:25", "mx+ask-certificate=tcp:26"]\n')
        self.assertEqual(
            line,
            "listen mx+ask-certificate=tcp:26: set tls.client_ca, which says who may sign the"
            " certificates",
        )

    def test_an_unknown_flag_is_named_with_those_there_are(self) -> None:
        (line,) = self.errors('listen = ["mx+ssl=tcp:25"]\n')
        self.assertIn('listen[0] = "mx+ssl=tcp:25" (the flags of a role are', line)
        self.assertIn("+ask-certificate, +need-certificate, +proxy, +tls)", line)

    def test_somebody_must_be_a_proxy(self) -> None:
        (line,) = self.errors('listen = ["mx+proxy=tcp:25"]\n')
        self.assertEqual(
            line,
            "listen mx+proxy=tcp:25: set session.proxy_networks, or nobody may send a PROXY header",
        )
        load_settings(self.write('listen = ["mx+proxy=unix:/run/smtp"]\n'), {})

    def test_a_further_certificate_is_two_paths(self) -> None:
        for text in (
            '[[tls.sni]]\ncertificate = "c.pem"\n',
            '[[tls.sni]]\ncertificate = "c.pem"\nkey = 5\n',
            '[[tls.sni]]\ncertificate = "c.pem"\nkey = "k"\nchain = "x"\n',
            "[tls]\nsni = [5]\n",
            '[tls]\nsni = "c.pem"\n',
        ):
            for line in self.errors(text):
                self.assertTrue(line.startswith("tls.sni"), line)
                self.assertIn("allowed: tables [[tls.sni]] of certificate and key", line)
        (line,) = self.errors('[[tls.sni]]\ncertificate = "c.pem"\n')
        self.assertTrue(line.startswith("tls.sni[0].key is missing; allowed: "), line)
        (line,) = self.errors('[[tls.sni]]\ncertificate = "c.pem"\nkey = 5\n')
        self.assertTrue(line.startswith("tls.sni[0].key = 5;"), line)

    def test_acme_needs_consent_and_https(self) -> None:
        (line,) = self.errors('[tls.acme]\ndomains = ["mx.example.org"]\n')
        self.assertTrue(line.startswith("tls.acme.agree_to_terms: "), line)
        (line,) = self.errors('[tls.acme]\ndirectory = "http://acme.example/dir"\n')
        self.assertEqual(
            line,
            'tls.acme.directory = "http://acme.example/dir" (not an https: address); '
            'allowed: an "https://" address',
        )
        (line,) = self.errors('[tls.acme]\nchallenge = "dns-01"\n')
        self.assertIn('allowed: one of "http-01", "tls-alpn-01"', line)

    def test_several_are_a_line_each(self) -> None:
        path = self.write(
            'listen = ["mx+need-certificate=tcp:25"]\n[tls]\nkey = "k"\n'
            '[tls.acme]\ndomains = ["a.example"]\n'
        )
        error = self.assertRaises(UserError, load_settings, path, {})
        self.assertEqual(len(str(error).splitlines()), 3)
