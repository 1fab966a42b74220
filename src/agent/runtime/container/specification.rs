//! What a container is, as the OCI runtime specification has it.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::agent::launch::User;
use crate::agent::runtime::container::staging::ContainerUsers;
use crate::agent::runtime::container::{control_groups, has_limits};
use crate::agent::runtime::{Launch, PROCESSES, REPORTS};
use crate::model::workload::Container;

/// What a service may need as root of its container, and no more: to listen below 1024 and to
/// change its user.
const CAPABILITIES: [&str; 6] = [
    "CAP_NET_BIND_SERVICE",
    "CAP_SETUID",
    "CAP_SETGID",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_KILL",
];

/// What the container is, as the OCI runtime specification has it (runtime-spec, `config.md` and
/// `config-linux.md`).
pub(super) fn specification(launch: &Launch, users: Option<&ContainerUsers>) -> io::Result<Value> {
    let contained = launch.contained.clone().unwrap_or_default();
    if launch.command.is_empty() {
        return Err(io::Error::other(
            "neither the service nor its image has a command",
        ));
    }

    // What prepares the mounts would not say which.
    let mut volumes = contained.spec.volumes.iter();
    if let Some((inside, from)) = volumes.find(|(_, from)| !Path::new(from).exists()) {
        return Err(io::Error::other(format!(
            "{from}, which is to be its volume {}, is not on this machine: make it first",
            inside.display()
        )));
    }

    let user = launch.user.unwrap_or(User { uid: 0, gid: 0 });
    let mut mounts = mounts(&contained.spec, users);
    mounts.extend(launch.files.iter().map(|(inside, from)| {
        let options = ["bind", "ro", "nosuid", "nodev", "noexec"];
        let (inside, from) = (inside.display().to_string(), from.display().to_string());
        mount(&inside, "bind", &from, &options)
    }));
    mounts.extend(launch.reports.as_ref().map(|reports| {
        let options = ["bind", "nosuid", "nodev", "noexec"];
        let from = reports.reports().display().to_string();
        mount(REPORTS, "bind", &from, &options)
    }));
    let resources = resources(&contained.spec)?;

    Ok(json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false, "user": {"uid": user.uid, "gid": user.gid},
            "args": launch.command, "cwd": launch.workdir, "noNewPrivileges": true,
            "capabilities": {
                "bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES,
            },
        },
        "root": {"path": "rootfs", "readonly": false},
        "hostname": host_name(&contained.name),
        "mounts": mounts,
        "linux": {
            "namespaces": [{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}],
            "cgroupsPath": format!("/{}/{}", control_groups::PARENT, contained.name),
            "resources": resources,
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys",
                "/proc/latency_stats", "/proc/scsi", "/proc/sched_debug", "/proc/timer_list",
                "/proc/timer_stats",
            ],
            "readonlyPaths": [
                "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
            ],
        },
    }))
}

/// The end of a container's name, which no other has, as far as the kernel takes one.
fn host_name(name: &str) -> &str {
    const LONGEST: usize = 63;
    let start = name.len().saturating_sub(LONGEST);
    name.get(start..).unwrap_or(name).trim_start_matches('-')
}

/// The kernel's file systems, the machine's names, and the service's volumes, in this order.
fn mounts(spec: &Container, users: Option<&ContainerUsers>) -> Vec<Value> {
    let mut mounts = kernel_mounts();

    for file in ["/etc/resolv.conf", "/etc/hosts"] {
        if Path::new(file).exists() {
            let options = ["rbind", "ro", "nosuid", "nodev", "noexec"];
            mounts.push(mount(file, "bind", file, &options));
        }
    }

    // Those whose owners are mapped are there before it is made.
    let mapped: &[(PathBuf, PathBuf)] = users.map_or(&[], |users| &users.volumes);
    for (inside, from) in &spec.volumes {
        if mapped.iter().all(|(path, _)| path != inside) {
            let inside = inside.display().to_string();
            mounts.push(mount(&inside, "bind", from, &["rbind", "nosuid", "nodev"]));
        }
    }
    mounts
}

fn kernel_mounts() -> Vec<Value> {
    let dev = ["nosuid", "strictatime", "mode=755", "size=65536k"];
    let terminals = [
        "nosuid",
        "noexec",
        "newinstance",
        "ptmxmode=0666",
        "mode=0620",
    ];
    let shared = ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"];

    vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &dev),
        mount("/dev/pts", "devpts", "devpts", &terminals),
        mount("/dev/shm", "tmpfs", "shm", &shared),
    ]
}

fn mount(to: &str, kind: &str, from: &str, options: &[&str]) -> Value {
    json!({"destination": to, "type": kind, "source": from, "options": options})
}

/// The container's limits; without root there are none, and who asks for one is told.
fn resources(spec: &Container) -> io::Result<Map<String, Value>> {
    let limited = spec.memory.is_some() || spec.cpu.is_some() || spec.processes.is_some();
    if limited && !has_limits() {
        return Err(io::Error::other(
            "limits of containers need root: take `resources` out",
        ));
    }

    let mut resources = Map::new();
    if has_limits() {
        let most = spec.processes.unwrap_or(PROCESSES);
        resources.insert("pids".to_owned(), json!({"limit": most}));
    }
    if let Some(memory) = spec.memory {
        let limit = json!({"limit": memory, "swap": memory});
        resources.insert("memory".to_owned(), limit);
    }
    if let Some(cpu) = spec.cpu {
        let limit = json!({"period": 100_000, "quota": u64::from(cpu) * 100});
        resources.insert("cpu".to_owned(), limit);
    }
    Ok(resources)
}

#[cfg(test)]
mod tests {
    use super::host_name;

    #[test]
    fn a_host_name_is_one_that_the_kernel_takes() {
        let short = "shipit-shop-staging-blue-web-0-a1b2c3";
        assert_eq!(host_name(short), short);
        let long = format!("shipit-{}-blue-web-0-a1b2c3", "customer-portal".repeat(4));
        let name = host_name(&long);
        assert!(name.len() <= 63 && !name.starts_with('-'), "{name}");
        assert!(name.ends_with("-blue-web-0-a1b2c3"), "{name}");
    }
}
