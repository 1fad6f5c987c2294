//! `predict`: scores picture files, in this process or by a running service.

/// Flags of `predict`.
#[derive(clap::Args, Debug)]
#[command(rename_all = "snake_case")]
pub struct Args {
    /// Pictures, or folders of pictures
    #[arg(required = true)]
    pub files: Vec<std::path::PathBuf>,
}
