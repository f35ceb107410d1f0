//! From an error to words and an exit code; the codes are in `hb --help`.

use std::process::ExitCode;

use hongbao::client::ClientError;
use serde::Serialize;

use crate::output::Output;

/// A flag whose value cannot be used, found after parsing.
#[derive(Debug)]
pub(crate) struct Usage(pub(crate) String);

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// What cannot be had yet; the words say what it waits for.
#[derive(Debug)]
pub(crate) struct NotYet(pub(crate) String);

impl std::fmt::Display for NotYet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotYet {}

/// What the server's ledger refused; the words say why.
#[derive(Debug)]
pub(crate) struct Refused(pub(crate) String);

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

/// What an audit or a verification found; the words say it.
#[derive(Debug)]
pub(crate) struct AuditFailed(pub(crate) String);

impl std::fmt::Display for AuditFailed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for AuditFailed {}

/// The same, and the words are in what was printed as JSON already.
#[derive(Debug)]
pub(crate) struct AuditTold(pub(crate) String);

impl std::fmt::Display for AuditTold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for AuditTold {}

#[derive(Serialize)]
struct Failure {
    error: String,
    status: Option<String>,
    exit_code: u8,
}

/// Tells the error and returns its exit code.
pub(crate) fn report(error: &anyhow::Error, output: Output) -> ExitCode {
    let (exit_code, status) = classify(error);
    let told = error.is::<AuditTold>();
    let error = words(error);
    eprintln!("hb: {error}");
    if told {
        return ExitCode::from(exit_code);
    }
    output.json_only(&Failure { error, status, exit_code });
    ExitCode::from(exit_code)
}

/// The error and its causes; a cause that the error's own words name already is
/// not said twice.
fn words(error: &anyhow::Error) -> String {
    let mut words = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !words.contains(&cause) {
            words = format!("{words}: {cause}");
        }
    }
    words
}

fn classify(error: &anyhow::Error) -> (u8, Option<String>) {
    for cause in error.chain() {
        if let Some(ClientError::Refused(refusal)) = cause.downcast_ref() {
            return (1, Some(format!("{:?}", refusal.status)));
        }
        if cause.is::<NotYet>() {
            return (1, None);
        }
        if cause.is::<Refused>() {
            return (1, None);
        }
        if cause.is::<Usage>() {
            return (2, None);
        }
        if cause.is::<AuditFailed>() || cause.is::<AuditTold>() {
            return (4, None);
        }
    }
    (3, None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;
    use hongbao::client::Refusal;
    use hongbao::wire::Status;

    #[test]
    fn each_kind_of_error_has_its_code_also_under_context() {
        let refused = ClientError::Refused(Refusal { status: Status::SoldOut, detail: 0 });
        let refused = Err::<(), _>(refused).context("while issuing").unwrap_err();
        assert_eq!(classify(&refused), (1, Some("SoldOut".into())));
        assert_eq!(words(&refused), "while issuing: sold out: every share is taken");
        assert_eq!(classify(&NotYet("x".into()).into()).0, 1);
        assert_eq!(classify(&Usage("x".into()).into()).0, 2);
        assert_eq!(classify(&std::io::Error::other("disk").into()).0, 3);
        assert_eq!(classify(&AuditFailed("x".into()).into()).0, 4);
    }
}
