//! `config`: prints the effective settings of `serve`.

use std::io::Write;
use std::process::ExitCode;

use crate::settings::Settings;
use crate::settings::args::ServeArgs;

/// Prints name and value of each setting.
///
/// # Errors
///
/// When a setting is wrong, or nothing can be printed.
pub fn run(args: &ServeArgs) -> anyhow::Result<ExitCode> {
    let settings = Settings::new(args)?;
    let mut out = std::io::stdout().lock();
    for (name, value) in settings.lines() {
        writeln!(out, "{name:<36}{value}")?;
    }
    for (flag, reason) in &settings.without_effect {
        writeln!(out, "--{flag} has no effect: {reason}")?;
    }
    Ok(ExitCode::SUCCESS)
}
