"""A shop whose bank answers by webhook: `python -m webhook_shop`, in the folder of the examples.

In this folder:

    __main__.py     starts all of it: a warehouse and a bank, gunicorn, a worker
    app.py          the application: settings, views, the webhook
    operations.py   what a checkout does; the payment is begun, and answered later
    test_shop.py    its tests, by pytest and requests-mock
"""

from webhook_shop.app import create_app

__all__ = ["create_app"]
