//! Two hundred secrets, and the token of the kubeconfig, that builds and checks write in every
//! form: none of them is in anything that shipit prints or keeps beside the cluster.

use std::path::PathBuf;

use crate::canary::{Canaries, READERS};
use crate::said::Said;
use crate::site::Site;

/// How many of them the pods have.
const TOLD: usize = 40;

struct Cage {
    site: Site,
    canaries: Canaries,
    /// What opens the cluster.
    token: String,
}

impl Cage {
    fn new() -> Option<Self> {
        let mut cage = Self::with(Site::new()?, Canaries::new());
        cage.build("");
        cage.checks("", "");
        Some(cage)
    }

    fn with(mut site: Site, canaries: Canaries) -> Self {
        for number in 0..TOLD {
            let secret = format!("{{secret: s{number}}}");
            site.env.insert(format!("S{number}"), secret);
        }
        let kubeconfig = std::fs::read(&site.kubeconfig).expect("a kubeconfig");
        let kubeconfig: serde_json::Value = serde_json::from_slice(&kubeconfig).expect("JSON");
        let token = kubeconfig["users"][0]["user"]["token"].as_str();
        let token = token.expect("a token").to_owned();
        assert!(token.len() > 20, "a token");
        Self {
            site,
            canaries,
            token,
        }
    }

    /// Writes everything that nobody may see.
    fn tells(&self) -> String {
        let forms = self.canaries.path("forms");
        format!("cat {forms} {}", self.site.kubeconfig.display())
    }

    fn build(&mut self, then: &str) {
        let run = format!("run: {{shell: \"{}; {then}\"}}", self.tells());
        self.site.build = vec!["copy: {message.txt: /app/message.txt}".to_owned(), run];
    }

    fn checks(&mut self, before: &str, after: &str) {
        let tells = self.tells();
        let check = |then: &str| format!("[{{run: [sh, -c, \"{tells}; {then}\"]}}]");
        self.site.staging = vec![
            format!(
                "promotion: {{mode: auto, probe: {{rate: 0, linger: 10ms}}, before: {}, after: {}}}",
                check(before),
                check(after)
            ),
            self.canaries.configured(),
        ];
    }

    #[track_caller]
    fn run(&self, arguments: &[&str]) -> Said {
        let mut command = self.site.command(arguments);
        command
            .args(["--env", "staging"])
            .envs(self.canaries.in_variables());
        let said = Said::from(&command.output().expect("shipit starts"));
        let what = format!("what `{}` said", arguments.join(" "));
        for text in [&said.stdout, &said.stderr] {
            self.canaries.are_not_in(&what, text.as_bytes());
            assert!(!text.contains(&self.token), "the token is in {what}");
        }
        said
    }

    #[track_caller]
    fn apply_says(&self, code: i32, text: &str) {
        let said = self.run(&["apply", "--auto-approve"]);
        let both = format!("{}{}", said.stdout, said.stderr);
        assert_eq!(said.code, Some(code), "{both}");
        assert!(both.contains(text), "`{text}` is not in {both}");
        self.run(&["apply", "--auto-approve", "--output", "json"]);
    }

    /// A task that writes all that it has and all that is in its image, and then does this.
    fn tells_in_a_task(&mut self, then: &str) {
        let script = format!("busybox env; busybox cat /app/forms; busybox env >&2; {then}");
        let command = serde_json::json!(["/bin/busybox", "sh", "-c", script]);
        let task = format!("tasks: {{tell: {{run: {command}}}}}");
        let promotion = "promotion: {mode: auto, probe: {rate: 0, linger: 10ms}}";
        self.site.staging = vec![promotion.to_owned(), self.canaries.configured(), task];
    }

    /// What is kept beside the cluster: the state, the journal, what is left of failures.
    fn search_everything(&self) {
        self.search(&["state", "app", "environments"]);
    }

    fn search(&self, folders: &[&str]) {
        let mut found = Vec::new();
        for folder in folders {
            let folder = self.site.path().join(folder);
            self.canaries.files_with_one(&folder, &mut found);
            let with_token = std::process::Command::new("grep")
                .args(["--recursive", "--files-with-matches", &self.token])
                .arg(&folder)
                .output()
                .expect("grep");
            assert_eq!(String::from_utf8_lossy(&with_token.stdout), "");
        }
        assert_eq!(found, Vec::<PathBuf>::new());
    }
}

#[test]
fn no_secret_and_no_login_is_in_anything_that_is_printed_or_kept() {
    let Some(mut cage) = Cage::new() else { return };
    cage.apply_says(0, "it is ***!");
    cage.search_everything();
    for arguments in READERS {
        assert_eq!(cage.run(arguments).code, Some(0), "{arguments:?}");
    }

    // Each step fails once, with all that its program says.
    cage.site.message("v2");
    cage.build("exit 9");
    cage.apply_says(1, "ended with exit code 9");
    cage.build("");
    cage.checks("exit 7", "");
    cage.apply_says(1, "ended with exit code 7");
    cage.checks("", "exit 8");
    cage.apply_says(3, "ended with exit code 8");
    cage.site
        .service
        .insert("replicas".to_owned(), "2".to_owned());
    cage.site
        .options
        .insert("namespace".to_owned(), "not-ours".to_owned());
    cage.apply_says(1, "not-ours");
    cage.search_everything();
}

/// Tasks on a real node, whose output comes from the cluster: the site is one of a node's.
pub fn tasks_tell_nothing(mut site: Site) {
    let canaries = Canaries::new();
    let app = site.path().join("app");
    for (from, to) in [
        (canaries.path("forms"), "forms"),
        ("/bin/busybox".to_owned(), "busybox"),
    ] {
        std::fs::copy(from, app.join(to)).expect("copied");
    }
    site.build[0] = site.build[0].replace(
        "copy: {",
        "copy: {forms: /app/forms, busybox: /bin/busybox, ",
    );
    let mut cage = Cage::with(site, canaries);

    cage.tells_in_a_task("true");
    cage.apply_says(0, "it is ***!");
    let task = cage.run(&["task", "tell", "--auto-approve"]);
    assert_eq!(task.code, Some(0), "{}", task.stderr);
    cage.tells_in_a_task("exit 5");
    cage.site.message("v2");
    cage.apply_says(1, "exit code 5");
    cage.run(&["status", "--output", "json"]);
    cage.search(&["state", "environments"]);
}
