"""The id of the store, also kept in its content folder."""

import secrets

import sqlalchemy as sa
from alembic import op

from stowage.services.metadata.column_types import TEXT

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    store = op.create_table("store", sa.Column("id", TEXT, primary_key=True))
    op.bulk_insert(store, [{"id": secrets.token_hex(16)}])
