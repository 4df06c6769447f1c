"""Sagas on a durable engine: it keeps, replays and moves; the machine decides.

The seam is the journal's format. A saga goes in as its rows; each call comes back as one line, an
entry; what comes out is the rows with all entries. An engine brings queues, workers and the
detection of failures; compensation, doubt and repair are the machine's, as everywhere.
"""
