"""Alembic's migrations of the ledger's database, applied at start."""
