"""Puts the rooms together: `server` and `delivery`, `queue` and `client` meet here and nowhere else.

    listeners -> sessions -> portal -> deliveries -> committer (Maildirs)
                               |            |
                            checkers      queue -> store (database)
                               |            |
                            accounts      relay -> sender -> other servers

Nothing here starts a thread or opens a connection, so that `twistd` may fork afterwards; that is
`Rooms`' own business once the service starts.
"""




_LOOK_UP_THREADS = 4
