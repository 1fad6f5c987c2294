//! `config`: prints the effective settings of `serve`.

use std::io::Write;
use std::process::ExitCode;

use crate::pixel::JPEG_DECODER;
use crate::settings::{ServeArgs, Settings};

/// The width of the column of names.
const NAMES: usize = 36;

/// Prints the name and value of each setting.
///
/// # Errors
///
/// When a setting is invalid, or nothing can be printed.
pub fn run(args: &ServeArgs) -> anyhow::Result<ExitCode> {
    let settings = Settings::new(args)?;
    let mut out = std::io::stdout().lock();
    let build = [
        ("version", env!("CARGO_PKG_VERSION")),
        ("jpeg_decoder", JPEG_DECODER),
    ];
    for (name, value) in build {
        writeln!(out, "{name:<NAMES$}{value}")?;
    }
    for row in settings.effective() {
        let value = row.value.as_deref().unwrap_or("none");
        writeln!(out, "{:<NAMES$}{value}", row.flag)?;
    }
    for flag in &settings.without_effect {
        writeln!(out, "{flag}")?;
    }
    Ok(ExitCode::SUCCESS)
}
