"""A shop in Django that checks out by sagas: `python -m django_shop`, in the folder of examples.

In this folder:

    __main__.py     starts all of it: PostgreSQL, a warehouse and a bank, gunicorn, a worker
    manage.py       `python -m django_shop.manage`, with `saga worker`, `saga list` and the others
    settings.py     PY_API_SAGA: the journal is in the database of the shop
    models.py       the orders, with a migration
    operations.py   what a checkout does, each operation next to its undo
    views.py        the checkout, and the page of an order
    wsgi.py         what gunicorn is given
    test_shop.py    its tests, by SagaTestCase and requests-mock
"""
