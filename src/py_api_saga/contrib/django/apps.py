"""The app, as `INSTALLED_APPS` names it."""

from importlib import import_module

from django.apps import AppConfig


class SagaConfig(AppConfig):  # type: ignore[misc]  # Django has no type hints
    """Sagas in a Django project."""

    name = "py_api_saga.contrib.django"
    label = "py_api_saga"
    verbose_name = "Sagas"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Have the system checks looked at."""
        import_module(f"{self.name}.checks")
