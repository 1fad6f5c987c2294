//! The flags of `loadtest`, and the settings that they mean.

use std::path::PathBuf;
use std::time::Duration;

use crate::command::header::{Header, header_map};
use crate::faces;
use crate::loadtest::{
    Arrival, Endpoint, Error, Load, ModelTensors, Protocol, Rates, Settings, Slo, Until,
    parse_duration,
};

/// Rates of a ramp unless `--steps` says otherwise.
const STEPS: usize = 10;

/// The beginning of each run that is not counted, unless `--warmup` says otherwise.
const WARMUP: Duration = Duration::from_secs(1);

/// Load a target and measure it: a closed loop (--concurrency), an open loop (--rate), or the
/// search for the highest rate that holds an SLO (--find_rate).
#[derive(Clone, Debug, clap::Args)]
#[command(rename_all = "snake_case")]
pub struct Args {
    /// Base of the target: http://HOST:PORT or grpc://HOST:PORT, with TLS https:// or grpcs://
    /// [default: http://127.0.0.1:8080, for --protocol triton grpc://127.0.0.1:8001]
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// Protocol to use
    #[arg(long, value_enum, default_value = "v1")]
    pub protocol: Protocol,
    /// Model at the target [default: facequality, for --protocol triton face_quality_trt_fp16]
    #[arg(long, visible_alias = "model_name", value_name = "NAME")]
    pub model: Option<String>,
    /// Header of every request, as in -H 'Host: face.example'; repeatable
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE")]
    pub headers: Vec<Header>,
    /// PEM certificates to trust besides the system's
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Image files, or folders, whose images are sent; not needed where tensors are sent
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
    /// Closed loop: send this number of requests, without a warm-up, instead of loading for
    /// --duration
    #[arg(long, short = 'n', value_name = "N", conflicts_with_all = ["rate", "find_rate", "duration", "warmup"])]
    pub requests: Option<u64>,
    /// How long to load; with --steps each step, with --find_rate each probe (3s there) [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub duration: Option<Duration>,
    /// Open loop: requests per second, or a ramp as in 100..2000; with --find_rate the first probe
    #[arg(long, value_name = "R|FROM..TO")]
    pub rate: Option<Rates>,
    /// Rates of a ramp [default: 10]
    #[arg(long, value_name = "N", requires = "rate")]
    pub steps: Option<usize>,
    /// Spacing of requests in an open loop
    #[arg(long, value_enum, default_value = "constant")]
    pub arrival: Arrival,
    /// Search the highest rate that holds --slo
    #[arg(long, requires = "slo", conflicts_with_all = ["concurrency", "compare"])]
    pub find_rate: bool,
    /// Bounds that must hold, as in p99=20ms,errors=1%; also p50, p99.9, mean, max. Without errors=
    /// no request may fail. Missed: exit code 2
    #[arg(long, value_name = "BOUNDS")]
    pub slo: Option<Slo>,
    /// Beginning of each run that is not counted [default: 1s, with --requests none]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub warmup: Option<Duration>,
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

impl Args {
    /// What the flags mean. `images` are the files that `--images` names.
    ///
    /// # Errors
    ///
    /// When two flags do not fit each other.
    pub(super) fn settings(
        &self,
        images: Vec<PathBuf>,
        command_line: String,
    ) -> Result<Settings, Error> {
        let target = Endpoint {
            url: self
                .url
                .clone()
                .unwrap_or_else(|| default_url(self.protocol).to_owned()),
            protocol: self.protocol,
            model: self
                .model
                .clone()
                .unwrap_or_else(|| default_model(self.protocol).to_owned()),
            pid: self.pid,
        };
        let compare = self.compare.as_ref().map(|url| {
            let protocol = self.compare_protocol.unwrap_or(self.protocol);
            let model = self.compare_model.as_ref().or(self.model.as_ref());
            Endpoint {
                url: url.clone(),
                protocol,
                model: model.map_or_else(|| default_model(protocol).to_owned(), Clone::clone),
                pid: self.compare_pid,
            }
        });
        let warmup = match self.requests {
            Some(_) => Duration::ZERO,
            None => self.warmup.unwrap_or(WARMUP),
        };
        Ok(Settings {
            target,
            compare,
            rounds: self.rounds,
            images,
            tensors: tensors(),
            headers: header_map(&self.headers),
            ca_file: self.ca_file.clone(),
            batch: self.batch,
            load: self.load()?,
            warmup,
            timeout: self.timeout,
            max_connections: self.max_connections,
            golden: self.golden.clone(),
            tolerance: self.tolerance,
            slo: self.slo.clone(),
            progress: true,
            command_line: Some(command_line),
        })
    }

    fn load(&self) -> Result<Load, Error> {
        let arrival = self.arrival;
        let length = |seconds| self.duration.unwrap_or(Duration::from_secs(seconds));
        let is_ramp = self.rate.is_some_and(|rates| rates.from != rates.to);
        if self.steps.is_some() && (self.find_rate || !is_ramp) {
            return Err(Error::Usage(
                "--steps needs a ramp, as in --rate 100..2000".to_owned(),
            ));
        }
        if self.find_rate {
            return Ok(Load::FindRate {
                start: self.rate.map_or(100.0, |rates| rates.from),
                arrival,
                length: length(3),
            });
        }
        Ok(match self.rate {
            Some(rates) => Load::Open {
                rates,
                steps: self.steps.unwrap_or(STEPS),
                arrival,
                length: length(10),
            },
            None => Load::Closed {
                concurrency: self.concurrency,
                until: match self.requests {
                    Some(requests) => Until::Requests(requests),
                    None => Until::Elapsed(length(10)),
                },
            },
        })
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

    fn parse(line: &str) -> Result<Settings, String> {
        let words = std::iter::once("loadtest").chain(line.split_whitespace());
        let cli = Cli::try_parse_from(words).map_err(|error| error.to_string())?;
        let settings = cli.args.settings(Vec::new(), line.to_owned());
        settings.map_err(|error| error.to_string())
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
    fn a_number_of_requests_has_no_warm_up() {
        assert_eq!(parse("-n 1").unwrap().warmup, Duration::ZERO);
        assert_eq!(parse("").unwrap().warmup, WARMUP);
    }

    #[test]
    fn headers_are_kept_from_the_log() {
        let settings = parse("-H authorization:secret -H x:1").unwrap();
        assert_eq!(settings.headers["x"], "1");
        assert!(!format!("{:?}", settings.headers).contains("secret"));
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
            "--requests 10 --duration 5s",
            "--requests 10 --warmup 1s",
            "--steps 5",
            "--steps 5 --rate 100",
            "--slo p99=20",
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
