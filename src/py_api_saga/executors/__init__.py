"""Run an execution: in the caller's thread, on a pool of threads, or on an event loop.

An executor is the only code that calls the user's functions, and calling them is all it decides:
what may be called, and what an outcome means, the machine decides. Three rules hold for each:

1. An intent is told before its call starts, so what is lost is in doubt, never unknown.
2. Only the thread that drives a run touches its execution, so there is no lock.
3. When an executor returns or raises, nothing that it started is still working, stragglers past
   their `timeout=` excepted; those are told to the run by the thread they live in.
"""
