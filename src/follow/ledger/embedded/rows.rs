//! Many rows by one statement: a statement's own cost is that of several rows.

use rusqlite::{Connection, Statement};

use super::store::Stored;

/// Beyond this the statement's cost is no longer seen.
pub(super) const AT_ONCE: usize = 64;

/// Inserts `rows`, whose columns are `values`; `otherwise` says what to do where
/// a row is there.
pub(super) fn insert<T, const COLUMNS: usize>(
    to: &Connection,
    table: &str,
    otherwise: &str,
    rows: &[T],
    values: impl Fn(&T) -> [i64; COLUMNS],
) -> Stored {
    let sql = |count: usize| {
        let row = format!("({})", ["?"; COLUMNS].join(","));
        format!("INSERT INTO {table} VALUES {} {otherwise}", vec![row; count].join(","))
    };
    let mut chunks = rows.chunks_exact(AT_ONCE);
    if rows.len() >= AT_ONCE {
        let mut many = to.prepare_cached(&sql(AT_ONCE))?;
        for chunk in &mut chunks {
            execute(&mut many, chunk.iter().flat_map(&values))?;
        }
    }
    let mut one = to.prepare_cached(&sql(1))?;
    for row in chunks.remainder() {
        execute(&mut one, values(row).into_iter())?;
    }
    Ok(())
}

fn execute(statement: &mut Statement<'_>, values: impl Iterator<Item = i64>) -> Stored {
    for (parameter, value) in (1..).zip(values) {
        statement.raw_bind_parameter(parameter, value)?;
    }
    statement.raw_execute()?;
    Ok(())
}
