"""Who may import whom."""

import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.architecture.sources import Import, Module, imports, modules, parse

GROUND = {
    "wire",
    "errors",
    "settings",
    "interfaces",
    "envelope",
    "credentials",
    "database",
    "maildirs",
    "later",
    "threads",
    "batching",
    "international",
    "revision_cache",
    "networks",
    "direct_socket",
    "tls",
}
ACCOUNTS = {"directory", "logins", "sources"}
ROOMS = {"server", "client", "delivery", "queue", "policy", "certificates"}

# A room imports itself and what stands here: DESIGN's picture, as sets.
ALLOWED: dict[str, set[str]] = {
    "": set(),
    "wire": set(),
    "errors": {"wire"},
    "settings": {"wire", "errors"},
    "envelope": {"wire"},
    "credentials": {"envelope", "errors"},
    "interfaces": {"wire", "errors", "envelope", "credentials"},
    "database": {"wire", "errors", "envelope", "interfaces"},
    "maildirs": {"wire", "errors", "envelope"},
    "later": set(),
    "threads": set(),
    "revision_cache": set(),
    "batching": {"threads"},
    "international": {"wire"},
    "networks": {"settings"},
    "direct_socket": set(),
    "tls": {"envelope"},
    **dict.fromkeys(ROOMS, GROUND),
    "directory": GROUND,
    "logins": GROUND | {"directory"},
    "sources": GROUND | {"directory", "logins"},
    "service": GROUND | ROOMS | ACCOUNTS,
    "capture": {"wire", "errors"},
    "cli": GROUND | {"service", "directory", "logins", "capture"},
    "web": GROUND | ROOMS | ACCOUNTS | {"service"},
    "testing": GROUND | ROOMS | ACCOUNTS | {"service"},
}

# Single modules that may reach further: the importer, and what it may import. A room's ``model`` is
# the contract that it offers, plain values and interfaces.
EXCEPTIONS = [
    ("postroom.queue.relay", "postroom.client"),
    ("postroom.queue.lanes", "postroom.client.model"),
    ("postroom.queue.outcomes", "postroom.client.model"),
    ("postroom.cli", "postroom.queue.admin"),
    ("postroom.cli", "postroom.queue.model"),
    ("postroom.cli", "postroom.client.model"),
    # What `postroom tls` shows and makes are files; no service need run for it.
    ("postroom.cli.tls", "postroom.certificates"),
]


def room_of(name: str) -> str:
    return [*name.split("."), ""][1]


def is_within(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")


def is_allowed(importer: Module, found: Import) -> bool:
    """Say whether an import is an edge of the picture; those from outside always are."""
    if not is_within(found.target, "postroom"):
        return True
    # ``from postroom import __version__`` names no room.
    if room_of(found.target) in {"", "__version__"}:
        return True
    room = room_of(found.target)
    return (
        room == importer.room
        or room in ALLOWED.get(importer.room, set())
        or any(
            is_within(importer.name, who) and is_within(found.target, what)
            for who, what in EXCEPTIONS
        )
    )


def _module_of(target: str, names: set[str]) -> str | None:
    """Find the module that an imported name is, or is in."""
    return next((name for name in (target, target.rpartition(".")[0]) if name in names), None)


class ImportTests(SynchronousTestCase):
    """Tests for the edges between rooms."""

    def test_every_edge_is_in_the_picture(self) -> None:
        wrong = [
            str(found)
            for module in modules()
            for found in imports(module)
            if not is_allowed(module, found)
        ]
        self.assertEqual(wrong, [])

    def test_every_room_is_in_the_picture(self) -> None:
        self.assertEqual({module.room for module in modules()} - set(ALLOWED), set())

    def test_wire_imports_the_standard_library_alone(self) -> None:
        foreign = [
            str(found)
            for module in modules()
            if module.room == "wire"
            for found in imports(module)
            if not is_within(found.target, "postroom.wire")
            and found.target.split(".")[0] not in sys.stdlib_module_names
        ]
        self.assertEqual(foreign, [])

    def test_no_modules_import_each_other_in_a_circle(self) -> None:
        names = {module.name for module in modules()}
        graph = {
            module.name: {
                target
                for found in imports(module)
                if (target := _module_of(found.target, names)) not in {None, module.name}
            }
            for module in modules()
        }
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            self.fail(" imports ".join(reversed(error.args[1])))

    def test_nothing_imports_the_binding_to_scapy(self) -> None:
        binding = "postroom.capture.scapy"
        importers = {
            module.name
            for module in modules()
            for found in imports(module)
            if is_within(found.target, binding) or is_within(found.target, "scapy")
        }
        self.assertEqual(importers, {binding})

    def test_only_tap_imports_the_global_reactor_and_inside_a_function(self) -> None:
        importers = {
            module.name
            for module in modules()
            for found in imports(module)
            if is_within(found.target, "twisted.internet.reactor")
        }
        self.assertEqual(importers, {"postroom.service.tap"})
        tap = next(module for module in modules() if module.name == "postroom.service.tap")
        top_level = {getattr(node, "lineno", 0) for node in tap.tree.body}
        lines = {
            found.line
            for found in imports(tap)
            if is_within(found.target, "twisted.internet.reactor")
        }
        self.assertEqual(top_level & lines, set())


class DetectionTests(SynchronousTestCase):
    """The test itself sees a wrong edge, however it is written."""

    def wrong_edges(self, name: str, source: str) -> list[str]:
        path = Path(self.mktemp()).with_suffix(".py")
        path.write_text(source)
        module = parse(name, path)
        return [found.target for found in imports(module) if not is_allowed(module, found)]

    def test_server_must_not_import_delivery(self) -> None:
        for source in (
            "import postroom.delivery.maildir",
            "from postroom import delivery",
            "from postroom.delivery import maildir",
            "from ..delivery import maildir",
            "def f():\n    from postroom.delivery.maildir import Maildir",
        ):
            with self.subTest(source):
                self.assertEqual(len(self.wrong_edges("postroom.server.protocol", source)), 1)

    def test_only_the_relay_may_import_the_client(self) -> None:
        source = "from postroom.client.model import Sent"
        self.assertEqual(self.wrong_edges("postroom.queue.relay", source), [])
        self.assertEqual(len(self.wrong_edges("postroom.queue.store", source)), 1)

    def test_nothing_imports_testing(self) -> None:
        for room in ("wire", "server", "service", "cli"):
            edges = self.wrong_edges(f"postroom.{room}.x", "import postroom.testing")
            self.assertEqual(len(edges), 1)
