"""Pages in a real browser: `python -m tests.browser [SITE …] [--pictures FOLDER]`.

A project of Django's with a PostgreSQL of its own (`admin`), the dashboard of a file (`dashboard`),
each on a free port of the loopback, and pages of sagas (`pages`): a chromium without a window
looks, logs in, and decides, and what came of it is read from the journal. Nothing is downloaded:
the browser resolves no name, and the driver is told by its path. Exit status: 1 if anything is
wrong, 2 if something is missing: `pip install -e ".[proof]"` and `apt-get install chromium
chromium-driver`.
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import depot
import django_project
from recorded import order, stuck
from servers import shared
from servers.children import Missing

from browser import dashboard, pages
from browser.people import Person, browser
from py_api_saga import SagaStatus, recover

PASSWORD = "of the proof"  # noqa: S105 - of users that live as long as it does
PROGRAMS = ("chromium", "chromedriver")
USERS = {"ada": ("view_saga", "retry_saga", "view_saga_values"), "vic": ("view_saga",)}
LIST = "/admin/py_api_saga/saga/"


def missing() -> list[str]:
    """Give what has to be installed first."""
    found = [name for name in PROGRAMS if shutil.which(name) is None]
    return found if importlib.util.find_spec("selenium") else [*found, "selenium"]


@contextmanager
def site() -> Iterator[str]:
    """Serve a project with users, for the time of a block: its URL."""
    from django.contrib.auth.models import Permission, User  # noqa: PLC0415 - of the project
    from django.contrib.staticfiles.handlers import StaticFilesHandler  # noqa: PLC0415
    from django.core.management import call_command  # noqa: PLC0415
    from django.test.testcases import LiveServerThread  # noqa: PLC0415

    with django_project.database():
        call_command("migrate", run_syncdb=True, verbosity=0)
        for name, permissions in USERS.items():
            user = User.objects.create_user(name, password=PASSWORD, is_staff=True)
            user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        thread = LiveServerThread("127.0.0.1", StaticFilesHandler)
        thread.daemon = True
        thread.start()
        thread.is_ready.wait()
        if thread.error:
            raise thread.error
        try:
            yield f"http://127.0.0.1:{thread.port}"
        finally:
            thread.terminate()
            journal().close()


def journal() -> Any:
    """Give the journal of the project."""
    from py_api_saga.contrib.django.configured import lasting_journal  # noqa: PLC0415 - as above

    return lasting_journal()


def log_in(person: Person, name: str) -> None:
    """Log in as somebody else."""
    person.driver.delete_all_cookies()
    person.go("/admin/")
    person.find("[name=username]").send_keys(name)
    person.find("[name=password]").send_keys(PASSWORD)
    person.click("[type=submit]")


# --- what is tried --------------------------------------------------------------------------------


def the_list_shows_badges(person: Person) -> None:
    """The list has each saga with its status, in its colour, and a reason."""
    log_in(person, "ada")
    person.go(LIST)
    person.picture("list")

    colour = person.find(".saga-badge.saga-stuck").value_of_css_property("background-color")
    assert "186, 33, 33" in colour, colour
    assert person.count(".saga-badge.saga-stuck") == 4
    assert "no bank" in person.text


def a_saga_is_found_and_shown(person: Person) -> None:
    """A search for an id leads to the page of the saga, with values for whoever may see them."""
    person.go(LIST)
    person.find("#searchbar").send_keys("shop-1")
    person.click("#changelist-search [type=submit]")
    assert person.count("#result_list tbody tr") == 1
    person.click("#result_list tbody th a")
    person.picture("saga")

    assert "secret" in person.text
    assert "its undo failed" in person.text
    assert "python manage.py saga retry shop-1" in person.text


def a_decision_takes_a_note_and_is_written_down(person: Person) -> None:
    """The browser itself asks for the note; nothing is called before a worker comes."""
    called = [*depot.log]
    person.go(f"{LIST}shop-1/change/")
    person.click(".saga-buttons a[href*='/retry/']")
    person.find(".submit-row [type=submit]").click()  # without a note
    assert person.script("return document.querySelector('#id_note').matches(':invalid')")
    person.find("#id_note").send_keys("the bank is back")
    person.picture("decide")
    person.click(".submit-row [type=submit]")

    assert "Try again: written down for 1 saga. A worker goes on." in person.text
    assert "ada decided: retry: the bank is back" in person.text
    assert depot.log == called
    assert [run.outcome for run in recover(journal())] == [SagaStatus.COMPENSATED]
    person.go(f"{LIST}shop-1/history/")
    assert "the bank is back" in person.text


def many_are_confirmed_and_what_fails_is_listed(person: Person) -> None:
    """What somebody else has decided since is left."""
    from py_api_saga import repair  # noqa: PLC0415 - for this case alone

    person.go(f"{LIST}?attention=person")
    person.find("#action-toggle").click()
    person.script("document.querySelector('select[name=action]').value = 'retry'")
    person.click("button[name=index]")
    assert "3 sagas" in person.text
    person.picture("many")
    repair.again(journal(), "shop-2", who="somebody", why="first")
    person.find("#id_note").send_keys("all of them")
    person.click(".submit-row [type=submit]")
    person.picture("decided")

    assert person.count("#failed tbody tr") == 1
    assert "saga 'shop-2' has changed since it was shown" in person.text
    assert "Written down for 2 sagas" in person.text
    assert len(recover(journal())) == 3


def whoever_only_looks_gets_nothing_to_click_and_403(person: Person) -> None:
    """Also by a form that was made up, with the token of the session."""
    stuck(journal(), "shop-9")
    log_in(person, "vic")
    person.go(f"{LIST}shop-9/change/")
    assert person.count(".saga-buttons a") == 0
    assert "secret" not in person.text
    person.go(LIST)
    assert person.count("select[name=action]") == 0
    post = """
        const done = arguments[arguments.length - 1];
        const body = new URLSearchParams(arguments[1]);
        const token = document.cookie.match(/csrftoken=([^;]+)/);
        body.append("csrfmiddlewaretoken", token ? token[1] : "");
        fetch(arguments[0], {method: "POST", body}).then(answer => done(answer.status));
    """
    person.go("/admin/password_change/")  # which has a token
    for path, given in (
        (f"{LIST}_decide/retry/", {"saga": "1.stuck.1:shop-9", "note": "mine"}),
        (LIST, {"action": "retry", "_selected_action": "shop-9"}),
        (LIST, {"action": "delete_selected", "_selected_action": "shop-9", "post": "yes"}),
        (f"{LIST}shop-9/delete/", {"post": "yes"}),
        (f"{LIST}add/", {"saga_id": "shop-10"}),
    ):
        status = person.driver.execute_async_script(post, path, given)
        assert status == 403, (path, status)
    assert "shop-9" in [seen.saga_id for seen in journal().select([SagaStatus.STUCK])]


def the_pages_are_there_behind_the_login(person: Person) -> None:
    """Mounted below a path: they keep themselves up to date, and no link leads out of it."""
    person.driver.delete_all_cookies()
    person.go("/sagas/saga?saga=shop-9")
    assert "/accounts/login/?next=/sagas/saga" in person.driver.current_url
    log_in(person, "vic")
    person.complaints()
    person.go("/sagas/")
    person.picture("mounted")
    assert "NEEDS A PERSON: 1 STUCK" in person.text
    order().orchestrator_execute(journal=journal(), saga_id="shop-10")
    person.until(lambda: "shop-10" in person.text, "a new saga")
    person.click("#needs li a")
    assert person.driver.current_url.endswith("/sagas/saga?saga=shop-9")
    assert person.count("a.act") == 0
    assert person.complaints() == []
    person.driver.delete_all_cookies()
    person.until(lambda: "/accounts/login/" in person.driver.current_url, "the login")


CASES: tuple[Callable[[Person], None], ...] = (
    the_list_shows_badges,
    a_saga_is_found_and_shown,
    a_decision_takes_a_note_and_is_written_down,
    many_are_confirmed_and_what_fails_is_listed,
    whoever_only_looks_gets_nothing_to_click_and_403,
    the_pages_are_there_behind_the_login,
)


@contextmanager
def admin(driver: Any, pictures: Path | None) -> Iterator[Person]:
    """Have somebody look at the admin of a project with sagas, for the time of a block."""
    django_project.set_up()
    with shared.run(), site() as home:
        for number in range(1, 5):
            stuck(journal(), f"shop-{number}")
        order().orchestrator_execute(journal=journal(), saga_id="shop-5")
        yield Person(driver, home, pictures)


SITES: dict[str, tuple[Callable[..., Any], tuple[Callable[[Any], None], ...]]] = {
    "admin": (admin, CASES),
    "dashboard": (dashboard.stage, dashboard.CASES),
    "pages": (pages.visit, pages.CASES),
}


def main() -> int:
    """Try all of it in one browser, one after the other."""
    parser = argparse.ArgumentParser(prog="python -m tests.browser", description=__doc__)
    about = f"{', '.join(SITES)}; all of them by default"
    parser.add_argument("sites", nargs="*", metavar="SITE", help=about)
    parser.add_argument("--pictures", type=Path, help="a folder for what the pages look like")
    arguments = parser.parse_args()
    if unknown := {*arguments.sites} - SITES.keys():
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    if lacking := missing():
        sys.stdout.write(f"there is no {', '.join(lacking)}\n")
        return 2
    logging.disable()
    cases, wrong = 0, 0
    with ExitStack() as opened:
        folder = opened.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        driver = opened.enter_context(browser(Path(folder)))
        for name in arguments.sites or SITES:
            place, tries = SITES[name]
            try:
                given = opened.enter_context(place(driver, arguments.pictures))
            except Missing as problem:
                sys.stdout.write(f"there is no {problem}\n")
                return 2
            cases += len(tries)
            wrong += sum(not tried(case, given) for case in tries)
    sys.stdout.write(f"{cases} cases, {wrong} wrong\n")
    return 1 if wrong else 0


def tried(case: Callable[[Any], None], given: object) -> bool:
    """Try a case, and say what came of it; whatever that is, the others are tried too."""
    problem = ""
    try:
        case(given)
    except Exception as error:  # noqa: BLE001 - as said
        problem = f"{type(error).__name__}: {error}"
    sys.stdout.write(f"{case.__name__.replace('_', ' '):70} {problem or 'ok'}\n")
    sys.stdout.flush()
    return not problem


if __name__ == "__main__":
    sys.exit(main())
