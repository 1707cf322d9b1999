"""Leases as a property: whatever processes do, a live lease is one process's alone."""

from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select
from twisted.trial.unittest import SynchronousTestCase

from postroom.database import migrate, open_database, transaction
from postroom.queue.batch import Batch, Claim, Put, Record, Renew
from postroom.queue.model import ClaimedRecipient, Done, Retry
from postroom.queue.ranks import Horizons
from postroom.queue.store import HORIZON_SECONDS, LEASE_SECONDS
from postroom.queue.tables import message, recipient
from postroom.wire.replies import reply
from tests.queue.samples import Content, new_message

OWNERS = ("a", "b")
HORIZONS = Horizons(HORIZON_SECONDS, HORIZON_SECONDS)
BUSY = reply(450, "4.2.1", "Mailbox busy")

steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from(OWNERS), st.booleans()),
        st.tuples(st.just("claim"), st.sampled_from(OWNERS), st.integers(1, 5)),
        st.tuples(st.just("done"), st.sampled_from(OWNERS), st.integers(0, 3)),
        st.tuples(st.just("retry"), st.sampled_from(OWNERS), st.integers(0, 3)),
        st.tuples(st.just("renew"), st.sampled_from(OWNERS), st.just(0)),
        st.tuples(
            st.just("wait"),
            st.just("a"),
            st.sampled_from([1.0, LEASE_SECONDS - 1, LEASE_SECONDS]),
        ),
    ),
    min_size=15,
    max_size=30,
)


class Model:
    """The queue as the docstrings say it is: who owns a recipient, and when it is due."""

    def __init__(self, test: "LeaseTests") -> None:
        self.test = test
        self.now = 1e9
        self.rows: dict[tuple[str, int], tuple[str | None, float]] = {}
        self.known: dict[str, list[ClaimedRecipient]] = {owner: [] for owner in OWNERS}
        self.claims = {owner: [] for owner in OWNERS}

    @property
    def until(self) -> float:
        return self.now + LEASE_SECONDS

    def apply(self, owner, job):
        with transaction(self.test.engine) as connection:
            Batch(owner).apply(connection, [job])
        return job.result

    def learn(self, owner, claims) -> None:
        for claim in claims:
            self.claims[owner].append(claim)
            self.known[owner] += claim.recipients

    def put(self, owner: str, claimed: bool) -> None:
        new = new_message("x@example.org", "y@example.org")
        put = self.apply(owner, Put(new, Content(b"x"), self.now, self.until if claimed else None))
        for number in range(2):
            state = (owner, self.until) if claimed else (None, self.now)
            self.rows[new.id, number] = state
        self.learn(owner, [put] if claimed else [])

    def claim(self, owner: str, limit: int) -> None:
        due = {key for key, (_, due_at) in self.rows.items() if due_at <= self.now}
        claims = self.apply(owner, Claim(self.now, HORIZONS, limit, self.until))
        taken = {(r.message_id, r.number) for claim in claims for r in claim.recipients}
        self.test.assertLessEqual(taken, due)
        self.test.assertEqual(len(taken), min(limit, len(due)))
        for key in taken:
            self.rows[key] = (owner, self.until)
        self.learn(owner, claims)

    def record(self, owner: str, which: int, retry: bool) -> None:
        if not self.known[owner]:
            return
        known = self.known[owner][which % len(self.known[owner])]
        key = known.message_id, known.number
        outcome = Retry(known, self.now + 60, BUSY) if retry else Done(known)
        self.apply(owner, Record([outcome], (), self.until))
        if key in self.rows and self.rows[key][0] == owner:
            if retry:
                self.rows[key] = (None, self.now + 60)
            else:
                del self.rows[key]

    def renew(self, owner: str) -> None:
        renewed = self.apply(owner, Renew(self.claims[owner], self.until))
        found = {(r.message_id, r.number) for claim in renewed for r in claim.recipients}
        claimed = {
            (r.message_id, r.number) for claim in self.claims[owner] for r in claim.recipients
        }
        ours = {key for key in claimed if key in self.rows and self.rows[key][0] == owner}
        self.test.assertEqual(found, ours)
        for key in ours:
            self.rows[key] = (owner, self.until)

    def step(self, what: str, owner: str, argument) -> None:
        if what == "wait":
            self.now += argument
        elif what in ("done", "retry"):
            self.record(owner, argument, what == "retry")
        elif what == "renew":
            self.renew(owner)
        else:
            getattr(self, what)(owner, argument)


class LeaseTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        self.engine = open_database(f"sqlite:///{folder}/postroom.db")
        self.addCleanup(self.engine.dispose)
        migrate(self.engine)

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(steps)
    def test_a_lease_can_be_taken_when_it_has_run_out_and_never_before(self, script) -> None:
        with transaction(self.engine) as connection:
            connection.execute(delete(message))
        model = Model(self)
        for step in script:
            model.step(*step)
            with self.engine.connect() as connection:
                rows = connection.execute(select(recipient)).all()
            found = {(r.message_id, r.number): (r.lease_owner, r.due_at) for r in rows}
            self.assertEqual(found, model.rows)

    def test_a_lease_outlives_the_longest_timer_of_a_transaction(self) -> None:
        self.assertGreater(LEASE_SECONDS, 600)
        self.assertGreater(HORIZON_SECONDS, LEASE_SECONDS)
