"""Durable sagas in the workers of a real uWSGI, which forks in C: `python -m tests.uwsgi`."""
