"""Migrations of the shop; those of the journal are its app's own."""
