"""Claims about quotas: what is refused at RCPT, what at the commit, and what is written down."""

import errno
import os
import time
from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred

from postroom.delivery.batch import BatchStore, MaildirFile, MaildirWrite
from postroom.delivery.maildir import message_key
from postroom.delivery.quotas import FRESH_SECONDS, FULL, FULL_FOR_NOW, OverQuota, Quotas
from postroom.delivery.transaction import DeliveryRoom, SessionDelivery
from postroom.envelope import AccountLimits
from postroom.maildirs import usage
from postroom.maildirs.usage import STALE_SECONDS, Quota
from postroom.wire.commands import Rcpt
from postroom.wire.replies import Reply
from tests.delivery.support import FACTS, MESSAGE, Threads, box, envelope, settings
from tests.delivery.test_batch import BatchCase
from tests.delivery.test_local_agent import AgentCase
from tests.delivery.test_transaction import MessageCase, SessionCase
from tests.filesystem import fail_calls

ROOM_FOR_ONE = AccountLimits(quota_messages=1)


def limited(room: DeliveryRoom, name: str, limits: AccountLimits) -> str:
    """Give an account of the directory limits; gives its Maildir."""
    entries = room.router._directory.entries  # type: ignore[attr-defined]
    account = entries[f"{name}@here.example"]
    entries[account.address] = replace(account, limits=limits)
    return str(account.maildir)


def fill(maildir: str, *sizes: int) -> None:
    """Put messages of some sizes into a Maildir."""
    for part in ("tmp", "new", "cur"):
        os.makedirs(f"{maildir}/{part}", exist_ok=True)
    for number, size in enumerate(sizes):
        open(f"{maildir}/cur/{number}.x,S={size}:2,S", "w").close()


def record(maildir: str) -> str:
    with open(f"{maildir}/maildirsize") as file:
        return file.read()


class AtRecipient(SessionCase):
    def ask(self, address: str, size: int = 0) -> object:
        delivery = SessionDelivery(self.room, FACTS, None)
        made = envelope(**({"SIZE": str(size)} if size else {}))
        return delivery.validate_recipient(made, Rcpt(box(address)))

    def answer(self, address: str, size: int = 0) -> object:
        return self.successResultOf(maybeDeferred(self.ask, address, size))

    def test_a_full_mailbox_is_refused_for_now(self) -> None:
        maildir = limited(self.room, "joe", ROOM_FOR_ONE)
        self.assertNotIsInstance(self.answer("joe@here.example"), Reply)
        fill(maildir, 5)
        self.later(FRESH_SECONDS + 1)
        self.assertEqual(self.answer("joe@here.example"), FULL_FOR_NOW)
        self.assertEqual(self.answer("joe+tag@here.example"), FULL_FOR_NOW)

    def later(self, seconds: float) -> None:
        now = self.room.quotas._now()
        self.room.quotas._now = lambda: now + seconds  # type: ignore[method-assign]

    def test_or_for_good_by_the_setting(self) -> None:
        fill(limited(self.room, "joe", ROOM_FOR_ONE), 5)
        room = replace(
            self.room,
            quotas=Quotas(*[Threads(at_once=True)] * 2, settings(over_quota="permanent")),  # type: ignore[arg-type]
        )
        self.room = room
        self.assertEqual(self.answer("joe@here.example"), FULL)

    def test_an_announced_size_that_does_not_fit_is_refused(self) -> None:
        fill(limited(self.room, "joe", AccountLimits(quota_octets=1000)), 600)
        self.assertEqual(self.answer("joe@here.example", 401), FULL_FOR_NOW)
        self.assertNotIsInstance(self.answer("joe@here.example", 400), Reply)
        self.assertNotIsInstance(self.answer("joe@here.example"), Reply)

    def test_a_group_is_refused_only_when_all_are_full(self) -> None:
        fill(limited(self.room, "joe", ROOM_FOR_ONE), 5)
        self.assertNotIsInstance(self.answer("both@here.example"), Reply)
        fill(limited(self.room, "ann", ROOM_FOR_ONE), 5)
        self.room.router._directory.number += 1  # type: ignore[attr-defined]
        self.assertEqual(self.answer("both@here.example"), FULL_FOR_NOW)

    def test_what_also_goes_elsewhere_is_not_refused(self) -> None:
        fill(limited(self.room, "joe", ROOM_FOR_ONE), 5)
        self.assertNotIsInstance(self.answer("away@here.example"), Reply)

    def test_the_answer_is_remembered_and_no_thread_asked_again(self) -> None:
        limited(self.room, "joe", ROOM_FOR_ONE)
        threads: Any = self.room.quotas._pool
        before = threads.hops
        self.answer("joe@here.example")
        self.assertEqual(threads.hops, before + 1)
        self.assertNotIsInstance(self.ask("joe@here.example"), Deferred)
        self.assertEqual(threads.hops, before + 1)
        self.later(FRESH_SECONDS + 1)
        self.answer("joe@here.example")
        self.assertEqual(threads.hops, before + 2)

    def test_without_a_quota_nobody_looks(self) -> None:
        threads: Any = self.room.quotas._pool
        self.assertNotIsInstance(self.ask("joe@here.example"), Deferred | Reply)
        self.assertEqual(threads.hops, 0)

    def test_a_disk_that_fails_refuses_nobody(self) -> None:
        maildir = limited(self.room, "joe", ROOM_FOR_ONE)
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
        size = self.limited("Q1").size_octets
        self.assertEqual(self.stored(self.limited("Q1"), self.limited("Q2")), [None, None])
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

    def reply(self, text: str, age: float = 0) -> Reply:
        """What a message hears by a record that says full."""
        fill(self.path())
        with open(f"{self.path()}/maildirsize", "w") as file:
            file.write(text)
        then = time.time() - age
        os.utime(f"{self.path()}/maildirsize", (then, then))
        store = BatchStore("mx.example", 8, FULL)
        self.addCleanup(store.close)
        made = MaildirFile(self.limited("Q1"))
        store.store([made])
        assert isinstance(made.outcome, OverQuota)
        return made.outcome.reply

    def test_the_refusal_is_final_only_if_the_record_is_certain(self) -> None:
        self.assertEqual(self.reply("100000S,3C\n5 3\n"), FULL)
        self.assertEqual(self.reply("100000S,3C\n5 2\n5 1\n"), FULL_FOR_NOW)
        self.assertEqual(self.reply("100000S,3C\n5 3\n", STALE_SECONDS + 60), FULL_FOR_NOW)

    def test_without_a_record_that_can_be_used_the_message_is_taken(self) -> None:
        fill(self.path())
        self.assertEqual(self.stored(self.limited("Q1")), [None])
        with open(f"{self.path()}/maildirsize", "w") as file:
            file.write("7C\n7 7\n")
        self.assertEqual(self.stored(self.limited("Q2")), [None])

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
            maildir = limited(self.room, name, ROOM_FOR_ONE)
            fill(maildir, 5)
            with usage.opened(maildir) as root:
                usage.recount(root, Quota(messages=1))

    async def test_the_peer_is_told_when_all_are_full(self) -> None:
        self.full("joe", "ann")
        with self.assertRaises(OverQuota) as raised:
            await self.send("joe@here.example", "ann@here.example")
        self.assertEqual(raised.exception.reply, FULL_FOR_NOW)
        self.assertEqual((self.queue.messages, self.new("joe"), self.new("ann")), ([], [], []))

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
        fill(limited(self.room, "joe", ROOM_FOR_ONE), 5)
        self.assertEqual(await self.deliver("joe@here.example"), FULL_FOR_NOW)
        self.assertEqual(self.new("joe"), [])

    async def test_a_record_that_went_wrong_is_counted_anew_first(self) -> None:
        maildir = limited(self.room, "joe", ROOM_FOR_ONE)
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
