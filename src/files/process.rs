//! Whether a process is still the one that it was.

use std::fs;
use std::path::Path;

/// A process' start time in clock ticks since boot: field 22 of `/proc/PID/stat` (see `proc_pid_stat(5)`). None
/// when there is no such process, or when it is only waiting to be reaped.
#[must_use]
pub fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the name in parentheses, and may itself contain blanks and parentheses.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    let ticks = fields.nth(18)?.parse().ok()?;
    (!matches!(state, "Z" | "X")).then_some(ticks)
}

/// The machine's own id; empty where it has none, as in many containers.
#[must_use]
pub fn machine() -> String {
    word("/etc/machine-id")
}

/// The id of this start of the kernel; empty where it cannot be read.
#[must_use]
pub fn boot() -> String {
    word("/proc/sys/kernel/random/boot_id")
}

/// The namespace in which this process' number counts; empty where /proc shows another one.
#[must_use]
pub fn pid_namespace() -> String {
    let own = fs::read_link("/proc/self")
        .is_ok_and(|pid| pid.as_os_str() == std::process::id().to_string().as_str());
    let namespace = fs::read_link("/proc/self/ns/pid").ok().filter(|_| own);
    namespace.map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

fn word(path: &str) -> String {
    let content = super::read(Path::new(path), 256).unwrap_or_default();
    String::from_utf8_lossy(&content).trim().to_owned()
}

/// This machine's name.
#[must_use]
pub fn host() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}
