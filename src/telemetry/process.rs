//! The `process_*` families, read from `/proc/self`.
//!
//! Invariant: what cannot be read is left out, never shown as 0.

use std::fs;

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::exposition::Exposition;

/// Adds the families. `started` is when the process began, in seconds since 1970.
pub fn expose(out: &mut Exposition, started: f64) {
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    out.counter(
        "process_cpu_seconds_total",
        "Processor time used, user and system, in seconds.",
        &[],
        cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9,
    );
    let gauges = [
        (
            "process_start_time_seconds",
            "When the process began, in seconds since 1970.",
            Some(started),
        ),
        ("process_open_fds", "Open file descriptors.", open_fds()),
        (
            "process_max_fds",
            "The most file descriptors that may be open.",
            max_fds(),
        ),
    ];
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let memory = [
        (
            "process_resident_memory_bytes",
            "Memory in use, in bytes.",
            field(&status, "VmRSS:").map(|kib| kib * 1024.0),
        ),
        (
            "process_virtual_memory_bytes",
            "Address space in use, in bytes.",
            field(&status, "VmSize:").map(|kib| kib * 1024.0),
        ),
        ("process_threads", "Threads.", field(&status, "Threads:")),
    ];
    for (name, help, value) in gauges.into_iter().chain(memory) {
        if let Some(value) = value {
            out.gauge(name, help, &[], value);
        }
    }
}

fn open_fds() -> Option<f64> {
    // The directory that is being read is one of them.
    Some(
        fs::read_dir("/proc/self/fd")
            .ok()?
            .count()
            .saturating_sub(1) as f64,
    )
}

fn max_fds() -> Option<f64> {
    getrlimit(Resource::Nofile)
        .current
        .map(|limit| limit as f64)
}

/// The number behind a key of `/proc/self/status`.
fn field(status: &str, key: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_about_this_process() {
        let mut out = Exposition::default();
        expose(&mut out, 12.5);
        let names: Vec<&str> = out.families().map(|(name, _)| name).collect();
        assert_eq!(
            names,
            [
                "process_cpu_seconds_total",
                "process_max_fds",
                "process_open_fds",
                "process_resident_memory_bytes",
                "process_start_time_seconds",
                "process_threads",
                "process_virtual_memory_bytes",
            ]
        );
    }

    #[test]
    fn a_missing_field_is_none() {
        let status = "Name:\tx\nVmRSS:\t    1234 kB\n";
        assert_eq!(field(status, "VmRSS:"), Some(1234.0));
        assert_eq!(field(status, "VmSize:"), None);
    }
}
