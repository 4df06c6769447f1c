"""A journal in the application's own PostgreSQL, which any number of machines share."""
