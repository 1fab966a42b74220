//! What the tools are given, and what they are not.

use super::*;

/// A project with a chart and a kustomization, beside files of the machine.
struct Machine {
    folder: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        let machine = Self {
            folder: tempfile::tempdir().expect("a folder"),
        };
        for (name, text) in [
            ("values.yaml", "a: TOPSECRET"),
            ("host/kustomization.yaml", "resources: []"),
            ("project/values.yaml", "a: 1"),
            ("project/.git/config", "token: TOPSECRET"),
            ("project/chart/Chart.yaml", "name: c"),
            ("project/chart/templates/web.yaml", "a: {{ .Values.a }}"),
            ("project/shared/x", "x"),
            ("project/base/kustomization.yaml", "resources: [cm.yaml]"),
            ("project/base/cm.yaml", "a: 1"),
            (
                "project/overlay/kustomization.yaml",
                "resources: [../base]\npatches: [{patch: \"a: 1\\nb: /etc/x\"}]\nnamePrefix: ../",
            ),
        ] {
            machine.write(name, text);
        }
        machine
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("project")
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, text).expect("a file");
    }

    fn link(&self, target: &str, name: &str) {
        std::os::unix::fs::symlink(target, self.root().join(name)).expect("a link");
    }

    fn unlink(&self, name: &str) {
        std::fs::remove_file(self.root().join(name)).expect("it was there");
    }

    fn chart(&self, chart: &str, values: Option<&str>) -> Result<Copied, String> {
        copied(&self.root(), &helm_of(chart, values)).map_err(|error| error.reason)
    }

    fn kustomization(&self, folder: &str) -> Result<PathBuf, String> {
        kustomization(&self.root(), Path::new(folder)).map_err(|error| error.reason)
    }
}

fn helm_of(chart: &str, values: Option<&str>) -> Chart {
    Chart {
        chart: chart.to_owned(),
        values: values.map(PathBuf::from),
        name: "web".to_owned(),
        namespace: "shop".to_owned(),
        set: vec![("slot".to_owned(), "blue".to_owned())],
        has_crds: true,
        capabilities: None,
    }
}

#[test]
fn helm_reads_a_copy_that_has_the_projects_files_alone() {
    let machine = Machine::new();
    machine.link("../shared", "chart/shared");
    machine.link("x", "shared/y");
    let copied = machine.chart("chart", Some("values.yaml")).expect("copied");
    let text = |name: &str| std::fs::read_to_string(copied.folder.path().join(name)).ok();
    assert_eq!(
        (copied.chart.as_str(), copied.values.as_deref()),
        ("./chart", Some("./values.yaml"))
    );
    assert_eq!(text("chart/shared/y").as_deref(), Some("x"));
    assert_eq!(text("values.yaml").as_deref(), Some("a: 1"));
    let meta = std::fs::symlink_metadata(copied.folder.path().join("chart/shared"));
    assert!(meta.expect("there").is_dir(), "a copy has no links");

    machine.link("chart", "named");
    let named = machine.chart("named", None).expect("copied");
    assert!(
        named
            .folder
            .path()
            .join(&named.chart)
            .join("Chart.yaml")
            .exists()
    );
    let whole = machine.chart(".", None).expect("copied");
    assert!(!whole.folder.path().join(".git").exists());
}

#[test]
fn what_a_chart_leads_to_is_the_projects() {
    let machine = Machine::new();
    for (target, name) in [
        ("/etc/hostname", "chart/templates/secret"),
        ("../../values.yaml", "chart/values"),
        ("../.git/config", "chart/git"),
        ("../.git", "chart/folder"),
        ("../chart", "chart/again"),
    ] {
        machine.link(target, name);
        let error = machine.chart("chart", None).err().expect(name);
        let said = ["outside of", "Git's own", "without end"];
        assert!(
            said.iter().any(|said| error.contains(said)),
            "{name}: {error}"
        );
        assert!(!error.contains("TOPSECRET"), "{error}");
        machine.unlink(name);
    }

    // A link inside leads to a folder with one that leads out.
    machine.link("../shared", "chart/shared");
    machine.link("/etc/hostname", "shared/host");
    let error = machine.chart("chart", None).err().expect("it leads out");
    assert!(error.contains("outside of"), "{error}");
    for values in ["../values.yaml", ".git/config", "none.yaml"] {
        machine.unlink("chart/shared");
        assert!(machine.chart("chart", Some(values)).is_err(), "{values}");
        machine.link("../shared", "chart/shared");
    }
}

#[test]
fn no_word_of_a_configuration_is_an_option() {
    let machine = Machine::new();
    for chart in [
        "--post-renderer=./evil.sh",
        "-f",
        "./none",
        "/none",
        "file:///etc",
    ] {
        assert!(machine.chart(chart, None).is_err(), "{chart}");
    }
    for folder in ["--output=/tmp/x", "none"] {
        assert!(machine.kustomization(folder).is_err(), "{folder}");
    }

    // What begins with a dash and is there is a path.
    machine.write("project/-chart/Chart.yaml", "name: c");
    let copied = machine.chart("-chart", None).expect("copied");
    let words = helm(&helm_of("-chart", None), &copied);
    let after = words
        .iter()
        .position(|word| word == "--")
        .expect("an end of options");
    assert_eq!(words[after + 1..], ["web", "./-chart"]);

    let elsewhere = machine
        .chart("oci://charts.example/web", None)
        .expect("a reference");
    assert_eq!(elsewhere.chart, "oci://charts.example/web");
}

#[test]
fn a_kustomization_is_made_of_the_projects_folders_alone() {
    let machine = Machine::new();
    assert_eq!(machine.kustomization("overlay"), Ok("overlay".into()));
    assert_eq!(machine.kustomization("./base/"), Ok("base".into()));

    for (text, said) in [
        ("resources: [../../host]", "outside of"),
        ("components: [/etc]", "outside of"),
        (
            "resources: ['https://example.com/x.yaml']",
            "not in the project",
        ),
        (
            "bases: ['github.com/o/r//deploy?ref=v1']",
            "not in the project",
        ),
        (
            "resources: ['git@example.com:o/r.git']",
            "not in the project",
        ),
        ("transformers: ['file:///etc']", "not in the project"),
        (
            "configMapGenerator: [{name: a, files: [.git/config]}]",
            "Git's own",
        ),
        (
            "configMapGenerator: [{name: a, files: [b=.git/config]}]",
            "Git's own",
        ),
        (
            "secretGenerator: [{name: a, envs: [./x/../.git/config]}]",
            "Git's own",
        ),
        ("resources: [", "kustomization.yaml"),
    ] {
        machine.write("project/kustomization.yaml", text);
        let error = machine.kustomization(".").expect_err(text);
        assert!(error.contains(said), "{text}: {error}");

        // The same in a base of it.
        machine.write("project/deep/kustomization.yaml", "resources: [..]");
        let error = machine.kustomization("deep").expect_err(text);
        assert!(error.contains(said), "{text}: {error}");
    }
    machine.write("project/kustomization.yaml", "resources: []");

    machine.link("/etc", "base/etc");
    for folder in ["base", "../project", "/etc"] {
        let error = machine.kustomization(folder).expect_err(folder);
        assert!(error.contains("outside of"), "{folder}: {error}");
    }
}

#[tokio::test]
async fn a_tool_that_is_not_there_is_said_so_and_one_that_fails_is_quoted() {
    let root = std::env::temp_dir();
    assert_eq!(
        run(&root, "x", "no-such-program-here", &[]).await.ok(),
        Some(None)
    );
    let failed = run(&root, "x", "ls", &["/no/such/folder".to_owned()])
        .await
        .expect_err("fails");
    assert!(failed.reason.contains("/no/such/folder"), "{failed}");
    let written = run(&root, "x", "echo", &["a: 1".to_owned()])
        .await
        .expect("runs");
    assert_eq!(written.as_deref(), Some("a: 1\n"));
}
