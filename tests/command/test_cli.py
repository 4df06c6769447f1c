"""The `saga` command, as a process of its own, seen from outside."""

import importlib
import os
import pty
import re
import runpy
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from paths import ROOT
from world import PATIENCE

from py_api_saga import cli

COMMAND = [sys.executable, "-m", "py_api_saga"]
COLOUR = "\x1b["

Start = Callable[..., "Demo"]


class Demo:
    """`saga demo` as a process, with a folder of its own for temporary files."""

    def __init__(self, arguments: list[str], folder: Path) -> None:
        self.folder = folder
        # An ignored SIGINT (a test run in the background) would be inherited.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            self.process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=environment(TMPDIR=str(folder)),
            )
        finally:
            signal.signal(signal.SIGINT, before)
        self.out = ""

    def read_until(self, pattern: str) -> None:
        """Read lines until one of them matches."""
        assert self.process.stdout
        for line in self.process.stdout:
            self.out += line
            if re.search(pattern, line):
                return
        pytest.fail(f"{pattern!r} never came:\n{self.out}")

    def end(self) -> tuple[int, str]:
        """Wait for the end; returns the exit status and what was written as errors."""
        out, errors = self.process.communicate(timeout=120)
        self.out += out
        return self.process.returncode, errors

    def pids(self) -> list[int]:
        """The processes of the services, as the demo names them."""
        pids = [int(pid) for pid in re.findall(r"process (\d+)", self.out)]
        assert len(pids) == 3
        return pids

    def assert_nothing_is_left(self) -> None:
        """No service runs (one that has just lost its parent has a moment), no file is there."""
        limit = time.monotonic() + 60
        while any(map(runs, self.pids())):
            assert time.monotonic() < limit, "a service is still running"
            time.sleep(0.01)
        assert list(self.folder.iterdir()) == []


def runs(pid: int) -> bool:
    """Whether a process is there and is more than an entry that nobody has cleared away."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] not in "ZX"


def environment(**changes: str) -> dict[str, str]:
    """This environment with changes, without colour's opinions and coverage's hooks.

    What these processes run is measured in-process elsewhere; here it would only be slow.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("COVERAGE_PROCESS") and name != "NO_COLOR"
    }
    source = str(Path(cli.__file__).parents[2])
    return {**kept, "PYTHONPATH": source, "TERM": "xterm-256color", **changes}


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start the demo, with arguments; whatever becomes of the test, it is ended."""
    started: list[Demo] = []

    def start(*arguments: str, command: list[str] | None = None) -> Demo:
        started.append(Demo(command or [*COMMAND, "demo", *arguments], tmp_path))
        return started[-1]

    yield start
    for demo in started:
        demo.process.kill()
        demo.process.communicate()


def moments(text: str, headline: str) -> list[str]:
    """What the timeline of one act says, without the times."""
    act = text.split(headline)[1].split("\n\n")[1]
    return [
        " ".join(line.split(" s ", 1)[-1].split())
        for line in act.splitlines()
        if " to " in line and " saga " not in line
    ]


# saga demo


def test_the_demo_tells_what_was_done_and_undone_and_proves_it(start: Start) -> None:
    """Eight acts in order, each undo after its failure, the last first; then the ledgers."""
    demo = start()
    status, errors = demo.end()

    assert (status, errors) == (0, "")
    assert COLOUR not in demo.out
    assert max(map(len, demo.out.splitlines())) <= 80
    assert demo.out.isascii()
    well = ["reserve done", "charge done", "book done"]
    busy = ["book 503 no driver; asking again in 0.1 s", "book failed: 503 no driver"]
    assert moments(demo.out, "1. All is well") == well
    assert moments(demo.out, "2. The card is declined") == [
        "reserve done",
        "charge failed: 402 card declined",
        "release undid reserve",
    ]
    assert moments(demo.out, "3. No courier") == [
        *well[:2],
        *busy,
        "refund undid charge",
        "release undid reserve",
    ]
    assert moments(demo.out, "4. An answer is lost") == [
        "reserve done",
        "charge the answer is lost; asking again in 0.1 s",
        "charge done",
        "book done",
    ]
    at_once = moments(demo.out, "5. All at once")
    assert sorted(at_once[:2]) == ["charge done", "reserve done"]
    assert at_once[2:] == ["book done"]
    undone = moments(demo.out, "6. All at once, and no courier")
    assert undone[2:4] == busy
    assert sorted(undone[4:]) == ["refund undid charge", "release undid reserve"]
    assert moments(demo.out, "7. Killed in the middle") == ["reserve done"]
    assert re.search(r"^   kill -9 \d+\n\n   \$ saga recover ", demo.out, re.MULTILINE)
    assert "   order-7: COMPLETED\n" in demo.out
    assert moments(demo.out, "8. A refund is refused")[-2:] == [
        "refund STUCK: 409 disputed",
        "release undid reserve",
    ]
    assert re.search(r"^   order-8 +checkout +STUCK", demo.out, re.MULTILINE)
    assert "   order-8: COMPENSATED" in demo.out
    proof = demo.out.split("What the services' own ledgers say")[1]
    assert re.findall(r"^     (order-\d.*)$", proof, re.MULTILINE) == [
        "order-1   2 x mug reserved",
        "order-2   2 x mug reserved   released",
        "order-3   2 x mug reserved   released",
        "order-4   2 x mug reserved",
        "order-5   2 x mug reserved",
        "order-6   2 x mug reserved   released",
        "order-7   2 x mug reserved",
        "order-8   2 x mug reserved   released",
        "order-1   24.00 charged",
        "order-3   24.00 charged   refunded",
        "order-4   24.00 charged",
        "order-5   24.00 charged",
        "order-6   24.00 charged   refunded",
        "order-7   24.00 charged",
        "order-8   24.00 charged   refunded",
        "order-1   from shelf B4 to Lisbon",
        "order-4   from shelf B4 to Lisbon",
        "order-5   from shelf B4 to Lisbon",
        "order-7   from shelf B4 to Lisbon",
    ]
    assert proof.splitlines()[-1] == (
        "8 orders: 4 kept (1 after kill -9), 4 undone (1 by hand). Nothing is left over."
    )
    demo.assert_nothing_is_left()


def test_ctrl_c_undoes_what_was_done_and_leaves_nothing(start: Start) -> None:
    """Interrupted while the card is being charged: refunded and released, then status 130."""
    demo = start("--pace", "0.25")
    demo.read_until("reserve +done")
    time.sleep(0.1)
    demo.process.send_signal(signal.SIGINT)
    status, errors = demo.end()

    assert status == 130
    assert errors == "\nsaga demo: interrupted; services ended, ledgers removed\n"
    told = moments(demo.out, "1. All is well")
    assert told[0] == "reserve done"
    assert told[-1] == "release undid reserve"
    if len(told) > 2:  # as good as always; on a busy machine the signal may come between two calls
        assert told[1:-1] == ["charge nobody knows whether it happened", "refund undid charge"]
    demo.assert_nothing_is_left()


def test_ctrl_c_in_a_choreography_waits_for_what_runs_and_undoes_it(start: Start) -> None:
    """Operations that were running count, and everything that was done is undone."""
    only_at_once = (
        "import sys; from py_api_saga import cli; from py_api_saga.demo import acts; "
        "acts.ACTS = acts.ACTS[4:]; sys.exit(cli.main(['demo', '--pace', '0.25']))"
    )
    demo = start(command=[sys.executable, "-c", only_at_once])
    demo.read_until("after both")
    time.sleep(0.1)
    demo.process.send_signal(signal.SIGINT)
    status, errors = demo.end()

    assert status == 130
    assert "Traceback" not in errors
    told = moments(demo.out + "\n\n", "1. All at once")
    undo = {"reserve done": "release undid reserve", "charge done": "refund undid charge"}
    done = [line for line in told if line in undo]
    assert sorted(told) == sorted([*done, *map(undo.__getitem__, done)])
    demo.assert_nothing_is_left()


@pytest.mark.usefixtures("hears_hangups")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_request_to_end_is_followed_in_good_order(start: Start, number: int) -> None:
    """SIGTERM and a closed terminal clean up as Ctrl-C does."""
    demo = start("--pace", "0.1")
    demo.read_until("reserve +done")
    demo.process.send_signal(number)
    status, errors = demo.end()

    assert (status, errors) == (128 + number, "")
    assert "release   undid reserve" in demo.out
    demo.assert_nothing_is_left()


def test_services_notice_that_the_demo_was_killed(start: Start, tmp_path: Path) -> None:
    """`kill -9` leaves nobody to end them, so they end themselves."""
    demo = start("--pace", "0.1")
    demo.read_until("reserve +done")
    demo.process.kill()
    status, _ = demo.end()

    assert status == -signal.SIGKILL
    for left in tmp_path.iterdir():  # the ledgers: nobody was left to remove them
        for ledger in left.iterdir():
            ledger.unlink()
        left.rmdir()
    demo.assert_nothing_is_left()


def test_a_reader_that_leaves_ends_the_demo_quietly(start: Start) -> None:
    """`saga demo | head` prints no error and leaves nothing running."""
    demo = start("--pace", "0")
    demo.read_until("process .*")
    demo.read_until("process .*")
    demo.read_until("process .*")
    assert demo.process.stdout
    demo.process.stdout.close()
    assert demo.process.stderr
    errors = demo.process.stderr.read()

    assert (demo.process.wait(PATIENCE), errors) == (141, "")
    demo.assert_nothing_is_left()


@pytest.mark.parametrize(
    ("changes", "coloured"),
    [({}, True), ({"NO_COLOR": "1"}, False)],
    ids=["terminal", "NO_COLOR"],
)
def test_a_terminal_gets_colour_unless_it_declines(
    changes: dict[str, str], tmp_path: Path, *, coloured: bool
) -> None:
    """Seen through a real terminal; the words are the same."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "demo", "--pace", "0"],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        env=environment(TMPDIR=str(tmp_path), **changes),
    )
    os.close(theirs)
    seen = b""
    while chunk := _read(ours):
        seen += chunk
    os.close(ours)
    out = seen.decode()

    assert process.wait(PATIENCE) == 0
    assert (COLOUR in out) is coloured
    assert "Nothing is left over." in out


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # how Linux says that nobody has the other side open
        return b""


# The command line


def call(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=environment(),
    )


def test_help_names_the_commands_and_gives_examples(capsys: pytest.CaptureFixture[str]) -> None:
    """`saga -h` says what can be called, and how, and ends with status 0."""
    with pytest.raises(SystemExit) as left:
        cli.main(["-h"])

    out = capsys.readouterr().out
    assert left.value.code == 0
    assert "usage: saga" in out
    assert "--version" in out
    assert re.search(r"^ +demo ", out, re.MULTILINE)
    assert "  saga demo " in out


def test_the_demo_has_a_help_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    """`saga demo -h` says what it starts and what its exit status means."""
    with pytest.raises(SystemExit) as left:
        cli.main(["demo", "-h"])

    out = capsys.readouterr().out
    assert left.value.code == 0
    assert "usage: saga demo" in out
    assert "--pace" in out
    assert "exit status" in out


def test_without_a_command_the_help_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing was asked for: status 2, and the help where errors go."""
    assert cli.main([]) == 2

    out, errors = capsys.readouterr()
    assert out == ""
    assert "usage: saga" in errors


@pytest.mark.parametrize(
    "arguments",
    [
        ["nothing"],
        ["demo", "--pace", "-1"],
        ["demo", "--pace", "nan"],
        ["demo", "--pace", "slow"],
        ["demo", "now"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_refused_before_anything_runs(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 2 and the offending word; no service is started."""
    with pytest.raises(SystemExit) as left:
        cli.main(arguments)

    out, errors = capsys.readouterr()
    assert (left.value.code, out) == (2, "")
    assert arguments[-1] in errors


def test_the_version_is_that_of_the_distribution(capsys: pytest.CaptureFixture[str]) -> None:
    """One number, in the code and in what is installed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"saga {project['version']}\n"


def test_the_module_is_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`python -m py_api_saga` takes the same arguments; merely importing it runs nothing."""
    importlib.import_module("py_api_saga.__main__")
    monkeypatch.delitem(sys.modules, "py_api_saga.__main__")  # or runpy warns of a second one
    monkeypatch.setattr(sys, "argv", ["py_api_saga"])
    with pytest.raises(SystemExit) as left:
        runpy.run_module("py_api_saga", run_name="__main__")
    assert left.value.code == 2
    errors = capsys.readouterr().err

    called = call()
    assert (called.returncode, called.stdout, called.stderr) == (2, "", errors)


def test_an_interrupt_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a command is doing, Ctrl-C is status 130."""

    def interrupt(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_run", interrupt)

    assert cli.main(["demo"]) == 130


def test_an_error_of_the_system_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No room for temporary files, no more processes: status 1 and no traceback."""

    def fail(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cli, "_run", fail)

    assert cli.main(["demo"]) == 1
    assert capsys.readouterr() == ("", "saga: [Errno 28] No space left on device\n")


def test_without_a_standard_output_nothing_is_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`saga demo >&-` has nobody to show anything to: status 1."""
    monkeypatch.setattr(sys, "stdout", None)

    assert cli.main(["demo"]) == 1
    assert capsys.readouterr().err == "saga: there is no standard output\n"


def test_a_full_disk_is_said_once() -> None:
    """What cannot be written is not tried again at exit."""
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [*COMMAND, "--version"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
            check=False,
            env=environment(),
        )

    assert (ended.returncode, ended.stderr) == (1, "saga: [Errno 28] No space left on device\n")


def test_a_reader_that_left_before_anything_was_written_is_no_error(tmp_path: Path) -> None:
    """`saga --version | true`: status 141, as a shell has it, and no complaint."""
    reading, writing = os.pipe()
    os.close(reading)
    with (tmp_path / "errors").open("w+") as errors:
        status = subprocess.run(
            [*COMMAND, "--version"],
            stdout=writing,
            stderr=errors,
            timeout=120,
            check=False,
            env=environment(),
        ).returncode
        os.close(writing)
        errors.seek(0)
        assert (status, errors.read()) == (141, "")


def test_in_process_too_a_broken_pipe_ends_quietly(monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be written is dropped, so that closing the output does not fail again."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        assert cli.main(["--version"]) == 141
