"""Real servers, as children of the tests: what starts them, and what ends them whatever happens.

A *supervisor* (`supervisor.py`) holds a server and ends it when a pipe closes, and so also after
`kill -9` of whoever has started it. `children.py` starts one, `postgresql.py` makes PostgreSQL's
clusters of it, and `shared.py` has the one cluster of a run of the suite.

No service of the machine is touched, and nothing is listened on but the loopback.
"""
