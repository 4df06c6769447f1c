"""The house: who may import whom, what is public, and what importing the library costs nobody."""

import ast
import inspect
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import py_api_saga
from py_api_saga import journal

SOURCE = Path(py_api_saga.__file__).parent

# From the ground up. A module imports only from the rows below its own: also inside a function,
# where an import comes late but binds just as much, and for the type checker only.
HOUSE = (
    ("kinds", "clock", "chance", "release"),
    ("interrupts",),
    (
        "status",
        "drawing",
        "placeholder",
        "current",
        "typed_call",
        "log",
        "wording",
        "process",
    ),  # leaves: they know nothing of the rest
    ("entries", "stuck"),
    ("report",),
    ("exceptions",),
    ("calls", "known_errors", "keys"),
    ("error_details",),
    ("evidence",),
    ("retry", "events", "loops"),
    ("operation", "observer"),
    ("definition",),
    ("filling",),
    ("trouble", "follows", "heard"),
    ("outcome",),
    ("execution",),
    # What runs it, which knows of no journal.
    (
        "executors",
        "executors.meaning",
        "executors.inbox",
        "executors.threads",
        "executors.passage",
    ),
    ("executors.running",),
    ("executors.run", "executors.calling"),
    ("executors.turns", "executors.side_loop", "executors.around"),
    ("executors.attempt",),
    ("executors.orchestrator", "executors.choreography"),
    ("executors.driving",),
    ("executors.event_loop",),
    ("journal.reentry", "journal.prefixes"),
    # How a saga is written.
    (
        "journal.format",
        "journal.format.facts",
        "journal.format.functions",
        "journal.format.json_text",
    ),
    ("journal.format.tagging",),
    ("journal.format.untagging",),
    ("journal.changes",),
    ("journal.protocol", "journal.health", "journal.holder"),
    ("journal.lasting",),
    ("journal.format.sealing",),
    # Where it is kept.
    ("journal.sql", "journal.sql.statements", "journal.sql.desk"),
    ("journal.sql.group_commit",),
    ("journal.sqlite", "journal.sqlite.queries", "journal.sqlite.descriptors"),
    ("journal.sqlite.gate", "journal.sqlite.owners", "journal.sqlite.connecting"),
    ("journal.sqlite.reading", "journal.sqlite.writes"),
    ("journal.sqlite.view",),
    ("journal.sqlite.renewal",),
    ("journal.sqlite.file",),
    ("journal.sqlite.shared",),
    ("journal.sqlite.files",),
    # In a PostgreSQL.
    ("journal.postgresql", "journal.postgresql.queries", "journal.postgresql.lease"),
    ("journal.postgresql.driver",),
    ("journal.postgresql.trouble", "journal.postgresql.place"),
    ("journal.postgresql.connections",),
    ("journal.postgresql.exchange",),
    ("journal.postgresql.server",),
    ("journal.postgresql.writes",),
    ("journal.postgresql.bench", "journal.postgresql.reading"),
    ("journal.postgresql.examining",),
    ("journal.postgresql.benches", "journal.postgresql.view", "journal.postgresql.within"),
    ("journal.sqlite.journal", "journal.memory", "journal.postgresql.journal"),
    ("journal.postgresql.engine",),
    ("journal",),
    ("journal.format.values",),
    ("journal.format.stencils",),
    ("journal.format.entries", "journal.format.definitions", "journal.format.letters"),
    ("journal.format.sagas",),
    # What outlasts its process.
    ("durable.reckoning",),
    ("durable", "durable.recorder", "durable.crew", "durable.unready", "durable.mailbox"),
    ("durable.punctual", "durable.waiting"),
    ("durable.run",),
    ("durable.knowing",),
    ("durable.beginning",),
    ("durable.recovery", "standing"),
    ("durable.answering", "repair"),
    ("executable", "saga_options"),
    ("bound",),
    ("assembler",),
    ("story", "story.words"),
    ("story.saga",),
    ("story.waits",),
    ("story.timeline", "story.remedies"),
    ("story.detail", "story.why"),
    ("story.many",),
    ("story.attention",),
    ("story.gauges",),
    ("story.attempts",),
    ("__init__", "py_api_saga"),
    ("pictures",),  # of what is on record: the command and the frameworks show them
    ("engines",),  # which the command speaks to
    ("testing", "cli", "demo"),
    ("contrib",),  # the command and the test kit of a framework are the library's
)
# Nobody below imports these; the modules of such a package may import one another.
TOP = (*HOUSE[-4], *HOUSE[-3], *HOUSE[-2], *HOUSE[-1])
ENTRY = "__main__"  # `python -m py_api_saga` is the command
FLOOR = {module: floor for floor, modules in enumerate(HOUSE) for module in modules}

FORBIDDEN_NAMES = {"base", "common", "helpers", "manager", "types", "utils"}

PUBLIC = {
    "NOT_HAPPENED",
    "UNKNOWN",
    "Answered",
    "BoundSaga",
    "Event",
    "JournalError",
    "Later",
    "Observer",
    "Recovered",
    "Results",
    "Retry",
    "Saga",
    "SagaAssembler",
    "SagaConflict",
    "SagaDefinitionError",
    "SagaError",
    "SagaException",
    "SagaInProgress",
    "SagaPending",
    "SagaStanding",
    "SagaStatus",
    "SagaStuck",
    "Status",
    "aanswer",
    "answer",
    "arecover",
    "current_operation",
    "given",
    "happened",
    "later",
    "leaves_doubt",
    "recover",
    "result_of",
    "saga_status",
    "takeover",
}


def module_name(path: Path) -> str:
    """Name a module as the table does: `executors.run`, and a package by its own name."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and parts[:-1] else parts)


MODULES = {module_name(path): path for path in sorted(SOURCE.rglob("*.py"))}


def room(module: str) -> str:
    """Tell where the table has a module: a package of the top floor is one room."""
    package = module.partition(".")[0]
    return "cli" if module == ENTRY else package if package in TOP else module


def known(name: str) -> str:
    """Find the module that holds a dotted name of ours: a module, or something inside one."""
    name = name.removeprefix("py_api_saga").removeprefix(".")
    while name and name not in MODULES:
        name = name.rpartition(".")[0]
    return name or "__init__"


def imported(module: str) -> Iterator[str]:
    """Yield our modules that a module imports, anywhere in its text."""
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}, line {node.lineno}: a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (known(name) for name in names if name.split(".")[0] == "py_api_saga")


IMPORTS = {module: set(imported(module)) - {module} for module in MODULES}


def test_the_reader_of_imports_sees_the_hidden_ones() -> None:
    """Imports in functions and for type checkers only are seen, so what follows means something."""
    assert "status" in IMPORTS["events"]
    assert "executors.event_loop" in IMPORTS["executable"]
    assert known("py_api_saga.status.Status") == "status"
    assert known("py_api_saga.executors.run.drive") == "executors.run"
    assert known("py_api_saga.SagaAssembler") == "__init__"


def test_every_module_has_its_place() -> None:
    """A new module is put into the table, and what is gone is taken out."""
    assert {room(module) for module in MODULES} == set(FLOOR)


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_downwards(module: str) -> None:
    """A module imports only lower layers, and nobody imports the top one."""
    here = room(module)

    upwards = {
        other
        for other in IMPORTS[module]
        if room(other) != here and FLOOR[room(other)] >= FLOOR[here]
    }

    assert upwards == set()


def names_in(module: str) -> Iterator[str]:
    """Yield each name in the text of a module: of what is read, set, defined, imported or given."""
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        for field in ("id", "attr", "arg", "name", "asname", "module"):
            value = getattr(node, field, None)
            if isinstance(value, str):
                yield value
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and node.value.isidentifier()
        ):
            yield node.value  # a slot


# Where time is read, and random numbers are drawn: in two modules, so that a test kit can stand in
# for them; and where else, with the reason.
SEAMS = {
    "clock": {"time", "time.monotonic", "time.sleep", "time.time"},
    "chance": {"os.urandom"},
    "testing.virtual": {"time", "random", "loop.time"},  # which it replaces
    "engines.temporal_worker": {"asyncio.sleep"},  # until a server that was away is there
    "executors.event_loop": {"asyncio.sleep"},  # a timer of the loop, which a test's loop has too
    "journal.postgresql.journal": {"asyncio.sleep"},  # such a timer
    "journal.sql.group_commit": {"loop.time"},  # to compare it with when such a timer is due
}
OUTSIDE = {
    *("asyncio.sleep", "loop.time", "os.urandom", "os.times", "datetime.now", "datetime.utcnow"),
    *("datetime.today", "date.today", "uuid.uuid1", "uuid.uuid4"),
}
TELLING = {"localtime", "gmtime", "strftime"}  # of a time that is given


def reads(tree: ast.AST) -> Iterator[str]:
    """Yield what a module takes from outside that is another one at each run."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from {alias.name for alias in node.names} & {"time", "random", "secrets"}
        elif isinstance(node, ast.ImportFrom) and node.module in ("time", "random", "secrets"):
            names = {alias.name for alias in node.names} - TELLING
            yield from (f"{node.module}.{name}" for name in names)
        elif isinstance(node, ast.ImportFrom) and node.module in ("os", "uuid", "asyncio"):
            yield from {f"{node.module}.{alias.name}" for alias in node.names} & OUTSIDE
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield from {f"{node.value.id}.{node.attr}"} & OUTSIDE


@pytest.mark.parametrize("module", [one for one in MODULES if room(one) != "demo"])
def test_time_is_read_and_chance_is_drawn_in_one_place(module: str) -> None:
    """Nobody else does: a test kit puts others in their place. But the demo is as a user's code."""
    assert set(reads(ast.parse(MODULES[module].read_text()))) == SEAMS.get(module, set())


@pytest.mark.parametrize(
    "code",
    [
        "import time",
        "from time import monotonic_ns",
        "from time import time, strftime",
        "import random",
        "from secrets import token_hex",
        "from uuid import uuid4",
        "import os; os.urandom(4)",
        "datetime.now(timezone.utc)",
    ],
)
def test_whatever_reads_time_or_chance_is_found(code: str) -> None:
    """So that the test above can fail."""
    assert list(reads(ast.parse(code))) != []


@pytest.mark.parametrize("module", MODULES)
def test_the_clock_is_not_bound_by_name(module: str) -> None:
    """A name that was bound would go on to mean the real one."""
    bound = [
        f"line {node.lineno}: {alias.name}"
        for node in ast.walk(ast.parse(MODULES[module].read_text()))
        if isinstance(node, ast.ImportFrom)
        and node.module in ("py_api_saga.clock", "py_api_saga.chance")
        for alias in node.names
        if not alias.name.isupper()  # a constant stands for nothing else
    ]
    assert bound == []


EXECUTORS = [module for module in MODULES if module.split(".")[0] == "executors"]
OF_JOURNALS = ("journal", "record", "claim", "lost", "durabl", "epoch", "owner")


@pytest.mark.parametrize("module", EXECUTORS)
def test_executors_do_not_know_that_there_are_journals(module: str) -> None:
    """They name none, nor what writes into one: a run that is on record is a kind of run."""
    known = {name for name in names_in(module) if any(word in name.lower() for word in OF_JOURNALS)}

    assert known == set()


def test_the_reader_of_names_sees_them_all() -> None:
    """So that the test before this one can fail."""
    names = set(names_in("durable.run"))

    assert names >= {"recorder", "lost", "DurableRun", "journal", "py_api_saga.journal.changes"}


# Which modules of the command know what a journal is kept in: the one that opens what is named, one
# about the file that tells which processes live, and one that prints what makes tables.
KNOWS_ROOMS = {
    "cli.opening": {"journal.sqlite.journal", "journal.sqlite.view", "journal.postgresql.journal"},
    "cli.renewing": {"journal.sqlite.renewal"},
    "cli.schema": {"journal.postgresql.queries"},
}


@pytest.mark.parametrize("module", [one for one in MODULES if room(one) == "cli"])
def test_the_command_opens_what_is_named_in_one_place(module: str) -> None:
    """All others talk to a journal, whatever it is kept in; and to a view of one."""
    kept = ("journal.sqlite", "journal.memory", "journal.sql.", "journal.postgresql")
    rooms = {other for other in IMPORTS[module] if other.startswith(kept)}

    assert rooms == KNOWS_ROOMS.get(module, set())


def test_no_module_needs_itself() -> None:
    """There is no cycle, not even inside a package of the top layer."""
    order = list(TopologicalSorter(IMPORTS).static_order())

    assert set(order) == set(MODULES)


def test_the_demo_is_written_as_a_user_writes() -> None:
    """It imports what is public, so that what it shows can be copied; it lies in no other room."""
    demo = [module for module in MODULES if room(module) == "demo"]

    assert len(demo) > 1
    assert {i for one in demo for i in IMPORTS[one] if room(i) != "demo"} == {"__init__", "journal"}


def test_no_module_is_called_after_nothing() -> None:
    """A name says what a module is about, not that things are in it."""
    parts = {part.strip("_") for module in MODULES for part in module.split(".")}

    assert parts & FORBIDDEN_NAMES == set()


def test_the_public_names() -> None:
    """What can be imported from the top is a decision, not an accident."""
    assert set(py_api_saga.__all__) == PUBLIC
    assert len(py_api_saga.__all__) == len(PUBLIC)
    assert {name for name in PUBLIC if not hasattr(py_api_saga, name)} == set()


def test_the_old_path_has_the_old_name() -> None:
    """The predecessor's import path gives the same class."""
    from py_api_saga.py_api_saga import SagaAssembler  # noqa: PLC0415  # the path is the case

    assert SagaAssembler is py_api_saga.SagaAssembler


def undocumented(name: str, thing: object) -> Iterator[str]:
    """Yield what lacks a docstring of its own: a class, a function, a public member."""
    if not (inspect.isclass(thing) or inspect.isroutine(thing)):
        return
    if not inspect.getdoc(thing):
        yield name
    for attribute, member in vars(thing).items() if inspect.isclass(thing) else ():
        member = getattr(member, "__func__", member)  # noqa: PLW2901  # under a classmethod
        if attribute.startswith("_") or isinstance(member, type):
            continue
        if (inspect.isroutine(member) or isinstance(member, property)) and not member.__doc__:
            yield f"{name}.{attribute}"


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_every_public_name_says_what_it_promises(name: str) -> None:
    """Each public class, method and function has a docstring."""
    assert list(undocumented(name, getattr(py_api_saga, name))) == []


def test_importing_the_library_loads_little() -> None:
    """No large module of the standard library, nothing from elsewhere, none for trouble alone."""
    code = (
        "import sys\n"
        f"sys.path.insert(0, {str(SOURCE.parent)!r})\n"
        "import py_api_saga\n"
        "print(*sys.modules)"
    )
    command = [sys.executable, "-I", "-S", "-c", code]  # without what is installed beside it
    ran = subprocess.run(command, capture_output=True, text=True, check=True)

    loaded = set(ran.stdout.split())
    large = {"asyncio", "dataclasses", "json", "logging", "sqlite3", "typing_extensions"}
    assert loaded & large == set()
    late = ("drawing", "durable", "durable.run", "executors.event_loop")
    assert loaded & {f"py_api_saga.{module}" for module in late} == set()
    roots = {name.partition(".")[0] for name in loaded} - {"py_api_saga", "__main__"}
    assert roots - set(sys.stdlib_module_names) == set()


def test_a_saga_in_a_journal_loads_no_more_than_it_needs(tmp_path: Path) -> None:
    """What takes long to import is left to the values and the methods that need it."""
    (tmp_path / "errand.py").write_text("def go(*_: object) -> str:\n    return 'there'\n")
    code = (
        "import sys\n"
        f"sys.path[:0] = {[str(SOURCE.parent), str(tmp_path)]!r}\n"
        "import errand\n"
        "from py_api_saga import SagaAssembler\n"
        "from py_api_saga.journal import SQLiteJournal\n"
        f"journal = SQLiteJournal({str(tmp_path / 'sagas.db')!r}, modules=['errand'])\n"
        "saga = SagaAssembler.saga().operation((errand.go, 'A-17', 2), errand.go)\n"
        "assert saga.orchestrator_execute(journal=journal) == ['there']\n"
        "print(*sys.modules)"
    )
    command = [sys.executable, "-I", "-S", "-c", code]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)

    needless = {"asyncio", "concurrent", "decimal", "hashlib", "pathlib", "socket", "tempfile"}
    needless |= {
        "binascii",
        "typing_extensions",
        "urllib.parse",
        "uuid",
        "zoneinfo",
        "py_api_saga.journal.memory",
    }
    needless |= {f"py_api_saga.{late}" for late in ("durable.knowing", "journal.format.sagas")}
    assert set(ran.stdout.split()) & needless == set()


def test_what_is_imported_late_is_listed() -> None:
    """So that it is offered where names are completed."""
    assert set(dir(py_api_saga)) >= PUBLIC
    assert set(dir(journal)) >= set(journal.__all__)
