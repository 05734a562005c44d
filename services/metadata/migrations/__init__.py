"""The history of the tables: Alembic runs env.py and the revisions in versions/; `stowage.services.metadata.store.upgrade` starts it."""
