"""Sagas in Django's admin: which there are, what happened to one, and what a person decides.

Nothing is run here: a decision is written down, and a worker goes on with the saga. Nobody adds,
changes or deletes a saga here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, TypeVar

from django.contrib import admin, messages
from django.contrib.admin.models import LogEntry
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.core.paginator import Paginator
from django.db import router, transaction
from django.db.models import Q
from django.http import Http404, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.functional import cached_property
from django.utils.html import format_html

from py_api_saga import clock
from py_api_saga.contrib.django.configured import lasting_journal, settled
from py_api_saga.contrib.django.deciding import (
    DECISIONS,
    MOST,
    Chosen,
    Decision,
    DecisionForm,
    Outcome,
    chosen,
    decide_each,
    stuck_operations,
)
from py_api_saga.contrib.django.links import saga_url
from py_api_saga.contrib.django.models import Saga
from py_api_saga.exceptions import JournalError, SagaError
from py_api_saga.journal.changes import OPEN, Summary
from py_api_saga.journal.lasting import LastingJournal, View
from py_api_saga.repair import ENDED
from py_api_saga.status import SagaStatus
from py_api_saga.story.detail import call_words, headlines, in_full
from py_api_saga.story.many import answered_of, reasons_of
from py_api_saga.story.saga import Story, read
from py_api_saga.story.waits import at_a_glance
from py_api_saga.story.why import explained
from py_api_saga.story.words import plural, shown_words
from py_api_saga.wording import as_text

Answer = TypeVar("Answer")

_log = logging.getLogger("py_api_saga")
_COUNTED = 10_000  # sagas; more are listed by narrowing the choice
_NAMES = 50  # by which the list may be filtered
_SEARCHED = 1000  # names among which a part of one is looked for
_SHOWN = 20  # of many sagas that are chosen
_DAY = 86_400_000
_COMMAND = "python manage.py saga"


class SagaPaginator(Paginator):  # type: ignore[misc]  # Django has no type hints
    """Pages of the first sagas: to count millions would take seconds at each look."""

    @cached_property  # type: ignore[untyped-decorator]  # as above
    def count(self) -> int:
        """How many there are to be listed."""
        return int(self.object_list[:_COUNTED].count())


class SagaChangeList(ChangeList):  # type: ignore[misc]  # as above
    """A page of sagas, each with the reason why it stands as it does."""

    result_list: Any

    def get_results(self, request: Any) -> None:
        """Read the page, and of what is stuck the rows."""
        super().get_results(request)
        sagas: list[Any] = list(self.result_list)
        view: View = request.saga_view
        summaries = {saga.saga_id: saga.summary for saga in sagas}
        stuck = [seen for seen in summaries.values() if seen.status is SagaStatus.STUCK]
        reasons = reasons_of(view, stuck)
        answered = answered_of(view, [*summaries.values()])
        for saga in sagas:
            saga.reason_words = reasons.get(saga.number) or _open_words(
                view, summaries[saga.saga_id], answered
            )
        self.result_list = sagas


def _open_words(view: View, seen: Summary, answered: Collection[int]) -> str:
    if seen.status not in OPEN:
        return ""
    if seen.suspended:
        return at_a_glance(seen, view.now(), is_answered=seen.number in answered)
    tried = f"; recovery has tried it {plural(seen.tries, 'time')}" if seen.tries else ""
    return ("a process drives it" if view.drives(seen) else "no process drives it") + tried


class AttentionFilter(admin.SimpleListFilter):  # type: ignore[misc]  # as above
    """Those that a person has to look at."""

    title = "attention"
    parameter_name = "attention"

    def lookups(self, *_: Any) -> Iterable[tuple[str, str]]:
        """Give the choices."""
        return (
            ("person", "needs a person"),
            ("tried", "recovery tries in vain"),
            ("waits", "waits for an answer"),
        )

    def queryset(self, _: Any, queryset: Any) -> Any:
        """Choose."""
        if self.value() == "person":
            return queryset.filter(status=2)
        if self.value() == "tried":
            return queryset.filter(status__lt=2, tries__gt=0)
        if self.value() == "waits":
            return queryset.filter(status__lt=2, owner=0, tries=0, due__gt=0)
        return queryset


class ChangedFilter(admin.SimpleListFilter):  # type: ignore[misc]  # as above
    """Those that have changed of late."""

    title = "changed"
    parameter_name = "changed"

    def lookups(self, *_: Any) -> Iterable[tuple[str, str]]:
        """Give the choices."""
        return (("1", "in the last day"), ("7", "in the last 7 days"), ("30", "in the last 30"))

    def queryset(self, _: Any, queryset: Any) -> Any:
        """Choose."""
        if self.value() in ("1", "7", "30"):
            since = int(clock.time() * 1000) - int(self.value()) * _DAY
            return queryset.filter(changed__gte=since)
        return queryset


class NameFilter(admin.SimpleListFilter):  # type: ignore[misc]  # as above
    """Those of a name."""

    title = "name"
    parameter_name = "name"

    def lookups(self, _: Any, model_admin: SagaAdmin) -> Iterable[tuple[str, str]]:
        """Give the first names that there are."""
        return [(name, name) for name in model_admin.names(_NAMES)]

    def queryset(self, _: Any, queryset: Any) -> Any:
        """Choose."""
        name = self.value()
        if name is None:
            return queryset
        return queryset.none() if "\0" in name else queryset.filter(name=name)


def _action(decision: Decision) -> Any:
    @admin.action(description=f"{decision.title}…", permissions=[decision.verb])  # type: ignore[untyped-decorator]  # as above
    def ask(self: SagaAdmin, request: Any, queryset: Any) -> Any:
        ids = list(queryset.values_list("saga_id", flat=True)[: MOST + 1])
        if len(ids) > MOST:
            message = f"Choose at most {MOST} sagas at a time. Nothing was changed."
            self.message_user(request, message, messages.ERROR)
            return None
        return self.ask(request, decision, ids)

    ask.__name__ = decision.verb
    return ask


class SagaAdmin(admin.ModelAdmin):  # type: ignore[misc]  # as above
    """The sagas of the project's `DjangoJournal`."""

    list_display = ("saga_id", "shown_name", "badge", "reason", "since")
    list_display_links = ("saga_id",)
    list_filter = (AttentionFilter, "status", NameFilter, ChangedFilter)
    list_per_page = 50
    search_fields = ("saga_id",)
    search_help_text = "The beginning of an id, or a part of a name."
    ordering = ("-number",)
    sortable_by = ()  # by what there is no index for
    paginator = SagaPaginator
    show_full_result_count = False
    actions = tuple(_action(decision) for decision in DECISIONS.values())

    class Media:
        """How a status looks."""

        css = {"all": ("py_api_saga/admin.css",)}  # noqa: RUF012 - as Django has it

    # --- who may do what -------------------------------------------------------------------------

    def has_add_permission(self, *_: Any) -> bool:
        """Nobody: a saga is started by a program."""
        return False

    def has_change_permission(self, *_: Any) -> bool:
        """Nobody."""
        return False

    def has_delete_permission(self, *_: Any) -> bool:
        """Nobody."""
        return False

    def has_retry_permission(self, request: Any) -> bool:
        """Tell who may have sagas tried again."""
        return self.may(request, "retry")

    def has_compensate_permission(self, request: Any) -> bool:
        """Tell who may have them undone."""
        return self.may(request, "compensate")

    def has_resolve_permission(self, request: Any) -> bool:
        """Tell who may say what came of an operation."""
        return self.may(request, "resolve")

    def may(self, request: Any, verb: str) -> bool:
        """Tell whether a user may see sagas, and decide so about them."""
        allowed = request.user.has_perm(f"py_api_saga.{verb}_saga")
        return bool(allowed and self.has_view_permission(request))

    # --- the list --------------------------------------------------------------------------------

    @admin.display(description="name")  # type: ignore[untyped-decorator]  # as above
    def shown_name(self, saga: Saga) -> str | None:
        """Give the name."""
        return saga.name  # type: ignore[no-any-return]  # as above

    @admin.display(description="status")  # type: ignore[untyped-decorator]  # as above
    def badge(self, saga: Saga) -> Any:
        """Give the status as a badge."""
        return _badge(saga.standing)

    @admin.display(description="reason")  # type: ignore[untyped-decorator]  # as above
    def reason(self, saga: Any) -> str:
        """Give why it stands so."""
        return str(saga.reason_words)

    @admin.display(description="since")  # type: ignore[untyped-decorator]  # as above
    def since(self, saga: Saga) -> Any:
        """Give since when it stands so."""
        return saga.since

    def get_changelist(self, *_: Any, **__: Any) -> type[SagaChangeList]:
        """Give what lists them."""
        return SagaChangeList

    def get_search_results(self, _: Any, queryset: Any, term: str) -> tuple[Any, bool]:
        """Find by the beginning of an id and by a part of a name: by indexes, however many."""
        term = term.strip().replace("\0", "")
        if not term:
            return queryset, False
        names = [name for name in self.names(_SEARCHED) if term.lower() in name.lower()]
        return queryset.filter(Q(saga_id__startswith=term) | Q(name__in=names)), False

    def names(self, most: int) -> Sequence[str]:
        """Give the first names that sagas have, by a look into the index for each."""
        found: list[str] = []
        named = Saga.objects.filter(name__isnull=False).order_by("name")
        while len(found) < most:
            later = named.filter(name__gt=found[-1]) if found else named
            name = later.values_list("name", flat=True).first()
            if name is None:
                break
            found.append(name)
        return found

    def changelist_view(self, request: Any, extra_context: Any = None) -> Any:
        """List them; what is posted is an action that the user may use, or forbidden."""
        verb = request.POST.get("action") if request.method == "POST" else None
        if verb and verb not in self.get_actions(request):
            raise PermissionDenied

        def listed(view: View) -> Any:
            request.saga_view = view
            return super(SagaAdmin, self).changelist_view(request, extra_context)

        return self._looking(request, listed)

    # --- one saga --------------------------------------------------------------------------------

    def change_view(
        self, request: Any, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> Any:
        """Show one saga; nothing can be posted here."""
        del form_url
        if request.method not in ("GET", "HEAD") or not self.has_view_permission(request):
            raise PermissionDenied
        saga_id = unquote(object_id)

        def show(view: View) -> Any:
            if view.find(saga_id) is None:
                return self._get_obj_does_not_exist_redirect(request, self.opts, saga_id)
            whole = request.user.has_perm("py_api_saga.view_saga_values")
            return self._page(
                request, "saga", self._of_one(request, view, saga_id, whole), extra_context
            )

        return self._looking(request, show)

    def _of_one(self, request: Any, view: View, saga_id: str, whole: bool) -> dict[str, Any]:  # noqa: FBT001 - as elsewhere by name
        story = read(view, saga_id)
        sealed = ""
        try:
            told = in_full(story, whole=whole)
        except SagaError as error:  # what seals its values is another codec than the journal's
            sealed, whole = as_text(error, str), False
            told = in_full(story, whole=whole)
        why = explained(story, _COMMAND)
        says = {one["name"]: one["says"] for one in why["operations"]}
        return {
            "title": saga_id,
            "saga_id": saga_id,
            "object_id": saga_id,
            "badge": _badge(story.seen.status),
            "headlines": headlines(story),
            "says": why["says"],
            "remedies": why["remedies"],
            "operations": [_operation(one, says, whole=whole) for one in told["operations"]],
            "timeline": told["timeline"],
            "sealed": sealed,
            "whole": whole,
            "decisions": self._offered(request, story),
        }

    def _offered(self, request: Any, story: Story) -> list[dict[str, str]]:
        """Give what a user may decide about a saga; what makes no sense is refused in words."""
        if story.seen.status in ENDED or story.driven:
            return []
        return [
            {"title": one.title, "url": f"{self._url('decide', one.verb)}"}
            for one in DECISIONS.values()
            if self.may(request, one.verb)
            and (one.verb != "resolve" or story.seen.status is SagaStatus.STUCK)
        ]

    # --- decisions -------------------------------------------------------------------------------

    def get_urls(self) -> list[Any]:
        """Add the page on which somebody decides."""
        view = self.admin_site.admin_view(self.decide_view)
        name = "py_api_saga_saga_decide"
        # Not what the id of a saga may begin with in a URL: there _ is written _5F.
        return [path("_decide/<str:verb>/", view, name=name), *super().get_urls()]

    def decide_view(self, request: Any, verb: str) -> Any:
        """Ask what is to be decided about the saga that was named, or write down what was."""
        if verb not in DECISIONS:
            raise Http404
        if not self.may(request, verb):
            raise PermissionDenied
        decision = DECISIONS[verb]
        if request.method == "GET":
            return self.ask(request, decision, request.GET.getlist("saga"))
        if request.method != "POST":
            return HttpResponseNotAllowed(["GET", "POST"])
        those = [Chosen.read(field) for field in request.POST.getlist("saga")][:MOST]
        if not those:
            raise Http404
        operations = request.POST.getlist("offered")
        form = decision.form(request.POST, operations=operations)
        if not form.is_valid():
            return self._asked(request, decision, those, form, operations)
        who = request.user.get_username()
        try:
            outcomes = decide_each(_journal(), decision, those, form, who)
        except JournalError as error:
            return self._unreadable(request, error)
        return self._decided(request, decision, form, outcomes)

    def ask(self, request: Any, decision: Decision, ids: Sequence[str]) -> Any:
        """Show about how many sagas it is, and ask for what the decision takes."""

        def asked(view: View) -> Any:
            found = [seen for seen in map(view.find, ids[:MOST]) if seen is not None]
            if not found:
                raise Http404
            operations = stuck_operations(view, found) if _has_operation(decision.form) else []
            form = decision.form(operations=operations)
            return self._asked(request, decision, [*map(chosen, found)], form, operations)

        return self._looking(request, asked)

    def _asked(
        self,
        request: Any,
        decision: Decision,
        those: Sequence[Chosen],
        form: DecisionForm,
        operations: Collection[str],
    ) -> Any:
        many = plural(len(those), "saga")
        return self._page(
            request,
            "decide",
            {
                "title": f"{decision.title}: {many if len(those) > 1 else those[0].saga_id}",
                "many": many,
                "decision": decision,
                "those": those,
                "shown": [(one.saga_id, self._page_of(one.saga_id)) for one in those[:_SHOWN]],
                "more": max(0, len(those) - _SHOWN),
                "form": form,
                "offered": operations,
                "action": self._url("decide", decision.verb),
                "back": self._url("changelist"),
            },
        )

    def _decided(
        self, request: Any, decision: Decision, form: DecisionForm, outcomes: Sequence[Outcome]
    ) -> Any:
        """Tell what was written down, and note it in the admin's own log."""
        done = [one for one in outcomes if one.status is not None]
        failed = [one for one in outcomes if one.status is None]
        unlogged = sum(not self._logged(request, decision, form, one) for one in done)
        if unlogged:
            message = (
                f"The decision stands, but the admin's log lacks it for {plural(unlogged, 'saga')}."
            )
            self.message_user(request, message, messages.WARNING)
        if not failed:
            message = f"{decision.title}: written down for {plural(len(done), 'saga')}."
            message += " A worker goes on." * any(one.status in OPEN for one in done)
            self.message_user(request, message, messages.SUCCESS)
            only = self._page_of(done[0].saga_id) if len(done) == 1 else self._url("changelist")
            return HttpResponseRedirect(only)
        return self._page(
            request,
            "decided",
            {
                "title": f"{decision.title}: {len(done):,} done, {len(failed):,} not",
                "done": plural(len(done), "saga"),
                "failed": [(one, self._page_of(one.saga_id)) for one in failed],
                "back": self._url("changelist"),
            },
        )

    def _logged(
        self, request: Any, decision: Decision, form: DecisionForm, outcome: Outcome
    ) -> bool:
        saga = Saga(saga_id=outcome.saga_id)
        message = f"{decision.title}: {form.why()}"
        try:
            with transaction.atomic(using=router.db_for_write(LogEntry)):
                self.log_change(request, saga, message)
        except Exception:  # noqa: BLE001 - whatever it is, the decision stands
            _log.exception("what was decided about saga %r is not in the log", outcome.saga_id)
            return False
        return True

    # --- pages -----------------------------------------------------------------------------------

    def _looking(self, request: Any, show: Callable[[View], Answer]) -> Answer | Any:
        """Show what a view of the journal has; in words if there is none."""
        try:
            with _journal().onlooker() as view:
                return show(view)
        except JournalError as error:
            return self._unreadable(request, error)

    def _unreadable(self, request: Any, error: JournalError) -> Any:
        context = {"title": "The journal can't be read", "why": as_text(error, str)}
        return self._page(request, "unreadable", context, status=503)

    def _page(
        self, request: Any, name: str, context: dict[str, Any], more: Any = None, **options: Any
    ) -> Any:
        request.current_app = self.admin_site.name
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            **context,
            **(more or {}),
        }
        template = f"py_api_saga/admin/{name}.html"
        return TemplateResponse(request, template, context, **options)

    def _url(self, view: str, *args: str) -> str:
        name = f"{self.admin_site.name}:py_api_saga_saga_{view}"
        return str(reverse(name, args=args, current_app=self.admin_site.name))

    def _page_of(self, saga_id: str) -> str:
        return saga_url(saga_id, site=self.admin_site.name) or ""


def _operation(told: dict[str, Any], says: dict[str, str], *, whole: bool) -> dict[str, Any]:
    """Give an operation as the page shows it."""
    undo, result = told["compensation"], told["result"]
    return {
        "name": told["name"],
        "badge": _badge_of(told["status"]),
        "says": says.get(told["name"], ""),
        "pivot": told["pivot"],
        "action": call_words(told["action"], whole=whole),
        "undo": "" if undo is None else call_words(undo, whole=whole),
        "result": "" if result is None else shown_words(result, whole=whole),
        "attempts": told["attempts"],
        "undo_attempts": told["undo_attempts"],
    }


def _badge(status: SagaStatus) -> Any:
    return _badge_of(status.value)


def _badge_of(status: str) -> Any:
    look = status.lower().replace(" ", "-").replace("_", "-")
    return format_html('<span class="saga-badge saga-{}">{}</span>', look, status.upper())


def _has_operation(form: type[DecisionForm]) -> bool:
    return "operation" in form.base_fields


def _journal() -> LastingJournal:
    """Give the journal of the project, whatever a test has put in its place.

    Raises:
        JournalError: It is none of which the model's table is a part: the settings were changed.
    """
    journal = lasting_journal()
    if journal is None or not settled().alias:
        message = "PY_API_SAGA does not name a journal in one of the project's databases any more"
        raise JournalError(message)
    return journal


def is_of_django() -> bool:
    """Tell whether the project's journal is in one of its databases, as the model's table is."""
    try:
        return bool(settled().alias)
    except ImproperlyConfigured:  # which the system checks say
        return False


if is_of_django():
    admin.site.register(Saga, SagaAdmin)
