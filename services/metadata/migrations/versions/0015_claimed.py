"""Whether a content folder has the id of the store, so that no second one gets it."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.add_column("store", sa.Column("claimed", sa.Boolean, nullable=False, server_default=sa.false()))
