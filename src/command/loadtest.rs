//! `loadtest`: from flags to the settings of a load test, and from its report to output and exit
//! code.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args as ClapArgs;

use super::{Exit, print_error};
use crate::faces;
use crate::loadtest::{
    self, Arrival, Endpoint, Error, Load, ModelTensors, Protocol, Rates, Settings, Slo, Until,
    parse_duration,
};

/// Load a target and measure it: a closed loop (--concurrency), an open loop (--rate), or the
/// search for the highest rate that holds an SLO (--find_rate).
#[derive(Clone, Debug, ClapArgs)]
#[command(rename_all = "snake_case")]
pub struct Args {
    /// Base of the target: http://HOST:PORT or grpc://HOST:PORT [default: http://127.0.0.1:8080,
    /// for --protocol triton 127.0.0.1:8001]
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// Protocol to use
    #[arg(long, value_enum, default_value = "v1")]
    pub protocol: Protocol,
    /// Model at the target [default: facequality, for --protocol triton face_quality_trt_fp16]
    #[arg(long, visible_alias = "model_name", value_name = "NAME")]
    pub model: Option<String>,
    /// Image files, or folders of them; not needed where tensors are sent
    #[arg(long, num_args = 1.., value_name = "DIR|FILE")]
    pub images: Vec<PathBuf>,
    /// Images per request
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub batch: usize,
    /// Closed loop: requests in flight, each on its own connection (gRPC: on at most 8 shared ones)
    #[arg(
        long,
        short = 'c',
        default_value_t = 8,
        value_name = "N",
        conflicts_with = "rate"
    )]
    pub concurrency: usize,
    /// Closed loop: end after this number of requests instead of after --duration
    #[arg(long, short = 'n', value_name = "N", conflicts_with_all = ["rate", "find_rate"])]
    pub requests: Option<u64>,
    /// How long to load; with --steps each step, with --find_rate each probe (3s there) [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub duration: Option<Duration>,
    /// Open loop: requests per second, or a ramp as in 100..2000; with --find_rate the first probe
    #[arg(long, value_name = "R|FROM..TO")]
    pub rate: Option<Rates>,
    /// Rates of a ramp
    #[arg(long, default_value_t = 10, value_name = "N")]
    pub steps: usize,
    /// Spacing of requests in an open loop
    #[arg(long, value_enum, default_value = "constant")]
    pub arrival: Arrival,
    /// Search the highest rate that holds --slo
    #[arg(long, requires = "slo", conflicts_with_all = ["concurrency", "compare"])]
    pub find_rate: bool,
    /// Bounds that must hold, as in p99=20ms,errors=0; also p50, p99.9, mean, max. Missed: exit code 2
    #[arg(long, value_name = "BOUNDS")]
    pub slo: Option<Slo>,
    /// Beginning of each run that is not counted
    #[arg(long, default_value = "1s", value_name = "TIME", value_parser = parse_duration)]
    pub warmup: Duration,
    /// Time to wait for a response
    #[arg(long, default_value = "10s", value_name = "TIME", value_parser = parse_duration)]
    pub timeout: Duration,
    /// Open loop: requests that can be in flight
    #[arg(long, default_value_t = 512, value_name = "N")]
    pub max_connections: usize,
    /// Expected scores: JSON, {"file name": score}; a mismatch exits with 2
    #[arg(long, value_name = "FILE")]
    pub golden: Option<PathBuf>,
    /// Write the scores that came to such a file
    #[arg(long, value_name = "FILE")]
    pub write_golden: Option<PathBuf>,
    /// By how much a score may differ from the expected one, or from the first of its image
    #[arg(long, default_value_t = 1e-4, value_name = "X")]
    pub tolerance: f64,
    /// Another target, loaded in turn with the first: A B A B
    #[arg(long, value_name = "URL")]
    pub compare: Option<String>,
    /// Its protocol [default: --protocol]
    #[arg(long, value_enum, requires = "compare")]
    pub compare_protocol: Option<Protocol>,
    /// Its model [default: as --model]
    #[arg(long, requires = "compare", value_name = "NAME")]
    pub compare_model: Option<String>,
    /// Turns of each target
    #[arg(long, default_value_t = 4, value_name = "N")]
    pub rounds: usize,
    /// Process of the target (with those it started), whose CPU per image is measured
    #[arg(long, value_name = "PID")]
    pub pid: Option<u32>,
    /// Process of the other target
    #[arg(long, requires = "compare", value_name = "PID")]
    pub compare_pid: Option<u32>,
    /// Print JSON instead of the table
    #[arg(long)]
    pub json: bool,
    /// Write a page with plots
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}

/// Runs the load test. Exit code 2 when an SLO or an expected score is missed, 64 when the settings
/// cannot be followed, 1 when no request succeeded.
///
/// # Errors
///
/// When the target cannot be reached at the start, or a file cannot be written.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let report = match loadtest::execute(&settings(&args)).await {
        Ok(report) => report,
        Err(error @ Error::Usage(_)) => {
            print_error(error);
            return Ok(Exit::Usage.into());
        }
        Err(error) => return Err(error.into()),
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{}", loadtest::text(&report));
    }
    if let Some(path) = &args.report {
        fs::write(path, loadtest::html(&report))
            .with_context(|| format!("--report {}", path.display()))?;
    }
    if let Some(path) = &args.write_golden {
        let scores: serde_json::Map<_, _> = report
            .scores
            .iter()
            .map(|image| (image.name.clone(), image.score.into()))
            .collect();
        fs::write(path, serde_json::to_string_pretty(&scores)?)
            .with_context(|| format!("--write_golden {}", path.display()))?;
    }
    Ok(if report.missed() {
        Exit::ThresholdMissed.into()
    } else if report.any_ok() {
        ExitCode::SUCCESS
    } else {
        print_error("no request succeeded; see the errors above");
        Exit::Failed.into()
    })
}

fn settings(args: &Args) -> Settings {
    let arrival = args.arrival;
    let length = |seconds| args.duration.unwrap_or(Duration::from_secs(seconds));
    let load = match (args.find_rate, args.rate) {
        (true, rates) => Load::FindRate {
            start: rates.map_or(100.0, |rates| rates.from),
            arrival,
            length: length(3),
        },
        (false, Some(rates)) => Load::Open {
            rates,
            steps: args.steps,
            arrival,
            length: length(10),
        },
        (false, None) => Load::Closed {
            concurrency: args.concurrency,
            until: match args.requests {
                Some(requests) => Until::Requests(requests),
                None => Until::Elapsed(length(10)),
            },
        },
    };
    let target = Endpoint {
        url: args
            .url
            .clone()
            .unwrap_or_else(|| default_url(args.protocol).to_owned()),
        protocol: args.protocol,
        model: args
            .model
            .clone()
            .unwrap_or_else(|| default_model(args.protocol).to_owned()),
        pid: args.pid,
    };
    let compare = args.compare.as_ref().map(|url| {
        let protocol = args.compare_protocol.unwrap_or(args.protocol);
        let model = args.compare_model.as_ref().or(args.model.as_ref());
        Endpoint {
            url: url.clone(),
            protocol,
            model: model.map_or_else(|| default_model(protocol).to_owned(), Clone::clone),
            pid: args.compare_pid,
        }
    });
    Settings {
        target,
        compare,
        rounds: args.rounds,
        images: args.images.clone(),
        tensors: tensors(),
        batch: args.batch,
        load,
        warmup: args.warmup,
        timeout: args.timeout,
        max_connections: args.max_connections,
        golden: args.golden.clone(),
        tolerance: args.tolerance,
        slo: args.slo.clone(),
        progress: !args.json,
    }
}

/// The quality model's tensors, under the names of this service and of its predictor.
fn tensors() -> ModelTensors {
    ModelTensors {
        input: faces::PREDICTOR_INPUT.to_owned(),
        row: vec![3, faces::SIDE as i64, faces::SIDE as i64],
        outputs: ["score", faces::PREDICTOR_OUTPUT]
            .map(str::to_owned)
            .to_vec(),
    }
}

fn default_url(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Triton => "grpc://127.0.0.1:8001",
        _ => "http://127.0.0.1:8080",
    }
}

fn default_model(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Triton => faces::PREDICTOR_MODEL,
        _ => faces::MODEL_NAME,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn parse(line: &str) -> Result<Settings, clap::Error> {
        let words = std::iter::once("loadtest").chain(line.split_whitespace());
        Cli::try_parse_from(words).map(|cli| settings(&cli.args))
    }

    #[test]
    fn five_hundred_in_flight_is_one_line() {
        let settings = parse("--images images --concurrency 500 --requests 10000").unwrap();
        assert!(matches!(
            settings.load,
            Load::Closed {
                concurrency: 500,
                until: Until::Requests(10_000)
            }
        ));
        assert_eq!(settings.target.url, "http://127.0.0.1:8080");
    }

    #[test]
    fn ramps_and_searches_are_open_loops() {
        let settings = parse("--rate 100..2000 --steps 10 --arrival poisson").unwrap();
        assert!(matches!(
            settings.load,
            Load::Open {
                steps: 10,
                arrival: Arrival::Poisson,
                ..
            }
        ));
        let settings = parse("--find_rate --slo p99=20ms,errors=0").unwrap();
        assert!(matches!(settings.load, Load::FindRate { .. }));
    }

    #[test]
    fn contradictions_are_refused() {
        for line in [
            "--find_rate",
            "--rate 5 --concurrency 3",
            "--compare_pid 5",
            "--rate 5 --requests 10",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn triton_has_its_own_defaults() {
        let settings = parse("--protocol triton --compare http://127.0.0.1:8080").unwrap();
        assert_eq!(settings.target.url, "grpc://127.0.0.1:8001");
        assert_eq!(settings.target.model, "face_quality_trt_fp16");
        assert_eq!(settings.compare.unwrap().protocol, Protocol::Triton);
    }
}
