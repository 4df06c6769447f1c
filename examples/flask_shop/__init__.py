"""A shop in Flask that checks out by a saga: `python -m flask_shop`, in the folder of the examples.

In this folder:

    __main__.py     starts all of it: PostgreSQL, a warehouse and a bank, gunicorn, a worker
    app.py          the application: settings, views, answers
    models.py       the orders, in Flask-SQLAlchemy
    operations.py   what a checkout does, each operation next to its undo
    test_shop.py    its tests, by pytest and requests-mock
"""

from flask_shop.app import create_app

__all__ = ["create_app"]
