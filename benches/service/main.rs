//! What the service costs, against what its work costs without a service around it, and against the
//! Python transformer: every row of docs/PERFORMANCE.md.
//!
//! ```text
//! cargo bench --bench service -- [ROW…] [--peer PYTHON] [--triton HOST:PORT]
//! ```
//!
//! Both sides of a ratio take turns within one run, since the machine's speed changes from minute
//! to minute; the median of the rounds' ratios is shown with the smallest and the largest. Costs are
//! CPU time, user and system, of the process that is measured. Without the `--bench` that
//! `cargo bench` adds, each row runs for a moment only: so `cargo test` keeps this from rotting.

// A bench that cannot start its processes has nothing to measure.
#![allow(clippy::expect_used)]

mod comparisons;
mod floor;
mod load;
#[cfg(feature = "embedded")]
mod model;
mod process;
mod proxy;
mod rows;
mod table;

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

/// As in the service: the system's allocator would add page faults to the floor alone.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Costs of the service as ratios within one run.
#[derive(Parser)]
struct Args {
    /// Rows to measure, by the beginning of their names; none: all
    rows: Vec<String>,
    /// Turns of each side
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of each turn
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// A Python with the packages of peer/requirements.txt: the peer takes its turns too
    #[arg(long, value_name = "PYTHON")]
    peer: Option<PathBuf>,
    /// gRPC address of a Triton, for the row of latencies; else `predictor` stands in
    #[arg(long, value_name = "HOST:PORT")]
    triton: Option<String>,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
    /// Be the tonic proxy that a row compares with
    #[arg(long, hide = true, num_args = 2, value_names = ["PORT", "PREDICTOR"])]
    proxy: Option<Vec<String>>,
}

/// How long and how often.
struct Effort {
    /// Only to show that it works.
    brief: bool,
    rounds: usize,
    period: Duration,
    warmup: Duration,
    peer: Option<PathBuf>,
    triton: Option<String>,
}

fn main() {
    let args = Args::parse();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    if let Some([port, predictor]) = args.proxy.as_deref() {
        return runtime.block_on(proxy::serve(port, predictor));
    }
    let effort = if args.bench {
        Effort {
            brief: false,
            rounds: args.rounds,
            period: Duration::from_secs_f64(args.seconds),
            warmup: Duration::from_millis(500),
            peer: args.peer,
            triton: args.triton,
        }
    } else {
        Effort {
            brief: true,
            rounds: 1,
            period: Duration::from_millis(200),
            warmup: Duration::ZERO,
            peer: None,
            triton: None,
        }
    };
    let wanted = |name: &str| {
        args.rows.is_empty() || args.rows.iter().any(|row| name.starts_with(row.as_str()))
    };
    runtime.block_on(rows::measure(&effort, wanted));
}
