"""Links from your own models to the page of a saga in the admin."""

from __future__ import annotations

from django.contrib.admin.utils import quote
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString


def saga_url(saga_id: str, *, site: str = "admin") -> str | None:
    """Give the URL of a saga's page in the admin.

    Args:
        saga_id: Of the saga, which may not be there.
        site: The name of the admin site.

    Returns:
        None if that site has no sagas: the journal is not a `DjangoJournal`, say.
    """
    try:
        return str(reverse(f"{site}:py_api_saga_saga_change", args=[quote(saga_id)]))
    except NoReverseMatch:
        return None


def saga_link(saga_id: str | None, *, site: str = "admin") -> SafeString:
    """Give a link to a saga's page, for `list_display` or `readonly_fields` of your own admin.

    Args:
        saga_id: Of the saga; None or "" gives a dash.
        site: The name of the admin site.

    Returns:
        The id as a link, or alone where there are no pages of sagas.
    """
    if not saga_id:
        return SafeString("-")
    url = saga_url(saga_id, site=site)
    if url is None:
        return format_html("{}", saga_id)
    return format_html('<a href="{}">{}</a>', url, saga_id)
