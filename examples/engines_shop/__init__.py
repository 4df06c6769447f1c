"""A shop whose sagas run on an engine: `python -m engines_shop dbos`, or `… temporal`.

In this folder:

    __main__.py     the play: starts all of it, places orders, and kills a worker
    operations.py   what a checkout does, each operation next to its undo
    models.py       the stock, in SQLAlchemy
    engine.py       where the sagas run, for the shop and for the command of its workers
    servers.py      starts a PostgreSQL with DBOS's tables, or a Temporal, for as long as this runs
    test_shop.py    its tests, which need no engine
"""
