"""Migrations of the table of the barrier."""
