"""The orders of the shop."""

from django.db import models


class Order(models.Model):  # type: ignore[misc]  # Django has no type hints
    """An order, from the first operation of its checkout on."""

    number = models.CharField(max_length=50, primary_key=True)
    article = models.CharField(max_length=50)
    status = models.CharField(max_length=10, default="new")  # or "placed" or "failed"
    reservation = models.CharField(max_length=50, null=True)  # noqa: DJ001 - none is not an empty one
    payment = models.CharField(max_length=50, null=True)  # noqa: DJ001 - as above

    def __str__(self) -> str:
        return f"{self.number} ({self.status})"
