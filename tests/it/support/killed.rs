//! Executors that are killed at a moment of their run, and their workspaces.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Another checkout of a project that is in a folder, below it.
pub fn workspace(project: &Path, name: &str) -> PathBuf {
    let folder = project.join(name);
    std::fs::create_dir_all(&folder).expect("a folder");
    let copied = Command::new("cp")
        .args(["--recursive", "--parents"])
        .args(["shipit.yaml", "environments", "app"])
        .arg(&folder)
        .current_dir(project)
        .status();
    assert!(copied.expect("cp").success());
    folder
}

/// Kills a run when it has said so many times that a step begins or is done. Whether it had an end
/// before.
pub fn is_over_before(run: &mut Command, count: usize) -> bool {
    let mut run = run
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("shipit starts");
    let lines = BufReader::new(run.stdout.take().expect("its output")).lines();
    let is_step = |line: &String| line.contains("\"step_began\"") || line.contains("\"step_done\"");
    let steps = lines.map_while(Result::ok).filter(is_step).take(count);
    let seen = steps.count();
    let _ = run.kill();
    let _ = run.wait();
    seen < count
}
