"""Two machines, one PostgreSQL: one machine dies in the middle of a charge, the other finishes.

In this folder:

    __main__.py     the play: starts all of it, and kills a machine
    shop.py         the operations, and the saga: the code that both machines have
    machine.py      a machine: places an order, or goes on with what others have left
    service.py      the bank and the warehouse, which honour idempotency keys
    postgresql.py   starts a PostgreSQL for as long as this runs
"""
