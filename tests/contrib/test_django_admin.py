"""Sagas in Django's admin: what it shows to whom, and what whoever posts can do."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from html import unescape
from pathlib import Path
from typing import Any

import depot
import django_project
import pytest
from django.core import checks
from django.core.management import call_command
from django.db import connection, connections
from paths import TESTS, search_path
from pending import pending
from recorded import Reversed, begin, chain, order, stuck
from servers.children import Missing
from world import PATIENCE

from py_api_saga import SagaStatus, answer, recover
from py_api_saga.story.words import minute, moment

django_project.set_up()

from django.contrib.admin.models import LogEntry  # noqa: E402 - a model, so there is a project
from django.contrib.auth.models import Permission, User  # noqa: E402
from django.test import Client, override_settings  # noqa: E402

from py_api_saga.contrib.django.admin import is_of_django  # noqa: E402
from py_api_saga.contrib.django.configured import lasting_journal  # noqa: E402
from py_api_saga.contrib.django.journal import DjangoJournal  # noqa: E402
from py_api_saga.contrib.django.links import saga_link, saga_url  # noqa: E402
from py_api_saga.contrib.django.models import Saga, table  # noqa: E402
from py_api_saga.contrib.django.routers import JournalRouter  # noqa: E402

VERBS = ("retry", "compensate", "resolve")
LIST = "/admin/py_api_saga/saga/"
NOTE = {"note": "the bank says so"}
GIVEN: dict[str, dict[str, str]] = {
    "retry": NOTE,
    "compensate": NOTE,
    "resolve": {**NOTE, "operation": "b", "status": "compensated", "offered": "b"},
}
USERS: dict[str, tuple[str, ...]] = {
    "nobody": (),
    "viewer": ("view_saga",),
    "reader": ("view_saga", "view_saga_values"),
    "blind": tuple(f"{verb}_saga" for verb in VERBS),
    **{verb: ("view_saga", f"{verb}_saga") for verb in VERBS},
}


@pytest.fixture(scope="module")
def site() -> Iterator[None]:
    """Have a project that is migrated, with a user for each permission."""
    try:
        with django_project.database():
            call_command("migrate", run_syncdb=True, verbosity=0)
            User.objects.create_superuser("root")
            for name, permissions in USERS.items():
                user = User.objects.create(username=name, is_staff=True)
                user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
            yield
            with suppress(AttributeError):
                journal_of_the_project().close()
    except Missing as missing:
        pytest.skip(f"there is no {missing}")


def journal_of_the_project() -> DjangoJournal:
    """Give the journal that the settings name."""
    journal = lasting_journal()
    assert isinstance(journal, DjangoJournal)
    return journal


@pytest.fixture
def journal(site: None) -> Iterator[DjangoJournal]:
    """Have the project's journal, where nothing is on record; nothing stands in the depot."""
    del site
    depot.reset()
    yield journal_of_the_project()
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE saga_saga, saga_entry")
    LogEntry.objects.all().delete()
    depot.reset()


def client(name: str) -> Client:
    """Log somebody in."""
    browser = Client()
    browser.force_login(User.objects.get(username=name))
    return browser


def shown(browser: Client, url: str, status: int = 200) -> str:
    """Give the text of a page, without its tags."""
    answer = browser.get(url)
    assert answer.status_code == status, answer.content
    return text(answer)


def text(answer: Any) -> str:
    """Give the text of an answer, blanks as one."""
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", answer.content.decode())))


def page(saga_id: str) -> str:
    """Give where a saga's page is."""
    url = saga_url(saga_id)
    assert url is not None
    return url


def asked(browser: Client, verb: str, *ids: str) -> dict[str, Any]:
    """Choose sagas in the list, and give the hidden fields of the page that asks."""
    answer = browser.post(LIST, {"action": verb, "_selected_action": ids})
    assert answer.status_code == 200, answer.content
    fields = re.findall(r'name="saga" value="([^"]*)"', answer.content.decode())
    assert len(fields) == len(ids)
    return {"saga": [unescape(field) for field in fields]}


def decide(browser: Client, verb: str, *ids: str, **given: str) -> Any:
    """Choose sagas, and say what the page asks for."""
    return browser.post(f"{LIST}_decide/{verb}/", asked(browser, verb, *ids) | GIVEN[verb] | given)


def on_record(journal: DjangoJournal, saga_id: str = "x") -> list[str]:
    """Give what was written down of a saga."""
    found = journal.find(saga_id)
    assert found is not None
    return [row.body for row in journal.rows([found.number])[found.number]]


def standing(journal: DjangoJournal, saga_id: str = "x") -> SagaStatus:
    """Tell where a saga stands."""
    found = journal.find(saga_id)
    assert found is not None
    return found.status


# --- what is shown --------------------------------------------------------------------------------


def test_the_list_says_how_each_saga_stands_and_why(journal: DjangoJournal) -> None:
    """With what is stuck in words, and whether a process is at what is open."""
    stuck(journal, "lost")
    order().start(journal=journal, saga_id="new")
    order().orchestrator_execute(journal=journal, saga_id="done")

    seen = shown(client("viewer"), LIST)

    assert re.search(r"done depot COMPLETED", seen)
    assert re.search(r"new depot RUNNING no process drives it", seen)
    assert re.search(r"lost depot STUCK b: .*OSError.*no bank", seen)
    assert seen.index("done depot") < seen.index("new depot") < seen.index("lost depot")
    assert "secret" not in seen


def test_sagas_are_found_by_the_beginning_of_an_id_and_a_part_of_a_name(
    journal: DjangoJournal,
) -> None:
    """And what is in neither is not."""
    for saga_id in ("shop-1", "shop-2", "bank-1"):
        order().start(journal=journal, saga_id=saga_id)
    chain("a").start(journal=journal, saga_id="zoo")
    browser = client("viewer")

    def found(**query: str) -> set[str]:
        answer = browser.get(LIST, query)
        return {str(saga) for saga in answer.context["cl"].result_list}

    assert found(q="shop-") == {"shop-1", "shop-2"}
    assert found(q="EPO") == {"shop-1", "shop-2", "bank-1", "zoo"}
    assert found(q="1") == set()
    assert found(q=" ") == {"shop-1", "shop-2", "bank-1", "zoo"}
    assert found(name="depot") == {"shop-1", "shop-2", "bank-1", "zoo"}
    assert found(name="others") == found(name="\0") == set()


def test_the_filter_by_name_has_the_first_names(
    journal: DjangoJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So many, however many there are; what is not among them is found by its name."""
    monkeypatch.setattr("py_api_saga.contrib.django.admin._NAMES", 1)
    crowd(2)
    order().start(journal=journal, saga_id="x")
    browser = client("viewer")

    offered = re.findall(r'href="\?name=(\w+)', browser.get(LIST).content.decode())
    answer = browser.get(LIST, {"q": "depo"})

    assert offered == ["crowd"]
    assert [str(saga) for saga in answer.context["cl"].result_list] == ["x"]


def test_filters_choose_what_needs_a_person_and_what_has_changed(journal: DjangoJournal) -> None:
    """A saga of long ago has not changed of late, and one that recovery tried is tried in vain."""
    for saga_id in ("old", "tried", "new"):
        order().start(journal=journal, saga_id=saga_id)
    stuck(journal, "lost")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE saga_saga SET changed = 0 WHERE saga_id = 'old'")
        cursor.execute("UPDATE saga_saga SET tries = 2 WHERE saga_id = 'tried'")
    browser = client("viewer")

    def found(**query: str) -> set[str]:
        return {str(saga) for saga in browser.get(LIST, query).context["cl"].result_list}

    assert found(attention="person") == found(status__exact="2") == {"lost"}
    assert found(attention="tried") == {"tried"}
    assert found(changed="7") == {"tried", "new", "lost"}
    assert "no process drives it; recovery has tried it 2 times" in shown(browser, LIST)


def test_what_waits_for_an_answer_is_shown_as_what_it_is(journal: DjangoJournal) -> None:
    """In the list, by a filter, and on its page; what is to be done about it is the command's."""
    order().start(journal=journal, saga_id="lies")
    due = pending(journal).due
    assert due is not None
    pending(journal, "ever", timeout=None)
    answer(journal, "ever:b:action", result="B", go_on=False)
    browser = client("viewer")

    waits = browser.get(LIST, {"attention": "waits"})

    assert {str(saga) for saga in waits.context["cl"].result_list} == {"x", "ever"}
    assert f"waits until {minute(due)}" in shown(browser, LIST)
    assert "waits, answered" in shown(browser, LIST)
    told = shown(browser, page("x"))
    assert f"it waits for b, until {moment(due)}" in told
    assert "python manage.py saga answer x b --result JSON --note TEXT" in told


def test_millions_are_not_counted(journal: DjangoJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    """The list ends after so many, of which the newest come first."""
    monkeypatch.setattr("py_api_saga.contrib.django.admin._COUNTED", 60)
    crowd(70)

    seen = shown(client("viewer"), f"{LIST}?p=2")

    assert "60 sagas" in seen
    assert "crowd-19 " in seen
    assert "crowd-21 " not in seen
    assert journal.missing() == ""


def crowd(many: int) -> None:
    """Write sagas down that have ended, as many as there are to be."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO saga_saga"
            "(saga_id, name, status, epoch, owner, tries, created, changed, due, digest) "
            "SELECT 'crowd-' || n, 'crowd', 3, 1, 0, 0, 0, 0, 0, 'x' FROM generate_series(1, %s) n",
            [many],
        )


def test_the_page_of_a_saga_says_what_happened_and_what_can_be_done(journal: DjangoJournal) -> None:
    """In the words of the command, with each operation."""
    stuck(journal)

    seen = shown(client("viewer"), page("x"))

    assert "Its rollback has ended, and what is STUCK below could not be undone." in seen
    assert "its undo failed: OSError('no bank')" in seen  # the timeline
    assert "python manage.py saga retry x" in seen
    assert "python manage.py saga resolve x b --compensated --note TEXT" in seen
    assert "depot:undo(str, result_of())" in seen
    assert "STUCK" in seen


def test_arguments_and_results_are_hidden_from_whoever_may_not_see_them(
    journal: DjangoJournal,
) -> None:
    """They are shown as their types, and whole with the permission."""
    order().orchestrator_execute(journal=journal, saga_id="x")

    hidden, whole = shown(client("viewer"), page("x")), shown(client("reader"), page("x"))

    assert "secret" not in hidden
    assert "depot:do(str, str) returned str" in hidden
    assert "takes the permission" in hidden
    assert 'depot:do("a", "secret") returned "A"' in whole
    assert "takes the permission" not in whole


def test_what_another_codec_has_sealed_is_told_and_the_rest_is_shown(
    journal: DjangoJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever may see values sees why these can't be seen."""

    class Other(Reversed):
        def decode(self, text: str) -> str:
            raise ValueError(f"not sealed by me: {len(text)}")

    monkeypatch.setattr(journal, "codec", Reversed())
    order().orchestrator_execute(journal=journal, saga_id="x")
    monkeypatch.setattr(journal, "codec", Other())

    seen = shown(client("reader"), page("x"))

    assert (
        "a sealed value cannot be opened: its codec cannot open what is sealed: ValueError" in seen
    )
    assert "COMPLETED" in seen


def test_whoever_may_not_see_sagas_sees_none(journal: DjangoJournal) -> None:
    """Neither the list nor a page, and whoever is not logged in is asked to."""
    stuck(journal)

    for name in ("nobody", "blind"):
        for url in (LIST, page("x")):
            assert client(name).get(url).status_code == 403
    assert Client().get(page("x")).headers["Location"].startswith("/admin/login/")


def test_a_saga_that_is_not_there_leads_back(journal: DjangoJournal) -> None:
    """As the admin does for any object."""
    assert journal.missing() == ""
    answer = client("viewer").get(page("nowhere"), follow=True)

    assert answer.redirect_chain == [("/admin/", 302)]
    assert "nowhere" in text(answer)
    assert client("retry").get(f"{LIST}_decide/retry/?saga=nowhere").status_code == 404


def test_a_saga_that_cannot_be_read_is_shown_as_far_as_it_can(journal: DjangoJournal) -> None:
    """A person has to see that there is one."""
    stuck(journal)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE saga_entry SET body = '{' WHERE n = 1")

    assert "what was written down cannot be read" in shown(client("viewer"), LIST)
    assert "What was written down cannot be read" in shown(client("viewer"), page("x"))
    assert asked(client("resolve"), "resolve", "x")


def test_a_journal_that_cannot_be_read_is_told_in_words(journal: DjangoJournal) -> None:
    """On each page: of another format, and where nobody has migrated."""
    stuck(journal)
    browser = client("retry")
    fields = asked(browser, "retry", "x")
    journal.close()
    with ddl("UPDATE saga_format SET version = 99, readable_from = 98",
             "UPDATE saga_format SET version = 2, readable_from = 2"):  # fmt: skip
        for url in (LIST, page("x"), f"{LIST}_decide/retry/?saga=x"):
            assert "has format 99" in shown(browser, url, 503)
        refused = browser.post(f"{LIST}_decide/retry/", fields | NOTE)
    with ddl("ALTER TABLE saga_format RENAME TO gone", "ALTER TABLE gone RENAME TO saga_format"):
        assert "there is no journal in" in shown(browser, LIST, 503)

    assert "has format 99" in text(refused)
    assert standing(journal) is SagaStatus.STUCK


@contextmanager
def ddl(before: str, after: str) -> Iterator[None]:
    """Have a statement run before a block, and another one after it."""
    with connection.cursor() as cursor:
        cursor.execute(before)
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute(after)


def test_settings_that_name_another_journal_since_are_told(
    journal: DjangoJournal, tmp_path: Path
) -> None:
    """Nothing is decided in a journal of which the list is not a part."""
    stuck(journal)
    browser = client("retry")
    fields = asked(browser, "retry", "x")
    with override_settings(PY_API_SAGA={"JOURNAL": str(tmp_path / "sagas.db")}):
        assert "any more" in shown(browser, LIST, 503)
        answer = browser.post(f"{LIST}_decide/retry/", fields | NOTE)

    assert answer.status_code == 503


# --- what is decided ------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", VERBS)
def test_a_decision_is_written_down_with_who_and_why_and_nothing_is_called(
    journal: DjangoJournal, verb: str
) -> None:
    """A worker goes on, and then it is as was decided."""
    if verb == "compensate":
        order().start(journal=journal, saga_id="x")
    else:
        stuck(journal)
    called, rows = [*depot.log], len(on_record(journal))

    answer = decide(client(verb), verb, "x")

    assert answer.status_code == 302, text(answer)
    assert answer.headers["Location"] == page("x")
    assert depot.log == called
    note = on_record(journal)[rows]
    assert f'"who":"{verb}"' in note
    assert '"why":"the bank says so"' in note
    entries = LogEntry.objects.values_list("object_id", "user__username", "change_message")
    assert [(one[0], one[1]) for one in entries] == [("x", verb)]
    assert "the bank says so" in str(entries[0][2])
    recover(journal)
    assert standing(journal) is SagaStatus.COMPENSATED
    assert (depot.log != called) is (verb == "retry")
    seen = shown(client("viewer"), f"{LIST}x/history/")
    assert "the bank says so" in seen


def test_a_decision_takes_a_note(journal: DjangoJournal) -> None:
    """Without one the page asks again, with what was chosen."""
    stuck(journal)
    browser = client("retry")
    fields = asked(browser, "retry", "x")

    for nothing in ({}, {"note": "  "}):
        answer = browser.post(f"{LIST}_decide/retry/", fields | nothing)
        assert answer.status_code == 200
        assert "This field is required." in text(answer)
        assert fields["saga"][0] in unescape(answer.content.decode())

    assert standing(journal) is SagaStatus.STUCK
    assert LogEntry.objects.count() == 0


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("who", ["viewer", "blind", "another"])
def test_whoever_may_not_decide_gets_403_however_it_is_posted(
    journal: DjangoJournal, verb: str, who: str
) -> None:
    """As an action, and to a URL that was guessed; nothing is written down."""
    stuck(journal)
    fields = asked(client("root"), verb, "x") | GIVEN[verb]
    browser = client(VERBS[VERBS.index(verb) - 1] if who == "another" else who)
    before = on_record(journal)

    action = browser.post(LIST, {"action": verb, "_selected_action": "x"})
    guessed = browser.post(f"{LIST}_decide/{verb}/", fields)
    looked = browser.get(f"{LIST}_decide/{verb}/", {"saga": "x"})

    assert [answer.status_code for answer in (action, guessed, looked)] == [403, 403, 403]
    assert on_record(journal) == before
    assert LogEntry.objects.count() == 0


def test_whoever_is_not_logged_in_decides_nothing(journal: DjangoJournal) -> None:
    """The page to log in is all that there is."""
    stuck(journal)
    fields = asked(client("root"), "retry", "x") | NOTE

    answer = Client().post(f"{LIST}_decide/retry/", fields)

    assert answer.status_code == 302
    assert "/admin/login/" in answer.headers["Location"]
    assert standing(journal) is SagaStatus.STUCK


def test_a_request_from_another_site_decides_nothing(journal: DjangoJournal) -> None:
    """Whoever is logged in may be led there by a page of somebody else."""
    stuck(journal)
    fields = asked(client("retry"), "retry", "x") | NOTE
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(User.objects.get(username="retry"))

    assert browser.post(f"{LIST}_decide/retry/", fields).status_code == 403
    assert standing(journal) is SagaStatus.STUCK


@pytest.mark.parametrize(
    "place", ["add/", "x/change/", "x/delete/", "_decide/retry/", "_decide/purge/"]
)
def test_nobody_adds_changes_or_deletes_a_saga(journal: DjangoJournal, place: str) -> None:
    """Nor does anything else, not even whoever may do all."""
    stuck(journal)
    before = on_record(journal)
    browser = client("root")

    answers = {getattr(browser, method)(f"{LIST}{place}").status_code for method in ("post", "put")}

    assert answers <= {403, 404, 405}
    assert on_record(journal) == before
    assert browser.post(
        LIST, {"action": "delete_selected", "_selected_action": "x", "post": "yes"}
    ).status_code == 403  # fmt: skip
    assert standing(journal) is SagaStatus.STUCK


def test_many_are_decided_each_on_its_own_and_what_fails_is_listed(journal: DjangoJournal) -> None:
    """How many is said before; what has changed meanwhile, or ended, is left as it is."""
    for saga_id in ("a", "b", "c", "d"):
        stuck(journal, saga_id)
    browser = client("retry")
    fields = asked(browser, "retry", "a", "b", "c", "d")
    decide(client("root"), "retry", "b")
    decide(client("root"), "resolve", "c")
    recover(journal)
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM saga_saga WHERE saga_id = 'd'")
    LogEntry.objects.all().delete()

    question = browser.post(LIST, {"action": "retry", "_selected_action": ["a", "b"]})
    answer = browser.post(f"{LIST}_decide/retry/", fields | NOTE)

    assert "Try again: 2 sagas" in text(question)
    seen = text(answer)
    assert "Written down for 1 saga. These are as they were:" in seen
    assert "saga 'b' has changed since it was shown" in seen
    assert "saga 'c' has changed since it was shown" in seen
    assert "there is no saga 'd' any more" in seen
    assert [*LogEntry.objects.values_list("object_id", flat=True)] == ["a"]
    assert [run.saga_id for run in recover(journal)] == ["a"]


def test_many_that_all_succeed_lead_back_to_the_list(journal: DjangoJournal) -> None:
    """With how many there were, and an entry in the log for each."""
    for saga_id in ("a", "b"):
        stuck(journal, saga_id)

    browser = client("retry")
    answer = decide(browser, "retry", "a", "b")

    assert answer.headers["Location"] == LIST
    assert "Try again: written down for 2 sagas. A worker goes on." in shown(browser, LIST)
    assert LogEntry.objects.count() == 2


def test_more_than_one_decision_can_be_about_is_refused(
    journal: DjangoJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if all that the list has were chosen at once."""
    monkeypatch.setattr("py_api_saga.contrib.django.admin.MOST", 60)
    crowd(61)
    chosen = {"action": "retry", "_selected_action": "crowd-1", "select_across": "1"}

    browser = client("retry")
    answer = browser.post(LIST, chosen, follow=True)

    assert "Choose at most 60 sagas at a time. Nothing was changed." in text(answer)
    assert standing(journal, "crowd-1") is SagaStatus.COMPLETED
    monkeypatch.setattr("py_api_saga.contrib.django.admin.MOST", 61)
    assert "and 41 more" in text(browser.post(LIST, chosen))


def test_what_takes_too_long_is_left_and_said(
    journal: DjangoJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A web server would not wait for it."""
    for saga_id in ("a", "b"):
        stuck(journal, saga_id)
    monkeypatch.setattr("py_api_saga.contrib.django.deciding.LONGEST", -1.0)

    answer = decide(client("retry"), "retry", "a", "b")

    assert text(answer).count("choose it again") == 2
    assert standing(journal, "a") is standing(journal, "b") is SagaStatus.STUCK


def test_a_decision_stands_if_the_admins_log_fails(
    journal: DjangoJournal, caplog: pytest.LogCaptureFixture
) -> None:
    """It is on record in the journal; and whoever decided is told, also in a transaction."""
    for saga_id in ("a", "b"):
        stuck(journal, saga_id)
    browser = client("retry")

    with ddl("ALTER TABLE django_admin_log RENAME TO gone",
             "ALTER TABLE gone RENAME TO django_admin_log"):  # fmt: skip
        connections.settings["default"]["ATOMIC_REQUESTS"] = True
        try:
            first = decide(browser, "retry", "a")
        finally:
            connections.settings["default"]["ATOMIC_REQUESTS"] = False
        decide(browser, "retry", "b")

    assert first.status_code == 302
    assert "the admin's log lacks it for 1 saga" in shown(browser, LIST)
    assert "is not in the log" in caplog.text
    assert '"who":"retry"' in on_record(journal, "a")[-1]
    assert sorted(run.saga_id for run in recover(journal)) == ["a", "b"]


@pytest.mark.parametrize(
    ("given", "after"),
    [
        ({"status": "succeeded", "result": '"RX-1"'}, SagaStatus.COMPENSATED),
        ({"status": "failed"}, SagaStatus.COMPENSATED),
        ({"status": "skipped"}, SagaStatus.COMPENSATED),
    ],
)
def test_what_came_of_an_operation_is_believed(
    journal: DjangoJournal, given: dict[str, str], after: SagaStatus
) -> None:
    """The rollback goes on from there."""
    stuck(journal)

    answer = decide(client("resolve"), "resolve", "x", **given)
    recover(journal)

    assert answer.status_code == 302, text(answer)
    assert standing(journal) is after


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"status": "succeeded"}, "What did it return? Write null if nothing."),
        ({"status": "failed", "result": "1"}, "Only what succeeded has a result."),
        ({"status": ""}, "This field is required."),
        ({"status": "succeeded", "result": "{"}, "is not JSON that the journal can read"),
        ({"operation": "z", "offered": "z"}, "there is no operation 'z'"),
        ({"operation": "z"}, "Select a valid choice"),
        ({"operation": "a", "offered": "a"}, "x"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(
    journal: DjangoJournal, given: dict[str, str], said: str
) -> None:
    """By the form, or by the machine; nothing is changed."""
    stuck(journal)
    before = on_record(journal)

    answer = decide(client("resolve"), "resolve", "x", **given)

    assert answer.status_code == 200
    assert said in text(answer)
    assert on_record(journal) == before
    assert LogEntry.objects.count() == 0


def test_what_a_process_drives_is_left_to_it(journal: DjangoJournal) -> None:
    """Nothing is offered, and what is posted all the same is refused."""
    claim = begin(journal, "x", '[["defined", {"operations": []}]]')
    browser = client("root")

    assert "a process drives it" in shown(browser, LIST)
    assert f"{LIST}_decide/" not in browser.get(page("x")).content.decode()
    assert "Written down for 0 sagas" in text(decide(browser, "compensate", "x"))
    journal.leave(claim)


def test_what_may_be_decided_is_offered_to_whoever_may(journal: DjangoJournal) -> None:
    """On the page of a saga and in the list; nothing for what has ended."""
    stuck(journal)
    order().orchestrator_execute(journal=journal, saga_id="done")

    for name, verbs in (("root", set(VERBS)), ("retry", {"retry"}), ("viewer", set())):
        browser = client(name)
        offered = re.findall(r"decide/(\w+)/\?saga=x", browser.get(page("x")).content.decode())
        assert set(offered) == verbs
        actions = re.findall(r'<option value="(\w+)"', browser.get(LIST).content.decode())
        assert set(actions) & {*VERBS, "delete_selected"} == verbs
        assert "decide/" not in browser.get(page("done")).content.decode()
    looked = client("retry").get(f"{LIST}_decide/retry/", {"saga": "x"})
    assert "Try again: x" in text(looked)


# --- links, and where there is no admin -----------------------------------------------------------


@pytest.mark.parametrize("saga_id", ["x", "shop_1.a-B", "_decide", "add"])
def test_any_id_has_a_page_that_a_link_leads_to(journal: DjangoJournal, saga_id: str) -> None:
    """Whatever it is made of."""
    order().start(journal=journal, saga_id=saga_id)
    link = saga_link(saga_id)

    url = unescape(link.split('"')[1])

    assert unescape(re.sub(r"<[^>]+>", "", link)) == saga_id
    assert f"{saga_id} (depot): RUNNING" in shown(client("viewer"), url)
    answer = client("compensate").get(url).content.decode()
    button = unescape(re.findall(r'href="([^"]*decide/compensate/[^"]*)"', answer)[0])
    assert f"Undo: {saga_id}" in text(client("compensate").get(button))


def test_a_link_to_no_saga_is_a_dash_and_without_an_admin_it_is_the_id() -> None:
    """So that the user's own pages work in each case."""
    assert saga_link(None) == saga_link("") == "-"
    assert saga_link("<x>", site="elsewhere") == "&lt;x&gt;"
    assert saga_url("x", site="elsewhere") is None


def test_settings_that_are_wrong_are_told_by_the_checks_and_break_no_import() -> None:
    """There is no admin then, and the table has the name that it has by itself."""
    with override_settings(PY_API_SAGA={"JOURNAL": 7}):
        assert table() == "saga_saga"
        assert not is_of_django()
    with override_settings(PY_API_SAGA={"JOURNAL": "alias:lake", "OPTIONS": {"prefix": "s_"}}):
        assert table() == '"public"."s_saga"'


WITHOUT = """
import sys
from django.conf import settings
import django_project
settings.configure(**django_project.SETTINGS | {
    "DATABASES": {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    "PY_API_SAGA": {"JOURNAL": sys.argv[1], "MODULES": ["depot"]},
})
import django
django.setup()
from django.contrib import admin
from django.core.management import call_command
from django.db import connection
call_command("migrate", run_syncdb=True, verbosity=0)
call_command("makemigrations", "--check", "--dry-run", verbosity=0)
call_command("check", fail_level="WARNING")
from py_api_saga.contrib.django.models import Saga
from py_api_saga.contrib.django.links import saga_link
print(admin.site.is_registered(Saga), saga_link("x"))
print([name for name in connection.introspection.table_names() if "saga" in name])
"""

APART = """
import sys
from django.conf import settings
import django_project
settings.configure(**django_project.SETTINGS | {
    "DATABASES": {
        "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"},
        "lake": django_project.at(sys.argv[1]),
    },
    "DATABASE_ROUTERS": ["py_api_saga.contrib.django.routers.JournalRouter"],
    "PY_API_SAGA": {
        "JOURNAL": "alias:lake", "MODULES": ["depot"], "OPTIONS": {"schema": sys.argv[2]},
    },
})
import django
django.setup()
from django.core.management import call_command
from django.test import Client
call_command("migrate", run_syncdb=True, verbosity=0)
call_command("migrate", database="lake", run_syncdb=True, verbosity=0)
call_command("makemigrations", "--check", "--dry-run", verbosity=0)
call_command("check", databases=["default", "lake"], fail_level="WARNING")
from django.contrib.auth.models import Permission, User
from py_api_saga.contrib.django.configured import lasting_journal
from py_api_saga.contrib.django.models import Saga
from recorded import stuck
with_journal = lasting_journal()
stuck(with_journal)
print(Saga.objects.get().saga_id, Permission.objects.filter(codename="retry_saga").count())
browser = Client()
browser.force_login(User.objects.create_superuser("root"))
print(b"STUCK" in browser.get("/admin/py_api_saga/saga/").content)
answer = browser.post("/admin/py_api_saga/saga/_decide/retry/",
                      {"saga": f"{Saga.objects.get().number}.stuck.1:x", "note": "once more"})
print(answer.status_code, Saga.objects.get().standing.name)
with_journal.close()
"""


def in_a_project_of_its_own(script: str, *arguments: str) -> str:
    """Run a script in a process that has no project yet."""
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        env={**os.environ, "PYTHONPATH": search_path(TESTS / "support", TESTS)},
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_a_project_with_a_file_migrates_and_has_no_admin(tmp_path: Path) -> None:
    """There is no table in its SQLite, and a link is the id alone."""
    said = in_a_project_of_its_own(WITHOUT, str(tmp_path / "sagas.db"))

    assert said.splitlines()[-2:] == ["False x", "[]"]


def test_a_journal_in_another_database_takes_the_router() -> None:
    """Without it Django would look for the tables in "default", and `check` says so."""
    with override_settings(PY_API_SAGA={"JOURNAL": "alias:lake"}):
        (error,) = [one for one in checks.run_checks() if one.id == "py_api_saga.E010"]

    assert "its tables are in 'lake', and Django looks for them in 'default'" in error.msg
    assert '"py_api_saga.contrib.django.routers.JournalRouter" to DATABASE_ROUTERS' in error.hint


def test_a_router_says_nothing_about_other_models_or_without_an_alias(tmp_path: Path) -> None:
    """Those are led by others."""
    ours = JournalRouter()

    with override_settings(PY_API_SAGA={"JOURNAL": "alias:lake"}):
        assert ours.db_for_read(Saga) == ours.db_for_write(Saga) == "lake"
        assert ours.db_for_read(User) is None
        assert ours.allow_migrate("default", "auth") is None
        assert ours.allow_migrate("lake", "py_api_saga") is True
        assert ours.allow_migrate("default", "py_api_saga") is False
    with override_settings(PY_API_SAGA={"JOURNAL": str(tmp_path / "sagas.db")}):
        assert ours.db_for_read(Saga) is None
        assert ours.allow_migrate("default", "py_api_saga") is None


def test_a_journal_in_another_database_is_found_by_the_router(database: Any) -> None:
    """Its tables are there alone, and the permissions where the users are."""
    said = in_a_project_of_its_own(APART, database.url, database.schema)

    assert said.splitlines()[-3:] == ["x 1", "True", "302 COMPENSATING"]
    assert database.ask("SELECT count(*) FROM saga_saga") == [(1,)]
