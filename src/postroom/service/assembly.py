"""Puts the daemon together: servers and deliveries, queue and client meet here and nowhere else.

    listeners -> sessions -> portal -> deliveries -> committer (Maildirs)
                               |            |
                            checkers      queue -> store (database)
                               |            |
                            accounts      relay -> sender -> other servers

Nothing here starts a thread or opens a connection, so that `twistd` may fork afterwards.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocolFactory, IReactorCore
from twisted.python.threadpool import ThreadPool

from postroom.certificates.store import CertificateStore
from postroom.client.dns import IDNSReactor, Resolver
from postroom.client.model import Destination, Outgoing
from postroom.client.protocol import IClientReactor
from postroom.client.sender import Sender
from postroom.client.settings import ForeignExtension
from postroom.delivery.avatars import MailRealm
from postroom.delivery.committer import Committer
from postroom.delivery.local_agent import HandOver, LocalAgent
from postroom.delivery.quotas import Quotas
from postroom.delivery.routing import Router
from postroom.delivery.sender_permission import SenderPermission
from postroom.delivery.sending_limits import SendingLimits
from postroom.delivery.services import DeliveryServices
from postroom.delivery.settings import DeliverySettings
from postroom.delivery.spool import SpoolArea
from postroom.delivery.srs import Rewriting
from postroom.delivery.submission import SubmissionRules
from postroom.directory.sending_counts import SQLSendingCounts
from postroom.directory.sql_directory import IDirectoryReactor, SQLDirectory
from postroom.directory.srs_secrets import SRSSecrets
from postroom.envelope import NewMessage
from postroom.interfaces import IChunkSource, IContent, IDirectory, IExtension
from postroom.logins.database_source import SQLCredentialSource
from postroom.queue.files import files_of
from postroom.queue.queue import Queue
from postroom.queue.relay import Exits, Relay
from postroom.queue.store import SqlQueueStore
from postroom.server.connections import Connections
from postroom.server.factory import ImplicitTLSFactory, ServerFactory
from postroom.server.limits import Limits
from postroom.server.listener import Environment
from postroom.server.proxy import ProxyFactory
from postroom.service.extensions import add_extension, find_extensions
from postroom.service.listeners import Listener, make_endpoint
from postroom.service.logins import LoginServices, make_logins, make_portal
from postroom.service.logs import ILogReactor
from postroom.service.settings import Settings
from postroom.service.sources import Sources, make_sources
from postroom.service.space import FreeSpace, ISpaceReactor
from postroom.service.storage import Storage
from postroom.service.tls import listener_tls
from postroom.wire.replies import Reply

_LOOK_UP_THREADS = 4
_SPOOL_THREADS = 4


class IServiceReactor(
    IClientReactor, IDNSReactor, IDirectoryReactor, ILogReactor, ISpaceReactor, IReactorCore
):
    """What the daemon needs of a reactor."""


@dataclass(frozen=True, slots=True)
class DaemonParts:
    """The parts of a daemon that have to be started and stopped.

    Attributes:
        connections: all sessions.
        sources: accounts and domains, and who may log in.
        srs_secrets: what senders of forwarded mail are rewritten with.
        logins: what logins are checked with.
        store: the queue's.
        queue: where deliveries put what is to be sent.
        relay: sends what is queued.
        sender: the relay's way to other servers.
        committer: writes Maildirs.
        look_ups: threads that ask the database.
        spools: threads that write large content.
        space: watches the disk of the state directory.
        portal: where sessions get their deliveries.
        first_domain: see the function of that name; None if there is no domain.
    """

    connections: Connections
    sources: Sources
    srs_secrets: SRSSecrets
    logins: LoginServices
    store: SqlQueueStore
    queue: Queue
    relay: Relay
    sender: Sender
    committer: Committer
    look_ups: ThreadPool
    spools: ThreadPool
    space: FreeSpace
    portal: Portal
    first_domain: str | None


def next_hops(settings: Settings) -> Callable[[str], Destination]:
    """Make the relay's route: a domain's fixed next hop, or its MX records."""

    def route(domain: str) -> Destination:
        hop = settings.next_hop(domain)
        return Destination(domain) if hop is None else Destination("", hop)

    return route


def first_domain(domains: Sequence[str]) -> str | None:
    """Return the first local domain: ``localhost``, which every new database has, only if alone."""
    return next((each for each in domains if each != "localhost"), next(iter(domains), None))


def handing_over(sender: Sender, destination: Destination) -> HandOver:
    """Make what hands mail to the server that keeps the mailboxes."""

    async def hand_over(message: NewMessage, source: IChunkSource) -> Sequence[Reply]:
        sent = await sender.send(destination, Outgoing(message, source))
        return sent.replies

    return hand_over


def foreign_parameters(extensions: Sequence[IExtension]) -> Mapping[str, ForeignExtension]:
    """Return the extension that each parameter of a plugin belongs to, for the client."""
    return {
        parameter.keyword: ForeignExtension(extension.keyword(), extension.needed_at_next_hop)
        for extension in extensions
        for parameter in (*extension.mail_parameters(), *extension.rcpt_parameters())
    }


def make_rewriting(
    settings: Settings, delivery: DeliverySettings, secrets: SRSSecrets
) -> Rewriting | None:
    """Make what rewrites senders; None where they are not to be, or no domain is fit for it."""
    domain = settings.srs.domain or delivery.postmaster_domain
    if not settings.srs.enabled or domain in (None, "localhost"):
        return None
    return Rewriting(domain, secrets, time.time, settings.srs.rotation.lifetime_days)


def make_store(reactor: IServiceReactor, settings: Settings, storage: Storage) -> SqlQueueStore:
    """Make the queue's store."""
    # Twice the longest step: an attempt that lies further ahead was set before the clock went back.
    horizon = 2 * settings.retry.longest_step_seconds
    files = files_of(storage.engine) if storage.owns_database else None
    return SqlQueueStore(
        storage.engine, reactor, owner=storage.node, horizon_seconds=horizon, files=files
    )


def make_sender(reactor: IServiceReactor, settings: Settings) -> Sender:
    """Make the relay's way to other servers.

    Raises:
        UserError: the certificates that it is to trust cannot be read.
    """
    client = replace(settings.sending(), extensions=foreign_parameters(find_extensions()))
    return Sender(reactor, Resolver(reactor, settings.dns), client)


@dataclass(frozen=True, slots=True)
class LocalDelivery:
    """What sessions and the queue both deliver with.

    Attributes:
        settings: of deliveries.
        router: finds where mail goes.
        committer: writes Maildirs.
        area: where content waits.
    """

    settings: DeliverySettings
    router: Router
    committer: Committer
    area: SpoolArea


def make_account_sources(
    reactor: IServiceReactor, settings: Settings, storage: Storage, look_ups: ThreadPool
) -> Sources:
    """Make what knows the accounts and domains, and who may log in.

    Raises:
        UserError: a source of accounts is set up wrongly.
    """
    return make_sources(
        reactor,
        settings,
        next(iter(storage.domains), None),
        SQLDirectory(storage.engine, settings.mail_root(), reactor, look_ups),
        SQLCredentialSource(storage.engine, reactor, look_ups, settings.auth.forms),
    )


def make_local_delivery(
    reactor: IServiceReactor,
    settings: Settings,
    storage: Storage,
    directory: IDirectory,
    srs_secrets: SRSSecrets,
    spools: ThreadPool,
) -> LocalDelivery:
    """Make what sessions and the queue both deliver with."""
    delivery = settings.deliveries(next(iter(settings.domains or storage.domains), None))
    router = Router(directory, delivery, make_rewriting(settings, delivery, srs_secrets))
    area = SpoolArea(reactor, spools, delivery)
    return LocalDelivery(delivery, router, Committer(reactor, delivery), area)


def make_queue(
    reactor: IServiceReactor,
    settings: Settings,
    store: SqlQueueStore,
    sender: Sender,
    directory: IDirectory,
    local: LocalDelivery,
) -> tuple[Relay, Queue]:
    """Make the relay and the queue before it."""

    def enqueue(message: NewMessage, content: IContent) -> Deferred[None]:
        # The queue needs the relay, the relay the agent, and the agent the queue.
        return queue.enqueue(message, content)

    server = settings.lmtp
    agent = LocalAgent(
        *(local.settings, local.router, local.committer, local.area, enqueue),
        hand_over=None if server is None else handing_over(sender, Destination("", server)),
    )
    exits = Exits(sender, next_hops(settings), directory, agent)
    relay = Relay(store, exits, reactor, settings.relaying())
    queue = Queue(store, relay)
    return relay, queue


def make_realm(
    reactor: IServiceReactor,
    settings: Settings,
    storage: Storage,
    directory: IDirectory,
    local: LocalDelivery,
    queue: Queue,
    look_ups: ThreadPool,
) -> IRealm:
    """Make what gives each session its delivery."""
    counts = SQLSendingCounts(storage.engine, reactor, look_ups, time.time)
    services = DeliveryServices(
        *(local.settings, local.router, local.committer, local.area, queue),
        quotas=Quotas(reactor, look_ups, local.settings),
        now=time.time,
        sending=SendingLimits(directory, counts),
    )
    permission = SenderPermission(directory, local.router, local.settings)
    return MailRealm(services, SubmissionRules(settings.submission, permission))


def assemble(
    reactor: IServiceReactor,
    settings: Settings,
    storage: Storage,
    limits: Limits,
    checkers: Sequence[ICredentialsChecker],
    site_realm: IRealm | None = None,
) -> DaemonParts:
    """Make the parts of a daemon and connect them.

    Args:
        reactor: everybody's.
        settings: everybody's.
        storage: opened.
        limits: the server's, cut to what the process may have.
        checkers: further sources of logins.
        site_realm: gives sessions their deliveries in place of ours; None for ours.

    Raises:
        UserError: the certificates that the client is to trust cannot be read, or a source of
            accounts is set up wrongly.
    """
    look_ups = ThreadPool(0, _LOOK_UP_THREADS, "look-ups")
    spools = ThreadPool(0, _SPOOL_THREADS, "spools")
    sources = make_account_sources(reactor, settings, storage, look_ups)
    directory = sources.directory
    logins = make_logins(reactor, settings, storage, look_ups, sources.credentials)
    rotation, first = settings.srs.rotation, storage.srs_secrets
    secrets = SRSSecrets(storage.engine, rotation, first, reactor, look_ups, time.time)
    local = make_local_delivery(reactor, settings, storage, directory, secrets, spools)
    store = make_store(reactor, settings, storage)
    sender = make_sender(reactor, settings)
    relay, queue = make_queue(reactor, settings, store, sender, directory, local)
    realm = site_realm or make_realm(
        *(reactor, settings, storage, directory, local, queue, look_ups)
    )
    return DaemonParts(
        connections=Connections(reactor, limits.connections, limits.stress_timeout_seconds),
        sources=sources,
        srs_secrets=secrets,
        logins=logins,
        store=store,
        queue=queue,
        relay=relay,
        sender=sender,
        committer=local.committer,
        look_ups=look_ups,
        spools=spools,
        space=FreeSpace(reactor, spools, storage.state.path, limits.message_octets * 3 // 2),
        portal=make_portal(realm, [*logins.checkers, *checkers]),
        first_domain=first_domain(settings.domains or storage.domains),
    )


def make_listeners(
    reactor: IServiceReactor,
    settings: Settings,
    parts: DaemonParts,
    limits: Limits,
    certificates: CertificateStore,
) -> list[Listener]:
    """Make the listeners; none is bound yet.

    Raises:
        UserError: an endpoint string means nothing, OpenSSL will not have a certificate, or there
            is no such SASL mechanism.
    """
    made = []
    extensions = find_extensions()
    for listen in settings.listen:
        tls = listener_tls(certificates, listen, settings.tls)
        policy = settings.listener(listen.role, limits, parts.first_domain)
        sessions = ServerFactory(
            *(reactor, parts.portal, policy, parts.connections, tls, parts.logins.parts),
            environment=Environment(parts.space.has_room, parts.queue),
        )
        for extension in extensions:
            add_extension(sessions.listener, extension)
        endpoint, speaks_tls = make_endpoint(reactor, listen)
        factory: IProtocolFactory = sessions
        if speaks_tls:
            factory = ImplicitTLSFactory(tls, sessions, reactor)
        if listen.proxy:  # its header comes before all else
            factory = ProxyFactory(factory, reactor, tuple(settings.proxy_networks))
        made.append(Listener(listen, endpoint, factory))
    return made
