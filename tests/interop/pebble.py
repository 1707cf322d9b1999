"""Pebble, the ACME server that Let's Encrypt tests clients with, and the DNS that it asks."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import trustme

from tests.daemon import free_port, wait_until

BLOCKED = "blocked.example"


@dataclass
class Pebble:
    """A running Pebble.

    Attributes:
        directory: its address.
        authority: what its own certificate is checked by.
        http_port: where it comes for http-01.
        tls_port: where it comes for tls-alpn-01.
    """

    directory: str
    authority: Path
    http_port: int
    tls_port: int
    processes: list["subprocess.Popen[bytes]"]

    def stop(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.terminate()
                process.wait(10)

    @property
    def settings(self) -> str:
        """What ``[tls.acme]`` says of it."""
        return (
            f'directory = "{self.directory}"\nca_file = "{self.authority}"\nagree_to_terms = true\n'
        )


def start_pebble(folder: Path, *, lifetime_seconds: int = 90 * 86_400) -> Pebble:
    """Start it: every name is 127.0.0.1, and challenges are really checked.

    Args:
        folder: takes its files.
        lifetime_seconds: of the certificates that it gives.
    """
    dns, manage, port, http, tls = (free_port() for _ in range(5))
    authority = trustme.CA()
    leaf = authority.issue_cert("localhost", "127.0.0.1")
    authority.cert_pem.write_to_path(str(folder / "pebble-ca.pem"))
    leaf.private_key_pem.write_to_path(str(folder / "pebble.key"))
    leaf.cert_chain_pems[0].write_to_path(str(folder / "pebble.pem"))
    config = {
        "listenAddress": f"127.0.0.1:{port}",
        "managementListenAddress": f"127.0.0.1:{free_port()}",
        "certificate": str(folder / "pebble.pem"),
        "privateKey": str(folder / "pebble.key"),
        "httpPort": http,
        "tlsPort": tls,
        "ocspResponderURL": "",
        "externalAccountBindingRequired": False,
        "domainBlocklist": [BLOCKED],
        "certificateValidityPeriod": lifetime_seconds,
    }
    (folder / "pebble.json").write_text(json.dumps({"pebble": config}))
    environment = {
        **os.environ,
        "PEBBLE_VA_NOSLEEP": "1",
        "PEBBLE_AUTHZREUSE": "0",  # so that a renewal has to answer as well
        "PEBBLE_WFE_NONCEREJECT": "0",  # by chance, and the library tries again only once
    }
    nothing = ["-http01", "", "-https01", "", "-tlsalpn01", ""]
    names = ["-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-dns01", f"127.0.0.1:{dns}"]
    commands = [
        ["pebble-challtestsrv", *nothing, *names, "-management", f"127.0.0.1:{manage}"],
        ["pebble", "-config", str(folder / "pebble.json"), "-dnsserver", f"127.0.0.1:{dns}"],
    ]
    processes = []
    for command in commands:
        with (folder / f"{command[0]}.log").open("ab") as log:
            processes.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
    log_file = folder / "pebble.log"
    if not wait_until(lambda: "ACME directory available" in log_file.read_text(), 20):
        raise RuntimeError(f"pebble did not start:\n{log_file.read_text()[-2000:]}")
    directory = f"https://127.0.0.1:{port}/dir"
    return Pebble(directory, folder / "pebble-ca.pem", http, tls, processes)
