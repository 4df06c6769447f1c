"""Ways to send a request wrongly, or to misread its answer; a test of the clients notices each."""

from __future__ import annotations

from .mutant import Edit, Mutant

SESSIONS, RULES = "contrib/test_sessions.py", "contrib/test_http.py"
REQUESTS, HTTPX = "contrib/test_requests_session.py", "contrib/test_httpx_transport.py"
AIOHTTP = "contrib/test_aiohttp_middleware.py"
HTTP = "contrib/http.py"


def _one(breaks: str, where: str, old: str, new: str, tests: str = SESSIONS) -> Mutant:
    return Mutant(breaks, tests, (Edit(HTTP, where, old, new),))


MUTANTS = (
    # --- the key
    _one(
        "sends no key",
        "Exchange.__enter__",
        "            self.headers[self._rules.header] = self.key\n",
        "            pass\n",
    ),
    _one(
        "sends another key in each attempt",
        "Exchange.key",
        "parts = [self._operation.idempotency_key,",
        'parts = [f"{self._operation.idempotency_key}.{self._operation.attempt}",',
    ),
    _one(
        "sends one key for all requests of an attempt",
        "Exchange.key",
        "        parts += [str(self.number)] * (self.number > 1)\n",
        "",
    ),
    _one(
        "replaces a key that its caller has set",
        "Exchange.__enter__",
        "        if self._rules.header not in given:\n",
        "        if True:\n",
    ),
    _one(
        "lets two requests without names be under way at once",
        "Exchange._count",
        "            if name in notes.under_way:\n",
        "            if False:\n",
    ),
    _one(
        "forgets that a request has come to its end",
        "Exchange.__exit__",
        "                self._notes.under_way.discard(self._name)\n",
        "                pass\n",
    ),
    _one(
        "cuts a long key off",
        "fit",
        '        key = f"{begin[:room]};{digest}{kind}{generation}"\n',
        "        key = key[:MAX_KEY]\n",
        RULES,
    ),
    _one(
        "does not say which action is undone",
        "Exchange._told",
        "            yield undoes, key\n",
        "",
    ),
    _one(
        "says by the key of this attempt's request which action is undone",
        "Exchange._told",
        "        key = fit(key)\n",
        "        key = self.key\n",
    ),
    Mutant(
        "says that an action was first sent when it is undone",
        RULES,
        (
            Edit(
                "durable/run.py",
                "DurableRun._since",
                "                return at\n",
                "                pass\n",
            ),
        ),
    ),
    # --- the note
    _one(
        "leaves no note",
        "Exchange.__enter__",
        "        self._request.__enter__()\n",
        "",
    ),
    _one(
        "strikes out the note of every bad answer",
        "Exchange.answered",
        "        if not self.is_open(status, headers):\n",
        "        if True:\n",
    ),
    _one(
        "strikes out the note of every error",
        "Exchange.failed",
        "        if _is_known(error) and not leaves_doubt(error):\n",
        "        if True:\n",
    ),
    _one(
        "takes an error of which nothing is known for one before the request",
        "Exchange.failed",
        "        if _is_known(error) and not leaves_doubt(error):\n",
        "        if not leaves_doubt(error):\n",
        HTTPX,
    ),
    _one(
        "keeps the note of a refusal",
        "Exchange.answered",
        "            self._strike()\n",
        "            pass\n",
    ),
    # --- the answer
    _one(
        "takes a final conflict for one in flight",
        "Exchange.is_open",
        "        return leaves_open(status, self.method, keyed=True, final=final)\n",
        "        return leaves_open(status, self.method, keyed=True, final=False)\n",
    ),
    _one(
        "takes what is gone for undone in an action as well",
        "Exchange.answered",
        " and direction == COMPENSATION)",
        ")",
    ),
    _one(
        "asks under the key of the action",
        "Exchange.acts",
        " and self._operation.direction != ASK",
        "",
    ),
    _one(
        "sends a request for which no time is left",
        "Exchange.too_late",
        "        if left is None or left > 0:\n",
        "        if True:\n",
    ),
    _one(
        "raises nothing",
        "Exchange.answered",
        "            self._strike()\n        return rules.raises\n",
        "            self._strike()\n        return False\n",
    ),
    Mutant(
        "follows redirects",
        SESSIONS,
        (
            Edit(
                "contrib/requests.py",
                "SagaSession.send",
                '                kwargs["allow_redirects"] = False\n',
                "                pass\n",
            ),
        ),
    ),
    Mutant(
        "mounts what tries again",
        REQUESTS,
        (
            Edit(
                "contrib/requests.py",
                "_tries_again",
                "    return int(total) > 0\n",
                "    return False\n",
            ),
        ),
    ),
    Mutant(
        "keeps the key of another operation",
        HTTPX,
        (
            Edit(
                "contrib/httpx.py",
                "_Rules._begun",
                "                    del request.headers[name]\n",
                "                    pass\n",
            ),
        ),
    ),
    Mutant(
        "numbers anew what aiohttp sends once more",
        AIOHTTP,
        (
            Edit(
                "contrib/aiohttp.py",
                "_number_again",
                "        exchange.number = lost.exchange.number\n",
                "        pass\n",
            ),
        ),
    ),
    # --- another attempt
    _one(
        "tries a refusal again",
        "_is_passing",
        "        return may_pass(status, is_open=is_open) and",
        "        return True and",
        RULES,
    ),
    _one(
        "waits for as long as it is told",
        "retry_after",
        "if seconds is not None and 0 < seconds <= _LONGEST else None",
        "if seconds is not None else None",
        RULES,
    ),
    _one(
        "tries a group again for one of its members that passes",
        "transient",
        "if all(answer is not False for answer in answers) else False",
        "if answers else False",
        RULES,
    ),
)
