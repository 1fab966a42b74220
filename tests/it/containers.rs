//! The host engine with containers of its own, without a daemon.

use std::fmt::Write as _;
use std::process::Command;

use rustix::process::Signal;

use crate::support::{World, is_root, signal, started_with, until};

/// A world whose instances are containers of the agent's own; none without root.
pub fn world() -> Option<World> {
    if !is_root() {
        return None;
    }
    let mut world = World::new();
    world.project = vec!["cluster: {runtime: container}".to_owned()];
    let folder = crate::support::storefront()
        .parent()
        .expect("a folder")
        .display()
        .to_string();
    // The tests' own service, with the libraries of this machine beside it.
    world.service.insert(
        "volumes".to_owned(),
        format!("{{{folder}: {folder}, /lib: /lib, /lib64: /lib64, /usr: /usr, /bin: /bin}}"),
    );
    Some(world)
}

/// The folders of a world's containers.
fn containers(world: &World) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(world.agent_folder().join("containers"));
    entries
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect()
}

/// The first process of a container.
fn init(bundle: &std::path::Path) -> u32 {
    let recorded = std::fs::read_to_string(bundle.join("init"));
    first_of(&recorded.expect("it is recorded"))
}

fn first_of(recorded: &str) -> u32 {
    let (pid, _) = recorded.split_once(' ').expect("a process and its start");
    pid.parse().expect("a number")
}

/// Whether one container is there alone, and its first process is another than this. The folder of
/// the one before can go away while it is looked at.
fn is_another(world: &World, before: u32) -> bool {
    let bundles = containers(world);
    let [bundle] = &bundles[..] else { return false };
    std::fs::read_to_string(bundle.join("init")).is_ok_and(|recorded| first_of(&recorded) != before)
}

/// The process beside the container of the slot blue.
fn beside(world: &World) -> u32 {
    let status = world.status();
    let pid = &status["facts"]["slots"]["blue"]["workloads"]["web"]["instances"][0]["pid"];
    pid.as_u64()
        .and_then(|pid| u32::try_from(pid).ok())
        .expect("a pid")
}

fn alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')')
        .is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

fn mounts(world: &World) -> usize {
    let place = world.agent_folder().display().to_string();
    std::fs::read_to_string("/proc/mounts")
        .expect("mounts")
        .lines()
        .filter(|line| line.contains(&place))
        .count()
}

#[test]
fn a_container_has_its_own_world_and_nothing_of_it_stays() {
    let Some(world) = world() else { return };
    world.apply().code(0);
    assert_eq!(world.get(), "v1");
    let bundle = containers(&world).remove(0);
    let pid = init(&bundle);
    let namespace = |pid: &str, kind: &str| {
        std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).expect("a namespace")
    };
    for kind in ["pid", "mnt", "ipc", "uts"] {
        assert_ne!(
            namespace(&pid.to_string(), kind),
            namespace("self", kind),
            "{kind}"
        );
    }
    assert_eq!(
        namespace(&pid.to_string(), "net"),
        namespace("self", "net"),
        "the machine's network"
    );
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a status");
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    assert!(
        status
            .lines()
            .any(|line| line.starts_with("NSpid:") && line.ends_with("\t1")),
        "{status}"
    );
    world.message("v2");
    world.apply().code(0);
    assert_eq!(world.get(), "v2");
    world
        .run(&["rollback", "--env", "staging", "--auto-approve"])
        .code(0)
        .says("0 of ");
    assert_eq!(world.get(), "v1");
    world
        .run(&["destroy", "--env", "staging", "--auto-approve"])
        .code(0);
    until("its folders are gone", || containers(&world).is_empty());
    assert_eq!(mounts(&world), 0);
    assert!(!alive(pid));
}

#[test]
fn containers_outlive_their_agent_and_what_nobody_knows_is_removed() {
    let Some(world) = world() else { return };
    world.apply().code(0);
    let before = init(&containers(&world).remove(0));
    signal(world.agent_pid().expect("an agent"), Signal::KILL);
    // What an agent left that died between making a container and writing it down.
    let stray = world.agent_folder().join("containers/shipit-stray");
    std::fs::create_dir_all(&stray).expect("a folder");
    world
        .run(&["status", "--env", "staging"])
        .code(0)
        .says("ready 1/1");
    assert_eq!(world.get(), "v1");
    assert_eq!(
        init(&containers(&world).remove(0)),
        before,
        "the same container"
    );
    assert!(!stray.exists());
    // The process beside it is killed: nobody would see its end. It is started again, and the old
    // one does not go on.
    signal(beside(&world), Signal::KILL);
    until("it is started again", || is_another(&world, before));
    until("the old one has ended", || !alive(before));
    until("it answers", || {
        crate::support::http::get(&world.live_address(), "/")
            .is_ok_and(|answer| answer.body == "v1")
    });
}

#[test]
fn a_health_command_runs_inside_and_a_limit_is_one() {
    let Some(mut world) = world() else { return };
    // `/proc/1` is the service itself only inside; the command runs as the service does.
    let inside = "{run: [/bin/sh, -c, \"grep -q storefront /proc/1/cmdline && test $(id -u) = 1234\"], \
                  interval: 100ms, start_within: 10s}";
    world.build.push("user: \"1234:1234\"".to_owned());
    world.service.insert("health".to_owned(), inside.to_owned());
    world.service.insert(
        "resources".to_owned(),
        "{memory_limit: 256Mi, cpu_limit: 500m}".to_owned(),
    );
    world.apply().code(0);
    let pid = init(&containers(&world).remove(0));
    let memory = group_limit(pid, "memory", "memory.limit_in_bytes");
    let memory = memory.or_else(|| group_limit(pid, "memory", "memory.max"));
    assert_eq!(memory.as_deref(), Some("268435456"));
}

/// Images of distributions have `/etc/resolv.conf` lead to what is only there when they run.
#[test]
fn a_link_of_an_image_that_leads_to_nothing_makes_way_for_the_machines_file() {
    let report = "cat /etc/resolv.conf; readlink /etc/resolv.conf /etc/hosts; readlink /etc/other";
    let Some(mut world) = reporting_to_all(report) else {
        return;
    };
    let etc = world.file("app/etc");
    std::fs::create_dir(&etc).expect("a folder");
    for (name, target) in [
        ("resolv.conf", "../run/systemd/resolve/stub-resolv.conf"),
        ("hosts", "/nowhere/hosts"),
        ("other", "../run/nothing"),
    ] {
        std::os::unix::fs::symlink(target, etc.join(name)).expect("a link");
    }
    world
        .build
        .push("copy: {message.txt: /app/message.txt, etc: /etc}".to_owned());
    world.apply().code(0);

    let report = std::fs::read_to_string(world.file("data/report")).expect("it ran");
    let names = std::fs::read_to_string("/etc/resolv.conf").expect("this machine's");
    assert_eq!(
        report,
        format!("{names}../run/nothing\n"),
        "only the other one is left"
    );
}

/// What is in a volume is the user's, though a file of the machine is to be mounted there.
#[test]
fn a_link_of_a_volume_that_leads_to_nothing_stays() {
    let Some(world) = reporting("true", &[("/etc", "etc")]) else {
        return;
    };
    std::fs::create_dir(world.file("etc")).expect("a folder");
    give_to_containers(&world.file("etc"));
    let link = world.file("etc/resolv.conf");
    std::os::unix::fs::symlink("../run/nothing", &link).expect("a link");
    world.apply();
    let target = std::fs::read_link(&link).expect("it is still there");
    assert_eq!(target, std::path::Path::new("../run/nothing"));
}

/// As with Docker: a home, and for a number that the image does not know root's group of the
/// container, which images for any user give their folders to.
#[test]
fn a_container_has_a_home_and_the_group_that_images_for_any_user_count_on() {
    let Some(mut world) = reporting_to_all("echo $HOME $(id -u):$(id -g); hostname") else {
        return;
    };
    world.build.push("user: \"12345\"".to_owned());
    world.apply().code(0);
    let report = std::fs::read_to_string(world.file("data/report")).expect("it ran");
    let mut lines = report.lines();
    assert_eq!(lines.next(), Some("/ 12345:0"), "{report}");
    assert!(
        lines
            .next()
            .is_some_and(|name| name.ends_with(|c: char| c.is_ascii_hexdigit()))
    );
}

#[test]
fn a_container_whose_program_cannot_be_started_says_why() {
    let Some(mut world) = world() else { return };
    world.put("app/run.sh", "#!/bin/nothing\necho never\n");
    let path = world.file("app/run.sh");
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(path, executable).expect("executable");
    world
        .build
        .push("copy: {message.txt: /app/message.txt, run.sh: /app/run.sh}".to_owned());
    world
        .service
        .insert("command".to_owned(), "[/app/run.sh]".to_owned());
    world
        .apply()
        .code(1)
        .says("`/app/run.sh` cannot be started")
        .says("/bin/nothing");
}

/// How many processes with this name run in the namespace of this one. What has ended, and the
/// container's first process has not waited for, does not run.
fn beside_named(first: u32, name: &str) -> usize {
    let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let own = namespace(&first.to_string());
    let entries = std::fs::read_dir("/proc").expect("processes");
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    pids.filter(|pid| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let runs = stat.contains(&format!(" ({name}) ")) && !stat.contains(&format!("({name}) Z"));
        runs && namespace(pid) == own
    })
    .count()
}

fn a_health_command_that_takes_too_long_is_ended(cluster: &str) {
    let Some(mut world) = world() else { return };
    world.project = vec![format!("cluster: {cluster}")];
    let liveness = "{run: [/bin/sh, -c, \"echo >> /ran; sleep 1000; true\"], interval: 100ms, \
                    timeout: 300ms, failures: 1000}";
    let health =
        format!("{{path: /healthz, interval: 100ms, start_within: 20s, liveness: {liveness}}}");
    world.service.insert("health".to_owned(), health);
    world.apply().code(0);

    let first = init(&containers(&world).remove(0));
    until("it was run some times", || {
        let ran = std::fs::read_to_string(format!("/proc/{first}/root/ran"));
        ran.is_ok_and(|ran| ran.lines().count() > 4)
    });
    until("none but the last ones are left", || {
        beside_named(first, "sleep") <= 2
    });
}

#[test]
fn a_health_command_that_takes_too_long_is_ended_with_all_that_it_started() {
    a_health_command_that_takes_too_long_is_ended("{runtime: container}");
}

#[test]
fn a_health_command_of_the_machines_users_is_ended_with_all_that_it_started() {
    a_health_command_that_takes_too_long_is_ended("{runtime: container, user_namespace: \"off\"}");
}

/// A limit of a control group, in either version of them.
fn group_limit(pid: u32, controller: &str, file: &str) -> Option<String> {
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("its groups");
    groups.lines().find_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        let folder = match controllers {
            "" => format!("/sys/fs/cgroup{path}"),
            _ if controllers.split(',').any(|name| name == controller) => {
                format!("/sys/fs/cgroup/{controller}{path}")
            }
            _ => return None,
        };
        let text = std::fs::read_to_string(format!("{folder}/{file}")).ok()?;
        Some(text.trim().to_owned())
    })
}

/// Calls by which containers were left before, and by which a kernel is changed: mount and its
/// younger siblings, other roots and namespaces, modules, keys, programs and counters inside the
/// kernel, and rings of calls that no filter sees. The arguments are wrong, so that without a filter
/// the kernel answers with another error.
const REFUSED: &str = "\
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
calls = dict(
    mount=165, umount2=166, pivot_root=155, open_tree=428, move_mount=429, fsopen=430,
    fsconfig=431, fsmount=432, fspick=433, mount_setattr=442, setns=308, unshare=272,
    init_module=175, finit_module=313, delete_module=176, kexec_load=246, kexec_file_load=320,
    add_key=248, request_key=249, keyctl=250, bpf=321, perf_event_open=298, userfaultfd=323,
    io_uring_setup=425, io_uring_enter=426, io_uring_register=427, open_by_handle_at=304,
    kcmp=312, quotactl=179, swapon=167, acct=163, iopl=172, ioperm=173, settimeofday=164,
    reboot=169, syslog=103, nfsservctl=180, lookup_dcookie=212, move_pages=279, mbind=237,
)
def answer(number):
    ctypes.set_errno(0)
    return libc.syscall(number, -1, -1, -1, -1, -1, -1), ctypes.get_errno()
let = {name: answer(number) for name, number in calls.items() if answer(number) != (-1, 1)}
assert not let, let
";

#[test]
fn a_container_asks_the_kernel_only_what_it_needs() {
    let Some(mut world) = world() else { return };

    // Each of them works for root outside: new namespaces in both ways, a mount, keys, another
    // root.
    let forbidden = [
        "unshare --user true",
        "unshare --mount true",
        "unshare --map-root-user --net true",
        "mount -t tmpfs none /tmp",
        "python3 -c 'import ctypes, sys; sys.exit(ctypes.CDLL(None).syscall(250, 0, -3, 1) < 0)'",
        "chroot / true",
    ];
    let refused: Vec<String> = forbidden.iter().map(|call| format!("! {call}")).collect();
    let numbers = if cfg!(target_arch = "x86_64") {
        format!("python3 -c '{REFUSED}'")
    } else {
        "true".to_owned()
    };
    let script = format!(
        "{} && {numbers} && echo $(id -u) && sh -c 'exit 0'",
        refused.join(" && ")
    );
    let health = serde_json::json!({
        "run": ["/bin/sh", "-c", script], "interval": "200ms", "start_within": "20s", "timeout": "10s",
    });
    world
        .service
        .insert("health".to_owned(), health.to_string());
    world.apply().code(0);

    let pid = init(&containers(&world).remove(0));
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a status");
    assert!(status.contains("Seccomp:\t2"), "a filter: {status}");
    assert_eq!(
        group_limit(pid, "pids", "pids.max").as_deref(),
        Some("4096")
    );
}

#[test]
fn a_limit_of_processes_is_one() {
    let Some(mut world) = world() else { return };
    world
        .service
        .insert("resources".to_owned(), "{processes_limit: 77}".to_owned());
    world.apply().code(0);
    let pid = init(&containers(&world).remove(0));
    assert_eq!(group_limit(pid, "pids", "pids.max").as_deref(), Some("77"));
}

#[test]
fn a_secret_of_a_container_is_in_no_file_of_its_folder() {
    let Some(mut world) = world() else { return };
    let value = "canary-7f3a-of-a-container";
    world
        .env
        .insert("TOKEN".to_owned(), "{secret: token}".to_owned());
    world
        .staging
        .push("secrets: {token: {env: THE_TOKEN}}".to_owned());
    // The command has it too, and only by its environment.
    let length = value.len();
    let health =
        format!("{{run: [/bin/sh, -c, 'test ${{#TOKEN}} = {length}'], start_within: 20s}}");
    world.service.insert("health".to_owned(), health);
    let mut apply = world.command(&["apply", "--env", "staging", "--auto-approve"]);
    let status = apply
        .env("THE_TOKEN", value)
        .status()
        .expect("shipit starts");
    assert!(status.success(), "{status}");

    let bundle = containers(&world).remove(0);
    let environ = std::fs::read(format!("/proc/{}/environ", init(&bundle))).expect("its variables");
    assert!(
        String::from_utf8_lossy(&environ).contains(value),
        "the service has it"
    );
    let found = Command::new("grep")
        .args([
            "--recursive",
            "--files-with-matches",
            "--devices=skip",
            value,
        ])
        .arg(world.agent_folder())
        .output()
        .expect("grep");
    assert_eq!(
        String::from_utf8_lossy(&found.stdout),
        "",
        "files with the secret"
    );
    let beside = std::fs::read(format!("/proc/{}/environ", beside(&world))).expect("its variables");
    assert!(
        !String::from_utf8_lossy(&beside).contains(value),
        "the process beside it"
    );
}

/// The numbers that a process has as its user: real, effective, saved and for files.
fn users_of(pid: u32) -> Vec<u32> {
    let line = status_of(pid, "Uid");
    let numbers = line.split_whitespace();
    numbers
        .map(|number| number.parse().expect("a number"))
        .collect()
}

/// A world whose service first writes a report of what it may do into the volume `/data`, and then
/// goes on as ever.
/// Every user of the container may write into the folder.
fn reporting_to_all(script: &str) -> Option<World> {
    let world = reporting(script, &[])?;
    give_to_containers(&world.file("data"));
    Some(world)
}

/// Gives a folder of the machine's to root of a container of `shop` in `staging`, and lets all of
/// its users write there.
pub fn give_to_containers(folder: &std::path::Path) {
    std::os::unix::fs::chown(folder, Some(range()), Some(range())).expect("root");
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(folder, open).expect("everybody's");
}

fn reporting(script: &str, also: &[(&str, &str)]) -> Option<World> {
    let mut world = world()?;
    let data = world.path().join("data");
    std::fs::create_dir(&data).expect("a folder");
    let mounts = world.service["volumes"].trim_end_matches('}').to_owned();
    let mut mounts = format!("{mounts}, /data: {}", data.display());
    for (inside, from) in also {
        let _ = write!(mounts, ", {inside}: {}", world.path().join(from).display());
    }
    mounts.push('}');
    world.service.insert("volumes".to_owned(), mounts);
    let program = crate::support::storefront().display().to_string();
    let script = format!("exec 2>&1; {{ {script}; }} >>/data/report; exec \"$0\"");
    let command = serde_json::json!(["/bin/sh", "-c", script, program]);
    world
        .service
        .insert("command".to_owned(), command.to_string());
    Some(world)
}

#[test]
fn root_of_a_container_is_nobody_outside() {
    let script = "echo id=$(id -u):$(id -g):$(id -G); \
        cat /secret && echo LEAK; \
        chmod 777 /secret && echo CHMOD; \
        chown 0:0 /data/own; echo data >>/data/own; chown 1234 /data/own; echo chown=$?; \
        ls /deep/file; echo deep=$?; \
        echo x >/etc/own && echo wrote; \
        mkdir -p /var/lib/own && chown 33:33 /var/lib/own && echo owned";
    let volumes = [("/secret", "secret"), ("/deep", "closed/deep")];
    let Some(world) = reporting(script, &volumes) else {
        return;
    };
    let root_only = |path: &str, mode: u32| {
        let path = world.path().join(path);
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode))
            .expect("it is ours");
    };
    world.put("secret", "of the machine's root");
    root_only("secret", 0o600);
    // A volume is reached although nobody but root comes to its folder.
    world.put("closed/deep/file", "");
    root_only("closed", 0o700);
    // As the guide says: it is given to the number that root has.
    let data = world.path().join("data");
    std::os::unix::fs::chown(&data, Some(range()), Some(range())).expect("root");
    world.apply().code(0);
    assert_eq!(world.get(), "v1");

    let pid = init(&containers(&world).remove(0));
    let first = range();
    assert_eq!(users_of(pid), [first; 4], "root inside, nobody outside");
    assert!(first > 65_536, "{first}");
    assert_eq!(status_of(pid, "Groups"), "", "no group of the agent's");
    let report = std::fs::read_to_string(data.join("report")).expect("a report");
    assert!(report.contains("id=0:0:0\n"), "{report}");
    assert!(report.contains("chown=0"), "{report}");
    assert!(report.contains("deep=0"), "{report}");
    assert!(report.contains("wrote"), "{report}");
    assert!(report.contains("owned"), "{report}");
    for not in ["LEAK", "CHMOD", "of the machine"] {
        assert!(!report.contains(not), "{not}: {report}");
    }

    // What it wrote is its own on disk, and the same after another start.
    let owner = |path: &str| {
        let meta = std::fs::metadata(data.join(path)).expect("a file");
        std::os::unix::fs::MetadataExt::uid(&meta)
    };
    assert_eq!(owner("report"), first);
    assert_eq!(owner("own"), 1234, "by its own number");
    signal(pid, Signal::KILL);
    until("it is started again", || {
        std::fs::read_to_string(data.join("report"))
            .is_ok_and(|report| report.matches("id=0:0:0").count() == 2)
    });
    assert_eq!(owner("report"), first);
    // The image on disk is root's as ever.
    let images = world.agent_folder().join("rootfs");
    let own = std::fs::read_dir(images).expect("images");
    for image in own.filter_map(Result::ok) {
        let files = std::fs::metadata(image.path().join("files")).expect("files");
        assert_eq!(std::os::unix::fs::MetadataExt::uid(&files), 0);
    }
    assert_eq!(mounts(&world), 0, "the machine sees none of its mounts");
}

/// The first number of the range that the containers of the tests' project have.
fn range() -> u32 {
    shipit::agent::runtime::container::id_map::IdRange::of("shop").user
}

#[test]
fn a_users_volume_is_its_own_and_its_commands_are_that_user() {
    let Some(mut world) = reporting("echo id=$(id -u):$(id -g)", &[]) else {
        return;
    };
    world.build.push("user: \"1234:1235\"".to_owned());
    let data = world.path().join("data");
    std::os::unix::fs::chown(&data, Some(1234), Some(1235)).expect("root");
    let health =
        "{run: [/bin/sh, -c, 'test $(id -u) = 1234 && test -O /data/report'], start_within: 20s}";
    world.service.insert("health".to_owned(), health.to_owned());
    world.apply().code(0);
    let pid = init(&containers(&world).remove(0));
    assert_eq!(users_of(pid), [range() + 1234; 4]);
    let report = std::fs::metadata(data.join("report")).expect("a report");
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&report), 1234);
    assert_eq!(std::os::unix::fs::MetadataExt::gid(&report), 1235);
}

#[test]
fn who_wants_the_machines_users_has_them_and_who_wants_others_has_no_less() {
    let Some(mut world) = world() else { return };
    world.project = vec!["cluster: {runtime: container, user_namespace: off}".to_owned()];
    world.apply().code(0);
    assert_eq!(users_of(init(&containers(&world).remove(0))), [0; 4]);
    world
        .run(&["doctor", "--env", "staging"])
        .says("root of a container is root of this machine");

    // No user of a process is mapped.
    world.project = vec!["cluster: {runtime: container, user_namespace: required}".to_owned()];
    let mounts = world.service["volumes"].trim_end_matches('}').to_owned();
    world.service.insert(
        "volumes".to_owned(),
        format!("{mounts}, /kernel: /sys/kernel}}"),
    );
    world
        .run(&["doctor", "--env", "staging"])
        .says("the file system of /sys/kernel");
    world
        .service
        .insert("health".to_owned(), "{failures: 1}".to_owned());
    world
        .apply()
        .code(1)
        .says("`user_namespace: required` cannot be kept here");
    world.project = vec!["cluster: {runtime: container}".to_owned()];
    world.apply().code(0);
    let log = std::fs::read_to_string(world.agent_folder().join("agent.log")).expect("a log");
    assert!(
        log.contains("root of this container is root of the machine"),
        "{log}"
    );
}

#[test]
fn what_nobody_waits_for_any_more_is_taken_away_by_the_next_agent() {
    let Some(world) = world() else { return };
    world.apply().code(0);
    let bundle = containers(&world).remove(0);
    let before = init(&bundle);
    let beside = beside(&world);
    signal(world.agent_pid().expect("an agent"), Signal::KILL);
    signal(beside, Signal::KILL);
    until("it is killed", || !alive(beside));
    assert!(alive(before), "the container itself goes on");
    world.run(&["status", "--env", "staging"]).code(0);
    until("it answers", || {
        crate::support::http::get(&world.live_address(), "/")
            .is_ok_and(|answer| answer.body == "v1")
    });
    assert_ne!(containers(&world), [bundle]);
    assert_eq!((containers(&world).len(), mounts(&world)), (1, 0));
    assert!(!alive(before), "the old one has ended");
}

#[test]
fn images_come_from_any_registry() {
    let Ok(endpoint) = std::env::var("SHIPIT_TEST_REGISTRY") else {
        assert!(
            std::env::var_os("SHIPIT_TEST_REAL").is_none(),
            "SHIPIT_TEST_REGISTRY is not set"
        );
        eprintln!("SKIPPED: no registry");
        return;
    };
    for runtime in ["process", "container"] {
        let Some(mut world) = world() else { return };
        if runtime == "process" {
            world.service.remove("volumes");
        }
        let repository = format!("it-{}/web", uuid::Uuid::new_v4().simple());
        world.project = vec![
            format!("cluster: {{runtime: {runtime}}}"),
            format!("registry: {{kind: oci, endpoint: \"{endpoint}\", repository: {repository}}}"),
        ];
        world.apply().code(0).says("bringing");
        assert_eq!(world.get(), "v1", "{runtime}");
        world.message("v2");
        world.apply().code(0);
        assert_eq!(world.get(), "v2", "{runtime}");
        let digest = |slot: &str| {
            let status = world.status();
            status["facts"]["slots"][slot]["workloads"]["web"]["spec"]["image"].to_string()
        };
        assert_ne!(digest("blue"), digest("green"), "{runtime}");
        // A blob on this machine that is not what its digest says is brought again.
        for blob in
            std::fs::read_dir(world.agent_folder().join("layout/blobs/sha256")).expect("blobs")
        {
            std::fs::write(blob.expect("a blob").path(), "spoiled").expect("a file");
        }
        world.message("v3");
        world.apply().code(0);
        assert_eq!(world.get(), "v3", "{runtime}");
        world
            .run(&["rollback", "--env", "staging", "--auto-approve"])
            .code(0);
        assert_eq!(world.get(), "v2", "{runtime}");
    }
}

/// A world of somebody who is not root, with programs of their own to run.
struct Nobody {
    world: World,
    /// What stands before each command.
    before: Vec<String>,
}

/// Somebody who is nobody else.
const NOBODY: u32 = 65534;

impl Nobody {
    fn new(runtime: &str) -> Option<Self> {
        let mut world = world()?;
        world.project = vec![format!("cluster: {{runtime: {runtime}}}")];
        // What the tests build may be where only root can look.
        let programs = world.file("programs");
        std::fs::create_dir(&programs).expect("a folder");
        for program in [crate::support::shipit(), crate::support::storefront()] {
            std::fs::copy(
                &program,
                programs.join(program.file_name().expect("a name")),
            )
            .expect("a copy");
        }
        let inside = crate::support::storefront()
            .parent()
            .expect("a folder")
            .display()
            .to_string();
        world.service.insert(
            "volumes".to_owned(),
            format!(
                "{{{inside}: {}, /lib: /lib, /lib64: /lib64, /usr: /usr, /bin: /bin}}",
                programs.display()
            ),
        );
        std::os::unix::fs::chown(world.path(), Some(NOBODY), Some(NOBODY)).expect("it is theirs");
        let id = NOBODY.to_string();
        let before = ["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups"]
            .map(str::to_owned)
            .into();
        Some(Self { world, before })
    }

    /// The same with 1,000 users from 700000 on, in a machine's files that only they see.
    fn with_many_users(mut self) -> Self {
        self.world.put("ids", "nobody:700000:1000\n");
        let ids = self.world.file("ids").display().to_string();
        let script =
            "mount --bind \"$0\" /etc/subuid && mount --bind \"$0\" /etc/subgid && exec \"$@\"";
        let unshare = [
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            script,
            &ids,
        ];
        self.before = unshare
            .map(str::to_owned)
            .into_iter()
            .chain(self.before)
            .collect();
        self
    }

    /// Whoever else asks is refused: another user's agent could be anything.
    fn agent_pid(&self) -> Option<u32> {
        let said = self.run(&["agent", "status"]).stdout;
        said.split("pid ").nth(1)?.split(',').next()?.parse().ok()
    }

    fn run(&self, arguments: &[&str]) -> crate::support::Said {
        self.world.configure();
        let output = Command::new(&self.before[0])
            .args(&self.before[1..])
            .arg(self.world.file("programs/shipit"))
            .args(arguments)
            .current_dir(self.world.path())
            .env("SHIPIT_AGENT_DIR", self.world.agent_folder())
            .env("HOME", self.world.path())
            .env("NO_COLOR", "1")
            .output()
            .expect("it starts");
        crate::support::Said {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    fn apply(&self) -> crate::support::Said {
        self.run(&["apply", "--env", "staging", "--auto-approve"])
    }
}

/// A line of a process' status: `Uid`.
fn status_of(pid: u32, name: &str) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a status");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{name}:")))
        .expect("a line");
    line.trim().to_owned()
}

#[test]
fn containers_need_no_root() {
    let Some(mut nobody) = Nobody::new("container") else {
        return;
    };
    let inside = "{run: [/bin/sh, -c, \"grep -q storefront /proc/1/cmdline && test $(id -u) = 0\"], \
                  interval: 100ms, start_within: 10s}";
    nobody
        .world
        .service
        .insert("health".to_owned(), inside.to_owned());
    nobody
        .run(&["doctor", "--env", "staging"])
        .says("limits of containers are not possible here");
    nobody.apply().code(0);
    let world = &nobody.world;
    assert_eq!(world.get(), "v1");
    let first = init(&containers(world).remove(0));
    let namespace =
        |pid: &str, kind: &str| std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).expect("one");
    for kind in ["user", "pid", "mnt", "ipc", "uts", "cgroup"] {
        assert_ne!(
            namespace(&first.to_string(), kind),
            namespace("self", kind),
            "{kind}"
        );
    }
    assert_eq!(
        status_of(first, "Uid").split_whitespace().next(),
        Some("65534"),
        "nobody all the same"
    );
    assert_eq!(status_of(first, "NoNewPrivs"), "1");
    assert_eq!(mounts(world), 0, "the machine sees none of its mounts");

    // It outlives its agent.
    let status = |nobody: &Nobody| {
        nobody
            .run(&["status", "--env", "staging", "--output", "json"])
            .code(0)
    };
    signal(nobody.agent_pid().expect("an agent"), Signal::KILL);
    nobody
        .run(&["status", "--env", "staging"])
        .code(0)
        .says("ready 1/1");
    assert_eq!(
        init(&containers(world).remove(0)),
        first,
        "the same container"
    );
    // The process beside it is killed: it is started again, and the old one does not go on.
    let facts: serde_json::Value =
        serde_json::from_str(&status(&nobody).stdout).expect("a document");
    let beside = &facts["facts"]["slots"]["blue"]["workloads"]["web"]["instances"][0]["pid"];
    signal(
        beside
            .as_u64()
            .and_then(|pid| u32::try_from(pid).ok())
            .expect("a pid"),
        Signal::KILL,
    );
    until("it is started again", || is_another(world, first));
    until("the old one has ended", || !alive(first));
    until("it answers", || {
        crate::support::http::get(&world.live_address(), "/")
            .is_ok_and(|answer| answer.body == "v1")
    });

    world.message("v2");
    nobody.apply().code(0);
    assert_eq!(nobody.world.get(), "v2");
    nobody
        .run(&["rollback", "--env", "staging", "--auto-approve"])
        .code(0)
        .says("0 of ");
    assert_eq!(nobody.world.get(), "v1");
    let lines = nobody.run(&["logs", "--env", "staging"]).code(0).stdout;
    assert!(lines.contains("storefront listens on"), "{lines}");
    let last = containers(&nobody.world)
        .iter()
        .map(|bundle| init(bundle))
        .collect::<Vec<_>>();
    nobody
        .run(&["destroy", "--env", "staging", "--auto-approve"])
        .code(0);
    until("its folders are gone", || {
        containers(&nobody.world).is_empty()
    });
    assert!(last.into_iter().all(|pid| !alive(pid)));
}

#[test]
fn a_container_without_root_has_many_users_where_the_machine_gives_them() {
    let Some(mut nobody) = Nobody::new("container").map(Nobody::with_many_users) else {
        return;
    };
    if !crate::support::has("newuidmap") {
        return;
    }
    nobody.world.build.push("user: \"123:45\"".to_owned());
    nobody.apply().code(0);
    assert_eq!(nobody.world.get(), "v1");
    let pid = init(&containers(&nobody.world).remove(0));
    assert_eq!(
        status_of(pid, "Uid").split_whitespace().next(),
        Some("700122")
    );
    assert_eq!(
        status_of(pid, "Gid").split_whitespace().next(),
        Some("700044")
    );
    // What such a user leaves is not the agent's own, and goes all the same when the process beside
    // is killed.
    nobody.world.build.clear();
    let leaves = "mkdir -p /left/behind && chmod 700 /left && chown -R 5:5 /left && exec \"$0\"";
    let program = crate::support::storefront().display().to_string();
    nobody.world.service.insert(
        "command".to_owned(),
        format!("[/bin/sh, -c, {leaves:?}, {program}]"),
    );
    nobody.apply().code(0);
    let bundle = containers(&nobody.world)
        .into_iter()
        .find(|bundle| bundle.join("upper/left").exists())
        .expect("it is left behind");
    let left = std::fs::metadata(bundle.join("upper/left")).expect("a folder");
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&left), 700_004);
    let parent = status_of(init(&bundle), "PPid").parse().expect("a pid");
    signal(parent, Signal::KILL);
    until("it is deleted", || !bundle.exists());
    nobody.world.service.remove("command");
    // Nobody has the user 1234.
    nobody.world.build = vec!["user: \"1234:45\"".to_owned()];
    nobody
        .world
        .service
        .insert("health".to_owned(), "{failures: 1}".to_owned());
    nobody.apply().code(1).says("/etc/subuid");
    nobody
        .world
        .service
        .insert("resources".to_owned(), "{memory_limit: 256Mi}".to_owned());
    nobody
        .apply()
        .code(1)
        .says("limits of containers need root");
    assert_eq!(nobody.world.get(), "v1");
    nobody
        .run(&["destroy", "--env", "staging", "--auto-approve"])
        .code(0);
    until("its folders are gone", || {
        containers(&nobody.world).is_empty()
    });
}

#[test]
fn auto_is_a_container_where_one_can_be_made_without_root() {
    let Some(mut nobody) = Nobody::new("auto") else {
        return;
    };
    nobody.world.service.remove("volumes");
    nobody
        .run(&["doctor", "--env", "staging"])
        .says("runtime `container`");
    // Inside of another container a part of /proc is covered, and no other may be mounted without
    // root.
    let script = "mount --bind /dev/null /proc/version && exec \"$@\"";
    let unshare = [
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-c",
        script,
        "sh",
    ];
    nobody.before = unshare
        .map(str::to_owned)
        .into_iter()
        .chain(nobody.before)
        .collect();
    let doctor = nobody
        .run(&["doctor", "--env", "staging"])
        .says("runtime `process`");
    let doctor = doctor
        .says("containers without a daemon are not possible here")
        .says("mounting /proc");
    assert_eq!(doctor.code, Some(0), "it is no fault");
    nobody.world.project = vec!["cluster: {runtime: container}".to_owned()];
    // The agent that the first look has started is not inside.
    nobody.run(&["agent", "stop"]).code(0);
    nobody
        .run(&["doctor", "--env", "staging"])
        .says("mounting /proc")
        .says("`runtime: process` needs nothing");
    assert_eq!(nobody.apply().says("mounting /proc").code, Some(1));
}

/// A command in a container that runs, and one in a container of its own, by whoever runs this.
fn commands_are_run(run: impl Fn(&[&str]) -> crate::support::Said) {
    let shell = |command: &str, script: &str| {
        run(&[command, "--env", "staging", "web", "--", "sh", "-c", script])
    };
    for command in ["exec", "run"] {
        let script = "echo $SHIPIT_SLOT; cat message.txt; pwd; echo why >&2; exit 7";
        let said = shell(command, script).code(7);
        assert_eq!(said.stdout, "blue\nv1/app\n", "{command}");
        assert_eq!(said.stderr, "why\n", "{command}");
        shell(command, "kill -9 $$").code(137);
        // What it may is what the container may, and no more.
        shell(command, "grep -q '^CapEff:.0000000000000[0-9a-f]*$' /proc/self/status && grep -q 'NoNewPrivs:.1' /proc/self/status && grep -q 'Seccomp:.2' /proc/self/status").code(0);
        shell(command, "ls /proc/self/fd").code(0).says_not("9");
        run(&[command, "--env", "staging", "web", "--", "/no/such/program"])
            .code(127)
            .says("`/no/such/program` cannot be started");
        run(&[command, "--env", "staging", "web", "--", "/app/message.txt"])
            .code(126)
            .says("Permission denied");
    }
    shell("exec", "grep -q storefront /proc/1/cmdline").code(0);
    shell("run", "grep -q storefront /proc/1/cmdline").code(1);
}

#[test]
fn a_command_runs_in_a_container_and_in_one_of_its_own() {
    for users in ["preferred", "\"off\""] {
        let Some(mut world) = world() else { return };
        let cluster = format!("cluster: {{runtime: container, user_namespace: {users}}}");
        world.project = vec![cluster];
        world.apply().code(0);
        let before = containers(&world);
        commands_are_run(|words| world.run(words));
        until("no container of a command is left", || {
            containers(&world) == before
        });
        assert_eq!(world.get(), "v1");
    }
}

#[test]
fn a_command_needs_no_root_either() {
    let Some(nobody) = Nobody::new("container") else {
        return;
    };
    nobody.apply().code(0);
    commands_are_run(|words| nobody.run(words));
}

#[test]
fn a_task_needs_no_root_to_report_its_tests() {
    let Some(mut nobody) = Nobody::new("container") else {
        return;
    };
    let script = "echo \"<testsuite><testcase name='a'/></testsuite>\" > $SHIPIT_REPORTS/a.xml";
    let words = serde_json::json!(["/bin/sh", "-c", script]);
    let reports = "when: preview, reports: {junit: [a.xml]}";
    let tasks = format!("tasks: {{test: {{run: {words}, {reports}}}}}");
    nobody.world.staging.push(tasks);
    nobody
        .apply()
        .code(0)
        .says("done: 1 test, which did not fail");
}

#[test]
fn no_process_between_a_person_and_a_command_has_its_variables() {
    let Some(mut world) = world() else { return };
    let value = format!("canary{}", std::process::id());
    world.env.insert("TOKEN".to_owned(), value.clone());
    world.apply().code(0);
    for (at, command) in ["exec", "run"].into_iter().enumerate() {
        let seconds = format!("{}666{at}", std::process::id());
        let script = format!("test \"$TOKEN\" = {value} && exec sleep {seconds}");
        let words = [
            command, "--env", "staging", "web", "--", "sh", "-c", &script,
        ];
        let mut client = world.start(&words);
        let sleep = format!("sleep\0{seconds}");
        until("it runs", || started_with(&sleep) == 1);
        let between = processes(
            "contain-attach\0",
            &world.agent_folder().display().to_string(),
        );
        assert!(!between.is_empty(), "{command}");
        for pid in between {
            let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            assert!(
                !String::from_utf8_lossy(&environ).contains(&value),
                "{command}"
            );
        }
        client.kill().expect("killed");
        client.wait().expect("it ends");
        until("nothing is left", || started_with(&sleep) == 0);
    }
}

/// The processes in whose command lines both words stand.
fn processes(one: &str, other: &str) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").expect("there").flatten();
    let has_both = |entry: &std::fs::DirEntry| {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        line.contains(one) && line.contains(other)
    };
    entries
        .filter(has_both)
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

#[test]
fn the_memory_of_an_agent_and_of_a_run_is_nobodys_to_read() {
    let Some(mut nobody) = Nobody::new("process") else {
        return;
    };
    nobody.world.service.remove("volumes");
    nobody.apply().code(0);
    let owner = |pid: u32| {
        let meta = std::fs::metadata(format!("/proc/{pid}/environ")).expect("it runs");
        std::os::unix::fs::MetadataExt::uid(&meta)
    };
    let agent = nobody.agent_pid().expect("it runs");
    assert_eq!(owner(agent), 0, "the agent can be traced by its user");
    let user = status_of(agent, "Uid");
    assert_eq!(user.split_whitespace().next(), Some("65534"));
}

#[test]
fn nothing_is_left_of_a_command_whose_client_died() {
    let Some(world) = world() else { return };
    world.apply().code(0);
    let before = containers(&world);
    for (at, command) in ["exec", "run"].into_iter().enumerate() {
        let seconds = format!("{}777{at}", std::process::id());
        let script = format!("trap '' HUP TERM INT; sleep {seconds} & sleep {seconds}; true");
        let words = [
            command, "--env", "staging", "web", "--", "sh", "-c", &script,
        ];
        let mut client = world.start(&words);
        let sleeping = || {
            let processes = std::fs::read_dir("/proc").expect("there").flatten();
            let lines = processes.map(|entry| std::fs::read(entry.path().join("cmdline")));
            let wanted = format!("sleep\0{seconds}\0");
            lines
                .flatten()
                .filter(|line| line == wanted.as_bytes())
                .count()
        };
        until("it runs", || sleeping() == 2);
        client.kill().expect("killed");
        client.wait().expect("it ends");
        until("nothing is left", || sleeping() == 0);
        until("no container is left", || containers(&world) == before);
    }
}
