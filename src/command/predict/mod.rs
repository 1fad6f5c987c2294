//! `predict`: scores image files, in this process or with a running service; draws what it found.

mod annotate;
mod draw;
mod line;
mod scorer;
mod terminal;

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bytes::Bytes;
use futures_util::StreamExt;
use indicatif::{ProgressBar, ProgressStyle};

use self::annotate::Annotated;
use self::line::Line;
use self::scorer::Found;
pub(super) use self::scorer::Scorer;
pub use self::scorer::Scoring;
use self::terminal::Graphics;
use super::image_files;

/// Images in flight: enough to keep every core and a service busy.
pub(super) const IN_FLIGHT: usize = 16;

/// Progress is shown from this number of images on.
const PROGRESS_FROM: usize = 20;

/// Flags of `predict`.
#[derive(clap::Args, Debug)]
#[command(rename_all = "snake_case")]
pub struct Args {
    /// Image files, or folders, whose image files are scored, including those in subfolders
    #[arg(required = true, value_name = "FILE|DIR")]
    pub files: Vec<PathBuf>,
    /// Print one JSON object per line instead of a table
    #[arg(long)]
    pub json: bool,
    /// Folder for copies of the images with scores, boxes and landmarks drawn: NAME.annotated.png
    #[arg(long, value_name = "DIR")]
    pub annotate: Option<PathBuf>,
    /// What computes the scores
    #[command(flatten)]
    pub scoring: Scoring,
}

/// Scores the files and prints them in their order. Where the terminal can show images, those with
/// faces or with `--annotate` are drawn there, too.
///
/// # Errors
///
/// When there is no file, or the service or predictor cannot be used. An image that cannot be scored
/// is a line of its own and makes the exit code 1.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let files = image_files::expand(&args.files)?;
    let mut copies = match &args.annotate {
        Some(folder) => annotate::copies(folder, &files)?
            .into_iter()
            .map(Some)
            .collect(),
        None => vec![None; files.len()],
    };
    let photos = args.scoring.finds_faces();
    let graphics = (!args.json && (photos || args.annotate.is_some()))
        .then(Graphics::of_standard_output)
        .flatten();
    let scorer = &Scorer::new(&args.scoring).await?;
    let progress = progress(files.len());
    let names = files.clone();
    let mut results = futures_util::stream::iter(files)
        .map(|file| async move { read_and_score(scorer, &file).await })
        .buffered(IN_FLIGHT);
    let mut lines = Vec::with_capacity(names.len());
    let mut out = std::io::stdout().lock();
    for (name, copy) in names.iter().zip(copies.drain(..)) {
        let Some(result) = results.next().await else {
            break;
        };
        progress.inc(1);
        let mut line = Line::new(name);
        let scored = result.and_then(|(image, found)| {
            if copy.is_some() || graphics.is_some() {
                let annotated = Annotated::draw(&image, &found)?;
                if let Some(graphics) = graphics {
                    graphics.show(&mut out, &annotated.for_terminal()?)?;
                }
                if let Some(copy) = &copy {
                    annotated.save(copy)?;
                    line.annotated = Some(copy.display().to_string());
                }
            }
            Ok(found)
        });
        line.fill(scored, photos);
        if args.json {
            writeln!(out, "{}", serde_json::to_string(&line)?)?;
        }
        lines.push(line);
    }
    progress.finish_and_clear();
    if !args.json {
        line::print_table(&mut out, &lines, photos)?;
    }
    let failed = lines.iter().any(|line| line.error.is_some());
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// The bytes of an image file, and what the model says of it.
async fn read_and_score(scorer: &Scorer, file: &Path) -> anyhow::Result<(Bytes, Vec<Found>)> {
    let image = Bytes::from(tokio::fs::read(file).await?);
    let found = scorer.results(image.clone()).await?;
    Ok((image, found))
}

fn progress(files: usize) -> ProgressBar {
    if files < PROGRESS_FROM || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style =
        ProgressStyle::with_template("{bar:40} {pos} of {len} images, {per_sec}, {eta} left");
    ProgressBar::new(files as u64)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
