//! Approvals: a plan is carried out when those have signed it who must, and what they have read is
//! what is done.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{Said, World, has};

/// A world whose staging wants approvals, in a repository, with the keys of four people.
struct Team {
    world: World,
}

impl Team {
    /// None where `ssh-keygen` is not there.
    fn new(approvals: &str) -> Option<Self> {
        if !has("ssh-keygen") || !has("git") {
            return None;
        }
        let mut world = World::new();
        std::fs::create_dir(world.file("keys")).expect("a folder");
        let mut approvers = vec!["approvers:".to_owned()];
        for (name, groups) in [("kim", "leads"), ("lee", "leads"), ("max", "others")] {
            let key = make_key(&world, name);
            let email = format!("{name}@example.com");
            approvers.push(format!(
                "  {name}: {{keys: [\"{key}\"], email: [{email}], groups: [{groups}]}}"
            ));
        }
        make_key(&world, "eve");
        world.project = vec![
            approvers.join("\n"),
            "branches: {main: {environment: staging}}".to_owned(),
        ];
        world.staging.push(format!("approvals: {approvals}"));
        world.put(".gitignore", "/state\n/a\n/keys\n/*.json\n/m\n/s\n");
        world.configure();
        world.git(&["init", "--quiet"]);
        let team = Self { world };
        team.commit("first");
        Some(team)
    }

    fn commit(&self, message: &str) {
        self.world.configure();
        self.world.git(&["add", "."]);
        self.world
            .git(&["commit", "--quiet", "--allow-empty", "-m", message]);
    }

    /// What is to come next.
    fn message(&self, text: &str) {
        self.world.message(text);
        self.commit(text);
    }

    fn plan(&self) {
        let plan = ["plan", "--env", "staging", "--out", "p.json"];
        self.world
            .run(&plan)
            .code(0)
            .says("`shipit approve p.json`, then `shipit apply p.json`");
    }

    fn approve(&self, name: &str) -> Said {
        let key = format!("keys/{name}");
        self.world.run(&["approve", "p.json", "--key", &key, "-y"])
    }

    fn apply(&self) -> Said {
        self.world.run(&["apply", "p.json"])
    }

    /// Both leads approve a plan, and it is carried out.
    fn release(&self) {
        self.plan();
        self.approve("kim").code(0);
        self.approve("lee").code(0);
        self.apply().code(0);
    }

    /// What is signed, by this key for this purpose, put into the file past all that looks at it.
    fn sign_past_shipit(&self, name: &str, namespace: &str) {
        let message = self
            .world
            .run(&["approve", "p.json", "--print"])
            .code(0)
            .stdout;
        let statement: Value = serde_json::from_str(&message).expect("a document");
        let signature = sign(&self.world, name, namespace, &message);
        let mut document = self.document();
        let approval = serde_json::json!({"at": statement["at"], "signature": signature});
        let approvals = document["approvals"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        document["approvals"] = [approvals, vec![approval]].concat().into();
        self.world.put("p.json", &document.to_string());
    }

    fn document(&self) -> Value {
        serde_json::from_str(&self.world.read("p.json")).expect("a document")
    }

    fn is_unapplied(&self) {
        assert!(self.world.history().is_empty(), "something was carried out");
    }
}

/// The public half.
fn make_key(world: &World, name: &str) -> String {
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"])
        .arg(world.file(&format!("keys/{name}")))
        .status()
        .expect("it starts");
    assert!(made.success());
    world.read(&format!("keys/{name}.pub")).trim().to_owned()
}

fn sign(world: &World, name: &str, namespace: &str, message: &str) -> String {
    world.put("m", message);
    let signed = Command::new("ssh-keygen")
        .args(["-Y", "sign", "-n", namespace, "-f"])
        .arg(world.file(&format!("keys/{name}")))
        .stdin(std::fs::File::open(world.file("m")).expect("a file"))
        .stderr(Stdio::null())
        .output()
        .expect("it starts");
    assert!(signed.status.success());
    String::from_utf8(signed.stdout).expect("a text")
}

const TWO_LEADS: &str = "{count: 2, by: [leads]}";

#[test]
fn a_plan_is_carried_out_when_as_many_have_signed_it_as_must() {
    let Some(team) = Team::new(TWO_LEADS) else {
        return;
    };
    // Who approves in advance is one, and has no key.
    team.world
        .apply()
        .code(6)
        .says("staging wants 2 approvals of leads, and this is no saved plan")
        .says("shipit approve p.json");
    team.plan();
    let apply = ["apply", "p.json", "--auto-approve"];
    team.world
        .run(&apply)
        .code(6)
        .says("0 of 2 approvals of leads");

    team.approve("kim")
        .code(0)
        .says("kim approved the plan of shop → staging")
        .says("1 of 2 approvals of leads: kim")
        .says("Next: somebody of leads besides kim runs `shipit approve p.json`");
    team.world
        .run(&apply)
        .code(6)
        .says("1 of 2 approvals of leads: kim");
    // Once more is not one more.
    team.approve("kim")
        .code(0)
        .says("1 of 2 approvals of leads: kim");
    assert_eq!(
        team.document()["approvals"].as_array().map(Vec::len),
        Some(1)
    );
    team.world
        .run(&["show", "p.json"])
        .code(0)
        .says("✗ approvals  1 of 2 approvals of leads: kim");
    team.is_unapplied();

    team.approve("lee")
        .code(0)
        .says("Next: `shipit apply p.json`");
    team.apply().code(0).says("Done: release 1");
    assert_eq!(team.world.get(), "v1");
    team.apply().code(5).says("it was carried out already");
    who_approved_what_is_kept(&team);
}

/// In the journal, in the history, and where it runs.
fn who_approved_what_is_kept(team: &Team) {
    let history = team.world.run(&["history", "--env", "staging"]).code(0);
    history.says("approved by kim, lee");
    let status = team.world.status();
    let slot = status["facts"]["active"].as_str().expect("a slot");
    let names = |by: &Value| -> Vec<String> {
        let all = by.as_array().expect("a list").iter();
        all.map(|by| by["name"].as_str().expect("a name").to_owned())
            .collect()
    };
    assert_eq!(names(&status["approvals"][slot]), ["kim", "lee"]);

    let folder = team.world.file("state/staging/journal");
    let journal = std::fs::read_dir(folder)
        .expect("a folder")
        .next()
        .expect("one")
        .expect("one");
    let text = std::fs::read_to_string(journal.path()).expect("a text");
    let began: Value = serde_json::from_str(text.lines().next().expect("a line")).expect("JSON");
    let signed = &began["approval"]["signed"];
    assert_eq!(names(signed), ["kim", "lee"]);
    assert_eq!(
        signed[0]["plan"], began["hash"],
        "what was signed was carried out"
    );
}

#[test]
fn only_what_was_read_is_carried_out() {
    let Some(team) = Team::new(TWO_LEADS) else {
        return;
    };
    team.plan();
    let honest = team.world.read("p.json");

    // Somebody shows the leads a harmless plan, with a checksum of its own.
    let mut document = team.document();
    document["steps"][1]["reason"] = "a harmless change".into();
    let plan = shipit::model::plan::Plan::clone(
        &serde_json::from_value(document.clone()).expect("a plan"),
    );
    document["made"]["checksum"] = plan.hash().to_string().into();
    team.world.put("p.json", &document.to_string());
    team.approve("kim").code(0);
    team.approve("lee").code(0);
    let stale = "the plan is stale: what it tells its reader of";
    team.apply().code(5).says(stale);

    // Their signatures are moved to the honest one, and an edit is put beneath them.
    let signed = team.document();
    let mut moved: Value = serde_json::from_str(&honest).expect("a document");
    moved["approvals"] = signed["approvals"].clone();
    team.world.put("p.json", &moved.to_string());
    team.apply()
        .code(6)
        .says("0 of 2 approvals of leads; not counted: kim (made for another plan), lee (made for");

    team.world.put("p.json", &honest);
    team.approve("kim").code(0);
    team.approve("lee").code(0);
    let mut made = team.document();
    made["made"]["rebuild"] = true.into();
    team.world.put("p.json", &made.to_string());
    team.apply().code(6).says("made for another plan");
    team.is_unapplied();
}

#[test]
fn what_does_not_count_is_told_from_what_does() {
    let Some(team) = Team::new(TWO_LEADS) else {
        return;
    };
    team.plan();
    team.approve("eve")
        .code(6)
        .says("is nobody's under approvers")
        .says("on main");
    team.approve("max")
        .code(6)
        .says("the approval of max does not count here");
    team.approve("none").code(64).says("is no file with a key");
    team.approve("kim").code(0);

    team.sign_past_shipit("eve", "shipit-approval");
    team.sign_past_shipit("max", "shipit-approval");
    team.sign_past_shipit("lee", "git");
    team.apply()
        .code(6)
        .says("1 of 2 approvals of leads: kim; not counted: a key that is nobody's")
        .says("max (none of leads), lee (made for the namespace git)");

    // Another line end is no other signature.
    let text = team.world.read("p.json");
    team.world.put("p.json", &text.replace("\\n", "\\r\\n"));
    team.approve("lee")
        .code(0)
        .says("2 of 2 approvals of leads: kim, lee");
    let many = vec![team.document()["approvals"][0].clone(); 65];
    let mut document = team.document();
    document["approvals"] = many.into();
    team.world.put("many.json", &document.to_string());
    team.world
        .run(&["apply", "many.json"])
        .code(1)
        .says("it has 65 approvals, of 64 at the most");
    team.apply().code(0).says("Done: release 1");
}

#[test]
fn what_counts_is_what_the_branches_say_and_not_the_checkout() {
    let Some(mut team) = Team::new(TWO_LEADS) else {
        return;
    };
    team.release();

    // A checkout that wants nothing, first as changed files, then on a branch of its own.
    team.world.message("v2");
    let approvals = team.world.staging.pop().expect("a line");
    team.world
        .apply()
        .code(6)
        .says("staging wants 2 approvals of leads");
    team.world.git(&["checkout", "--quiet", "-b", "mine"]);
    let branches = team.world.project.pop().expect("a line");
    team.world
        .project
        .push("branches: {mine: {environment: staging}}".to_owned());
    team.commit("mine");
    team.world
        .apply()
        .code(6)
        .says("staging wants 2 approvals of leads")
        .says("environments/staging.yaml");
    // Where the branch of the live release is not here, nobody can tell.
    team.world.git(&["branch", "--quiet", "-D", "main"]);
    team.world
        .run(&["plan", "--env", "staging", "--out", "p.json"])
        .code(0);
    team.apply()
        .code(6)
        .says("nobody can tell which approvals main wants: main is not in this checkout");

    // Nor where it is here, has approvals, and cannot be understood.
    team.world
        .git(&["checkout", "--quiet", "-B", "main", "HEAD~"]);
    let over = team.world.read("environments/staging.yaml");
    let broken = format!("{over}\napprovals: {{count: many}}\n");
    std::fs::write(team.world.file("environments/staging.yaml"), broken).expect("a file");
    team.world.git(&["commit", "--quiet", "-a", "-m", "broken"]);
    team.world.git(&["checkout", "--quiet", "mine"]);
    team.apply()
        .code(6)
        .says("nobody can tell which approvals main wants: ")
        .says("put it right on main");
    team.world
        .git(&["checkout", "--quiet", "-B", "main", "main~"]);
    team.world.git(&["checkout", "--quiet", "mine"]);

    // A key that is taken out of the branch counts no more, whatever was signed before.
    team.world.git(&["checkout", "--quiet", "main"]);
    team.world.project = vec![team.world.project.remove(0), branches];
    team.world.staging.push(approvals);
    team.message("v3");
    team.plan();
    team.approve("kim").code(0);
    team.approve("lee").code(0);
    let signed = team.world.read("p.json");
    let approvers = team.world.project[0].clone();
    let lee = team.world.read("keys/lee.pub").trim().to_owned();
    let eve = team.world.read("keys/eve.pub").trim().to_owned();
    team.world.project[0] = approvers.replace(&lee, &eve);
    team.commit("lee has another key");
    // The checkout is the one that was signed.
    team.world
        .git(&["checkout", "--quiet", "-B", "old", "HEAD~"]);
    team.world.git(&["symbolic-ref", "HEAD", "refs/heads/main"]);
    team.world.project[0] = approvers;
    team.world.put("p.json", &signed);
    let shown = team.world.run(&["show", "p.json"]).code(0);
    shown.says("1 of 2 approvals of leads: kim; not counted: a key that is nobody's");
    assert_eq!(team.world.get(), "v1");
}

#[test]
fn whoever_wrote_it_does_not_approve_it() {
    let Some(team) = Team::new("{count: 1, by: [leads], not_author: true}") else {
        return;
    };
    // What Git says of signatures is no author.
    team.world.git(&["config", "log.showSignature", "true"]);
    team.plan();
    team.approve("kim").code(0);
    team.apply().code(0).says("Done: release 1");

    team.world.message("v2");
    team.world.git(&["add", "."]);
    let message = "v2\n\nCo-authored-by: Lee <Lee@Example.com>";
    let author = "Kim <kim@example.com>";
    team.world
        .git(&["commit", "--quiet", "-m", message, "--author", author]);
    team.plan();
    team.approve("kim").code(0);
    team.approve("lee").code(0);
    team.apply().code(6).says(
        "0 of 1 approval of leads; not counted: kim (wrote a commit of it), lee (wrote a commit of it)",
    );
    // What is live is nobody's work any more.
    team.message("v3");
    team.world.git(&["reset", "--quiet", "--soft", "HEAD~2"]);
    team.commit("all of it by somebody else");
    team.plan();
    team.approve("kim").code(0);
    team.apply().code(0).says("Done: release 2");

    // Files without a commit have no author.
    team.world.message("v4");
    team.plan();
    team.approve("kim").code(0);
    team.apply()
        .code(6)
        .says("nobody can tell who wrote what is deployed: it has files that are in no commit");
}

#[test]
fn a_history_that_is_cut_off_has_authors_that_nobody_knows() {
    let Some(mut team) = Team::new("{count: 1, by: [leads], not_author: true}") else {
        return;
    };
    team.message("v2");
    let shallow = team.world.git(&["rev-parse", "HEAD"]);
    team.world.put(".git/shallow", &format!("{shallow}\n"));
    team.plan();
    team.approve("kim").code(0);
    team.apply()
        .code(6)
        .says("nobody can tell who wrote what is deployed: the history here is cut off")
        .says("--fetch");
    // Where nobody asks for authors, nobody looks.
    team.world.staging.pop();
    team.world
        .staging
        .push("approvals: {by: [leads]}".to_owned());
    team.commit("anybody");
    team.plan();
    team.approve("kim").code(0);
    team.apply().code(0);
}

#[test]
fn promoting_and_destroying_want_approvals_of_their_own_and_what_leads_back_wants_none() {
    let Some(mut team) = Team::new(TWO_LEADS) else {
        return;
    };
    team.release();
    team.world.staging[0] = "promotion: {mode: manual, probe: {linger: 50ms}}".to_owned();
    team.message("v2");
    team.plan();
    team.approve("kim").code(0);
    team.approve("lee").code(0);
    team.apply().code(0).says("Ready: release 2 waits in green");
    assert_eq!(team.world.get(), "v1");

    let promote = ["promote", "green", "--env", "staging"];
    let with = |more: &[&str]| team.world.run(&[&promote[..], more].concat());
    with(&["--auto-approve"]).code(6).says(
        "`shipit promote green --env staging --out p.json`, `shipit approve p.json`, `shipit promote green --plan p.json`",
    );
    with(&["--out", "p.json"])
        .code(0)
        .says("`shipit promote green --plan p.json`");
    assert_eq!(team.world.get(), "v1", "it is saved, and not carried out");
    team.approve("kim").code(0);
    with(&["--plan", "p.json"])
        .code(6)
        .says("1 of 2 approvals of leads: kim");
    team.approve("lee")
        .code(0)
        .says("Next: `shipit promote green --plan p.json`");
    for other in [&["apply", "p.json"][..], &["destroy", "--plan", "p.json"]] {
        team.world.run(other).code(1).says(
            "it is a plan of `promote green`; `shipit promote green --plan FILE` carries it out",
        );
    }
    with(&["--plan", "p.json"]).code(0).says("Done: release 2");
    assert_eq!(team.world.get(), "v2");
    with(&["--plan", "p.json"])
        .code(5)
        .says("it was carried out already");

    team.world
        .run(&["rollback", "--env", "staging", "--auto-approve"])
        .code(0);
    assert_eq!(team.world.get(), "v1");

    let destroy = ["destroy", "--env", "staging"];
    let with = |more: &[&str]| team.world.run(&[&destroy[..], more].concat());
    with(&["--auto-approve"])
        .code(6)
        .says("and this is no saved plan");
    with(&["--out", "p.json"]).code(0);
    team.approve("kim").code(0);
    team.approve("lee").code(0);
    with(&["--plan", "p.json"]).code(0);
    assert!(crate::support::http::get(&team.world.live_address(), "/").is_err());
}

#[test]
fn what_is_signed_on_another_machine_is_brought_back() {
    let Some(team) = Team::new("{}") else {
        return;
    };
    team.plan();
    let message = team
        .world
        .run(&["approve", "p.json", "--print"])
        .code(0)
        .stdout;
    let signature = sign(&team.world, "max", "shipit-approval", &message);
    team.world.put("s", &signature.replace('\n', "\r\n"));
    let back = ["approve", "p.json", "--message", "m", "--signature", "s"];

    team.world
        .put("m", &message.replace("staging", "production"));
    team.world
        .run(&back)
        .code(64)
        .says("is not what `shipit approve p.json --print` prints");
    team.world.put("m", &message);
    team.world
        .put("s", &sign(&team.world, "max", "git", &message));
    team.world
        .run(&back)
        .code(6)
        .says("made for the namespace git");
    team.world.put("s", &signature.replace('\n', "\r\n"));
    let said = team
        .world
        .run(&[&back[..], &["--output", "json"]].concat())
        .code(0);
    let document: Value = serde_json::from_str(&said.stdout).expect("a document");
    assert_eq!(document["kind"], "approval");
    assert_eq!(
        (&document["name"], &document["enough"]),
        (&"max".into(), &true.into())
    );
    team.apply().code(0).says("Done: release 1");
}

#[test]
fn what_no_approvals_are_wanted_of_is_not_signed() {
    let Some(mut team) = Team::new(TWO_LEADS) else {
        return;
    };
    team.plan();
    team.world
        .run(&["approve", "p.json", "--key", "keys/kim"])
        .code(1)
        .says("nobody is here to approve the plan; nothing was signed");
    let mut home = team.world.command(&["approve", "p.json", "-y"]);
    let said = Said::from(
        &home
            .env("HOME", team.world.path())
            .output()
            .expect("it starts"),
    );
    said.code(6)
        .says("is one of those that may approve")
        .says("--key KEY");
    std::fs::create_dir(team.world.file(".ssh")).expect("a folder");
    for (from, to) in [("kim", "id_kim"), ("kim.pub", "id_kim.pub")] {
        let from = team.world.file(&format!("keys/{from}"));
        std::fs::copy(from, team.world.file(&format!(".ssh/{to}"))).expect("copied");
    }
    let mut home = team.world.command(&["approve", "p.json", "-y"]);
    let said = Said::from(
        &home
            .env("HOME", team.world.path())
            .output()
            .expect("it starts"),
    );
    said.code(0).says("kim approved the plan");
    std::fs::remove_dir_all(team.world.file(".ssh")).expect("removed");

    team.world.staging.pop();
    team.commit("nothing is wanted");
    team.world
        .run(&["plan", "--env", "staging", "--out", "p.json"])
        .code(0)
        .says_not("approve");
    team.approve("kim")
        .code(64)
        .says("staging wants no approvals; nothing was signed");
    team.world.apply().code(0);
}
