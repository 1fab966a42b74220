//! Files are their reader's alone, and nobody else's names lead the agent anywhere.

use std::os::unix::fs::{MetadataExt as _, symlink};

use super::*;

struct Agent {
    folder: tempfile::TempDir,
    directory: Directory,
}

impl Agent {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::find(Some(folder.path().join("agent")));
        drop(directory.prepare().unwrap());
        Self { folder, directory }
    }

    fn write(&self) -> InstanceFiles {
        let files = BTreeMap::from([("/a".into(), String::new())]);
        InstanceFiles::write(&self.directory, &files, Reader::User(None)).unwrap()
    }

    /// A folder of somebody's, with folders in it.
    fn victim(&self) -> PathBuf {
        let victim = self.folder.path().join("victim");
        fs::create_dir_all(victim.join("data/deep")).unwrap();
        fs::write(victim.join("data/deep/file"), "db").unwrap();
        victim
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let paths = [
            place::recorded(&self.directory),
            Some(place::predictable(&self.directory)),
        ];
        for path in paths.into_iter().flatten() {
            let _ = fs::remove_file(&path);
            let _ = fs::remove_dir_all(path);
        }
    }
}

#[test]
fn files_are_there_for_their_reader_alone_until_they_are_deleted() {
    let agent = Agent::new();
    let paths = ["/etc/app/a.toml", "/etc/b"].map(PathBuf::from);
    let texts = paths.clone().map(|path| (path, "text".to_owned()));
    let files = BTreeMap::from(texts);

    for (reader, mode) in [(Reader::User(None), 0o400), (Reader::Container, 0o444)] {
        let written = InstanceFiles::write(&agent.directory, &files, reader).unwrap();
        for path in &paths {
            let source = written.source(path);
            assert_eq!(fs::read_to_string(&source).unwrap(), "text");
            assert_eq!(source.metadata().unwrap().mode() & 0o777, mode);
        }
        assert_eq!(written.folder().metadata().unwrap().mode() & 0o777, 0o700);
        written.remove();
        assert!(!written.folder().exists());
    }
}

#[test]
fn what_nobody_knows_any_more_is_deleted() {
    let agent = Agent::new();
    let (known, stray) = (agent.write(), agent.write());
    remove_stray_files(&agent.directory, &[known.folder().to_owned()]);
    assert!(known.folder().exists() && !stray.folder().exists());

    let old = place::predictable(&agent.directory);
    fs::create_dir_all(old.join("left")).unwrap();
    remove_stray_files(&agent.directory, &[]);
    assert!(!old.join("left").exists(), "of an agent before");
}

#[test]
fn no_link_in_memory_leads_the_agent_to_the_folders_of_others() {
    let agent = Agent::new();
    let victim = agent.victim();
    let written = agent.write();
    let place = written.folder().parent().unwrap().to_path_buf();
    let on_disk = place == agent.directory.files();

    // The name that anybody knows, and, as after a restart of the machine, the one that was used.
    symlink(&victim, place::predictable(&agent.directory)).unwrap();
    fs::remove_dir_all(&place).unwrap();
    symlink(&victim, &place).unwrap();
    remove_stray_files(&agent.directory, &[]);
    InstanceFiles::found(place.join("data")).remove();
    assert!(victim.join("data/deep/file").exists());

    if !on_disk {
        let again = agent.write();
        assert!(again.folder().starts_with(place::MEMORY), "still in memory");
        assert!(!again.folder().starts_with(&place));
        assert_eq!(fs::read_dir(&victim).unwrap().count(), 1);
        fs::remove_file(place).unwrap();
    }
}

#[test]
fn a_folder_that_others_may_write_in_gets_no_secret() {
    let agent = Agent::new();
    let place = agent.write().folder().parent().unwrap().to_path_buf();
    fs::set_permissions(&place, Permissions::from_mode(0o777)).unwrap();
    if place.starts_with(place::MEMORY) {
        let again = agent.write();
        assert!(again.folder().starts_with(place::MEMORY));
        assert!(!again.folder().starts_with(&place));
    }
    fs::remove_dir_all(&place).unwrap();
}

#[test]
fn a_recorded_name_is_one_in_memory() {
    let agent = Agent::new();
    for (text, is_one) in [
        ("shipit-0-1", true),
        ("../etc", false),
        ("shipit-/../x", false),
        ("", false),
    ] {
        fs::write(agent.directory.memory_name(), text).unwrap();
        assert_eq!(
            place::recorded(&agent.directory).is_some(),
            is_one,
            "{text}"
        );
    }
    fs::remove_file(agent.directory.memory_name()).unwrap();
}
