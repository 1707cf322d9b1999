"""The watch over certificates' files."""

import datetime
import os
from collections.abc import Callable
from pathlib import Path

import trustme
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL
from twisted.logger import LogEvent, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from postroom.certificates import store as store_module
from postroom.certificates.contexts import ListenerTLS
from postroom.certificates.identity import Identity
from postroom.certificates.model import ClientCertificates, ListenerPolicy
from postroom.certificates.self_signed import sign
from postroom.certificates.store import (
    ACMESource,
    CertificateSource,
    CertificateStore,
    FileSource,
    SelfSignedSource,
    StoreSettings,
)
from postroom.errors import UserError
from tests.certificates.handshakes import client_context, exchange, shake_hands
from tests.certificates.test_contexts import identity_of
from tests.certificates.weak import weak_identity

AUTHORITY = trustme.CA()
NOW = datetime.datetime.now(datetime.UTC)


def issue(*names: str, days: float = 365) -> Identity:
    leaf = AUTHORITY.issue_cert(
        *names, key_type=trustme.KeyType.ECDSA, not_after=NOW + datetime.timedelta(days=days)
    )
    return identity_of(leaf)


def chain_pem(identity: Identity) -> bytes:
    return identity.pem().partition(b"-----BEGIN CERT")[2].join([b"-----BEGIN CERT", b""])


def key_pem(identity: Identity) -> bytes:
    return identity.pem().partition(b"-----BEGIN CERT")[0]


class StoreCase(SynchronousTestCase):
    """Two pairs of files, and a listener that serves them."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.first, self.second = issue("mx.example.org"), issue("mail.example.net")
        self.pairs = [self.pair("a", "tls"), self.pair("b", "tls.sni[0]")]
        self.write(self.pairs[0], self.first)
        self.write(self.pairs[1], self.second)
        self.store = self.make(*self.pairs)
        self.listener = self.store.listener(ListenerPolicy("mx=tcp:25"))

    def pair(self, name: str, setting: str) -> FileSource:
        return FileSource(self.folder / f"{name}.crt", self.folder / f"{name}.key", setting)

    def write(self, pair: FileSource, identity: Identity) -> None:
        pair.certificate.write_bytes(chain_pem(identity))
        pair.key.write_bytes(key_pem(identity))

    def make(self, *sources: CertificateSource, client_ca: Path | None = None) -> CertificateStore:
        store = CertificateStore(StoreSettings(sources, client_ca=client_ca), lambda _: None)
        store.load(NOW, lambda _: True)
        store.check(NOW)  # what runs out is told today
        return store

    def shown(self, name: bytes | None = None, listener: ListenerTLS | None = None) -> object:
        _, client = shake_hands(listener or self.listener, name=name)
        return client.get_peer_certificate(as_cryptography=True)

    def told(self, act: Callable[[], object], *, level: str | None = None) -> list[str]:
        with capturedLogs() as events:
            act()

        def fits(event: LogEvent) -> bool:
            return level is None or event["log_level"].name == level

        return [formatEvent(event) for event in events if fits(event)]

    def check(self, **later: float) -> list[str]:
        return self.told(lambda: self.store.check(NOW + datetime.timedelta(**later)))


class ReloadTests(StoreCase):
    """Files that change."""

    def test_nothing_changes_while_the_files_do_not(self) -> None:
        before = self.listener._contexts
        self.assertEqual(self.check(seconds=10), [])
        self.assertIs(self.listener._contexts, before)

    def test_a_new_certificate_is_used_and_said(self) -> None:
        fresh = issue("mx.example.org")
        self.write(self.pairs[0], fresh)
        (line,) = self.check(seconds=10)
        self.assertEqual(
            line,
            f"The certificate {self.pairs[0].certificate} is in use from now on, "
            f"until {fresh.expires_at:%Y-%m-%d}",
        )
        self.assertEqual(self.shown(), fresh.chain[0])
        self.assertEqual(self.shown(b"mail.example.net"), self.second.chain[0])

    def test_all_listeners_change_over(self) -> None:
        other = self.store.listener(ListenerPolicy("submission=ssl:465"))
        fresh = issue("mail.example.net")
        self.write(self.pairs[1], fresh)
        self.check(seconds=10)
        for listener in (self.listener, other):
            self.assertEqual(self.shown(b"mail.example.net", listener), fresh.chain[0])
            self.assertEqual(self.shown(None, listener), self.first.chain[0])

    def test_a_session_under_way_does_not_notice(self) -> None:
        ours, client = shake_hands(self.listener)
        self.write(self.pairs[0], issue("mx.example.org"))
        self.check(seconds=10)
        client.send(b"NOOP\r\n")
        ours.bio_write(client.bio_read(65_536))
        self.assertEqual(ours.recv(100), b"NOOP\r\n")

    def test_a_handshake_under_way_ends_with_what_it_began_with(self) -> None:
        client = SSL.Connection(client_context(), None)
        client.set_connect_state()
        ours = self.listener.serverConnectionForTLS(None)  # type: ignore[arg-type]
        ours.set_accept_state()
        self.write(self.pairs[0], issue("mx.example.org"))
        self.check(seconds=10)
        exchange(client, ours)
        shown = client.get_peer_certificate(as_cryptography=True)
        self.assertEqual(shown, self.first.chain[0])

    def test_a_rename_is_noticed_whatever_the_time_says(self) -> None:
        fresh = issue("mx.example.org")
        for path, content in zip(
            self.pairs[0].files, (chain_pem(fresh), key_pem(fresh)), strict=True
        ):
            status = path.stat()
            new = path.with_suffix(".new")
            new.write_bytes(content.ljust(status.st_size, b"\n"))
            os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns))
            new.rename(path)
        self.check(seconds=10)
        self.assertEqual(self.shown(), fresh.chain[0])

    def test_files_that_change_one_after_the_other_fit_in_the_end(self) -> None:
        fresh, (certificate, key) = issue("mx.example.org"), self.pairs[0].files
        certificate.write_bytes(chain_pem(fresh))
        (line,) = self.check(seconds=10)
        self.assertIn(f"tls.key {key}: not the key of the first certificate in", line)
        self.assertEqual(self.shown(), self.first.chain[0])
        key.write_bytes(key_pem(fresh))
        self.check(seconds=20)
        self.assertEqual(self.shown(), fresh.chain[0])


class BrokenFileTests(StoreCase):
    """A new file that will not do: the old one stays."""

    def refuse(self, expected: str, restore: Callable[[], object] | None = None) -> None:
        """Look: it is told once why, and the old certificate stays; then put things right."""
        (line,) = self.check(seconds=10)
        self.assertEqual(
            line,
            f"A new certificate is not used: {expected}; "
            f"the one until {self.first.expires_at:%Y-%m-%d} stays in use",
        )
        self.assertEqual(self.check(seconds=20), [])
        self.assertEqual(self.shown(), self.first.chain[0])
        self.assertEqual(self.shown(b"mail.example.net"), self.second.chain[0])
        if restore is not None:
            restore()
        self.write(self.pairs[0], self.first)
        self.assertEqual(self.check(seconds=30), [])

    def test_each_kind_of_damage(self) -> None:
        certificate, key = self.pairs[0].files
        pem = chain_pem(self.first)
        for content, why in (
            (b"", "no PEM certificate in it"),
            (b"junk", "no PEM certificate in it"),
            (key_pem(self.first), "no PEM certificate in it"),
            (pem[: len(pem) // 2], "a certificate in it is cut off"),
            (pem + pem[:-40], "a certificate in it is cut off"),
            (pem.replace(pem[60:100], b"A" * 40), "a certificate in it is damaged"),
            (b"\xff" * 1000, "no PEM certificate in it"),
        ):
            certificate.write_bytes(content)
            self.refuse(f"tls.certificate {certificate}: {why}")
        for content, why in (
            (b"", "no PEM private key in it"),
            (key_pem(self.first)[:80], "no PEM private key in it"),
            (key_pem(self.second), f"not the key of the first certificate in {certificate}"),
        ):
            key.write_bytes(content)
            self.refuse(f"tls.key {key}: {why}")

    def test_one_that_is_gone(self) -> None:
        certificate = self.pairs[0].certificate
        certificate.unlink()
        self.refuse(f"tls.certificate {certificate}: cannot be read: No such file or directory")

    def test_one_that_is_a_directory(self) -> None:
        certificate = self.pairs[0].certificate
        certificate.unlink()
        certificate.mkdir()
        self.refuse(
            f"tls.certificate {certificate}: cannot be read: Is a directory", certificate.rmdir
        )

    def test_one_whose_rights_are_mended_is_read_again(self) -> None:
        fresh, certificate = issue("mx.example.org"), self.pairs[0].certificate

        def unreadable(*_: object) -> Identity:
            raise UserError(f"tls.certificate {certificate}: cannot be read: Permission denied")

        self.write(self.pairs[0], fresh)
        patch = self.patch(store_module, "read_identity", unreadable)
        (line,) = self.check(seconds=10)
        self.assertIn("Permission denied", line)
        patch.restore()
        self.assertEqual(self.check(seconds=20), [])
        certificate.chmod(0o640)
        self.check(seconds=30)
        self.assertEqual(self.shown(), fresh.chain[0])

    def test_one_that_has_run_out(self) -> None:
        old = issue("mx.example.org", days=-1)
        self.write(self.pairs[0], old)
        self.refuse(f"{self.pairs[0].certificate}: expired on {old.expires_at:%Y-%m-%d}")

    def test_one_that_openssl_will_not_have(self) -> None:
        self.write(self.pairs[0], weak_identity())
        self.refuse(
            f"{self.pairs[0].certificate}: OpenSSL refuses the certificate: ee key too small"
        )


class SourceTests(StoreCase):
    """Where certificates come from."""

    def test_at_the_start_what_is_wrong_is_an_error(self) -> None:
        self.pairs[1].key.write_bytes(b"")
        error = self.assertRaises(UserError, self.make, *self.pairs)
        path = self.folder / "b.key"
        self.assertEqual(str(error), f"tls.sni[0].key {path}: no PEM private key in it")

    def test_the_self_signed_one_serves_until_there_is_one_of_acme(self) -> None:
        acme = ACMESource(self.folder / "acme.pem")
        own = SelfSignedSource(self.folder / "self-signed.pem", "mx.example.org")
        self.store = self.make(acme, own)
        listener = self.store.listener(ListenerPolicy("mx=tcp:25"))
        (before,) = self.store.identities
        for name in (None, b"mx.example.org"):
            self.assertEqual(self.shown(name, listener), before.chain[0])
        for identity in (self.second, self.first):  # for another name, and for this one
            acme.path.write_bytes(identity.pem())
            self.check(seconds=10)
            for name in (None, b"mx.example.org"):
                self.assertEqual(self.shown(name, listener), identity.chain[0])
            self.assertEqual([each.chain for each in self.store.identities], [identity.chain])

    def test_one_of_acme_is_key_and_certificate_in_one(self) -> None:
        path = self.folder / "acme.pem"
        for content, why in (
            (chain_pem(self.first), "no PEM private key in it"),
            (key_pem(self.first), "no PEM certificate in it"),
            (key_pem(self.first) + chain_pem(self.second), "key and certificate do not belong"),
        ):
            path.write_bytes(content)
            error = self.assertRaises(UserError, ACMESource(path).load, NOW)
            self.assertTrue(str(error).startswith(f"{path}: {why}"), error)

    def test_one_of_acme_that_is_broken_does_not_keep_the_daemon_from_its_start(self) -> None:
        acme = ACMESource(self.folder / "acme.pem")
        acme.path.write_bytes(b"junk")
        with capturedLogs() as events:
            store = self.make(acme, *self.pairs)
        self.assertEqual(store.identities[0].chain, self.first.chain)
        self.assertIn(f"{acme.path}: no PEM private key in it", formatEvent(events[0]))

    def test_a_self_signed_one_that_is_removed_is_made_anew(self) -> None:
        own = SelfSignedSource(self.folder / "self-signed.pem", "mx.example.org")
        self.store = self.make(own)
        listener = self.store.listener(ListenerPolicy("mx=tcp:25"))
        before = self.shown(None, listener)
        own.path.unlink()
        self.check(seconds=10)
        self.assertNotEqual(self.shown(None, listener), before)


class ClientAuthorityTests(StoreCase):
    """The file of those who may sign clients' certificates."""

    def setUp(self) -> None:
        super().setUp()
        self.path = self.folder / "clients.pem"
        self.path.write_bytes(AUTHORITY.cert_pem.bytes())
        self.store = self.make(*self.pairs, client_ca=self.path)
        policy = ListenerPolicy("submission=ssl:465", ClientCertificates.ASK)
        self.listener = self.store.listener(policy)

    def is_verified(self, authority: trustme.CA) -> bool:
        context = client_context()
        identity_of(authority.issue_cert("ann@example.org")).put_into(context)
        ours, _ = shake_hands(self.listener, context)
        return bool(ours.client_verified)

    def test_a_new_one_counts_from_now_on(self) -> None:
        other = trustme.CA()
        self.assertEqual((self.is_verified(AUTHORITY), self.is_verified(other)), (True, False))
        self.path.write_bytes(other.cert_pem.bytes())
        (line,) = self.check(seconds=10)
        self.assertIn(str(self.path), line)
        self.assertEqual((self.is_verified(AUTHORITY), self.is_verified(other)), (False, True))

    def test_a_broken_one_does_not(self) -> None:
        for content in (b"", AUTHORITY.cert_pem.bytes()[:-80]):
            self.path.write_bytes(content)
            (line,) = self.check(seconds=10)
            self.assertTrue(
                line.startswith(
                    f"New authorities of clients are not used: tls.client_ca {self.path}: "
                ),
                line,
            )
            self.assertTrue(self.is_verified(AUTHORITY))


class ExpiryTests(StoreCase):
    """Certificates that run out."""

    def setUp(self) -> None:
        super().setUp()
        self.write(self.pairs[0], issue("mx.example.org", days=100.5))
        self.store = self.make(*self.pairs)

    def lines(self, days: float) -> list[str]:
        return self.told(
            lambda: self.store.check(NOW + datetime.timedelta(days=days)), level="warn"
        )

    def test_it_is_told_once_a_day_from_thirty_days_on(self) -> None:
        path, until = self.pairs[0].certificate, NOW + datetime.timedelta(days=100.5)
        self.assertEqual(self.lines(70), [])
        for day, left in ((71, 29), (72, 28), (99, 1), (100, 0)):
            (line,) = self.lines(day)
            self.assertEqual(
                line,
                f"The certificate {path} expires on {until:%Y-%m-%d}, in {left} days:"
                " put a new one there",
            )
            self.assertEqual(self.lines(day), [])
        (line,) = self.lines(101)
        self.assertIn(f"The certificate {path} expired on {until:%Y-%m-%d}", line)

    def test_a_new_one_ends_it(self) -> None:
        self.assertEqual(len(self.lines(80)), 1)
        self.write(self.pairs[0], issue("mx.example.org", days=300))
        self.assertEqual(self.lines(81), [])

    def test_one_that_lasts_for_days_is_told_of_in_its_last_third(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        until = NOW + datetime.timedelta(days=5)  # it begins a day ago
        short = Identity([sign(key, ("mx.example.org",), NOW, until)], key, "")
        self.write(self.pairs[0], short)
        self.store = self.make(*self.pairs)
        for days, told in ((2.9, 0), (3.1, 1)):
            warnings = self.store.expiry_warnings(NOW + datetime.timedelta(days=days))
            self.assertEqual(len(list(warnings)), told)

    def test_what_to_do_depends_on_where_it_comes_from(self) -> None:
        acme = ACMESource(self.folder / "acme.pem")
        key = ec.generate_private_key(ec.SECP256R1())
        signed = sign(key, ("mx.example.org",), NOW, NOW + datetime.timedelta(days=89))
        acme.path.write_bytes(Identity([signed], key, "").pem())
        own = SelfSignedSource(self.folder / "self-signed.pem", "mx.example.org")
        store = self.make(acme, own)
        # Renewal may come some days later than two thirds of a life: that is no reason to worry.
        self.assertEqual(list(store.expiry_warnings(NOW + datetime.timedelta(days=61))), [])
        (line,) = store.expiry_warnings(NOW + datetime.timedelta(days=64))
        self.assertIn(f"{acme.path} expires on", line)
        self.assertIn("'postroom tls status' says why it was not renewed", line)
        _, line = store.expiry_warnings(NOW + datetime.timedelta(days=3640))
        self.assertIn(f"{own.path} expires on", line)
        self.assertIn("'postroom tls self-signed' makes a new one", line)
