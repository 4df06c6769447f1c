"""The app of the barrier's table."""

from django.apps import AppConfig


class BarrierConfig(AppConfig):  # type: ignore[misc]  # Django has no type hints
    """The table of what is received once, and of writes that count once."""

    name = "py_api_saga.contrib.django.barrier"
    label = "saga_barrier"
    verbose_name = "Saga barrier"
    default_auto_field = "django.db.models.BigAutoField"
