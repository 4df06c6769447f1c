"""A shop in FastAPI that checks out by a saga: `python -m fastapi_shop`, in the examples' folder.

In this folder:

    __main__.py     starts all of it: PostgreSQL, a warehouse and a bank, uvicorn, a worker
    app.py          the application: lifespan, views, answers
    models.py       the orders, in SQLAlchemy, by asyncio; a session for each call
    operations.py   what a checkout does, each operation next to its undo
    test_shop.py    its tests, by pytest and respx
"""
