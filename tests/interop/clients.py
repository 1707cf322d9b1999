"""Mail clients of other projects: each sends one message over one `Route`, or raises."""

import asyncio
import base64
import json
import shutil
import smtplib
import ssl
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import aiosmtplib
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.protocol import connectionDone
from twisted.internet.ssl import Certificate, optionsForClientTLS, trustRootFromCertificates
from twisted.mail.smtp import ESMTPSender, ESMTPSenderFactory, SMTPClientError
from twisted.python.failure import Failure
from twisted.trial.unittest import SkipTest

from tests.daemon import ROOT
from tests.interop.mail import lines

HOST = "127.0.0.1"
NAME = "localhost"
"""What the certificate is verified against where a client wants a name."""

SENDER = "sender@remote.test"
REFUSED = (RuntimeError, smtplib.SMTPException, aiosmtplib.SMTPException, SMTPClientError)
"""What a client raises when the server takes none of it."""

_HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Login:
    """Who logs in, and how."""

    mechanism: str
    user: str
    password: str


@dataclass(frozen=True)
class Route:
    """A way into the server.

    Attributes:
        port: on loopback.
        security: TLS from when on, if at all.
        login: None for none.
        authority: PEM file that verifies the server's certificate.
    """

    port: int
    security: Literal["clear", "starttls", "implicit"]
    login: Login | None
    authority: Path

    @property
    def sender(self) -> str:
        """Who logs in sends as themselves."""
        return SENDER if self.login is None else self.login.user

    @property
    def context(self) -> ssl.SSLContext:
        """A context that verifies the server."""
        return ssl.create_default_context(cafile=str(self.authority))


def program(name: str) -> str:
    """Find a program of a Debian package.

    Raises:
        SkipTest: it is not installed.
    """
    found = shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/bin")
    if found is None:
        raise SkipTest(f"{name} is not installed; see tests/interop/install")
    return found


def run(command: Sequence[str], stdin: bytes = b"") -> str:
    """Run a client.

    Raises:
        RuntimeError: it failed; with what it said.
    """
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=60)
    if done.returncode:
        said = (done.stderr + done.stdout).decode(errors="replace")[-2000:]
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {said}")
    return done.stdout.decode(errors="replace")


def send_with_smtplib(route: Route, recipients: Sequence[str], content: bytes) -> None:
    """Send with the standard library."""
    if route.security == "implicit":
        smtp: smtplib.SMTP = smtplib.SMTP_SSL(NAME, route.port, context=route.context, timeout=30)
    else:
        smtp = smtplib.SMTP(NAME, route.port, timeout=30)
    with smtp:
        if route.security == "starttls":
            smtp.starttls(context=route.context)
        smtp.ehlo()
        if route.login is not None:
            smtp.user, smtp.password = route.login.user, route.login.password
            method = {"PLAIN": smtp.auth_plain, "LOGIN": smtp.auth_login}[route.login.mechanism]
            smtp.auth(route.login.mechanism, method)
        refused = smtp.sendmail(route.sender, recipients, content)
    if refused:
        raise RuntimeError(f"refused: {refused}")


def send_with_aiosmtplib(route: Route, recipients: Sequence[str], content: bytes) -> None:
    """Send with aiosmtplib."""

    async def send() -> None:
        smtp = aiosmtplib.SMTP(
            hostname=NAME,
            port=route.port,
            use_tls=route.security == "implicit",
            start_tls=route.security == "starttls",
            tls_context=None if route.security == "clear" else route.context,
            timeout=30,
        )
        async with smtp:
            if route.login is not None:
                await smtp.ehlo()
                methods = {
                    "PLAIN": smtp.auth_plain,
                    "LOGIN": smtp.auth_login,
                    "CRAM-MD5": smtp.auth_crammd5,
                }
                await methods[route.login.mechanism](route.login.user, route.login.password)
            refused, _ = await smtp.sendmail(route.sender, list(recipients), content)
        if refused:
            raise RuntimeError(f"refused: {refused}")

    asyncio.run(send())


def send_with_twisted(route: Route, recipients: Sequence[str], content: bytes) -> "Deferred[None]":
    """Send with Twisted's own client."""
    login, lost = route.login, Deferred[None]()

    class Sender(ESMTPSender):
        """Knows only the mechanism that is wanted; Twisted's own takes the first of its list."""

        def _registerAuthenticators(self) -> None:
            super()._registerAuthenticators()
            wanted = login and login.mechanism.encode()
            self.authenticators = [a for a in self.authenticators if a.getName() == wanted]

        def connectionLost(self, reason: Failure = connectionDone) -> None:
            super().connectionLost(reason)
            lost.callback(None)

    root = Certificate.loadPEM(route.authority.read_bytes())
    context = optionsForClientTLS(NAME, trustRootFromCertificates([root]))
    result: Deferred[object] = Deferred()
    factory = ESMTPSenderFactory(
        login.user.encode() if login else None,
        login.password.encode() if login else None,
        route.sender,
        list(recipients),
        BytesIO(lines(content)),
        result,
        retries=0,
        timeout=30,
        contextFactory=context if route.security == "starttls" else None,
        requireAuthentication=login is not None,
        requireTransportSecurity=route.security != "clear",
    )
    factory.protocol = Sender
    endpoint: Any = HostnameEndpoint(reactor, HOST, route.port)
    if route.security == "implicit":
        endpoint = wrapClientTLS(context, endpoint)

    async def send() -> None:
        await endpoint.connect(factory)
        try:
            await result
        finally:
            await lost

    return Deferred.fromCoroutine(send())


def send_with_swaks(route: Route, recipients: Sequence[str], content: bytes, *more: str) -> None:
    """Send with swaks; left to itself it would add a blank line, or take one dot for the end."""
    command = [
        program("swaks"),
        "--server",
        NAME,
        "--port",
        str(route.port),
        "--from",
        route.sender,
    ]
    command += ["--to", ",".join(recipients), "--ehlo", "client.test", "--data", "-", *more]
    command += ["--no-data-fixup"]
    if route.security != "clear":
        command += ["--tls" if route.security == "starttls" else "--tls-on-connect"]
        command += ["--tls-verify", "--tls-ca-path", str(route.authority)]
    if route.login is not None:
        command += ["--auth", route.login.mechanism, "--auth-user", route.login.user]
        command += ["--auth-password", route.login.password]
    run(command, (b"\r\n" + content).replace(b"\r\n.", b"\r\n..")[2:] + b".\r\n")


def send_pipelined_with_swaks(route: Route, recipients: Sequence[str], content: bytes) -> None:
    """Send with swaks, commands in groups."""
    send_with_swaks(route, recipients, content, "--pipeline")


def send_with_curl(route: Route, recipients: Sequence[str], content: bytes) -> None:
    """Send with curl."""
    scheme = "smtps" if route.security == "implicit" else "smtp"
    command = [program("curl"), "--silent", "--show-error", "--mail-from", route.sender]
    for recipient in recipients:
        command += ["--mail-rcpt", recipient]
    if route.security != "clear":
        command += ["--ssl-reqd", "--cacert", str(route.authority)]
    if route.login is not None:
        command += ["--user", f"{route.login.user}:{route.login.password}"]
        command += ["--login-options", f"AUTH={route.login.mechanism}"]
    url = f"{scheme}://{NAME}:{route.port}/client.test"
    run([*command, "--upload-file", "-", url], content)


def send_with_msmtp(route: Route, recipients: Sequence[str], content: bytes, *more: str) -> None:
    """Send with msmtp; ``more`` are options of it."""
    command = [program("msmtp"), f"--host={NAME}", f"--port={route.port}", f"--from={route.sender}"]
    command += ["--domain=client.test", "--timeout=30"]
    # It would add what a header lacks.
    command += ["--set-from-header=off", "--set-date-header=off", "--set-msgid-header=off"]
    if route.security != "clear":
        starttls = "on" if route.security == "starttls" else "off"
        command += ["--tls=on", f"--tls-starttls={starttls}"]
        command += [f"--tls-trust-file={route.authority}"]
    if route.login is not None:
        command += [f"--auth={route.login.mechanism.lower()}", f"--user={route.login.user}"]
        command += [f"--passwordeval=echo {route.login.password}"]
    run([*command, *more, "--", *recipients], lines(content))


def send_with_nodemailer(
    route: Route, recipients: Sequence[str], content: bytes, **more: object
) -> None:
    """Send with nodemailer, on Node; ``more`` are fields of its message."""
    node = program("node")
    module = ROOT / "build/node/node_modules/nodemailer/lib/nodemailer.js"
    if not module.exists():
        raise SkipTest("nodemailer is not installed; see tests/interop/install")
    transport: dict[str, object] = {
        "host": NAME,
        "port": route.port,
        "secure": route.security == "implicit",
        "requireTLS": route.security == "starttls",
        "ignoreTLS": route.security == "clear",
        "tls": {"ca": route.authority.read_text()},
    }
    if route.login is not None:
        secret = {"pass": route.login.password}
        if route.login.mechanism == "XOAUTH2":
            secret = {"type": "OAuth2", "accessToken": route.login.password}
        transport["auth"] = {"user": route.login.user, **secret}
        transport["authMethod"] = route.login.mechanism
    order = {
        "transport": transport,
        "envelope": {"from": route.sender, "to": list(recipients)},
        "content": base64.b64encode(content).decode(),
        "more": more,
    }
    run([node, str(_HERE / "nodemailer.mjs"), str(module)], json.dumps(order).encode())


def send_with_smtp_source(
    route: Route, recipients: Sequence[str], content: bytes, folder: Path, *more: str
) -> None:
    """Send with Postfix's load generator; it knows neither TLS nor logins.

    It adds an empty line to what it reads from a file.
    """
    file = folder / "smtp-source.eml"
    file.write_bytes(lines(content))
    for recipient in recipients:
        smtp_source(route.port, "-f", SENDER, "-t", recipient, "-F", str(file), *more)


def smtp_source(port: int, *arguments: str) -> None:
    """Run Postfix's load generator."""
    run([program("smtp-source"), "-M", "client.test", *arguments, f"{HOST}:{port}"])
