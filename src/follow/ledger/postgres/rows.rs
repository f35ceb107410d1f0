//! Values of columns and of parameters: 64-bit numbers, nearly all of them.

use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use crate::follow::ledger::LedgerError;

/// A parameter and its type, so that a statement is one round trip.
pub(super) type Value<'a> = (&'a (dyn ToSql + Sync), Type);

pub(super) fn number(value: &i64) -> Value<'_> {
    (value, Type::INT8)
}

pub(super) fn numbers(values: &Vec<i64>) -> Value<'_> {
    (values, Type::INT8_ARRAY)
}

pub(super) fn words<'a>(value: &'a &str) -> Value<'a> {
    (value, Type::TEXT)
}

/// A 64-bit id or amount from its signed column.
pub(super) fn unsigned(row: &Row, column: usize) -> Result<u64, LedgerError> {
    Ok(row.try_get::<_, i64>(column)?.cast_unsigned())
}

/// The value that a column stands for.
pub(super) fn decoded<T>(value: Option<T>) -> Result<T, LedgerError> {
    let unknown = "PostgreSQL: an unknown code; were the tables changed by hand?";
    value.ok_or_else(|| LedgerError::Unreachable(unknown.to_owned()))
}

/// A smaller number from its 64-bit column.
pub(super) fn narrow<T: TryFrom<i64>>(row: &Row, column: usize) -> Result<T, LedgerError> {
    decoded(T::try_from(row.try_get(column)?).ok())
}
