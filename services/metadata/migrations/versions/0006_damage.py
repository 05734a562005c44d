"""What is known to be wrong with the file of a blob."""

import sqlalchemy as sa
from alembic import op

from stowage.services.metadata.column_types import TEXT

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("blob", sa.Column("damage", TEXT))
