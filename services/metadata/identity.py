"""Which database this is, so that a copy of it is noticed."""

from __future__ import annotations

import platform

from sqlalchemy import Connection


def identify(connection: Connection) -> str:
    """The server's own id and the names of the database and, unless it is the usual one, the schema on PostgreSQL, which a restored dump
    does not share; for SQLite the machine.
    """
    if connection.dialect.name == "postgresql":
        query = "SELECT system_identifier, current_database(), current_schema() FROM pg_control_system()"
        system, name, schema = connection.exec_driver_sql(query).one()
        return f"postgresql {system} {name}" + (f" {schema}" if schema != "public" else "")
    return f"sqlite on {platform.node()}"
