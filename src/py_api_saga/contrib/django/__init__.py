"""Sagas at home in a Django project: `from py_api_saga.contrib.django import saga`.

An app: `"py_api_saga.contrib.django"` in `INSTALLED_APPS`.
"""
