"""Run an execution: in the caller's thread, on a pool of threads, or on an event loop.

An executor is the only code that calls the user's functions, and it decides nothing: what may be
called the machine says, what an error means `meaning` says, and `turns` is the loop that all of
them go through. None knows that there are journals. Three rules hold for each:

1. An intent is told before its call starts, so what is lost is in doubt, never unknown.
2. Only the thread that drives a run touches its execution, so there is no lock.
3. When an executor returns or raises, nothing that it started is still working, stragglers past
   their `timeout=` excepted; those are told to the run by the thread they live in.
"""
