"""The history of the tables: Alembic runs env.py and the revisions in versions/; `services.metadata.session.upgrade` starts it."""
