//! Figures from files: what `loadtest --json` and `nvidia-smi` printed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::Deserialize;

/// The protocol of a load test of Triton itself.
const TRITON: &str = "triton";

/// The stage of `server-timing` in which the service waits for Triton.
const PREDICT: &str = "predict";

/// At most one load test of each.
#[derive(Debug, Default)]
pub(super) struct LoadTests {
    pub(super) service: Option<LoadTest>,
    pub(super) triton: Option<LoadTest>,
}

/// A load test, and the run by which it is quoted.
#[derive(Debug)]
pub(super) struct LoadTest {
    file: String,
    batch: usize,
    slo: Option<String>,
    found_rate: Option<f64>,
    run: Run,
    index: usize,
}

/// What is read of a report; the rest is for other readers.
#[derive(Debug, Deserialize)]
struct Report {
    protocol: String,
    kind: String,
    batch: usize,
    slo: Option<String>,
    found_rate: Option<f64>,
    runs: Vec<Run>,
}

#[derive(Debug, Deserialize)]
struct Run {
    seconds: f64,
    offered: Option<f64>,
    requests: Requests,
    images_per_second: f64,
    latency: Times,
    stages: Vec<Stage>,
    cpu: Cpu,
    verdicts: Vec<Verdict>,
}

#[derive(Debug, Deserialize)]
struct Requests {
    sent: u64,
    ok: u64,
    failed: u64,
}

#[derive(Debug, Deserialize)]
struct Times {
    p50_ms: f64,
    p99_ms: f64,
}

#[derive(Debug, Deserialize)]
struct Stage {
    name: String,
    time: Times,
}

#[derive(Debug, Deserialize)]
struct Cpu {
    target_us: Option<f64>,
    target_mib: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct Verdict {
    held: bool,
}

/// A figure and the place of the report that it is from.
pub(super) type Figure = (String, String);

impl LoadTests {
    pub(super) fn read(files: &[PathBuf]) -> anyhow::Result<Self> {
        let mut tests = Self::default();
        for file in files {
            let (is_triton, test) =
                LoadTest::read(file).with_context(|| format!("--loadtest {}", file.display()))?;
            let place = if is_triton {
                &mut tests.triton
            } else {
                &mut tests.service
            };
            if place.replace(test).is_some() {
                bail!("--loadtest: two load tests of the same target; give one of each");
            }
        }
        Ok(tests)
    }
}

impl LoadTest {
    /// Whether it is one of Triton itself, and the test.
    fn read(file: &Path) -> anyhow::Result<(bool, Self)> {
        let report: Report = serde_json::from_slice(&fs::read(file)?)
            .context("not the output of `loadtest --json`")?;
        if report.kind == "compare" {
            bail!("a comparison of two targets; give the load test of one");
        }
        let Some(index) = report.quoted() else {
            bail!("no request of it succeeded");
        };
        let run = report.runs.into_iter().nth(index);
        Ok((
            report.protocol == TRITON,
            Self {
                file: file.display().to_string(),
                batch: report.batch,
                slo: report.slo,
                found_rate: report.found_rate,
                run: run.context("it has no runs")?,
                index,
            },
        ))
    }

    fn at(&self, place: &str) -> String {
        format!("{} runs[{}].{place}", self.file, self.index)
    }

    /// The percentiles of a request's time.
    pub(super) fn time(&self) -> Figure {
        let Times { p50_ms, p99_ms } = self.run.latency;
        let images = self.batch;
        let text = format!("p50 {p50_ms:.1} ms, p99 {p99_ms:.1} ms ({images} × image)");
        (text, self.at("latency"))
    }

    /// The time of the stage in which the service waits for Triton.
    pub(super) fn predict_time(&self) -> Option<Figure> {
        let stage = self.run.stages.iter().find(|stage| stage.name == PREDICT)?;
        let Times { p50_ms, p99_ms } = stage.time;
        let text = format!("p50 {p50_ms:.1} ms, p99 {p99_ms:.1} ms");
        Some((text, self.at("stages (server-timing: predict)")))
    }

    /// Requests and images per second.
    pub(super) fn qps(&self) -> Figure {
        let Run { requests, .. } = &self.run;
        let rate = requests.ok as f64 / self.run.seconds.max(f64::MIN_POSITIVE);
        let images = self.run.images_per_second;
        let mut text = format!("{rate:.1} req/s, {images:.1} images/s");
        if requests.failed > 0 {
            text += &format!(" ({} / {} failed)", requests.failed, requests.sent);
        }
        if let (Some(slo), Some(_)) = (&self.slo, self.found_rate) {
            text += &format!(" (SLO {slo})");
        }
        (text, self.at("requests"))
    }

    /// Cores and memory of the process that `--pid` named.
    pub(super) fn resources(&self) -> Option<Figure> {
        let cpu = &self.run.cpu;
        let cores = cpu.target_us? * self.run.images_per_second / 1e6;
        let mut text = format!("{cores:.2} CPU");
        if let Some(mib) = cpu.target_mib {
            text += &format!(", {mib:.0} MiB RSS");
        }
        Some((text, self.at("cpu")))
    }
}

impl Report {
    /// The run to quote: of a search the one at the rate that it found, else the last that held its
    /// SLO, else the last; none without a request that succeeded.
    fn quoted(&self) -> Option<usize> {
        let ok = |run: &Run| run.requests.ok > 0;
        let held = |run: &Run| ok(run) && run.verdicts.iter().all(|verdict| verdict.held);
        let found =
            |run: &Run| held(run) && self.found_rate.is_some() && run.offered == self.found_rate;
        let runs = &self.runs;
        runs.iter()
            .rposition(found)
            .or_else(|| runs.iter().rposition(held))
            .or_else(|| runs.iter().rposition(ok))
    }
}

/// What `nvidia-smi` said of the GPUs where Triton runs.
#[derive(Debug, PartialEq)]
pub(super) struct Gpu {
    pub(super) file: String,
    pub(super) models: String,
    pub(super) drivers: String,
    pub(super) memory: String,
}

impl Gpu {
    pub(super) fn read(file: &Path) -> anyhow::Result<Self> {
        let shown = file.display().to_string();
        let text = fs::read_to_string(file).with_context(|| format!("--nvidia_smi {shown}"))?;
        Self::parse(&text, shown.clone()).with_context(|| {
            format!("--nvidia_smi {shown}: expected lines of name, driver and memory")
        })
    }

    fn parse(text: &str, file: String) -> Option<Self> {
        let mut columns = [const { Vec::new() }; 3];
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let cells: Vec<_> = line.split(',').map(str::trim).collect();
            let cells: [&str; 3] = cells.get(..3)?.try_into().ok()?;
            for (column, cell) in columns.iter_mut().zip(cells) {
                column.push(cell);
            }
        }
        let [models, mut drivers, memory] = columns;
        drivers.dedup();
        (!models.is_empty()).then(|| Self {
            file,
            models: models.join(", "),
            drivers: drivers.join(", "),
            memory: memory.join(", "),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_are_read_line_by_line() {
        let text = "NVIDIA A10, 535.129.03, 1234 MiB\nNVIDIA A10, 535.129.03, 99 MiB\n";
        let gpu = Gpu::parse(text, "f".to_owned()).unwrap();
        assert_eq!(gpu.models, "NVIDIA A10, NVIDIA A10");
        assert_eq!(
            (&*gpu.drivers, &*gpu.memory),
            ("535.129.03", "1234 MiB, 99 MiB")
        );
        assert_eq!(Gpu::parse("", String::new()), None);
        assert_eq!(Gpu::parse("NVIDIA A10\n", String::new()), None);
    }

    fn report(found_rate: Option<f64>, runs: &[(f64, u64, bool)]) -> Report {
        let run = |&(offered, ok, held): &(f64, u64, bool)| {
            serde_json::json!({
                "seconds": 2.0, "offered": offered, "images_per_second": 1.0,
                "requests": {"sent": ok, "ok": ok, "failed": 0},
                "latency": {"p50_ms": 1.0, "p99_ms": 2.0}, "stages": [],
                "cpu": {"target_us": null, "target_mib": null}, "verdicts": [{"held": held}],
            })
        };
        let runs: Vec<_> = runs.iter().map(run).collect();
        let report = serde_json::json!({
            "protocol": "v1", "kind": "open", "batch": 1, "slo": null,
            "found_rate": found_rate, "runs": runs,
        });
        serde_json::from_value(report).unwrap()
    }

    #[test]
    fn resources_are_cores_and_memory_of_the_process_that_was_watched() {
        let mut report = report(None, &[(10.0, 5, true)]);
        let mut run = report.runs.remove(0);
        let cpu = Cpu {
            target_us: Some(500.0),
            target_mib: Some(54.4),
        };
        run.cpu = cpu;
        run.images_per_second = 3000.0;
        let mut test = LoadTest {
            file: "f".to_owned(),
            batch: 1,
            slo: None,
            found_rate: None,
            run,
            index: 0,
        };
        let expected = (
            "1.50 CPU, 54 MiB RSS".to_owned(),
            "f runs[0].cpu".to_owned(),
        );
        assert_eq!(test.resources(), Some(expected));
        test.run.cpu.target_us = None;
        assert_eq!(test.resources(), None);
    }

    #[test]
    fn the_quoted_run_is_the_one_that_the_result_rests_on() {
        let probes = [
            (10.0, 5, true),
            (40.0, 5, false),
            (20.0, 5, true),
            (30.0, 5, true),
        ];
        assert_eq!(report(Some(20.0), &probes).quoted(), Some(2));
        assert_eq!(report(None, &probes).quoted(), Some(3));
        assert_eq!(
            report(None, &[(1.0, 5, false), (2.0, 0, true)]).quoted(),
            Some(0)
        );
        assert_eq!(report(None, &[(1.0, 0, true)]).quoted(), None);
    }
}
