"""The settings of a Django project: `DJANGO_SETTINGS_MODULE=queues.django_settings`."""

import os
from urllib.parse import unquote, urlsplit

_WHERE = urlsplit(os.environ["SHOP_DJANGO_DATABASE"])
_SCHEMA = os.environ["SHOP_DJANGO_SCHEMA"]

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": _WHERE.hostname,
        "PORT": _WHERE.port,
        "USER": unquote(_WHERE.username or ""),
        "PASSWORD": unquote(_WHERE.password or ""),
        "NAME": _WHERE.path[1:],
        "OPTIONS": {
            "application_name": "queues.django_tasks",
            "options": f"-csearch_path={_SCHEMA}",
        },
    }
}
INSTALLED_APPS = ["py_api_saga.contrib.django"]
PY_API_SAGA = {
    "JOURNAL": "alias:default",
    "MODULES": ["queues.django_tasks"],
    "OPTIONS": {"schema": _SCHEMA},
}
SECRET_KEY = "of a test"  # noqa: S105 - of nothing else
USE_TZ = True
