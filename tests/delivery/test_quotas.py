"""Claims about quotas: what is refused at RCPT, what at the commit, and what is written down."""

import errno
import os
import threading
import time
from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred, maybeDeferred

from postroom.delivery.batch import BatchStore, MaildirFile, MaildirWrite
from postroom.delivery.maildir import message_key
from postroom.delivery.quotas import FRESH_SECONDS, FULL, FULL_FOR_NOW, OverQuota, Quotas
from postroom.delivery.services import DeliveryServices
from postroom.delivery.session_delivery import SessionDelivery
from postroom.envelope import AccountLimits
from postroom.maildirs import usage
from postroom.maildirs.usage import STALE_SECONDS, Quota
from postroom.wire.commands import Rcpt
from postroom.wire.replies import Reply
from tests.delivery.support import FACTS, MESSAGE, Threads, as_lf, box, envelope, settings
from tests.delivery.test_batch import HEAD, BatchCase
from tests.delivery.test_local_agent import AgentCase
from tests.delivery.test_transaction import MessageCase, SessionCase
from tests.filesystem import fail_calls

ROOM_FOR_ONE = AccountLimits(quota_messages=1)


def limited(services: DeliveryServices, name: str, limits: AccountLimits) -> str:
    """Set the limits of an account of the directory; return its Maildir."""
    entries = services.router._directory.entries  # type: ignore[attr-defined]
    account = entries[f"{name}@here.example"]
    entries[account.address] = replace(account, limits=limits)
    return str(account.maildir)


def fill(maildir: str, *sizes: int) -> None:
    """Store messages of some sizes in a Maildir."""
    for part in ("tmp", "new", "cur"):
        os.makedirs(f"{maildir}/{part}", exist_ok=True)
    for number, size in enumerate(sizes):
        open(f"{maildir}/cur/{number}.x,S={size}:2,S", "w").close()


def record(maildir: str) -> str:
    with open(f"{maildir}/maildirsize") as file:
        return file.read()


class AtRecipient(SessionCase):
    def ask(self, address: str, size: int = 0) -> object:
        delivery = SessionDelivery(self.services, FACTS, None)
        made = envelope(**({"SIZE": str(size)} if size else {}))
        return delivery.validate_recipient(made, Rcpt(box(address)))

    def answer(self, address: str, size: int = 0) -> object:
        return self.successResultOf(maybeDeferred(self.ask, address, size))

    def test_a_full_mailbox_is_refused_for_now(self) -> None:
        maildir = limited(self.services, "joe", ROOM_FOR_ONE)
        self.assertNotIsInstance(self.answer("joe@here.example"), Reply)
        fill(maildir, 5)
        self.later(FRESH_SECONDS + 1)
        self.assertEqual(self.answer("joe@here.example"), FULL_FOR_NOW)
        self.assertEqual(self.answer("joe+tag@here.example"), FULL_FOR_NOW)

    def later(self, seconds: float) -> None:
        now = self.services.quotas._now()
        self.services.quotas._now = lambda: now + seconds  # type: ignore[method-assign]

    def test_or_for_good_by_the_setting(self) -> None:
        fill(limited(self.services, "joe", ROOM_FOR_ONE), 5)
        services = replace(
            self.services,
            quotas=Quotas(*[Threads(at_once=True)] * 2, settings(over_quota="permanent")),  # type: ignore[arg-type]
        )
        self.services = services
        self.assertEqual(self.answer("joe@here.example"), FULL)

    def test_an_announced_size_that_does_not_fit_is_refused(self) -> None:
        fill(limited(self.services, "joe", AccountLimits(quota_octets=1000)), 600)
        self.assertEqual(self.answer("joe@here.example", 401), FULL_FOR_NOW)
        self.assertNotIsInstance(self.answer("joe@here.example", 400), Reply)
        self.assertNotIsInstance(self.answer("joe@here.example"), Reply)

    def test_a_group_is_refused_only_when_all_are_full(self) -> None:
        fill(limited(self.services, "joe", ROOM_FOR_ONE), 5)
        self.assertNotIsInstance(self.answer("both@here.example"), Reply)
        fill(limited(self.services, "ann", ROOM_FOR_ONE), 5)
        self.services.router._directory.number += 1  # type: ignore[attr-defined]
        self.assertEqual(self.answer("both@here.example"), FULL_FOR_NOW)

    def test_what_also_goes_elsewhere_is_not_refused(self) -> None:
        fill(limited(self.services, "joe", ROOM_FOR_ONE), 5)
        self.assertNotIsInstance(self.answer("away@here.example"), Reply)

    def test_the_answer_is_remembered_and_no_thread_asked_again(self) -> None:
        limited(self.services, "joe", ROOM_FOR_ONE)
        threads: Any = self.services.quotas._pool
        before = threads.hops
        self.answer("joe@here.example")
        self.assertEqual(threads.hops, before + 1)
        self.assertNotIsInstance(self.ask("joe@here.example"), Deferred)
        self.assertEqual(threads.hops, before + 1)
        self.later(FRESH_SECONDS + 1)
        self.answer("joe@here.example")
        self.assertEqual(threads.hops, before + 2)

    def test_without_a_quota_nobody_looks(self) -> None:
        threads: Any = self.services.quotas._pool
        self.assertNotIsInstance(self.ask("joe@here.example"), Deferred | Reply)
        self.assertEqual(threads.hops, 0)

    def test_a_disk_that_fails_refuses_nobody(self) -> None:
        maildir = limited(self.services, "joe", ROOM_FOR_ONE)
        open(maildir, "w").close()
        self.assertNotIsInstance(self.answer("joe@here.example"), Reply)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)


class AtCommit(BatchCase):
    QUOTA = Quota(octets=100_000, messages=3)

    def limited(self, queue_id: str, quota: Quota | None = QUOTA) -> MaildirWrite:
        return self.write(queue_id=queue_id, quota=quota)

    def test_a_batch_appends_one_line(self) -> None:
        fill(self.path())
        with usage.opened(self.path()) as root:
            usage.recount(root, self.QUOTA)
        self.assertEqual(self.stored(self.limited("Q1"), self.limited("Q2")), [None, None])
        size = len(self.new()[0])  # of the file, not of the message as it came
        self.assertEqual(record(self.path()), f"100000S,3C\n0 0\n{2 * size} 2\n")

    def test_what_a_batch_holds_counts_within_it(self) -> None:
        fill(self.path(), 10)
        with usage.opened(self.path()) as root:
            usage.recount(root, self.QUOTA)
        outcomes = self.stored(*(self.limited(f"Q{n}") for n in range(4)))
        self.assertEqual(outcomes[:2], [None, None])
        for outcome in outcomes[2:]:
            self.assertIsInstance(outcome, OverQuota)
        self.assertEqual(len(self.new()), 2)
        self.assertEqual(self.tmp(), [])

    def test_a_quota_of_one_does_not_touch_the_others_of_the_batch(self) -> None:
        full = self.write("full", quota=Quota(messages=1), queue_id="Q1")
        fill(self.path("full"), 5)
        with usage.opened(self.path("full")) as root:
            usage.recount(root, Quota(messages=1))
        outcomes = self.stored(full, self.write("free", queue_id="Q2"))
        self.assertIsInstance(outcomes[0], OverQuota)
        self.assertIsNone(outcomes[1])
        self.assertFalse(os.path.exists(f"{self.path('free')}/maildirsize"))

    def reply(self, text: str, *sizes: int, age: float = 0) -> Reply | None:
        """What a message hears in a Maildir with a record, and messages of some sizes."""
        fill(self.path(), *sizes)
        with open(f"{self.path()}/maildirsize", "w") as file:
            file.write(text)
        then = time.time() - age
        os.utime(f"{self.path()}/maildirsize", (then, then))
        store = BatchStore(settings(over_quota="permanent"))
        self.addCleanup(store.close)
        made = MaildirFile(self.limited("Q1"))
        store.store([made])
        if made.outcome is None:
            os.unlink(f"{self.path()}/new/{made.new_name}")
            return None
        assert isinstance(made.outcome, OverQuota)
        return made.outcome.reply

    def test_a_record_that_is_certain_is_believed(self) -> None:
        self.assertEqual(self.reply("100000S,3C\n5 3\n"), FULL)
        self.assertIsNone(self.reply("100000S,3C\n5 2\n", *[5] * 9))

    def test_nobody_is_refused_by_one_that_is_not(self) -> None:
        for text, age in (
            ("100000S,3C\n5 2\n5 1\n", 0),
            ("100000S,3C\n5 3\n", STALE_SECONDS + 60),
            ("100000S,2C\n5 3\n", 0),
            ("nonsense", 0),
        ):
            self.assertIsNone(self.reply(text, 5, 5, age=age), text)
            self.assertEqual(self.reply(text, 5, 5, 5, age=age), FULL, text)
            os.unlink(f"{self.path()}/cur/2.x,S=5:2,S")

    def test_nor_in_the_middle_of_a_batch(self) -> None:
        fill(self.path())
        with open(f"{self.path()}/maildirsize", "w") as file:
            file.write("100000S,3C\n5 1\n5 1\n")  # there is nothing by now
        outcomes = self.stored(*(self.limited(f"Q{n}") for n in range(4)))
        self.assertEqual(outcomes[:3], [None] * 3)
        self.assertIsInstance(outcomes[3], OverQuota)

    def test_a_maildir_without_a_record_is_counted_and_gets_one(self) -> None:
        outcomes = self.stored(*(self.limited(f"Q{n}") for n in range(5)))
        self.assertEqual(outcomes[:3], [None] * 3)
        self.assertEqual([type(each) for each in outcomes[3:]], [OverQuota] * 2)
        size = len(self.new()[0])
        self.assertEqual(record(self.path()), f"100000S,3C\n0 0\n{3 * size} 3\n")
        self.assertIsInstance(self.stored(self.limited("Q9"))[0], OverQuota)
        self.assertEqual((len(self.new()), self.tmp()), (3, []))

    def test_octets_count_as_the_file_has_them_up_to_the_last_one(self) -> None:
        size = len(as_lf(HEAD + MESSAGE))
        for octets, taken in ((size - 1, 0), (size, 1), (2 * size - 1, 1), (2 * size, 2)):
            name = f"u{octets}"
            writes = [
                self.write(name, queue_id=f"Q{n}", quota=Quota(octets=octets)) for n in range(3)
            ]
            outcomes = self.stored(*writes)
            self.assertEqual(outcomes.count(None), taken)
            self.assertEqual(len(self.new(name)), taken)

    def test_two_paths_to_one_maildir_fill_it_together(self) -> None:
        fill(self.path())
        os.symlink(self.path(), self.path("link"))
        writes = [
            self.write(name, queue_id=f"Q{n}", quota=self.QUOTA)
            for n in range(3)
            for name in ("u", "link")
        ]
        self.assertEqual(self.stored(*writes).count(None), 3)
        self.assertEqual(len(self.new()), 3)
        self.assertEqual(record(self.path()).splitlines()[-1].split()[1], "3")

    def test_a_message_by_two_ways_needs_room_once(self) -> None:
        quota = Quota(messages=1)
        tagged = self.write(queue_id="Q1", quota=quota, folder=".none")
        self.assertEqual(self.stored(self.limited("Q1", quota), tagged), [None, None])
        self.assertIsInstance(self.stored(self.limited("Q2", quota))[0], OverQuota)

    def test_whoever_counts_meanwhile_waits_and_no_message_is_forgotten(self) -> None:
        fill(self.path())
        counted: list[usage.Usage] = []

        def count() -> None:
            with usage.opened(self.path()) as root:
                counted.append(usage.recount(root, self.QUOTA))

        counting = threading.Thread(target=count)
        true = os.rename

        def rename(*args: Any, **kwargs: Any) -> None:
            true(*args, **kwargs)
            if not counting.is_alive() and not counted:
                counting.start()
                counting.join(0.2)  # it would be done by now, had it not to wait

        self.patch(os, "rename", rename)
        self.stored(self.limited("Q1"))
        counting.join()
        self.assertEqual(counted[0].messages, 1)
        with usage.opened(self.path()) as root:
            found = usage.read(root)
        assert found is not None
        self.assertEqual(found.usage, counted[0])

    def test_what_fails_does_not_count(self) -> None:
        self.stored(self.write(queue_id="Q0"))
        with usage.opened(self.path()) as root:
            usage.recount(root, self.QUOTA)
        fail_calls(self, "rename", errno.EIO)
        self.assertIsInstance(self.stored(self.limited("Q1"))[0], OSError)
        self.assertEqual(record(self.path()).count("\n"), 2)

    def test_what_is_taken_back_is_subtracted(self) -> None:
        fill(self.path())
        with usage.opened(self.path()) as root:
            usage.recount(root, self.QUOTA)
        self.stored(self.limited("Q1"))
        for _ in range(2):  # the second time there is nothing to take back
            self.store.remove([MaildirFile(self.limited("Q1"))])
        with usage.opened(self.path()) as root:
            found = usage.read(root)
        assert found is not None
        self.assertEqual((found.usage.messages, found.changes), (0, 3))

    def test_a_message_for_one_inbox_by_two_ways_counts_once(self) -> None:
        fill(self.path())
        with usage.opened(self.path()) as root:
            usage.recount(root, self.QUOTA)
        tagged = self.write(queue_id="Q1", quota=self.QUOTA, folder=".none")
        self.assertEqual(self.stored(self.limited("Q1"), tagged), [None, None])
        self.assertEqual(len(self.new()), 1)
        self.assertEqual(record(self.path()).splitlines()[-1].split()[1], "1")


class InSession(MessageCase):
    def full(self, *names: str) -> None:
        for name in names:
            maildir = limited(self.services, name, ROOM_FOR_ONE)
            fill(maildir, 5)
            with usage.opened(maildir) as root:
                usage.recount(root, Quota(messages=1))

    async def test_the_peer_is_told_when_all_are_full(self) -> None:
        self.full("joe", "ann")
        with self.assertRaises(OverQuota) as raised:
            await self.send("joe@here.example", "ann@here.example")
        self.assertEqual(raised.exception.reply, FULL_FOR_NOW)
        self.assertEqual((self.queue.messages, self.new("joe"), self.new("ann")), ([], [], []))

    async def test_a_fresh_account_takes_what_it_may_hold_however_many_come_at_once(self) -> None:
        limits = AccountLimits(quota_octets=10_240, quota_messages=2)
        for name in ("joe", "ann"):
            limited(self.services, name, limits)
        told: list[int] = []
        for address in ("joe@here.example", "both@here.example", "away@here.example"):
            sending = [
                ensureDeferred(self.send_as(f"{address[0]}{number}", address))
                for number in range(70)
            ]
            told += [answer for done in sending for answer in await done]
        self.assertEqual((len(self.new("joe")), len(self.new("ann"))), (2, 2))
        # Joe's own, but for two, and all that the group has no member with room for.
        self.assertEqual(told[:70].count(452), 68)
        self.assertEqual(told[70:140].count(452), 68)
        self.assertEqual(told[140:], [250] * 70)  # what is also sent away waits for Joe
        sizes = sum(map(len, self.new("joe")))
        path = f"{self.root}/joe"  # type: ignore[attr-defined]
        with usage.opened(path) as root:
            found = usage.read(root)
            assert found is not None
            self.assertEqual((found.usage.octets, found.usage.messages), (sizes, 2))

    async def send_as(self, queue_id: str, address: str) -> list[int]:
        made = self.envelope(address)
        made.id = queue_id
        transaction = self.begin(made)
        transaction.write(MESSAGE)
        try:
            return [answer.code for answer in await maybeDeferred(transaction.commit)]
        except OverQuota as refusal:
            return [refusal.reply.code]

    async def test_one_message_that_is_larger_than_the_quota_is_refused(self) -> None:
        limited(self.services, "joe", AccountLimits(quota_octets=5000))
        with self.assertRaises(OverQuota):
            await self.send("joe@here.example", octets=MESSAGE + b"x" * 5000)
        self.assertEqual((self.new("joe"), self.queue.messages), ([], []))
        await self.send("joe@here.example")
        self.assertEqual(len(self.new("joe")), 1)

    async def test_beside_others_the_copy_for_who_is_full_waits_in_the_queue(self) -> None:
        self.full("joe")
        answers = await self.send("joe@here.example", "ann@here.example")
        self.assertEqual([answer.code for answer in answers], [250, 250])
        self.assertEqual(len(self.new("ann")), 1)
        ((message, _),) = self.queue.messages
        self.assertEqual(
            [each.forward_path for each in message.recipients], [box("joe@here.example")]
        )

    async def test_with_an_answer_for_each_who_is_full_hears_it_and_nothing_waits(self) -> None:
        self.full("joe")
        for wish in ({"session": replace(FACTS, role="lmtp")}, {"PRDR": None}):
            answers = await self.send("joe@here.example", "ann@here.example", **wish)
            self.assertEqual([answer.code for answer in answers], [452, 250], wish)
            self.assertEqual(answers[0], FULL_FOR_NOW)
        self.assertEqual((self.queue.messages, len(self.new("ann"))), ([], 2))

    async def test_what_another_recipient_was_promised_waits(self) -> None:
        self.full("joe")
        session = replace(FACTS, role="lmtp")
        answers = await self.send("joe@here.example", "both@here.example", session=session)
        self.assertEqual([answer.code for answer in answers], [452, 250])
        ((message, _),) = self.queue.messages
        self.assertEqual(
            [each.forward_path for each in message.recipients], [box("joe@here.example")]
        )


class FromTheQueue(AgentCase):
    async def test_a_full_mailbox_is_tried_again_and_nothing_is_logged_as_a_fault(self) -> None:
        fill(limited(self.services, "joe", ROOM_FOR_ONE), 5)
        self.assertEqual(await self.deliver("joe@here.example"), FULL_FOR_NOW)
        self.assertEqual(self.new("joe"), [])

    async def test_a_record_that_went_wrong_is_counted_anew_first(self) -> None:
        maildir = limited(self.services, "joe", ROOM_FOR_ONE)
        fill(maildir)
        with open(f"{maildir}/maildirsize", "w") as file:
            file.write("1C\n5 1\n5 1\n")
        answer = await self.deliver("joe@here.example")
        assert answer is not None
        self.assertEqual(answer.code, 250)
        self.assertEqual(record(maildir).splitlines()[-1].split()[1], "1")


class Folders(BatchCase):
    def folder(self, name: str = ".lists") -> None:
        for part in ("tmp", "new", "cur"):
            os.makedirs(f"{self.path()}/{name}/{part}")

    def tagged(self, queue_id: str = "Q1", **more: Any) -> MaildirWrite:
        return self.write(queue_id=queue_id, folder=".lists", **more)

    def test_a_tag_s_mail_goes_into_the_folder_that_is_there(self) -> None:
        self.folder()
        self.assertEqual(self.stored(self.tagged()), [None])
        self.assertEqual(len(os.listdir(f"{self.path()}/.lists/new")), 1)
        self.assertFalse(os.path.exists(f"{self.path()}/new"))

    def test_or_else_into_the_inbox_and_no_folder_is_made(self) -> None:
        self.assertEqual(self.stored(self.tagged()), [None])
        self.assertEqual(len(self.new()), 1)
        self.assertFalse(os.path.exists(f"{self.path()}/.lists"))

    def test_a_folder_that_is_made_later_is_found(self) -> None:
        self.stored(self.tagged("Q1"))
        self.folder()
        self.stored(self.tagged("Q2"))
        self.assertEqual(len(os.listdir(f"{self.path()}/.lists/new")), 1)

    def test_no_link_leads_out_of_the_maildir(self) -> None:
        outside = self.mktemp()
        os.makedirs(f"{outside}/new")
        fill(self.path())
        os.symlink(os.path.abspath(outside), f"{self.path()}/.lists")
        self.assertEqual(self.stored(self.tagged()), [None])
        self.assertEqual(os.listdir(f"{outside}/new"), [])
        self.assertEqual(len(self.new()), 1)

    def test_a_repetition_is_found_in_either_place(self) -> None:
        self.stored(self.tagged())
        self.folder()
        self.assertEqual(self.stored(self.tagged(repeated=True)), [None])
        self.assertEqual(os.listdir(f"{self.path()}/.lists/new"), [])
        self.stored(self.tagged("Q2"))
        os.rename(
            f"{self.path()}/.lists/new/{os.listdir(f'{self.path()}/.lists/new')[0]}",
            f"{self.path()}/.lists/cur/{message_key(1_763_812_987, 'Q2', 'u@here.example')}h:2,S",
        )
        self.assertEqual(self.stored(self.tagged("Q2", repeated=True)), [None])
        self.assertEqual((len(self.new()), os.listdir(f"{self.path()}/.lists/new")), (1, []))

    def test_a_folder_that_is_deleted_meanwhile_takes_no_promise_with_it(self) -> None:
        self.folder()
        self.stored(self.tagged("Q1"))
        true = os.fsync

        def fsync(descriptor: int) -> None:
            true(descriptor)
            path = os.readlink(f"/proc/self/fd/{descriptor}")
            if path.endswith(".lists/new"):
                os.rename(f"{self.path()}/.lists", f"{self.path()}/..deleted")

        patched = self.patch(os, "fsync", fsync)
        self.assertIsInstance(self.stored(self.tagged("Q2"))[0], OSError)
        patched.restore()
        self.assertEqual(self.stored(self.tagged("Q2")), [None])
        self.assertEqual(len(self.new()), 1)

    def test_the_quota_counts_for_the_whole_maildir(self) -> None:
        self.folder()
        quota = Quota(messages=2)
        with usage.opened(self.path()) as root:
            usage.recount(root, quota)
        self.stored(self.tagged(quota=quota))
        self.assertEqual(record(self.path()).splitlines()[-1].split()[1], "1")
        self.assertFalse(os.path.exists(f"{self.path()}/.lists/maildirsize"))


class FolderOfTheAddress(MessageCase):
    async def test_mail_for_a_sub_address_goes_into_its_folder(self) -> None:
        maildir = f"{self.root}/joe"  # type: ignore[attr-defined]
        fill(f"{maildir}/.lists")
        await self.send("joe+lists@here.example", octets=MESSAGE)
        self.assertEqual(len(os.listdir(f"{maildir}/.lists/new")), 1)
        await self.send("joe+other@here.example", octets=MESSAGE)
        self.assertEqual(len(self.new("joe")), 1)

    async def test_a_copy_that_waits_in_the_queue_waits_for_the_same_folder(self) -> None:
        fail_calls(self, "fsync", errno.EIO)
        await self.send("Joe+Lists@here.example", octets=MESSAGE)
        ((message, _),) = self.queue.messages
        self.assertEqual(message.recipients[0].forward_path, box("joe+Lists@here.example"))
