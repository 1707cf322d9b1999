"""What sslscan finds on submission, with STARTTLS and where TLS comes first."""

import subprocess
from functools import cache
from xml.etree import ElementTree

from twisted.trial.unittest import SynchronousTestCase

from tests.daemon import Daemon
from tests.interop.certificates import make_certificates
from tests.interop.fixtures import new_folder, stopped_at_exit

SUITES = {
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
}


@cache
def server(profile: str) -> Daemon:
    folder = new_folder("sslscan")
    daemon = Daemon(
        folder,
        *make_certificates(folder).options,
        listeners=("mx", "submission", "submission-tls"),
        settings=f'[tls]\nprofile = "{profile}"\n',
    )
    stopped_at_exit(daemon).start()
    return daemon


class ScanTests(SynchronousTestCase):
    def scan(self, profile: str, listener: str) -> ElementTree.Element:
        option = ["--starttls-smtp"] if listener == "submission" else []
        done = subprocess.run(
            ["sslscan", "--xml=-", *option, f"localhost:{server(profile).ports[listener]}"],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        found = ElementTree.fromstring(done.stdout).find("ssltest")
        assert found is not None, done.stdout
        return found

    def check(self, profile: str, versions: set[str], suites: set[str]) -> None:
        for listener in ("submission", "submission-tls"):
            found = self.scan(profile, listener)
            enabled = {
                f"{each.get('type')} {each.get('version')}"
                for each in found.iter("protocol")
                if each.get("enabled") == "1"
            }
            self.assertEqual(enabled, versions)
            self.assertEqual({each.get("cipher") for each in found.iter("cipher")}, suites)
            for each in found.iter("cipher"):
                self.assertIn(each.get("strength"), ("strong", "acceptable"))
            self.assertEqual({each.get("vulnerable") for each in found.iter("heartbleed")}, {"0"})
            for each in found.iter("renegotiation"):
                self.assertEqual(each.get("supported"), "0")
            groups = {str(each.get("name")).split()[0] for each in found.iter("group")}
            self.assertLessEqual(groups, {"secp256r1", "secp384r1", "x25519"})
            self.assertNotIn("Traceback", server(profile).log())

    def test_intermediate(self) -> None:
        self.check("intermediate", {"tls 1.2", "tls 1.3"}, SUITES)

    def test_modern(self) -> None:
        modern = {suite for suite in SUITES if suite.startswith("TLS_")}
        self.check("modern", {"tls 1.3"}, modern)
