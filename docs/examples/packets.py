"""Build both sides of a session, and look at what they say."""

from postroom.wire import CMD_MAIL, REPLY_OK, SmtpBuilder, SmtpLayer, reply_code_description

group = (
    SmtpBuilder()
    .mail_from("ann@there.example", SIZE="12", RET="HDRS")
    .rcpt_to("joe@here.example", NOTIFY="FAILURE,DELAY")
    .data()
    .build()
)
for layer in SmtpLayer(group):
    print(layer.command, dict(layer.params))
    if layer.command == CMD_MAIL:
        print("from", bytes(layer.mailfrom))

# DATA says what comes next: the state goes along with the stream.
state = SmtpLayer(group).state_after
content = SmtpBuilder().content(b"Hello\r\n.dot\r\n").quit().build()
for layer in SmtpLayer(content, state=state):
    print(layer.summary())

reply = SmtpLayer(SmtpBuilder().ehlo_response("mx.example", SIZE="1000", CHUNKING="").build())
assert reply.reply_code == REPLY_OK
print(reply_code_description(250), dict(reply.keywords))

# Malformed octets raise nothing.
print(SmtpLayer(b"MAIL FROM: <a@b>\n").errors)
