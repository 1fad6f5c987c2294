//! What /proc tells of a process: CPU time, memory, open files; where there is no /proc, nothing.

// The load test makes some of it public.
#![cfg_attr(not(feature = "loadtest"), allow(unreachable_pub))]

use std::fs;
use std::time::Duration;

/// Linux counts CPU time for user space in hundredths of a second on every architecture.
const TICKS_PER_SECOND: u64 = 100;

/// The CPU time so far of a process with its descendants. None without such a process.
#[cfg(feature = "loadtest")]
pub fn cpu_time(pid: u32) -> Option<Duration> {
    let time = |pid| Some(stat(pid)?.cpu_time);
    let started = descendants(pid).into_iter().filter_map(time);
    Some(time(pid)? + started.sum::<Duration>())
}

/// Resident memory of a process with its descendants, in bytes.
#[cfg(feature = "loadtest")]
pub(crate) fn resident(pid: u32) -> Option<u64> {
    let rss = |pid| memory(pid, "VmRSS:");
    Some(rss(pid)? + descendants(pid).into_iter().filter_map(rss).sum::<u64>())
}

#[cfg(feature = "loadtest")]
fn descendants(pid: u32) -> Vec<u32> {
    let mut found = Vec::new();
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return found;
    };
    for task in tasks.flatten() {
        let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        for child in children.split_whitespace().filter_map(|c| c.parse().ok()) {
            found.push(child);
            found.extend(descendants(child));
        }
    }
    found
}

/// What the line `stat` of a process says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    /// User and system time so far.
    pub(crate) cpu_time: Duration,
    /// How many threads there are.
    pub(crate) threads: u64,
    /// When it was started, since the system was.
    pub(crate) started: Duration,
}

/// The line `stat` of a process.
pub(crate) fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The name in parentheses may hold spaces and parentheses.
fn parse_stat(stat: &str) -> Option<Stat> {
    let fields: Vec<_> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let number = |place: usize| fields.get(place)?.trim().parse::<u64>().ok();
    let time = |ticks| Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND);
    Some(Stat {
        cpu_time: time(number(11)? + number(12)?),
        threads: number(17)?,
        started: time(number(19)?),
    })
}

/// When the system was started, in seconds since 1970.
pub(crate) fn boot_time() -> Option<u64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    line.trim().parse().ok()
}

/// Files that a process has open, sockets among them.
pub(crate) fn open_files(pid: u32) -> Option<usize> {
    Some(fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count())
}

/// Files that a process may have open.
pub(crate) fn max_open_files(pid: u32) -> Option<u64> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let find = |line: &str| Some(line.strip_prefix("Max open files")?.to_owned());
    let line = limits.lines().find_map(find)?;
    line.split_whitespace().next()?.parse().ok()
}

/// A figure of a process's memory in bytes, by its name in /proc: `VmRSS:`, `VmHWM:`.
pub fn memory(pid: u32, name: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with(name))?;
    let kibibytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_with_a_strange_name_is_read() {
        let stat = "12 (a) b) S 1 12 12 0 -1 4194560 100 0 0 0 150 50 7 8 20 0 3 0 100 0 0\n";
        let expected = Stat {
            cpu_time: Duration::from_secs(2),
            threads: 3,
            started: Duration::from_secs(1),
        };
        assert_eq!(parse_stat(stat), Some(expected));
    }

    #[cfg(feature = "loadtest")]
    #[test]
    fn our_own_process_uses_time_and_memory() {
        assert!(cpu_time(std::process::id()).is_some());
        assert!(resident(std::process::id()).is_some_and(|bytes| bytes > 1 << 20));
        assert_eq!(cpu_time(u32::MAX), None);
    }

    #[test]
    fn our_own_process_has_files_and_the_system_a_start() {
        let open = open_files(std::process::id()).unwrap() as u64;
        assert!(open > 0 && open <= max_open_files(std::process::id()).unwrap());
        assert!(boot_time().is_some_and(|seconds| seconds > 0));
    }
}
