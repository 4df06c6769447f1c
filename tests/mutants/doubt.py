"""Ways to misjudge an error; a test of the file that each one names notices it."""

from __future__ import annotations

from .mutant import Edit, Mutant

EVIDENCE, DOUBT = "runs/test_evidence.py", "runs/test_doubt.py"
SENDING, RETRY = "runs/test_sending.py", "runs/test_retry.py"


def _one(breaks: str, file: str, where: str, old: str, new: str, tests: str = EVIDENCE) -> Mutant:
    return Mutant(breaks, tests, (Edit(file, where, old, new),))


MUTANTS = (
    # --- what decides first
    _one(
        "forgets what an attempt has noted",
        "executors/run.py",
        "Run.has_noted",
        "        return self.notes is not None and bool(self.notes.pop(intent, None))\n",
        "        return False\n",
        SENDING,
    ),
    _one(
        "strikes all notes with one",
        "executors/running.py",
        "Request.refused",
        "        self._notes.discard(self)\n",
        "        self._notes.clear()\n",
        SENDING,
    ),
    _one(
        "does not listen to what an error says itself",
        "evidence.py",
        "DoubtfulErrors.includes",
        "            said = outcome_of(error)\n",
        "            said = None\n",
        DOUBT,
    ),
    _one(
        "takes a predicate that raises for a no",
        "evidence.py",
        "_says",
        'the action is in doubt", error=raised)\n        return True\n',
        'the action is in doubt", error=raised)\n        return False\n',
        DOUBT,
    ),
    # --- the walk
    _one(
        "does not look at what was being handled",
        "evidence.py",
        "_walk",
        "        for other in (*held, *_beside(link)):\n",
        "        for other in held:\n",
    ),
    _one(
        "does not look into groups",
        "evidence.py",
        "_walk",
        "        todo += [(member, depth, ALONE) for member in _members_of(link)]\n",
        "",
    ),
    _one(
        "believes that what its caller was handling is its own",
        "evidence.py",
        "_walk",
        "            if outside is None or not outside(other):\n",
        "            if True:\n",
    ),
    _one(
        "ends the walk at what excuses",
        "evidence.py",
        "_leaves_doubt.judge",
        "        if kind is SAGA:\n            return",
        "        if kind in (SAGA, UNSENT):\n            return",
    ),
    _one(
        "hands an excuse on for ever",
        "evidence.py",
        "_leaves_doubt.judge",
        "        if kind is UNSENT or (kind is STREAM and stands is EXCUSED):\n",
        "        if kind is UNSENT or stands is EXCUSED:\n",
    ),
    _one(
        "looks below a saga",
        "evidence.py",
        "_leaves_doubt.judge",
        "            return bool(doubt), _OVER, more\n",
        "            return bool(doubt), ALONE, more\n",
    ),
    _one(
        "takes a wrapper that holds nothing for a failure",
        "evidence.py",
        "_leaves_doubt.judge",
        "            wrappers.append(link)\n",
        "            pass\n",
    ),
    _one(
        "gives up on a long chain",
        "evidence.py",
        "_walk",
        "        if depth > MOST_LINKS or len(seen) > MOST_SEEN:\n            return True\n",
        "        if depth > MOST_LINKS or len(seen) > MOST_SEEN:\n            return False\n",
    ),
    # --- what one error tells
    _one(
        "excuses what is not built in",
        "error_details.py",
        "_is_excused",
        '    is_inner = what is STREAM or module_of(kind) in ("builtins", "ssl", "socket")\n',
        "    is_inner = True\n",
    ),
    _one(
        "takes a saga that was undone in part for a refusal",
        "error_details.py",
        "_of_saga",
        "    return SAGA, error.outcome is not SagaStatus.COMPENSATED or bool(stands), ()\n",
        "    return SAGA, error.outcome is not SagaStatus.COMPENSATED, ()\n",
    ),
    _one(
        "takes a 5xx for a refusal",
        "known_errors.py",
        "leaves_open",
        "(status >= _FAILURES and status not in _REJECTED)",
        "False",
    ),
    _one(
        "takes a conflict under our key for a refusal",
        "known_errors.py",
        "leaves_open",
        "        return keyed and not final\n",
        "        return False\n",
    ),
    _one(
        "does not see a redirect behind a refused connection",
        "error_details.py",
        "_tries_before",
        '            case ("resolve_redirects", "requests") | ("http_error_302", "urllib"):\n',
        '            case ("nowhere", "requests") | ("nowhere", "urllib"):\n',
    ),
    _one(
        "does not see an earlier try of urllib3",
        "error_details.py",
        "_tries_before",
        "                tries += past\n",
        "                pass\n",
    ),
    _one(
        "takes every OperationalError for a lost connection",
        "error_details.py",
        "_of_database",
        '        return DATABASE, state.startswith("08") or state in LOST_STATES, ()\n',
        "        return DATABASE, True, ()\n",
    ),
    _one(
        "takes a connection that was not made for a lost one",
        "error_details.py",
        "_of_database",
        "        return UNSENT, False, ()  # psycopg has it",
        "        return UNSENT, True, ()  # psycopg has it",
    ),
    # --- trying again
    _one(
        "tries a group again for one of its members",
        "evidence.py",
        "each_is",
        "            if not members:\n                return False\n",
        "            if not members:\n                return not todo\n",
        RETRY,
    ),
)
