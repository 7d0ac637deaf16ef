//! Programs of the system that the harness needs for a moment.

use std::process::{Command, Stdio};

use super::RunError;

/// Runs it to its end; what it complains about is the error.
pub(super) fn run(command: &mut Command) -> Result<(), RunError> {
    let output = command.stdin(Stdio::null()).output();
    let name = format!("{command:?}").replace('"', "");
    let output = output.map_err(|error| RunError::system(&name, error))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(RunError::Broken(format!("{name}: {}: {}", output.status, said.trim())))
}
