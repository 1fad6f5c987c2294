//! The CPU time and memory of a process and of all it started, from /proc.

use std::fs;
use std::time::Duration;

/// Linux counts CPU time for user space in hundredths of a second on every architecture.
const TICKS_PER_SECOND: u64 = 100;

/// User and system time so far of a process with its descendants. None without such a process.
pub fn cpu_time(pid: u32) -> Option<Duration> {
    let own = ticks(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?;
    let started: u64 = descendants(pid)
        .into_iter()
        .filter_map(|pid| ticks(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?))
        .sum();
    Some(Duration::from_millis(
        (own + started) * 1000 / TICKS_PER_SECOND,
    ))
}

/// Resident memory of a process with its descendants, in bytes.
pub(crate) fn resident(pid: u32) -> Option<u64> {
    let rss = |pid| memory(pid, "VmRSS:");
    Some(rss(pid)? + descendants(pid).into_iter().filter_map(rss).sum::<u64>())
}

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

/// utime + stime of a `stat` line. The name in parentheses may hold spaces and parentheses.
fn ticks(stat: &str) -> Option<u64> {
    let fields = stat.rsplit_once(") ")?.1;
    let mut times = fields.split(' ').skip(11).map(str::parse::<u64>);
    Some(times.next()?.ok()? + times.next()?.ok()?)
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
        let stat = "12 (a) b) S 1 12 12 0 -1 4194560 100 0 0 0 150 50 7 8 20 0 1 0 100 0 0";
        assert_eq!(ticks(stat), Some(200));
    }

    #[test]
    fn our_own_process_uses_time_and_memory() {
        assert!(cpu_time(std::process::id()).is_some());
        assert!(resident(std::process::id()).is_some_and(|bytes| bytes > 1 << 20));
        assert_eq!(cpu_time(u32::MAX), None);
    }
}
