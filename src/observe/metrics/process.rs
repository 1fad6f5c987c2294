//! The process's own figures, under the names that Prometheus' clients give them in every language.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::procfs;

/// Reads them when they are asked for.
#[derive(Debug)]
pub(super) struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let pid = std::process::id();
        let stat = procfs::stat(pid);
        if let Some(stat) = &stat {
            let counter = ConstCounter::new(stat.cpu_time.as_secs_f64());
            let help = "user and system CPU time so far";
            counter.encode(encoder.encode_descriptor(
                "process_cpu_seconds",
                help,
                None,
                counter.metric_type(),
            )?)?;
        }
        let started = stat.as_ref().zip(procfs::boot_time());
        let gauges = [
            (
                "process_resident_memory_bytes",
                "resident memory",
                procfs::memory(pid, "VmRSS:"),
            ),
            (
                "process_virtual_memory_bytes",
                "virtual memory",
                procfs::memory(pid, "VmSize:"),
            ),
            (
                "process_open_fds",
                "open files, sockets among them",
                procfs::open_files(pid).map(|files| files as u64),
            ),
            (
                "process_max_fds",
                "files that may be open",
                procfs::max_open_files(pid),
            ),
            (
                "process_threads",
                "threads",
                stat.as_ref().map(|stat| stat.threads),
            ),
            (
                "process_start_time_seconds",
                "when the process was started, in seconds since 1970",
                started.map(|(stat, boot)| boot + stat.started.as_secs()),
            ),
        ];
        for (name, help, value) in gauges {
            if let Some(value) = value {
                let gauge = ConstGauge::new(value);
                gauge.encode(encoder.encode_descriptor(
                    name,
                    help,
                    None,
                    gauge.metric_type(),
                )?)?;
            }
        }
        Ok(())
    }
}
