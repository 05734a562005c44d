"""Lists of values for IN as one parameter of PostgreSQL, an array: as many parameters as values take longer to write than to look up."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ARRAY, BindParameter, any_, bindparam
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import BinaryExpression
from sqlalchemy.sql.operators import in_op


@compiles(BinaryExpression, "postgresql")
def _compile(expression: BinaryExpression[Any], compiler: SQLCompiler, **options: Any) -> str:
    """`column = ANY(:values)` instead of `column IN (:values)`, if the values have a name of their own: one statement for any number."""
    values = expression.right
    if expression.operator is in_op and isinstance(values, BindParameter) and values.expanding and not values.unique:
        array = bindparam(values.key, type_=ARRAY(expression.left.type))
        return compiler.process(expression.left == any_(array), **options)
    written: str = compiler.visit_binary(expression, **options)  # type: ignore[no-untyped-call]
    return written
