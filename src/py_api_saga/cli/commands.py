"""The commands, as a table: what each is called, takes, and does. Each is imported when it runs."""

from __future__ import annotations

import argparse
from functools import cache
from typing import Any, NamedTuple

from py_api_saga.cli.arguments import (
    age,
    alias,
    count,
    ends,
    host,
    interval,
    pace,
    patience,
    port,
    statuses,
    threads,
    words,
)


class Option(NamedTuple):
    """One argument of a command, as argparse takes it."""

    names: tuple[str, ...]
    settings: dict[str, Any]


class Command(NamedTuple):
    """One command.

    Attributes:
        name: What is typed.
        run: Where the function of its arguments is, as "module:function" under `py_api_saga`.
        help: What it does, for the list of commands.
        description: The same at length.
        examples: Lines to type.
        status: What each exit status means.
        options: What it takes.
        not_on_engine: Why it is not for an engine, and what to use there instead; empty if it is.
    """

    name: str
    run: str
    help: str
    description: str
    examples: tuple[str, ...]
    status: str
    options: tuple[Option, ...] = ()
    not_on_engine: str = ""


class Project(NamedTuple):
    """What the command takes from the project that it is a part of, where nothing else is typed.

    Attributes:
        prog: What is typed for it, for its help.
        journal: As `--journal` has it, or None.
        modules: As `--modules` has them.
        around: As `--around` has it, outermost.
    """

    prog: str
    journal: str | None
    modules: tuple[str, ...]
    around: str


def _option(*names: str, **settings: Any) -> Option:
    return Option(names, settings)


def _limit(about: str) -> Option:
    return _option("--limit", metavar="N", type=count, help=about)


def _flag(name: str, about: str) -> Option:
    return _option(name, action="store_true", help=about)


def _at_most(sagas: int) -> Option:
    return _option(
        "--limit",
        metavar="N",
        type=count,
        default=sagas,
        help="how many at most (default: %(default)s)",
    )


def _page(**more: Any) -> Option:
    about = "write a page of HTML into this file, which may be one already; - is standard output"
    return _option("--html", metavar="FILE", help=about, **more)


_ID = _option("saga_id", metavar="ID", help="the id of the saga")
_NO_DEFAULT = argparse.SUPPRESS  # the same option before the command keeps what it has read
_WHERE = (
    _option(
        "--journal",
        metavar="PATH",
        default=_NO_DEFAULT,
        help="the journal: the path of its file, postgresql://…, or MODULE:OBJECT, one that a "
        "module has made; else the environment's SAGA_JOURNAL",
    ),
    _option(
        "--codec",
        metavar="MODULE:OBJECT",
        default=_NO_DEFAULT,
        help="what opens sealed values; else the environment's SAGA_CODEC",
    ),
    _option(
        "--engine",
        metavar="ENGINE",
        choices=("dbos", "temporal"),
        default=_NO_DEFAULT,
        help="dbos or temporal: the sagas are on this engine, not in a journal",
    ),
    _option(
        "--url",
        metavar="URL",
        default=_NO_DEFAULT,
        help="with --engine, where it is: postgresql://… of DBOS's system database, HOST:PORT of "
        "Temporal's server; else the environment's SAGA_ENGINE_URL",
    ),
    _option(
        "--queue",
        metavar="NAME",
        default=_NO_DEFAULT,
        help="with --engine: the queue that its workers serve (default: sagas)",
    ),
    _option(
        "--namespace",
        metavar="NAME",
        default=_NO_DEFAULT,
        help="with --engine temporal: the namespace (default: default)",
    ),
    _option(
        "--lost-after",
        metavar="SECONDS",
        type=interval,
        default=_NO_DEFAULT,
        help="with --engine temporal: how long a call that is not heard of counts as running, in "
        "sagas that are gone on with from here (default: 30)",
    ),
    _option(
        "--tls",
        action="store_true",
        default=_NO_DEFAULT,
        help="with --engine temporal: by TLS; an API key is the environment's TEMPORAL_API_KEY",
    ),
)
_NETWORK = _flag("--network", "the file may be on a network file system: only this machine uses it")
_JSON = _flag("--json", "print one JSON document")
_READ = (_JSON, *_WHERE)
_WRITE = (_NETWORK, *_WHERE)
_ALIAS = _option(
    "--alias",
    metavar="OLD=NEW",
    action="append",
    type=alias,
    default=[],
    help="what a function or module is called now; may be repeated",
)
_SETUP = _option(
    "--setup",
    metavar="MODULE:FUNCTION",
    action="append",
    default=[],
    help="called before any module is imported, to set the process up, such as django:setup; may "
    "be repeated",
)
_MODULES = (
    _SETUP,
    _option(
        "--modules",
        metavar="MODULE",
        action="append",
        required=True,
        help="where the functions and types are that the sagas name; a saga that names others is "
        'parked (STUCK); may be repeated; "shop.*" is all below shop',
    ),
    _ALIAS,
)
_AROUND = _option(
    "--around",
    metavar="MODULE:FUNCTION",
    action="append",
    default=[],
    help="what is entered around each call, a function of the operation that gives a context "
    "manager, as in recover(around=[...]); may be repeated, the first is outermost",
)
_OF_JOURNAL_WORKERS = (
    _option(
        "--workers",
        metavar="N",
        type=count,
        help="with a journal: sagas at once, and threads (default: 8)",
    ),
    _limit("with a journal: sagas in a round, oldest first"),
    _option(
        "--interval",
        metavar="SECONDS",
        type=interval,
        help="with a journal: between two looks at it (default: 5 in a file, 1 in PostgreSQL)",
    ),
    _option(
        "--wait",
        metavar="SECONDS",
        type=patience,
        help="with a journal: how long to wait for one that is not there (default: 300)",
    ),
)
_OF_ENGINE_WORKERS = (
    _option(
        "--concurrency",
        metavar="N",
        type=count,
        help="with an engine: calls at once (default: 64)",
    ),
    _option(
        "--observer",
        metavar="MODULE:FUNCTION",
        action="append",
        default=[],
        help="with an engine: a function that is told of each call made here, as in "
        "recover(observers=[...]); may be repeated",
    ),
    _flag(
        "--takeover",
        "with --engine dbos: go on with what other workers have left that died, by a lease",
    ),
    _option(
        "--lease",
        metavar="SECONDS",
        type=interval,
        help="with --takeover: how long a worker that is not heard of counts as alive (default: "
        "30)",
    ),
)
_WORKERS_OR_NONE = _option(
    "--workers",
    metavar="N",
    type=threads,
    default=8,
    help="sagas at once, and threads (default: %(default)s); 0: all calls one after the other, in "
    "the thread of the command, which imported the modules",
)
_WHO_HELP = "who decides (default: your login name @ this host)"
_WHO = _option("--who", metavar="NAME", type=words, help=_WHO_HELP)
_NOTE = _option("--note", metavar="TEXT", default="", help="why; it is kept in the journal")
_ENDED = _flag("--ended", "calls that were given up after their timeout have ended for sure")
_ID_OR_ALL = (
    _option("saga_id", metavar="ID", nargs="?", help="the id of the saga"),
    _flag("--all", "many sagas: they are listed, and you are asked; goes without an ID"),
    _option("--name", help="with --all: of this name"),
    _option(
        "--error",
        metavar="CLASS",
        help="with --all: what was raised last is of this very class; with its module or without",
    ),
    _limit("with --all: how many at most, oldest first"),
    _flag("--yes", "with --all: do not ask"),
)
_FILTERS = (
    _option(
        "--status",
        metavar="STATUS",
        type=statuses,
        default=[],
        help="of these, separated by commas: running, compensating, stuck, completed, compensated",
    ),
    _option("--name", help="of this name"),
    _option("--id-prefix", metavar="TEXT", help="whose id begins with this"),
    _option("--older-than", metavar="AGE", type=age, help="changed longer ago: 30d, 12h"),
    _option("--newer-than", metavar="AGE", type=age, help="changed since: 12h, 5m"),
)
_VALUES = _flag("--values", "show arguments and results; they may be secrets")
_DECIDE = (_NOTE, _WHO, *_WRITE)

_READS = "0 fine, 1 error, 2 wrong usage"
_NO_SAGA = "0 fine, 1 there is no such saga, or it cannot be read, 2 wrong usage"
_DECIDES = (
    "0 done, 1 refused (nothing was changed), one of many was skipped, or error, 2 wrong usage"
)
_GOES_ON = "It is a decision only, kept with a name and a reason; `saga recover` then goes on."
_ITSELF = "it goes on with its sagas itself; run `saga worker --engine`"

COMMANDS = (
    Command(
        "demo",
        "demo.acts:main",
        "check out orders against three real services, and see what is undone",
        "Starts three HTTP services on this machine (stock, payment, courier), each a process "
        "with a ledger of its own, and checks out orders. Some must fail: watch what is "
        "undone. At the end, the ledgers prove that nothing is left over. Nothing stays on "
        "this machine, and nothing leaves it.",
        ("saga demo", "saga demo --pace 0.7"),
        "0 if the ledgers add up, 1 if not, 130 after Ctrl-C",
        (
            _option(
                "--pace",
                type=pace,
                default=0.07,
                metavar="SECONDS",
                help="how long a service takes to answer, 0 to 3 (default: %(default)s); "
                "try 0.7 to watch slowly",
            ),
        ),
    ),
    Command(
        "list",
        "cli.listing:main",
        "list sagas, newest first",
        "Lists sagas, newest first: where each stands and for how long, how often recovery has "
        "tried it, and whether a living process drives it, or until when it waits for an answer; "
        "of one that is stuck, why.",
        ("saga list", "saga list --status stuck", "saga list --name checkout --newer-than 12h"),
        "0 fine, 1 error, 2 wrong usage, 4 one that is listed is stuck",
        (
            *_FILTERS,
            _at_most(100),
            *_READ,
        ),
    ),
    Command(
        "stats",
        "cli.counting:main",
        "count sagas by status and name",
        "Counts the sagas that are open or stuck, by name: also how many wait for an answer, how "
        "old the oldest open one is, how many operations are in doubt, and how many calls were "
        "made again. With --ended also those that have ended, for which it looks at all that there "
        "are.",
        ("saga stats", "saga stats --name checkout", "saga stats --ended --json"),
        _READS,
        (
            _option("--name", help="of this name"),
            _flag("--ended", "count those that have ended, too; reads the whole journal"),
            *_READ,
        ),
        not_on_engine="it would read each saga there ever was; `saga list --newer-than 1d` "
        "shows the latest",
    ),
    Command(
        "show",
        "cli.showing:main",
        "show what has become of a saga, moment by moment",
        "Shows where each operation of a saga stands, and what happened when; with --html as a "
        "page that needs nothing else, with a timeline. Arguments and results are shown as their "
        "types alone; nothing that the journal names is imported.",
        (
            "saga show checkout-7",
            "saga show checkout-7 --values",
            "saga show checkout-7 --html checkout-7.html",
        ),
        _NO_SAGA,
        (_ID, _VALUES, _page(), *_READ),
    ),
    Command(
        "report",
        "cli.reporting:main",
        "write a page of HTML about many sagas, each with its timeline",
        "Writes one page about many sagas, which needs nothing else: first those that need a "
        "person, with the reason and the commands; each opens and shows its timeline. Arguments "
        "and results are shown as their types alone.",
        (
            "saga report --html report.html",
            "saga report --html report.html --status stuck --newer-than 1d",
        ),
        "0 fine, 1 error, 2 wrong usage, 4 one that is on the page is stuck",
        (_page(required=True), *_FILTERS, _at_most(200), _VALUES, *_WHERE),
    ),
    Command(
        "why",
        "cli.reasons:main",
        "say in plain words why a saga stands where it does, and what can be done",
        "Says what happened to a saga, what stands, what is undone, owed or in doubt, and the "
        "exact commands that are possible now, with what each leads to.",
        ("saga why checkout-7",),
        _NO_SAGA,
        (_ID, *_READ),
    ),
    Command(
        "graph",
        "cli.showing:graph",
        "draw a saga as a Mermaid flowchart",
        "Prints the operations of a saga, their order and where each stands as a Mermaid "
        "flowchart, which GitHub, GitLab and Sphinx render.",
        ("saga graph checkout-7 > checkout-7.mmd",),
        _NO_SAGA,
        (_ID, *_READ),
    ),
    Command(
        "check",
        "cli.health:check",
        "tell a monitor whether anything needs attention",
        "Prints one line: how many sagas are stuck, how many are open though nobody has driven "
        "them for a while, and how many recovery has tried three times or more.",
        ("saga check", "saga check --grace 15m", "saga check --prometheus > sagas.prom"),
        "0 fine, 1 error, 2 wrong usage, 4 something needs attention, but with --prometheus",
        (
            _option(
                "--grace",
                metavar="AGE",
                type=age,
                default=300.0,
                help="how long an open saga may wait for recovery (default: 5m)",
            ),
            _flag("--prometheus", "print it as Prometheus reads it, by the names of sagas"),
            *_READ,
        ),
        not_on_engine="it would read each saga there ever was; `saga list --status stuck "
        "--newer-than 1d` exits with 4 if one is stuck",
    ),
    Command(
        "dashboard",
        "cli.dashboard.serving:main",
        "serve pages of the journal on this machine",
        "Serves pages on 127.0.0.1 that say what needs a person and what to type, how many sagas "
        "stand how, and what became of each; they keep themselves up to date. They only show, "
        "unless --act is given: then decisions can be made there, by whoever opens the address "
        "that is printed. The port is open to every user of this machine.",
        (
            "saga dashboard",
            "saga dashboard --port 0 --act",
            "saga dashboard --behind-a-proxy --host sagas.example.org",
        ),
        "0 told to end by SIGTERM, 1 error, or the port is taken, 2 wrong usage, 130 Ctrl-C",
        (
            _option(
                "--port",
                metavar="N",
                type=port,
                default=8790,
                help="where it listens (default: %(default)s); 0: any that is free",
            ),
            _flag("--act", "let whoever opens the address that is printed decide on the pages"),
            _VALUES,
            _flag(
                "--behind-a-proxy",
                "a proxy of this machine passes requests on, and lets in whoever may look: there "
                "is no login here",
            ),
            _option(
                "--host",
                metavar="NAME",
                type=host,
                help="what the proxy calls it: the Host header of what it passes on",
            ),
            _WHO,
            *_WRITE,
        ),
        not_on_engine="it has pages of its own; `saga report --engine` writes one about its sagas",
    ),
    Command(
        "doctor",
        "cli.health:doctor",
        "examine the journal's file, and what reads and writes it",
        "Reads the whole file and looks for damage; tells versions, modes and sizes, which "
        "process is writing, and how many sagas dead processes have left. With --new-owners it "
        "makes the file that tells which processes live, where a restored journal has none; "
        "nobody may use the journal then.",
        ("saga doctor", "saga doctor --new-owners sagas.db"),
        "0 sound, or done, 1 damaged, unreadable or refused, 2 wrong usage",
        (
            _option(
                "--new-owners",
                metavar="PATH",
                nargs="?",
                const="",
                help="make that file for this journal (default: the one of --journal), after "
                "asking whether every process that used it has ended",
            ),
            _flag("--yes", "do not ask: they have ended"),
            *_READ,
        ),
    ),
    Command(
        "recover",
        "cli.recovering:recover",
        "finish or undo what dead processes have left",
        "Goes on with every open saga that is due and that nobody drives: forward, or with its "
        "rollback. The current directory is looked in for modules, as `python -m` does. Safe to "
        "run from several processes at once.",
        ("saga recover --modules shop.operations", "saga recover --modules 'shop.*' --limit 100"),
        "0 fine, also if a saga waits for an answer, 1 error, or a saga is left to be tried again, "
        "2 wrong usage, 4 a saga is stuck",
        (*_MODULES, _AROUND, _WORKERS_OR_NONE, _limit("sagas in all, oldest first"), *_WRITE),
        not_on_engine=_ITSELF,
    ),
    Command(
        "worker",
        "cli.worker:main",
        "recover again and again, or work for an engine, until it is told to end",
        "Does what `saga recover` does, at an interval, and writes a line for each saga. At "
        "SIGTERM or Ctrl-C it begins nothing more, lets what runs come to its end, and leaves. "
        "What has not ended after --grace, or at a second signal, is left as by a crash, and the "
        "next recovery goes on. It leaves, too, once three sagas in a row say that this process "
        "is not set up for them: see --setup. With --engine it drives sagas there and makes their "
        "calls; a call that has not ended after --grace is told to its saga as lost, which another "
        "worker goes on with.",
        (
            "saga worker --modules shop.operations",
            "saga worker --modules 'shop.*' --interval 30",
            "saga worker --engine temporal --url 127.0.0.1:7233 --modules shop.operations",
        ),
        "0 told to end, 1 error, or not all had ended after --grace, 2 wrong usage, 128 + the "
        "signal if told twice",
        (
            *_MODULES,
            _AROUND,
            _option(
                "--grace",
                metavar="SECONDS",
                type=patience,
                default=20.0,
                help="once told to end, how long to let what runs come to its end "
                "(default: %(default)g)",
            ),
            _option(
                "--alive",
                metavar="FILE",
                help="touched at each look at the journal, or each second while it works for an "
                "engine, for whoever asks whether it still does, such as a container's probe",
            ),
            *_OF_JOURNAL_WORKERS,
            *_OF_ENGINE_WORKERS,
            *_WRITE,
        ),
    ),
    Command(
        "takeover",
        "cli.recovering:take_over",
        "go on with one saga at once, even if the process that drives it hangs",
        "Goes on with one open saga, whether it is due or not. With --force also if a living "
        "process drives it: that one is refused at its next write. A call that it has announced "
        "may still start, so force only a process that hangs.",
        (
            "saga takeover checkout-7 --modules shop.operations",
            "saga takeover checkout-7 --force --modules shop.operations --note 'it hangs'",
        ),
        "0 fine, 1 refused or error, 2 wrong usage, 4 it is stuck",
        (_ID, _flag("--force", "take it from a process that lives"), *_MODULES, _AROUND, *_DECIDE),
        not_on_engine=_ITSELF,
    ),
    Command(
        "retry",
        "cli.deciding:retry",
        "call once more what is stuck",
        "Lets a stuck saga go on in its direction: all operations that are stuck are called "
        f"again, or one. With --all, many of them. {_GOES_ON}",
        (
            "saga retry checkout-7",
            "saga retry checkout-7 refund --new-key --note 'bank says no'",
            "saga retry --all --name checkout --error Refused --limit 100",
        ),
        _DECIDES,
        (
            *_ID_OR_ALL,
            _option("operation", metavar="OPERATION", nargs="?", help="one that is stuck"),
            _flag("--new-key", "under a new idempotency key, so that it counts anew"),
            _ENDED,
            *_DECIDE,
        ),
    ),
    Command(
        "compensate",
        "cli.deciding:compensate",
        "undo a saga that is stuck, or that nobody drives",
        f"Lets a saga that was to go forward be undone; refused past its pivot. With "
        f"--all, many that are stuck. {_GOES_ON}",
        ("saga compensate checkout-7 --note 'customer has left'",),
        _DECIDES,
        (*_ID_OR_ALL, *_DECIDE),
    ),
    Command(
        "cancel",
        "cli.deciding:cancel",
        "undo a saga that is open and that nobody drives",
        "As `saga compensate`, but only for a saga that waits for recovery; for any other it "
        f"says what to use. With --all, many that wait. {_GOES_ON}",
        ("saga cancel checkout-7",),
        _DECIDES,
        (*_ID_OR_ALL, *_DECIDE),
    ),
    Command(
        "resolve",
        "cli.deciding:resolve",
        "say what came of a stuck operation",
        f"Tells what you have found out, or done by hand, about a stuck operation. {_GOES_ON}",
        (
            "saga resolve checkout-7 refund --compensated --note 'refunded by hand, ticket 7'",
            """saga resolve checkout-7 book --succeeded '{"parcel": 7}' --note 'asked them'""",
        ),
        _DECIDES,
        (
            _ID,
            _option("operation", metavar="OPERATION", help="the name of the operation"),
            _option(
                "--succeeded",
                metavar="JSON",
                help="its action took effect and returned this, written as `saga show --values` "
                "writes it",
            ),
            _flag("--failed", "its action took no effect"),
            _flag("--compensated", "its effect was undone by hand"),
            _flag("--skipped", "its effect is to stand"),
            _option(
                "--note", metavar="TEXT", type=words, required=True, help="how you know; it is kept"
            ),
            _WHO,
            _ENDED,
            _option(
                "--modules",
                metavar="MODULE",
                action="append",
                default=[],
                help="where the types in that JSON are, if any; may be repeated",
            ),
            _SETUP,
            *_WRITE,
        ),
    ),
    Command(
        "answer",
        "cli.answers:main",
        "say what came of a call that waits for an answer",
        "Gives the answer for which an operation waits that has only begun something, or whose "
        "answer is late: that it took effect, or that it did not. It is put on record, and beats "
        "what anybody else knows; `saga recover` or a worker then goes on, or with --go-on this "
        "command.",
        (
            """saga answer order-7 charge --result '"P-4711"' --note 'the bank says so'""",
            "saga answer order-7 approval --error 'too dear' --note 'ada has decided'",
            "saga answer order-7 approval --result null --note 'so ada' --go-on --modules shop",
        ),
        "0 done, 1 refused (nothing was changed), error, or with --go-on left to be tried again, 2 "
        "wrong usage, 4 with --go-on: it is stuck",
        (
            _ID,
            _option("operation", metavar="OPERATION", help="the name of the operation"),
            _option(
                "--result",
                metavar="JSON",
                help="the call took effect, and returns this, written as `saga show --values` "
                "writes it",
            ),
            _option("--error", metavar="TEXT", type=words, help="it took no effect: why"),
            _flag("--compensation", "it is the undo of the operation that is answered"),
            _option(
                "--note", metavar="TEXT", type=words, required=True, help="how you know; it is kept"
            ),
            _option("--by", metavar="NAME", dest="who", type=words, help=_WHO_HELP),
            _flag("--go-on", "go on with the saga here, which makes its calls: takes --modules"),
            _option(
                "--modules",
                metavar="MODULE",
                action="append",
                default=[],
                help="where the functions are, with --go-on, and the types in that JSON; may be "
                "repeated",
            ),
            _ALIAS,
            _SETUP,
            _AROUND,
            *_WRITE,
        ),
    ),
    Command(
        "purge",
        "cli.purging:main",
        "drop the details of sagas that ended long ago",
        "Drops what was written down of sagas that have ended. Their ids stay taken, with how "
        "they ended, so that none of them can run again; --forget gives the ids free as well.",
        ("saga purge --older-than 30d --dry-run", "saga purge --older-than 30d"),
        _READS,
        (
            _option(
                "--older-than", metavar="AGE", type=age, required=True, help="ended longer ago"
            ),
            _option(
                "--status",
                metavar="STATUS",
                type=ends,
                default="completed,compensated",
                help="of these, separated by commas (default: %(default)s)",
            ),
            _flag("--dry-run", "only say how many"),
            _flag("--forget", "keep nothing at all: the ids can be given again"),
            *_WRITE,
        ),
        not_on_engine="how long it keeps what has ended is its own setting: the retention of a "
        "Temporal namespace, what you delete from DBOS's system database",
    ),
    Command(
        "schema",
        "cli.schema:main",
        "print what makes a journal's tables in PostgreSQL",
        "Prints the statements that make the tables, for your own migrations; all of them may be "
        "run again. With --upgrade those that make of the tables of an earlier release those of "
        "this one; its processes are to have ended by then. Opens nothing.",
        ("saga schema postgresql > journal.sql", "saga schema postgresql --upgrade > upgrade.sql"),
        "0 fine, 2 wrong usage",
        (
            _option("kind", metavar="KIND", choices=("postgresql",), help="postgresql"),
            _option("--prefix", default="saga_", help="of their names (default: %(default)s)"),
            _option("--schema", default="public", help="where they are (default: %(default)s)"),
            _flag("--upgrade", "only what tables of an earlier release lack"),
        ),
    ),
    Command(
        "copy",
        "cli.copying:main",
        "copy sagas that have ended from a file into PostgreSQL",
        "Copies the sagas that have ended, with their ids, outcomes, rows and times, so that an id "
        "that was used in the file does not run anew in the database. May be repeated. Refuses "
        "while anything in the file is open or stuck.",
        ("saga copy sagas.db postgresql://shop@db/shop", "saga copy sagas.db shop.sagas:journal"),
        "0 fine, 1 refused or error, or one could not be copied, 2 wrong usage",
        (
            _option("file", metavar="FILE", help="the journal from which they are copied"),
            _option(
                "url",
                metavar="URL",
                help="the one into which: of a PostgreSQL database, or MODULE:OBJECT for a journal "
                "in one",
            ),
        ),
    ),
    Command(
        "plan-deploy",
        "cli.deploying:main",
        "tell whether every unfinished saga can go on with the code as it is now",
        "Looks up the functions of every open and stuck saga, and holds their recorded arguments "
        "against the signatures, in the code that is here now. Calls nothing.",
        ("saga plan-deploy --modules shop.operations",),
        "0 all would go on, 1 error, 2 wrong usage, 4 some would strand",
        (*_MODULES, *_READ),
        not_on_engine="a saga there waits for a worker that has the function, and `saga why` "
        "says which one",
    ),
)

_EXAMPLES = """\
examples:
  saga demo              orders against three real services, in a few seconds
  saga demo --pace 0.7   the same, slowly
  saga --journal sagas.db list --status stuck
  saga --journal sagas.db why checkout-7
  saga --journal sagas.db recover --modules shop.operations

exit status: 0 fine, 1 error, 2 wrong usage, 4 something needs a person
"""


@cache
def make_parser(project: Project | None = None) -> argparse.ArgumentParser:
    """Make the parser; `run` becomes where the function of the command is."""
    parser = argparse.ArgumentParser(
        prog="saga" if project is None else project.prog,
        description="Sagas: do all of it, or undo it.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    for names, settings in _WHERE:
        parser.add_argument(*names, **{**settings, "default": None})
    journal = None if project is None else project.journal
    parser.set_defaults(run=None, prog=_typed(parser.prog), journal=journal, known_journal=journal)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for command in COMMANDS:
        _add(commands, command, project)
    return parser


def _typed(prog: str) -> str:
    """Give what is typed for a program, which may be a script that nobody has made executable."""
    return f"python {prog}" if prog.partition(" ")[0].endswith(".py") else prog


def _add(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    command: Command,
    project: Project | None,
) -> None:
    import textwrap  # noqa: PLC0415 - argparse imports it as late

    examples = "".join(f"\n  {example}" for example in command.examples)
    parser = commands.add_parser(
        command.name,
        help=command.help,
        description=textwrap.fill(command.description, 78),
        epilog=f"examples:{examples}\n\nexit status: {command.status}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for names, settings in command.options:
        parser.add_argument(*names, **{**settings, **_known(names[0], project)})
    parser.set_defaults(run=command.run, command=command.name, not_on_engine=command.not_on_engine)


def _known(name: str, project: Project | None) -> dict[str, Any]:
    """Give what of an option's settings a project changes: nobody need type what it says."""
    if project is not None and name == "--modules":
        return {"required": False, "default": [*project.modules]}
    if project is not None and name == "--around":
        return {"default": [project.around]}
    return {}
