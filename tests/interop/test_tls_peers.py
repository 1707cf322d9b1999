"""What old and new clients agree on with a daemon of ours: openssl s_client, sslscan.

The daemon has a certificate of ECDSA and one of RSA for the same name.
"""

import subprocess
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import trustme
from twisted.trial.unittest import SynchronousTestCase

from tests.daemon import Daemon
from tests.interop.clients import program
from tests.interop.fixtures import new_folder, stopped_at_exit

WINDOWS_SERVER_2012 = (
    "ECDHE-RSA-AES256-SHA384:ECDHE-RSA-AES128-SHA256:ECDHE-RSA-AES256-SHA:ECDHE-RSA-AES128-SHA:"
    "AES256-GCM-SHA384:AES128-GCM-SHA256:AES256-SHA256:AES128-SHA256:AES256-SHA:AES128-SHA"
)
WEAK = ("aNULL", "eNULL", "RC4", "3DES", "EXPORT", "MD5", "PSK", "SRP", "DES")
_SETTINGS = """
[tls]
certificate = "ECDSA.pem"
key = "ECDSA.pem"

[[tls.sni]]
certificate = "RSA.pem"
key = "RSA.pem"
"""


@cache
def server() -> Daemon:
    folder = new_folder("tls-peers")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    for kind in (trustme.KeyType.ECDSA, trustme.KeyType.RSA):
        leaf = authority.issue_cert("localhost", key_type=kind)
        leaf.private_key_and_cert_chain_pem.write_to_path(folder / f"{kind.name}.pem")
    listeners = ("mx", "mx-tls", "submission", "submission-tls", "lmtp")
    daemon = Daemon(folder, listeners=listeners, settings=_SETTINGS)
    stopped_at_exit(daemon).start()
    return daemon


def authority() -> Path:
    return server().folder / "ca.pem"


class SClientTests(SynchronousTestCase):
    """``openssl s_client``."""

    timeout = 120

    def tearDown(self) -> None:
        self.assertNotIn("Traceback", server().log())

    def agreed(self, listener: str, *options: str) -> str:
        """Connect; give suite and kind of certificate, or nothing if there was no handshake."""
        protocol = "lmtp" if listener == "lmtp" else "smtp"
        starttls = [] if listener.endswith("-tls") else ["-starttls", protocol]
        command = [program("openssl"), "s_client", *starttls, *options]
        command += ["-connect", f"localhost:{server().ports[listener]}"]
        command += ["-CAfile", str(authority()), "-verify_return_error"]
        done = subprocess.run(command, input=b"QUIT\r\n", capture_output=True, timeout=60)
        said = done.stdout.decode("ascii", "replace")
        suite = said.partition("Cipher is ")[2].partition("\n")[0]
        if done.returncode or suite in ("", "(NONE)"):
            return ""
        kind = "RSA" if "a:PKEY: rsaEncryption" in said else "ECDSA"
        return f"{suite} {kind}"

    def test_each_suite_of_an_old_host_where_mail_comes_in_and_none_on_submission(self) -> None:
        for suite in [*WINDOWS_SERVER_2012.split(":"), WINDOWS_SERVER_2012]:
            best = suite.replace(WINDOWS_SERVER_2012, "ECDHE-RSA-AES128-SHA256")
            for listener in ("mx", "mx-tls", "lmtp"):
                options = ("-tls1_2", "-cipher", suite)
                self.assertEqual(self.agreed(listener, *options), f"{best} RSA")
            for listener in ("submission", "submission-tls"):
                self.assertEqual(self.agreed(listener, "-tls1_2", "-cipher", suite), "")

    def test_suites_that_protect_nothing_are_refused_everywhere(self) -> None:
        for suite in WEAK:
            options = ("-tls1_2", "-cipher", f"{suite}:@SECLEVEL=0")
            for listener in ("mx", "submission"):
                self.assertEqual(self.agreed(listener, *options), "", suite)

    def test_older_versions_are_refused_everywhere(self) -> None:
        for version in ("-tls1", "-tls1_1"):
            options = (version, "-cipher", "ALL:@SECLEVEL=0")
            for listener in ("mx", "submission"):
                self.assertEqual(self.agreed(listener, *options), "", version)

    def test_the_client_gets_the_certificate_that_it_can_verify(self) -> None:
        for listener in ("mx", "submission"):
            for name in (["-servername", "localhost"], ["-noservername"]):
                for options, kind in (
                    (["-tls1_2"], "ECDSA"),
                    (["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"], "RSA"),
                    (["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"], "ECDSA"),
                    (["-tls1_2", "-sigalgs", "RSA+SHA256"], "RSA"),
                    (["-tls1_3"], "ECDSA"),
                    (["-tls1_3", "-sigalgs", "RSA-PSS+SHA256"], "RSA"),
                    (["-tls1_3", "-sigalgs", "ECDSA+SHA256"], "ECDSA"),
                ):
                    agreed = self.agreed(listener, *name, *options)
                    self.assertEqual(agreed.rpartition(" ")[2], kind, (listener, name, options))


class ScanTests(SynchronousTestCase):
    """sslscan."""

    timeout = 120

    def suites(self, listener: str) -> dict[str, str]:
        command = [program("sslscan"), "--xml=-", "--starttls-smtp"]
        command.append(f"localhost:{server().ports[listener]}")
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        found = ElementTree.fromstring(done.stdout).iter("cipher")
        return {str(each.get("cipher")): str(each.get("strength")) for each in found}

    def test_where_mail_comes_in_nothing_is_weak(self) -> None:
        suites = self.suites("mx")
        self.assertLessEqual(set(WINDOWS_SERVER_2012.split(":")), set(suites))
        self.assertLessEqual(set(suites.values()), {"strong", "acceptable"})

    def test_submission_keeps_the_profile_of_mozilla(self) -> None:
        names = [suite for suite in self.suites("submission") if not suite.startswith("TLS_")]
        self.assertEqual(len(names), 6)
        for name in names:
            self.assertRegex(name, r"\AECDHE-(ECDSA|RSA)-.*(GCM|POLY1305)")
