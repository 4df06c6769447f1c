"""The barrier's table, as `contrib.barrier.ddl` makes it; the model is for whoever looks at it."""

from django.db import models


class BarrierRow(models.Model):  # type: ignore[misc]  # Django has no type hints
    """What is kept under one key."""

    key = models.CharField(max_length=255, primary_key=True)
    action = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=255)
    status = models.IntegerField()
    answer = models.TextField(null=True)  # noqa: DJ001 - NULL once it was purged, which "" is not
    at = models.DateTimeField()

    class Meta:
        """Where it is."""

        db_table = "saga_barrier"
        indexes = (models.Index(fields=["action"], name="saga_barrier_action"),)
        verbose_name = "barrier row"

    def __str__(self) -> str:
        return f"{self.key}: {self.status}"
