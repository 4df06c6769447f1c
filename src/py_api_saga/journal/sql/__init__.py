"""What journals share that keep sagas in a database: who drives what, and group commit."""
