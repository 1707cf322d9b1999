"""The contract of `IQueueStore`, on SQLite and on PostgreSQL."""

from dataclasses import replace
from itertools import product
from pathlib import Path

from sqlalchemy import Engine, func, select
from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from postroom.database import migrate, open_database
from postroom.envelope import Trait
from postroom.errors import LOCAL_ERROR, reply_for
from postroom.queue.batch import CHUNK_OCTETS
from postroom.queue.model import Done, IQueueStore, Report, Retry
from postroom.queue.store import (
    HELD_HORIZON_SECONDS,
    HORIZON_SECONDS,
    LEASE_SECONDS,
    SqlQueueStore,
)
from postroom.queue.tables import content, message, read_mailbox, recipient
from postroom.wire.commands import Rcpt
from postroom.wire.paths import Mailbox, mailbox
from postroom.wire.replies import reply
from tests.database.postgresql import new_postgresql_url
from tests.queue.samples import Content, new_message

GREYLISTED = reply(451, "4.7.1", "Try again later")


class StoreContract:
    """What the queue and the relay rely on."""

    def url(self) -> str:
        raise NotImplementedError

    def setUp(self) -> None:
        self.now = 1_700_000_000.0
        self.engine = open_database(self.url())
        self.addCleanup(self.engine.dispose)
        migrate(self.engine)
        self.store = self.new_store("ours")

    def new_store(self, owner: str | None = None, engine: Engine | None = None) -> SqlQueueStore:
        """Start another process's store, as far as the database can tell."""
        store = SqlQueueStore(engine or self.engine, reactor, lambda: self.now, owner)
        store.start()
        self.addCleanup(store.stop)
        return store

    def rows(self) -> tuple[int, ...]:
        """Count the rows of messages, contents and recipients."""
        with self.engine.connect() as connection:
            return tuple(
                connection.scalar(select(func.count()).select_from(table))
                for table in (message, content, recipient)
            )

    def later(self, seconds: float) -> float:
        self.now += seconds
        return self.now

    def test_it_provides_the_interface(self) -> None:
        verifyObject(IQueueStore, self.store)

    def test_owners_are_named_apart(self) -> None:
        names = {SqlQueueStore(self.engine, reactor).owner for _ in range(2)}
        self.assertEqual(len(names), 2)
        self.assertTrue(all(len(name) <= 32 for name in names))

    # put

    async def test_a_message_comes_back_as_it_was_put(self) -> None:
        odd = (
            Mailbox(b"Case.Kept", b"Example.NET"),
            Mailbox(b'a "quoted"\\ @ one', b"example.net"),
            Mailbox(b"joe", b"[IPv6:2001:db8::1]"),
            Mailbox(b"postmaster", b""),
        )
        rcpts = tuple(
            Rcpt(each, {"NOTIFY": "NEVER", "ORCPT": f"rfc822;{n}"} if n else {})
            for n, each in enumerate(odd)
        )
        plain = new_message("x@example.net", parameters={"BODY": "8BITMIME", "SMTPUTF8": None})
        for new in (
            replace(plain, recipients=rcpts, identity="joe", priority=-9, traits=Trait(7)),
            replace(plain, id="other", sender=None, parameters={}),
        ):
            put = await self.store.put(new, Content(b"octets"))
            self.assertEqual(put.message, new)
            self.assertEqual(put.size_octets, 6)
            self.assertEqual(put.lease_until, self.now + LEASE_SECONDS)
            self.assertEqual(
                [(r.message_id, r.number, r.rcpt, r.attempts) for r in put.recipients],
                [(new.id, n, rcpt, 0) for n, rcpt in enumerate(new.recipients)],
            )
            claims = await self.new_store().claim(self.later(LEASE_SECONDS), 10)
            self.assertIn(replace(put, lease_until=self.now + LEASE_SECONDS), claims)

    async def test_a_message_is_put_as_claimed_or_as_waiting(self) -> None:
        self.assertIsNotNone(await self.store.put(new_message(), Content(b"x")))
        waiting = new_message()
        self.assertIsNone(await self.store.put(waiting, Content(b"x"), claim=False))
        for store, found in ((self.new_store(), [waiting.id]), (self.store, [])):
            claims = await store.claim(self.now, 10)
            self.assertEqual([claim.message.id for claim in claims], found)

    async def test_content_is_kept_in_pieces_that_are_neither_large_nor_tiny(self) -> None:
        large = b"x" * (CHUNK_OCTETS - 1), b"yy", b"z" * CHUNK_OCTETS, b"!"
        tiny = tuple(b"%d" % n for n in range(1000))
        for chunks, rows in ((large, 4), (tiny, 1), ((), 0)):
            new = new_message()
            await self.store.put(new, Content(*chunks))
            pieces = []
            while piece := await self.store.chunk(new.id, len(pieces)):
                pieces.append(piece)
            self.assertEqual(b"".join(pieces), b"".join(chunks))
            self.assertEqual(len(pieces), rows)
            self.assertTrue(all(len(piece) <= CHUNK_OCTETS for piece in pieces))

    async def test_a_chunk_of_an_unknown_message_is_empty(self) -> None:
        self.assertEqual(await self.store.chunk("unknown", 0), b"")

    async def test_who_cannot_be_stored_fails_alone(self) -> None:
        good = [new_message() for _ in range(300)]
        torn = Content(b"12345")
        torn.size_octets = 6
        taken = good[7]
        bad = {
            100: (new_message(), torn),
            101: (taken, Content(b"another of the same id")),
            200: (new_message(), Content(b"1", failure=OSError("a spool file was lost"))),
            250: (new_message(), Content(b"1", failure=ValueError("a fault of ours"))),
        }
        jobs = [(new, Content(b"good")) for new in good]
        for place, job in bad.items():
            jobs.insert(place, job)
        stored, failures = [], []
        for new, body in jobs:
            deferred = self.store.put(new, body)
            deferred.addCallbacks(stored.append, failures.append)
        await self.store.put(new_message(), Content(b"behind them all"))
        self.assertEqual([put.message.id for put in stored], [new.id for new in good])
        self.assertEqual(len(failures), len(bad))
        for failure in failures:
            self.assertEqual(reply_for(failure.value), LOCAL_ERROR)
        self.assertEqual(self.rows(), (301, 301, 301))

    # claim

    async def test_the_longest_due_is_claimed_first(self) -> None:
        ids = {}
        for due in (30, 10, 20):
            put = await self.store.put(new_message(), Content(b"x"))
            ids[due] = put.message.id
            await self.store.record([Retry(put.recipients[0], self.now + due, GREYLISTED)])
        self.assertEqual(await self.store.claim(self.now + 9, 10), [])
        first = await self.store.claim(self.now + 20, 1)
        second = await self.store.claim(self.now + 20, 10)
        claims = [*first, *second]
        self.assertEqual([claim.message.id for claim in claims], [ids[10], ids[20]])

    async def test_a_limit_may_cut_a_message(self) -> None:
        new = new_message(*(f"{n}@example.net" for n in range(5)))
        await self.store.put(new, Content(b"x"), claim=False)
        found = []
        for size in (2, 2, 1):
            (claim,) = await self.store.claim(self.now, 2)
            self.assertEqual(len(claim.recipients), size)
            self.assertEqual(claim.message.recipients, tuple(r.rcpt for r in claim.recipients))
            found += claim.message.recipients
        self.assertCountEqual(found, new.recipients)

    async def test_processes_share_what_is_due(self) -> None:
        count = 60
        for _ in range(count):
            await self.store.put(new_message("a@x.org", "b@x.org"), Content(b"x"), claim=False)
        stores = [self.new_store() for _ in range(3)]
        seen: list[tuple[str, int]] = []
        for _ in range(count):
            answers = await gatherResults([store.claim(self.now, 7) for store in stores])
            claims = [claim for answer in answers for claim in answer]
            seen += [(r.message_id, r.number) for claim in claims for r in claim.recipients]
            if len(seen) >= 2 * count:
                break
        self.assertEqual(len(set(seen)), 2 * count)
        self.assertEqual(len(seen), 2 * count)

    async def test_a_clock_that_was_set_back_keeps_nothing_waiting(self) -> None:
        put = await self.store.put(new_message(), Content(b"x"))
        due = self.now + 2 * HORIZON_SECONDS
        await self.store.record([Retry(put.recipients[0], due, GREYLISTED)])
        self.assertEqual(await self.store.next_due_at(self.now), self.now)
        (claim,) = await self.store.claim(self.now, 10)
        self.assertEqual(claim.message.id, put.message.id)

    # Ranks

    async def put_waiting(self, count: int, **more: object) -> list[str]:
        """Store messages that wait, each due a second after the one before."""
        ids = []
        for _ in range(count):
            new = new_message(**more)
            await self.store.put(new, Content(b"x"), claim=False)
            ids.append(new.id)
            self.now += 1
        return ids

    async def test_of_those_due_the_highest_priority_is_claimed_first(self) -> None:
        low = await self.put_waiting(1, priority=-9)
        middle = await self.put_waiting(2)
        high = await self.put_waiting(2, priority=4)
        top = await self.put_waiting(1, priority=9)
        claims = await self.store.claim(self.now, 10)
        found = [claim.message.id for claim in claims]
        self.assertEqual(found, top + high + middle + low)
        self.assertEqual([claim.message.priority for claim in claims], [9, 4, 4, 0, 0, -9])

    async def test_high_priorities_leave_room_for_the_others(self) -> None:
        low = await self.put_waiting(3, priority=-1)
        middle = await self.put_waiting(3)
        high = await self.put_waiting(20, priority=1)
        claims = await self.store.claim(self.now, 8)
        self.assertEqual([claim.message.id for claim in claims], [*high[:6], middle[0], *low[:1]])
        rest = await self.store.claim(self.now, 100)
        self.assertEqual(len(rest), 18)

    async def test_what_is_held_waits_and_then_has_its_priority(self) -> None:
        until = self.now + 30 * 86_400
        (held,) = await self.put_waiting(1, held_until=until, priority=3)
        self.assertEqual(await self.store.next_due_at(self.now), until)
        self.assertEqual(await self.store.claim(until - 1, 10), [])
        await self.put_waiting(1)
        self.assertEqual(await self.store.next_due_at(self.now), self.now - 1)
        self.now = until
        first, _ = await self.store.claim(until, 10)
        self.assertEqual((first.message.id, first.message.priority), (held, 3))
        self.assertEqual(await self.store.release_all_leases(), 2)
        first, _ = await self.store.claim(until, 10)
        self.assertEqual(first.message.id, held)

    async def test_a_hold_that_is_over_or_too_long_to_be_true_holds_nothing(self) -> None:
        await self.put_waiting(1, held_until=self.now)
        await self.put_waiting(1, held_until=self.now + HELD_HORIZON_SECONDS + 3600)
        self.assertEqual(len(await self.store.claim(self.now, 10)), 2)

    async def test_who_was_told_of_a_delay_is_known_from_then_on(self) -> None:
        put = await self.store.put(new_message(), Content(b"x"))
        for tells, told in ((False, False), (True, True), (False, True)):
            retry = Retry(put.recipients[0], self.now, GREYLISTED, tells_delay=tells)
            await self.store.record([retry])
            (put,) = await self.store.claim(self.now, 1)
            self.assertIs(put.recipients[0].delay_told, told)

    # flush

    async def test_what_waits_for_a_domain_is_made_due(self) -> None:
        later = self.now + 3000
        put = await self.store.put(
            new_message("a@x.org", "b@sub.x.org", "c@notx.org", "d@xxorg"),
            Content(b"x"),
        )
        await self.store.record([Retry(r, later, GREYLISTED) for r in put.recipients])
        held = new_message("h@x.org", held_until=later)
        await self.store.put(held, Content(b"x"), claim=False)
        await self.store.put(new_message("busy@x.org"), Content(b"x"))
        for domain, subdomains, found in (
            ("y.org", True, []),
            ("_.org", False, []),
            ("%", True, []),
            ("x.org", False, ["a@x.org"]),
            ("x.org", True, ["b@sub.x.org"]),
        ):
            claimed = await self.store.flush(domain, subdomains)
            claims = await self.store.claim(self.now, 10)
            due = [str(r.address) for claim in claims for r in claim.recipients]
            self.assertEqual(due, found, domain)
            self.assertGreaterEqual(claimed, len(found))

    # next_due_at

    async def test_it_is_told_when_to_claim_next(self) -> None:
        self.assertIsNone(await self.store.next_due_at(self.now))
        put = await self.store.put(new_message(), Content(b"x"))
        self.assertEqual(await self.store.next_due_at(self.now), self.now + LEASE_SECONDS)
        await self.store.record([Retry(put.recipients[0], self.now + 60, GREYLISTED)])
        self.assertEqual(await self.store.next_due_at(self.now), self.now + 60)

    # record

    async def test_a_message_goes_with_its_last_recipient(self) -> None:
        put = await self.store.put(new_message("a@x.org", "b@x.org"), Content(b"x"))
        await self.store.record([Done(put.recipients[1])])
        self.assertEqual(self.rows(), (1, 1, 1))
        await self.store.record([Done(put.recipients[0])])
        self.assertEqual(self.rows(), (0, 0, 0))

    async def test_outcomes_of_one_call_share_a_commit(self) -> None:
        put = await self.store.put(new_message("a@x.org", "b@x.org"), Content(b"x"))
        first, second = put.recipients
        await self.store.record([Done(first), Retry(second, self.now + 5, GREYLISTED)])
        (claim,) = await self.store.claim(self.later(5), 10)
        self.assertEqual(claim.recipients, (replace(second, attempts=1),))

    async def test_an_attempt_counts_unless_nothing_was_tried(self) -> None:
        new = new_message()
        await self.store.put(new, Content(b"x"), claim=False)
        for counts, attempts in ((True, 0), (False, 1), (True, 1), (True, 2)):
            (claim,) = await self.store.claim(self.now, 1)
            self.assertEqual(claim.recipients[0].attempts, attempts)
            await self.store.record([Retry(claim.recipients[0], self.now, GREYLISTED, counts)])

    async def test_the_last_two_recipients_may_finish_in_two_processes_at_once(self) -> None:
        other = self.new_store()
        for _ in range(20):
            await self.store.put(new_message("a@x.org", "b@x.org"), Content(b"x"), claim=False)
            ours = await self.store.claim(self.now, 1)
            theirs = await other.claim(self.now, 1)
            await gatherResults(
                [
                    self.store.record([Done(ours[0].recipients[0])]),
                    other.record([Done(theirs[0].recipients[0])]),
                ]
            )
        self.assertEqual(self.rows(), (0, 0, 0))

    async def test_a_report_is_put_with_the_failure_that_it_tells_of(self) -> None:
        put = await self.store.put(new_message(), Content(b"x"))
        told = new_message("sender@example.org", sender=None)
        report = Report(told, Content(b"report"))
        (claim,) = await self.store.record([Done(put.recipients[0])], [report])
        self.assertEqual(claim.message, told)
        self.assertEqual(claim.lease_until, self.now + LEASE_SECONDS)
        self.assertEqual(await self.store.chunk(told.id, 0), b"report")
        self.assertEqual(self.rows(), (1, 1, 1))
        await self.store.record([Done(claim.recipients[0])])
        self.assertEqual(self.rows(), (0, 0, 0))

    async def test_without_its_report_a_failure_is_not_recorded(self) -> None:
        put = await self.store.put(new_message(), Content(b"x"))
        lost = Report(new_message(), Content(b"report", failure=OSError("lost")))
        with self.assertRaises(OSError):
            await self.store.record([Done(put.recipients[0])], [lost])
        self.assertEqual(self.rows(), (1, 1, 1))
        self.assertEqual(len(await self.store.renew([put], self.now)), 1)

    # leases

    async def test_what_another_process_took_is_left_to_it(self) -> None:
        put = await self.store.put(new_message(), Content(b"x"))
        other = self.new_store()
        (theirs,) = await other.claim(self.later(LEASE_SECONDS), 10)
        report = Report(new_message(), Content(b"report"))
        late = put.recipients[0]
        self.assertEqual(await self.store.record([Done(late)]), ())
        self.assertEqual(await self.store.record([Retry(late, 0.0, GREYLISTED)]), ())
        self.assertEqual(await self.store.record([Done(late)], [report]), ())
        self.assertEqual(await self.store.renew([put], self.now), [])
        self.assertEqual(self.rows(), (1, 1, 1))
        self.assertEqual(await other.renew([theirs], self.now), [theirs])

    async def test_what_nobody_took_still_counts_after_the_lease(self) -> None:
        put = await self.store.put(new_message(), Content(b"x"))
        self.later(LEASE_SECONDS + 1)
        await self.store.record([Done(put.recipients[0])])
        self.assertEqual(self.rows(), (0, 0, 0))

    async def test_a_renewed_lease_lasts_longer_for_those_still_ours(self) -> None:
        put = await self.store.put(new_message("a@x.org", "b@x.org", "c@x.org"), Content(b"x"))
        other = self.new_store()
        await other.put(new_message(), Content(b"x"))
        (theirs,) = await other.claim(self.later(LEASE_SECONDS), 1)
        (kept,) = await self.store.renew([put], self.later(10))
        self.assertEqual(len(kept.recipients), 2)
        self.assertNotIn(theirs.recipients[0], kept.recipients)
        self.assertEqual(kept.message.recipients, tuple(r.rcpt for r in kept.recipients))
        self.assertEqual(kept.lease_until, self.now + LEASE_SECONDS)
        claims = await self.new_store().claim(self.later(LEASE_SECONDS - 1), 10)
        taken = [r for c in claims for r in c.recipients if r.message_id == put.message.id]
        self.assertEqual(taken, list(theirs.recipients))

    async def test_leases_of_the_dead_are_released(self) -> None:
        for owner in ("ours", "dead"):
            await self.new_store(owner).put(new_message(), Content(b"x"))
        successor = self.new_store("dead")
        self.assertEqual(await successor.release_own_leases(), 1)
        self.assertEqual(len(await successor.claim(self.now, 10)), 1)
        self.assertEqual(await self.store.release_all_leases(), 2)
        self.assertEqual(len(await self.store.claim(self.now, 10)), 2)

    # The end

    async def test_what_was_handed_over_is_done_before_it_stops(self) -> None:
        store = SqlQueueStore(self.engine, reactor)
        store.start()
        puts = [store.put(new_message(), Content(b"x")) for _ in range(50)]
        await store.stop()
        self.assertEqual(len(await gatherResults(puts)), 50)
        for late in (store.put(new_message(), Content(b"x")), store.chunk("x", 0)):
            with self.assertRaises(OSError) as caught:
                await late
            self.assertEqual(reply_for(caught.exception), LOCAL_ERROR)
        self.assertEqual(self.rows(), (50, 50, 50))

    async def test_a_batch_of_any_length_is_stored(self) -> None:
        names = [f"{n}@example.net" for n in range(1027)]
        put = await self.store.put(new_message(*names), Content(b"x"))
        await self.store.renew([put], self.now)
        outcomes = [Retry(r, self.now, GREYLISTED) for r in put.recipients]
        await self.store.record(outcomes)
        (claim,) = await self.store.claim(self.now, 2000)
        found = [str(rcpt.forward_path) for rcpt in claim.message.recipients]
        self.assertEqual(found, names)
        await self.store.record([Done(r) for r in claim.recipients])
        self.assertEqual(self.rows(), (0, 0, 0))


class SqliteStoreTests(StoreContract, TestCase):
    def url(self) -> str:
        folder = Path(self.mktemp())
        folder.mkdir()
        return f"sqlite:///{folder.absolute()}/postroom.db"

    def test_no_statement_scans_the_queue(self) -> None:
        """A scan costs nothing in a test and everything in a long queue."""
        from postroom.queue import statements

        keys = "('a', 1), ('b', 2)"
        ranked = "('a', 1, 0), ('b', 2, 5)"
        outcomes = "('a', 1, 2.0, 1, 'no', 0), ('b', 2, 2.0, 1, 'no', 1)"
        ids = "('a'), ('b')"
        with self.engine.connect() as connection:
            for text, rows in (
                (statements.FINISH, keys),
                (statements.RENEW, keys),
                (statements.TAKE, ranked),
                (statements.RETRY, outcomes),
                (statements.DELETE_MESSAGES, ids),
            ):
                text = text.replace("?", "0").replace("{rows}", rows)
                plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}")
                steps = [row.detail for row in plan]
                self.assertFalse({"SCAN recipient", "SCAN message"} & set(steps), steps)
                self.assertFalse([s for s in steps if "SCAN" in s and "INDEX" in s], steps)


class PostgresqlStoreTests(StoreContract, TestCase):
    def url(self) -> str:
        return new_postgresql_url()


class AddressTests(TestCase):
    def test_a_row_that_is_no_address_is_read_nevertheless(self) -> None:
        for octets, expected in (
            (b"", Mailbox(b"", b"")),
            (b"no-domain", Mailbox(b"no-domain", b"")),
            (b'"open@x', Mailbox(b'"open', b"x")),
            ("grüße@x".encode(), Mailbox("grüße".encode(), b"x")),
        ):
            self.assertEqual(read_mailbox(octets), expected)

    def test_an_address_is_read_as_it_was_written(self) -> None:
        for octets in (b"a", b"a@b", b'a"b', b"a\\b", b"a b", b'"', b"\\", b"a.", b"@"):
            address = Mailbox(octets, b"example.org")
            self.assertEqual(read_mailbox(bytes(address)), address)
        self.assertEqual(read_mailbox(b"a@b.c"), mailbox("a@b.c"))

    def test_no_limit_and_no_grammar_stands_between_an_address_and_its_row(self) -> None:
        local_parts = (
            b"",
            b".",
            b"a..b",
            b".a",
            b"x" * 250,
            b"..\xc3\xbc",
            b'"@"',
            b"\xff",
            b"a\r\nb",
        )
        domains = (b"foo_bar.example", b"-x-.example", b"d.example.", b"[IPv6:::1]", b"a..b", b"")
        for local, domain in product(local_parts, domains):
            address = Mailbox(local, domain)
            self.assertEqual(read_mailbox(bytes(address)), address)
        # As a version that knew no quotes might have written it.
        self.assertEqual(read_mailbox(b"a..b@x_y"), Mailbox(b"a..b", b"x_y"))
