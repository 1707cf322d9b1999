"""What the log is told of a source that goes down."""

from typing import Any

from sqlalchemy.exc import OperationalError
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from postroom.credentials import Credential
from postroom.sources.logged_source import LoggedSource
from postroom.sources.profile import SourceDown, SourceError


class Fake:
    """A source that answers as it is told."""

    knows: frozenset[Any] = frozenset()

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.found: object = None

    def start(self) -> None:
        pass

    stop = start

    def revision(self) -> int:
        return 0

    def find_domain(self, name: str) -> "Deferred[Any]":
        return succeed(None)

    def find_address(self, name: object) -> "Deferred[Any]":
        return succeed(self.found) if self.error is None else fail(self.error)

    find_credential = find_address


class Reporting(SynchronousTestCase):
    def setUp(self) -> None:
        self.fake = Fake()
        self.source = LoggedSource("ldap", self.fake)  # type: ignore[arg-type]
        self.told: list[str] = []

        def observe(event: dict[str, Any]) -> None:
            if event.get("log_namespace", "").endswith("LoggedSource"):
                self.told.append(event["log_format"].format(**event))

        globalLogPublisher.addObserver(observe)  # type: ignore[arg-type]
        self.addCleanup(globalLogPublisher.removeObserver, observe)  # type: ignore[arg-type]

    def ask(self, error: Exception | None, kind: type[Exception] = SourceDown) -> str:
        self.fake.error = error
        asking = self.source.find_address("joe@a.example")
        if error is None:
            self.assertIsNone(self.successResultOf(asking))
            return ""
        return str(self.failureResultOf(asking, kind).value)

    def test_down_and_up_are_one_line_each(self) -> None:
        for error in (OSError("refused"), OSError("refused"), None, None):
            self.ask(error)
        expected = ["The source ldap: refused", "The source ldap answers again"]
        self.assertEqual(self.told, expected)

    def test_a_domain_that_it_knows_by_itself_is_no_sign_of_life(self) -> None:
        self.ask(OSError("refused"))
        self.successResultOf(self.source.find_domain("a.example"))
        self.assertEqual(self.told, ["The source ldap: refused"])

    def test_the_failure_is_one_line_that_names_the_source(self) -> None:
        error = OperationalError("SELECT", {}, Exception("no such table\nmore"))
        self.assertEqual(self.ask(error), "the source ldap: no such table")

    def test_an_answer_that_cannot_be_used_concerns_one_name_and_is_told_each_time(self) -> None:
        for _ in range(2):
            self.assertEqual(self.ask(SourceError("joe: what?"), SourceError), "joe: what?")
        self.assertEqual(self.told, ["The source ldap: joe: what?"] * 2)
        self.ask(None)
        self.assertEqual(len(self.told), 2)

    def test_a_fault_of_ours_comes_with_its_traceback_once(self) -> None:
        for _ in range(2):
            self.ask(TypeError("ours"))
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)

    def test_checks_of_passwords_are_watched_too(self) -> None:
        self.fake.found = Credential("joe@a.example", verify=lambda _: fail(OSError("refused")))
        found = self.successResultOf(self.source.find_credential(b"joe"))
        assert found is not None
        assert found.verify is not None
        self.failureResultOf(found.verify(b"secret"), SourceDown)
        self.assertEqual(self.told, ["The source ldap: refused"])

    def test_whoever_answers_but_checks_no_passwords_is_told_of_once(self) -> None:
        down = [OSError("refused")] * 2
        self.fake.found = Credential(
            "joe@a.example", verify=lambda _: fail(down.pop()) if down else succeed(True)
        )
        for _ in range(3):
            found = self.successResultOf(self.source.find_credential(b"joe"))
            assert found is not None
            assert found.verify is not None
            found.verify(b"secret").addErrback(lambda failure: failure.trap(SourceDown))
        expected = ["The source ldap: refused", "The source ldap checks passwords again"]
        self.assertEqual(self.told, expected)
