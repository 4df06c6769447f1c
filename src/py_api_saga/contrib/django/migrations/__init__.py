"""What makes the tables of the journal in the database of its alias."""
