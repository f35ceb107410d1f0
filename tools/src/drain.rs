//! `hb drain`: asks a server to end in order.

use anyhow::Result;
use serde_json::json;

use crate::admin::AdminArgs;
use crate::output::Output;

/// Begins the drain; the server ends by itself.
pub(crate) fn run(args: &AdminArgs, output: Output) -> Result<()> {
    let told = args.post("/drain")?;
    output.print(&json!({ "draining": true }), || told.trim_end().to_owned());
    Ok(())
}
