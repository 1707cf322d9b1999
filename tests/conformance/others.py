"""Other servers, and what they make of the dialogues: ``python -m tests.conformance.others``.

Starts Postfix, Exim, OpenSMTPD and aiosmtpd on loopback, each with a plain configuration: mail for
one domain with two mailboxes, a certificate, one user who can log in, everything else as the
program has it by default. Has the dialogues with each, by STARTTLS where they want TLS, and writes
``others.json``, from which `tests.conformance.table` makes the columns of the page. Wants root, and
what ``tests/conformance/install`` fetches. Names of servers as arguments try these alone.
"""

import grp
import json
import os
import pwd
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

from postroom.testing.conformance.__main__ import as_json
from postroom.testing.conformance.catalogue import ServerUnderTest, shipped
from postroom.testing.conformance.examination import Compliance, Examination, Result
from postroom.testing.conformance.sockets import SocketConnection
from tests.conformance.table import OTHERS
from tests.daemon import ROOT, free_port, wait_until
from tests.interop.certificates import Certificates, make_certificates
from tests.interop.clients import program
from tests.interop.peers import Process, postfix_services

DOMAIN, HOST = "here.example", "mx.here.example"
USER, PASSWORD = f"user@{DOMAIN}", "correct horse"
_EXIM = ROOT / "build/exim/usr/sbin/exim4"
_OPENSMTPD = ROOT / "build/opensmtpd/usr/sbin/smtpd"

Ports = dict[str, int]
"""Where a server listens, by role."""


@contextmanager
def dovecot_auth(folder: Path) -> Iterator[Path]:
    """Run Dovecot for Postfix's logins; give its socket."""
    users, config, place = folder / "users", folder / "dovecot.conf", folder / "auth"
    users.write_text(f"{USER}:{{PLAIN}}{PASSWORD}::::::\n")
    config.write_text(f"""
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/dovecot.log
protocols =
ssl = no
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%u {users}
}}
userdb {{
  driver = static
  args = uid=nobody gid=nogroup home=/nonexistent
}}
auth_failure_delay = 0
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service auth {{
  unix_listener {place} {{
    mode = 0666
  }}
}}
""")
    process = subprocess.Popen([program("dovecot"), "-F", "-c", config])
    try:
        if not wait_until(place.exists, 20):
            raise RuntimeError((folder / "dovecot.log").read_text(errors="replace"))
        yield place
    finally:
        process.terminate()
        process.wait(20)


def _postfix_main(folder: Path, certificates: Certificates, login: Path) -> str:
    return f"""
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/mail.log
maillog_file_prefixes = {folder}
meta_directory = {folder}/conf
myhostname = {HOST}
myorigin = {DOMAIN}
mydestination =
mynetworks = 192.0.2.99
smtpd_relay_restrictions = permit_sasl_authenticated, reject_unauth_destination
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
alias_maps =
local_recipient_maps =
virtual_mailbox_domains = {DOMAIN}
virtual_mailbox_base = {folder}
virtual_mailbox_maps = inline:{{ {USER}=maildir/, other@{DOMAIN}=maildir/ }}
virtual_alias_maps = inline:{{ postmaster@{DOMAIN}={USER} }}
virtual_uid_maps = static:{pwd.getpwnam("nobody").pw_uid}
virtual_gid_maps = static:{grp.getgrnam("nogroup").gr_gid}
virtual_minimum_uid = 1
smtpd_tls_security_level = may
smtpd_tls_cert_file = {certificates.certificate}
smtpd_tls_key_file = {certificates.key}
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = {login}
smtpd_tls_auth_only = yes
smtpd_client_connection_count_limit = 0
"""


@contextmanager
def postfix(folder: Path, certificates: Certificates) -> Iterator[Ports]:
    """Run Postfix."""
    config, ports = folder / "conf", {"mx": free_port(), "submission": free_port()}
    for name in ("conf", "queue", "data", "maildir"):
        (folder / name).mkdir()
    shutil.chown(folder / "data", "postfix")
    shutil.chown(folder / "maildir", "nobody", "nogroup")
    for name in ("postfix-files", "dynamicmaps.cf"):
        shutil.copy(f"/etc/postfix/{name}", config / name)
    with dovecot_auth(folder) as socket:
        (config / "main.cf").write_text(_postfix_main(folder, certificates, socket))
        submission = (
            f"127.0.0.1:{ports['submission']} inet n - n - - smtpd"
            " -o smtpd_tls_security_level=encrypt"
            " -o smtpd_client_restrictions=permit_sasl_authenticated,reject"
        )
        (config / "master.cf").write_text(postfix_services(ports["mx"]) + submission + "\n")
        subprocess.run([program("postfix"), "-c", config, "check"], check=True, capture_output=True)
        command = ["/usr/lib/postfix/sbin/master", "-c", config, "-d"]
        process = Process(command, ports["mx"], folder / "maildir" / "new", folder / "log")
        try:
            yield ports
        finally:
            process.stop()


def _exim_main(folder: Path, certificates: Certificates, port: int) -> str:
    return rf"""
exim_path = {_EXIM}
primary_hostname = {HOST}
qualify_domain = {DOMAIN}
domainlist local_domains = {DOMAIN}
spool_directory = {folder}/spool
log_file_path = {folder}/log/%slog
pid_file_path = {folder}/exim.pid
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
tls_advertise_hosts = *
tls_certificate = {certificates.certificate}
tls_privatekey = {certificates.key}
notifier_socket =
keep_environment =
smtp_accept_max = 0
smtp_max_synprot_errors = 100
smtp_max_unknown_commands = 100
allow_domain_literals
acl_smtp_rcpt = acl_check_rcpt
begin acl
acl_check_rcpt:
  deny domains = +local_domains
       local_parts = ^[.] : ^.*[@%!/|]
       message = Restricted characters in address
  deny domains = !+local_domains
       local_parts = ^[./|] : ^.*[@%!] : ^.*/\\.\\./
       message = Restricted characters in address
  accept local_parts = postmaster
         domains = +local_domains
  accept authenticated = *
  require message = relay not permitted
          domains = +local_domains
  require verify = recipient
  accept
"""


def _exim_rest(folder: Path) -> str:
    return rf"""begin routers
all:
  driver = accept
  domains = +local_domains
  local_parts = user : other : postmaster
  transport = maildir
begin transports
maildir:
  driver = appendfile
  maildir_format
  directory = {folder}/maildir
  user = Debian-exim
begin authenticators
PLAIN:
  driver = plaintext
  server_set_id = $auth2
  server_prompts = :
  server_condition = ${{if and{{{{eq{{$auth2}}{{{USER}}}}}{{eq{{$auth3}}{{{PASSWORD}}}}}}}}}
  server_advertise_condition = ${{if def:tls_in_cipher}}
"""


@contextmanager
def exim(folder: Path, certificates: Certificates) -> Iterator[Ports]:
    """Run Exim, its access rules those of the configuration that it ships."""
    port, config = free_port(), folder / "exim.conf"
    for name in ("spool", "log", "maildir"):
        (folder / name).mkdir()
        shutil.chown(folder / name, "Debian-exim")
    config.write_text(_exim_main(folder, certificates, port) + _exim_rest(folder))
    command = [_EXIM, "-C", config, "-bdf", "-q1m"]
    process = Process(command, port, folder / "maildir" / "new", folder / "log.txt")
    try:
        yield {"mx": port}
    finally:
        process.stop()


@contextmanager
def opensmtpd(folder: Path, certificates: Certificates) -> Iterator[Ports]:
    """Run OpenSMTPD, without TLS.

    As Debian 12 has it, every handshake fails: its key process does not get along with OpenSSL 3.
    Its spool path is compiled in, so it gets a mount namespace of its own.
    """
    port, config = free_port(), folder / "smtpd.conf"
    for name in ("spool", "maildir"):
        (folder / name).mkdir()
    for path in (folder, folder / "spool"):
        path.chmod(0o711)
    shutil.chown(folder / "maildir", "nobody", "nogroup")
    names = ("user", "other", "postmaster")
    (folder / "mailboxes").write_text("".join(f"{name}@{DOMAIN} nobody\n" for name in names))
    config.write_text(f"""
table mailboxes file:{folder}/mailboxes
listen on 127.0.0.1 port {port} hostname {HOST}
action store maildir "{folder}/maildir" virtual <mailboxes>
match from any for domain "{DOMAIN}" action store
""")
    command = f"mount --bind {folder}/spool /var/spool/smtpd && exec {_OPENSMTPD} -d -f {config}"
    process = Process(
        ["unshare", "-m", "sh", "-c", command], port, folder / "maildir" / "new", folder / "log"
    )
    try:
        yield {"mx": port}
    finally:
        process.stop()


class _Users:
    """What aiosmtpd leaves to its user: who is there, and where mail goes."""

    async def handle_RCPT(
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        name, _, domain = address.rpartition("@")
        local = not name or domain.lower() == DOMAIN
        if not local and not session.authenticated:
            return "550 5.7.1 Relaying denied"
        if local and (name or domain).strip('"').lower() not in ("user", "other", "postmaster"):
            return "550 5.1.1 No such user"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 Ok"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        return "250 2.0.0 Ok"


def _login(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
    right = data == LoginPassword(USER.encode(), PASSWORD.encode())
    return AuthResult(success=right, handled=False)


@contextmanager
def aiosmtpd(folder: Path, certificates: Certificates) -> Iterator[Ports]:
    """Run aiosmtpd, with a handler that knows the mailboxes."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates.certificate, certificates.key)
    ports = {"mx": free_port(), "submission": free_port()}
    options: dict[str, Any] = {
        "hostname": "127.0.0.1", "server_hostname": HOST, "tls_context": context,
        "authenticator": _login, "enable_SMTPUTF8": True,
    }  # fmt: skip
    controllers = [
        Controller(_Users(), port=ports["mx"], **options),
        Controller(
            _Users(), port=ports["submission"], auth_required=True, require_starttls=True, **options
        ),
    ]
    for each in controllers:
        each.start()
    try:
        yield ports
    finally:
        for each in controllers:
            each.stop()


def _printed(pattern: str, *command: str | Path) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    match = re.search(pattern, done.stdout + done.stderr)
    return match[1] if match else "?"


Runner = Callable[[Path, Certificates], Any]
SERVERS: dict[str, tuple[Runner, Callable[[], str]]] = {
    "Postfix": (postfix, lambda: _printed(r"= (\S+)", program("postconf"), "-d", "mail_version")),
    "Exim": (exim, lambda: _printed(r"Exim version (\S+)", _EXIM, "-bV")),
    "OpenSMTPD": (opensmtpd, lambda: _printed(r"OpenSMTPD (\S+)", _OPENSMTPD, "-h")),
    "aiosmtpd": (aiosmtpd, lambda: version("aiosmtpd")),
}


def examine(ports: Ports) -> list[Result]:
    """Have all dialogues with a server that runs."""
    results: list[Result] = []
    for role, port in ports.items():

        def connect(port: int = port) -> SocketConnection:
            return SocketConnection(("127.0.0.1", port), timeout_seconds=8)

        examination = Examination(connect, role, user=True)
        server = ServerUnderTest(
            DOMAIN, USER, f"other@{DOMAIN}", f"unknown@{DOMAIN}",
            user=USER, password=PASSWORD, limit=examination.size_limit,
        )  # fmt: skip
        results += examination.examine(shipped(server))
    return results


def main(names: list[str]) -> None:
    """Try the servers of these names, or all, and write down what they do."""
    found = json.loads(OTHERS.read_text("utf-8")) if OTHERS.exists() else {}
    for name in names or list(SERVERS):
        run, version_of = SERVERS[name]
        folder = Path(tempfile.mkdtemp(prefix="postroom-others-"))
        folder.chmod(0o755)
        try:
            with run(folder, make_certificates(folder)) as ports:
                results = examine(ports)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        found[name] = {
            "version": version_of(),
            "date": datetime.now(UTC).date().isoformat(),
            "results": as_json(results),
        }
        for each in results:
            if each.verdict is Compliance.BROKEN:
                print(f"{name}: {each.requirement.name} {each.requirement.text}\n    {each.why}")
        OTHERS.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", "utf-8")


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit("the servers want to be started as root")
    main(sys.argv[1:])
