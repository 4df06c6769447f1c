"""Runs that outlast their process: what they are to a journal, and how others go on with them.

`run` tells a journal what a run does, at the place that a `recorder` has there; `beginning` begins
one whose id may be there already, and `knowing` answers for such a saga or goes on with it;
`recovery` does so with all that dead processes have left, in threads that a `crew` shares.
"""
