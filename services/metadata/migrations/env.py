"""The script that Alembic runs for every command: the revisions, on the connection and in the transaction that `upgrade` has opened."""

from alembic import context

from stowage.services.metadata.tables import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
context.run_migrations()
