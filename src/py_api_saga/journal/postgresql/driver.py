"""The driver, psycopg 3, which is an extra."""

try:
    import psycopg as psycopg  # noqa: PLC0414 - for the modules beside this one
except ImportError as error:
    message = (
        "a journal in PostgreSQL needs psycopg 3: pip install 'py-api-saga[postgresql]', and "
        f"'psycopg[binary]' where there is no libpq ({error})"
    )
    raise ImportError(message) from error
