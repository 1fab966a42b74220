//! Where bytes of strangers come in, for a fuzzer (`fuzz/`): a function for each parser, which may
//! refuse what it is given, and never falls over. The tests give the same functions what they make
//! up. Only built with `--cfg fuzzing`, and for the tests.

use crate::model::sshsig::{SshKey, Sshsig};
use crate::model::test_report::{TestReport, junit};
use crate::{agent, config, driver, ops};

/// A layer of an image: a tar, which writes nowhere but into the image.
pub fn layer(bytes: &[u8]) {
    agent::hostile_layer(bytes);
}

/// A manifest or an index of a registry.
pub fn manifest(bytes: &[u8]) {
    driver::registry::oci::hostile_manifest(bytes);
}

/// What a registry and its token server say of a login.
pub fn token(bytes: &[u8]) {
    driver::registry::oci::hostile_token(bytes);
}

/// A file with a plan.
pub fn plan_file(bytes: &[u8]) {
    let _ = ops::plan_file::PlanFile::read(bytes);
}

/// An approval in a plan file, and a key that it is compared with.
pub fn signature(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(signature) = Sshsig::read(&text) {
        let _ = signature.is_by(signature.key(), signature.namespace(), bytes);
    }
    let _ = SshKey::try_from(text.into_owned());
}

/// A report of a task's tests.
pub fn test_report(bytes: &[u8]) {
    let mut report = TestReport::default();
    junit::read(&mut report, "report.xml", bytes);
    let _ = report.summary().to_string();
}

/// A state in a folder.
pub fn state(bytes: &[u8]) {
    driver::state::local::hostile_state(bytes);
}

/// A journal in a folder.
pub fn journal(bytes: &[u8]) {
    driver::state::local::hostile_journal(bytes);
}

/// `shipit.yaml`.
pub fn configuration(bytes: &[u8]) {
    config::hostile(bytes);
}

/// What a client sends to the router.
pub fn head(bytes: &[u8]) {
    agent::router::hostile(bytes);
}

/// An object as a cluster's server sends it.
pub fn object(bytes: &[u8]) {
    driver::kubernetes::engine::hostile_object(bytes);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::{Path, PathBuf};

    /// What a target does with bytes.
    type Target = fn(&[u8]);

    const TARGETS: [(&str, Target); 11] = [
        ("layer", super::layer),
        ("manifest", super::manifest),
        ("token", super::token),
        ("plan_file", super::plan_file),
        ("signature", super::signature),
        ("state", super::state),
        ("journal", super::journal),
        ("configuration", super::configuration),
        ("head", super::head),
        ("object", super::object),
        ("test_report", super::test_report),
    ];

    fn files(folder: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).expect("it is there");
        entries.map(|entry| entry.expect("read").path()).collect()
    }

    fn names(folder: &Path) -> BTreeSet<String> {
        let stem = |path: PathBuf| path.file_stem()?.to_str().map(str::to_owned);
        files(folder).into_iter().filter_map(stem).collect()
    }

    #[test]
    fn every_target_takes_its_corpus_whole_cut_off_and_with_bytes_changed() {
        let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
        for (name, target) in TARGETS {
            let corpus = files(&fuzz.join("corpus").join(name));
            assert!(corpus.len() > 1, "{name} has a corpus");
            for file in corpus {
                let bytes = fs::read(&file).expect("read");
                for eighths in 0..=8 {
                    target(&bytes[..bytes.len() * eighths / 8]);
                }
                for at in (0..bytes.len()).step_by(bytes.len() / 16 + 1) {
                    for other in [0, b'"', b'\n', 0xff] {
                        let mut changed = bytes.clone();
                        changed[at] = other;
                        target(&changed);
                    }
                }
            }
        }
    }

    #[test]
    fn each_target_is_one_of_the_fuzzers() {
        let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
        let ours: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(names(&fuzz.join("fuzz_targets")), ours);
        assert_eq!(names(&fuzz.join("corpus")), ours);
        let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).expect("read");
        for name in ours {
            assert!(manifest.contains(&format!("name = \"{name}\"\n")), "{name}");
        }
    }
}
