"""OpenLDAP's slapd, with a database and certificates of its own."""

import base64
import hashlib
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.daemon import free_port, wait_until
from tests.interop.certificates import make_certificates
from tests.interop.clients import program

BASE = "dc=a,dc=example"
SEARCHER = f"cn=postroom,{BASE}"
SEARCHER_PASSWORD = "search me"


def salted_sha(password: str) -> str:
    """Write a password as slapd stores it."""
    salt = b"saltsalt"
    digest = hashlib.sha1(password.encode() + salt).digest()
    return "{SSHA}" + base64.b64encode(digest + salt).decode()


def person(name: str, password: str, *lines: str) -> str:
    """Write an entry as LDIF."""
    return "\n".join(
        (
            f"dn: uid={name},ou=people,{BASE}",
            "objectClass: inetOrgPerson",
            "objectClass: extensibleObject",
            f"uid: {name}",
            f"cn: {name}",
            f"sn: {name}",
            f"mail: {name}@a.example",
            f"userPassword: {password}",
            *lines,
        )
    )


def alias(name: str, *targets: str) -> str:
    """Write an alias as LDIF."""
    return "\n".join(
        (
            f"dn: cn={name},ou=aliases,{BASE}",
            "objectClass: nisMailAlias",
            f"cn: {name}",
            *(f"rfc822MailMember: {target}" for target in targets),
        )
    )


class Slapd:
    """A server on loopback and on a socket, stopped and started as often as one likes.

    Attributes:
        port: of ``ldap:``, with STARTTLS.
        tls_port: of ``ldaps:``.
        socket: of ``ldapi:``.
        authority: what verifies its certificate.
    """

    def __init__(self, folder: Path, entries: Sequence[str]) -> None:
        """Fill the database and start it."""
        self.port, self.tls_port = free_port(), free_port()
        self.socket = folder / "ldapi"
        self._folder = folder
        self._config = folder / "slapd.conf"
        certificates = make_certificates(folder)
        self.authority = certificates.authority
        (folder / "data").mkdir()
        self._config.write_text(f"""
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/nis.schema
include /etc/ldap/schema/inetorgperson.schema
include /etc/ldap/schema/misc.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {folder}/pid
TLSCACertificateFile {certificates.authority}
TLSCertificateFile {certificates.certificate}
TLSCertificateKeyFile {certificates.key}
database mdb
directory {folder}/data
suffix "{BASE}"
rootdn "{SEARCHER}"
rootpw "{SEARCHER_PASSWORD}"
access to attrs=userPassword by anonymous auth by * none
access to * by * none
""")
        tops = (
            f"dn: {BASE}\nobjectClass: dcObject\nobjectClass: organization\no: a\ndc: a",
            f"dn: ou=people,{BASE}\nobjectClass: organizationalUnit\nou: people",
            f"dn: ou=aliases,{BASE}\nobjectClass: organizationalUnit\nou: aliases",
        )
        ldif = "\n\n".join((*tops, *entries)) + "\n"
        self._run("slapadd", "-f", str(self._config), stdin=ldif)
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        urls = (
            f"ldap://127.0.0.1:{self.port} ldaps://127.0.0.1:{self.tls_port} "
            f"ldapi://{str(self.socket).replace('/', '%2F')}"
        )
        command = [program("slapd"), "-f", str(self._config), "-h", urls, "-d", "0"]
        with (self._folder / "slapd.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        if not wait_until(self._answers, 15):
            self.stop()
            raise RuntimeError(f"slapd did not start:\n{(self._folder / 'slapd.log').read_text()}")

    def _answers(self) -> bool:
        if self._process.poll() is not None:
            return False
        command = [program("ldapsearch"), "-x", "-H", f"ldap://127.0.0.1:{self.port}", "-b", ""]
        done = subprocess.run([*command, "-s", "base"], capture_output=True, check=False)
        return done.returncode == 0

    def stop(self) -> None:
        """Stop it."""
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait(15)

    def _run(self, name: str, *arguments: str, stdin: str) -> None:
        done = subprocess.run(
            [program(name), *arguments], input=stdin, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{name}: {done.stderr}")
