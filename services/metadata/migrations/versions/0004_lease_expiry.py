"""An index to find the leases that have expired."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_index("lease_expires_at", "lease", ["expires_at"])
