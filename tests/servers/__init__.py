"""Real servers, as children of the tests: what starts them, and what ends them whatever happens.

A *supervisor* (`supervisor.py`) holds a server and ends it when a pipe closes, and so also after
`kill -9` of whoever has started it. `children.py` starts one; `postgresql.py`, `pgbouncer.py` and
`redis.py` make servers of it, and `shared.py` has those that all tests of a run share. `proxy.py`
is a network before a server, which loses what it is told to, made of a `listener.py`; `dying.py` is
an HTTP service that dies at any of the `instants.py`; `volume.py` is a disk that can be full.

No service of the machine is touched, and nothing is listened on but the loopback.
"""
