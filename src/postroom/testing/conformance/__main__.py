"""``python -m postroom.testing.conformance``: tries any SMTP server.

It sends mail to the recipients named. The exit status is 0 if every MUST was kept, 1 if one was
not, 2 if the server could not be tried.
"""

import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import click

from postroom.testing.conformance.catalogue import LEVELS, Requirement, ServerUnderTest, shipped
from postroom.testing.conformance.examination import Compliance, Examination, Result
from postroom.testing.conformance.sockets import SocketConnection
from postroom.testing.conversation import Silence


class Place(click.ParamType[tuple[str, int]]):
    """``HOST:PORT``, ``[IPv6]:PORT``."""

    name = "HOST:PORT"

    def convert(
        self, value: str, param: click.Parameter | None, context: click.Context | None
    ) -> tuple[str, int]:
        """Split the argument into host and port."""
        host, colon, port = value.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not (colon and host and port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
            self.fail(f"{value!r} is not HOST:PORT", param, context)
        return host, int(port)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("place", metavar="HOST:PORT", type=Place())
@click.option("--lmtp", "role", flag_value="lmtp", help="The server speaks LMTP.")
@click.option("--submission", "role", flag_value="submission", help="The server is for submission.")
@click.option("--domain", default="localhost", show_default=True, help="A domain of the server.")
@click.option("--recipient", help="A mailbox in it; by default its postmaster.")
@click.option("--other", help="Another mailbox in it; by default the same.")
@click.option("--unknown", help="An address in it that does not exist.")
@click.option("--foreign", default="user@there.example", show_default=True,
              help="An address that the server does not relay to.")  # fmt: skip
@click.option(
    "--sender", default="a@there.example", show_default=True, help="The sender of the mail."
)
@click.option("--user", default="", help="An account that can log in and submit mail.")
@click.option("--password", default="", help="The user's password.")
@click.option("--starttls", is_flag=True, help="Use STARTTLS wherever a dialogue allows.")
@click.option("--implicit-tls", is_flag=True, help="Start TLS with the connection.")
@click.option(
    "--only",
    multiple=True,
    metavar="PREFIX",
    help="Try only these requirements, such as RFC5321-4.1.",
)
@click.option("--timeout", default=10.0, show_default=True, help="Seconds to wait for a reply.")
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path), help="Write the results to this file."
)
@click.option("--verbose", "-v", is_flag=True, help="Show the requirements that are kept, too.")
@click.pass_context
def main(context: click.Context, /, place: tuple[str, int], **options: object) -> None:
    """Try the dialogues of the RFCs with the server at HOST:PORT, and count what it keeps."""
    implicit, timeout = bool(options["implicit_tls"]), float(str(options["timeout"]))
    examination = Examination(
        lambda: SocketConnection(place, tls=implicit, timeout_seconds=timeout),
        str(options["role"] or "mx"),
        implicit=implicit,
        starttls=bool(options["starttls"]),
        user=bool(options["user"]),
    )
    try:
        results = list(_results(examination, options))
    except (OSError, Silence) as error:
        click.echo(f"{place[0]}:{place[1]} could not be tried: {error}", err=True)
        context.exit(2)
    _show(results, verbose=bool(options["verbose"]))
    if isinstance(options["json_file"], Path):
        options["json_file"].write_text(json.dumps(as_json(results), indent=1) + "\n", "utf-8")
    broken = any(
        each.verdict is Compliance.BROKEN and each.requirement.level == "MUST" for each in results
    )
    context.exit(1 if broken else 0)


def _results(examination: Examination, given: dict[str, object]) -> list[Result]:
    domain = str(given["domain"])
    recipient = str(given["recipient"] or f"postmaster@{domain}")
    server = ServerUnderTest(
        domain,
        recipient,
        str(given["other"] or recipient),
        str(given["unknown"] or f"no-such-user-here@{domain}"),
        str(given["foreign"]),
        str(given["sender"]),
        str(given["user"]),
        str(given["password"]),
        examination.size_limit,
    )
    only = given["only"]
    assert isinstance(only, tuple)
    wanted = [each for each in shipped(server) if not only or each.name.startswith(only)]
    return list(examination.examine(wanted))


def _show(results: Sequence[Result], *, verbose: bool) -> None:
    for each in results:
        if verbose or each.verdict is Compliance.BROKEN:
            click.echo(_line(each.requirement, each.verdict.value, each.why))
    for level in LEVELS:
        count = Counter(each.verdict for each in results if each.requirement.level == level)
        tried = count[Compliance.KEPT] + count[Compliance.BROKEN]
        click.echo(
            f"{level}: {count[Compliance.KEPT]} of {tried} kept; "
            f"{count[Compliance.NOT_OFFERED]} not offered, {count[Compliance.NOT_TRIED]} not tried"
        )


def _line(requirement: Requirement, verdict: str, why: str) -> str:
    if why and requirement.strict:
        verdict += f" (tolerates {' and '.join(requirement.strict)})"
    line = f"{requirement.name} {requirement.level} {verdict}: {requirement.text}"
    return f"{line}\n    {why}" if why else line


def as_json(results: Sequence[Result]) -> dict[str, dict[str, str]]:
    """Return results by the requirements' names."""
    return {
        each.requirement.name: {"verdict": each.verdict.value, "why": each.why} for each in results
    }


if __name__ == "__main__":
    sys.exit(main())
