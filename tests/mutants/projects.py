"""Ways to run a saga in a Django project wrongly; a test of that notices each."""

from __future__ import annotations

from .mutant import Edit, Mutant

DJANGO, TESTING = "contrib/test_django.py", "contrib/test_django_testing.py"
AROUND, ATOMIC = "contrib/django/around.py", "contrib/django/atomic.py"


def _one(breaks: str, file: str, where: str, old: str, new: str, tests: str = DJANGO) -> Mutant:
    return Mutant(breaks, tests, (Edit(file, where, old, new),))


MUTANTS = (
    _one(
        "leaves the connections of threads open",
        AROUND,
        "Surroundings._inside",
        "            if is_ours:\n                close_connections()\n",
        "            pass\n",
    ),
    _one(
        "closes the connection of the request",
        AROUND,
        "Surroundings.__call__",
        '        if operation.where == "caller":\n            return nullcontext()\n'
        '        return self._inside(is_ours=operation.where == "thread")\n',
        "        return self._inside(is_ours=True)\n",
    ),
    _one(
        "closes a connection in the transaction of a test",
        AROUND,
        "close_connections",
        "        if not connection.in_atomic_block:\n",
        "        if True:\n",
        TESTING,
    ),
    _one(
        "takes no language into threads",
        AROUND,
        "Surroundings._inside",
        "translation.override(self._language), ",
        "",
    ),
    _one(
        "takes no time zone into threads",
        AROUND,
        "Surroundings._inside",
        ", timezone.override(self._zone)",
        "",
    ),
    _one(
        "takes no urlconf into threads",
        AROUND,
        "Surroundings._inside",
        "        set_urlconf(self._urlconf)\n",
        "",
    ),
    _one(
        "leaves a urlconf behind",
        AROUND,
        "Surroundings._inside",
        "            set_urlconf(before)\n",
        "            pass\n",
    ),
    _one(
        "leaves open what coroutine functions have opened in recovery",
        AROUND,
        "Recovering.end",
        "        if self._has_awaited:\n",
        "        if False:\n",
    ),
    _one(
        "runs a saga in an atomic block",
        ATOMIC,
        "refuse_atomic",
        "        if connection.in_atomic_block:\n",
        "        if False:\n",
    ),
    _one(
        "takes a test case for an atomic block of its user's",
        ATOMIC,
        "_is_a_tests",
        '    return bool(blocks) and bool(getattr(blocks[-1], "_from_testcase", False))\n',
        "    return not blocks\n",
    ),
    _one(
        "takes an atomic block in a test case for the test's own",
        ATOMIC,
        "_is_a_tests",
        "blocks[-1]",
        "blocks[0]",
    ),
    _one(
        "runs a saga with autocommit off",
        ATOMIC,
        "_waits_for_commit",
        "    return connection.connection is not None and not connection.autocommit\n",
        "    return False\n",
    ),
    _one(
        "refuses to start a saga in an atomic block",
        "contrib/django/sagas.py",
        "DjangoSaga._run",
        "        if not self._atomic and drive_late is not nobody:\n",
        "        if not self._atomic:\n",
    ),
    _one(
        "keeps in a test what was rolled back",
        "contrib/django/testing.py",
        "_InTransaction.write",
        "                transaction.on_commit(_Kept(self._home, change), using=self._alias)\n",
        "                _Kept(self._home, change)()\n",
        TESTING,
    ),
    _one(
        "recovers in threads in a test",
        "contrib/django/recovering.py",
        "recover",
        "0 if is_in_test() else max_workers",
        "max_workers",
        TESTING,
    ),
)
