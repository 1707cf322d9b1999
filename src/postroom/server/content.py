"""DATA and BDAT: the commands that announce a message's content.

The content itself is received by `postroom.server.incoming`.

Who controls the input: the peer.
"""

from typing import Final, cast

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from postroom.interfaces import IDeliveryTransaction
from postroom.later import chain, now_or_later
from postroom.server.incoming import IncomingChunks, IncomingContent
from postroom.server.session import Session
from postroom.wire.data import BareNewlineDecoder, ChunkDecoder, DotDecoder
from postroom.wire.parameters import BODY
from postroom.wire.replies import Reply, reply
from postroom.wire.session import Chunk

START_INPUT: Final = reply(354, None, "End data with <CR><LF>.<CR><LF>")


def data(session: Session, _: object) -> object:
    """Answer DATA: ask the delivery, then receive content. RFC 5321 s4.1.1.4."""
    envelope, delivery = session.transaction()
    return chain(delivery.begin(envelope), _content_begins, session)


def _content_begins(transaction: IDeliveryTransaction, session: Session) -> Reply:
    listener = session.listener
    spared = listener.takes_bare_newlines(session.facts.client)
    decoder = (BareNewlineDecoder if spared else DotDecoder)(listener.text_rules)
    session.receive_content(IncomingContent(session, transaction, decoder))
    return START_INPUT


def bdat(session: Session, chunk: Chunk) -> object:
    """Answer BDAT, after its chunk was read. RFC 3030 s2."""
    if chunk.refusal is not None:
        return _dropped_content(session, chunk.refusal).begin_chunk(chunk)
    if session.incoming is not None:
        return session.incoming.begin_chunk(chunk)
    envelope, delivery = session.transaction()
    try:
        transaction = now_or_later(delivery.begin(envelope))
    except Exception:
        return _begin_failed(Failure(), session, chunk)
    if isinstance(transaction, Deferred):
        return transaction.addCallbacks(
            _chunks_begin,
            _begin_failed,
            callbackArgs=(session, chunk),
            errbackArgs=(session, chunk),
        )
    return _chunks_begin(cast(IDeliveryTransaction, transaction), session, chunk)


def _chunks_begin(transaction: IDeliveryTransaction, session: Session, chunk: Chunk) -> object:
    envelope, _ = session.transaction()
    binary = BODY.of(envelope.mail.parameters) == "BINARYMIME"
    listener = session.listener
    rules = listener.text_rules
    if listener.takes_bare_newlines(session.facts.client):
        rules = rules._replace(refuse_bare_newline=False)
    incoming = IncomingChunks(session, transaction, ChunkDecoder(rules, binary))
    return incoming.begin_chunk(chunk)


def _begin_failed(failure: Failure, session: Session, chunk: Chunk) -> object:
    return _dropped_content(session, session.reply_for_failure(failure)).begin_chunk(chunk)


def _dropped_content(session: Session, refusal: Reply) -> IncomingChunks:
    """Return content that is read, dropped and refused."""
    incoming = IncomingChunks(session, None, ChunkDecoder())
    incoming.refuse(refusal)
    return incoming
