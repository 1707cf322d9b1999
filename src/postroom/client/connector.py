"""Making TCP and UNIX connections to other mail servers."""

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IConnector
from twisted.internet.protocol import ClientFactory
from twisted.python.failure import Failure

from postroom.client.protocol import ClientConnection, ConnectionContext, ConnectionOwner
from postroom.client.target import Policy, Target


class _ConnectionFactory(ClientFactory):
    """Returns a connection that was created before, when the reactor has connected."""

    noisy = False

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    def buildProtocol(self, addr: IAddress | None) -> ClientConnection:
        return self._connection

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:
        self._connection.connect_failed(reason)


def connect(
    target: Target, policy: Policy, owner: ConnectionOwner, context: ConnectionContext
) -> "Deferred[ClientConnection]":
    """Connect to a host and initiate ourselves.

    Returns:
        The connection, ready for mail and free; fails with `HostFailed`.

    RFC 5321 s3.1
    """
    connection = ClientConnection(target, policy, owner, context)
    sources = context.settings.source_addresses
    source = next((each for each in sources if (":" in each) == (":" in target.address)), None)
    context.connections.add(connection)
    seconds = context.settings.timeouts.connect_seconds
    if target.port == 0:
        connection.connector = context.reactor.connectUNIX(
            target.address, _ConnectionFactory(connection), seconds
        )
        return connection.opened
    connection.connector = context.reactor.connectTCP(
        target.address,
        target.port,
        _ConnectionFactory(connection),
        seconds,
        (source, 0) if source is not None else None,
    )
    return connection.opened
