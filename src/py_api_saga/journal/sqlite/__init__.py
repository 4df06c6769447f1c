"""A journal in one SQLite file, which any number of processes of one machine share."""
