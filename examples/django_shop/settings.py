"""The settings of the shop. Where the database and the services are is in the environment."""

import os
from urllib.parse import parse_qs, unquote, urlsplit

URL = urlsplit(os.environ["DATABASE_URL"])
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": URL.hostname or parse_qs(URL.query).get("host", [""])[0],
        "NAME": URL.path.removeprefix("/"),
        "PASSWORD": unquote(URL.password or ""),
        "PORT": URL.port or "",
        "USER": unquote(URL.username or ""),
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["django.contrib.contenttypes", "py_api_saga.contrib.django", "django_shop"]
MIDDLEWARE = ["py_api_saga.contrib.django.middleware.SagaAnswers"]
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
ROOT_URLCONF = "django_shop.views"
SECRET_KEY = os.environ.get("SECRET_KEY", "of an example")
USE_TZ = True

SERVICES = os.environ["SERVICES"]

PY_API_SAGA = {
    "JOURNAL": "alias:default",
    "MODULES": ["django_shop.operations"],
    # Seconds for which a process that died keeps its orders; 30 unless you say so.
    "OPTIONS": {"lease": 5.0},
    "REFUSALS": ["django_shop.operations.Refused"],
}
