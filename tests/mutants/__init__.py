"""The library, broken on purpose in many ways: the tests must notice each of them.

A mutant (`mutant.py`) is a replacement or two in a copy of the sources. Those of `machine.py` break
what decides and what calls, those of `doubt.py` what tells whether a call that raised has happened,
those of `sessions.py` what the clients send that know their operation, and how they read answers,
those of `projects.py` what goes with a call in a Django project, those of `durable.py` what a crash
must not harm, those of `awaited.py` what waits for answers.

`python -m tests.mutants` runs the tests on all of them, `python -m tests.mutants durable` on those
of one module; `test_mutants.py` checks only that each still finds its places in the sources.
"""
