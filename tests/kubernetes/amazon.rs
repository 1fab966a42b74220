//! ECR and EKS, played by moto, with the tests' own registry and control plane behind them; the
//! tokens of the cluster are signed requests that the control plane has moto answer.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cluster::{Admin, admin};
use crate::pretend::Pretend;
use crate::said::Said;

/// A project on Amazon.
pub struct Cloud {
    admin: Admin,
    pub endpoint: String,
    folder: TempDir,
    /// Sets this test's names apart from others'.
    pub name: String,
    /// Who runs it: variables besides the endpoint.
    who: Vec<(String, String)>,
}

impl Cloud {
    pub fn new() -> Option<Self> {
        let admin = admin()?;
        let Ok(endpoint) = std::env::var("SHIPIT_TEST_AWS") else {
            assert!(
                std::env::var_os("SHIPIT_TEST_REAL").is_none(),
                "SHIPIT_TEST_AWS is not set"
            );
            #[allow(clippy::print_stderr)]
            {
                eprintln!("SKIPPED: no moto; `tests/aws/up FOLDER` starts one");
            }
            return None;
        };
        let folder = tempfile::Builder::new()
            .prefix("aws")
            .tempdir()
            .expect("a folder");
        let name = format!("a{}", &uuid::Uuid::new_v4().simple().to_string()[..8]);
        let who = [
            ("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE"),
            ("AWS_SECRET_ACCESS_KEY", "canary-secret-key-5e1d"),
        ];
        let who = who
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec();
        Some(Self {
            admin,
            endpoint,
            folder,
            name,
            who,
        })
    }

    /// What moto lacks, in front of it. Tokens are signed for moto itself, which the control plane
    /// asks.
    fn pretend(&mut self) -> Pretend {
        let pretend = Pretend::start(self.endpoint.trim_start_matches("http://"));
        self.who
            .push(("AWS_ENDPOINT_URL_STS".to_owned(), self.endpoint.clone()));
        self.endpoint = format!("http://{}", pretend.address);
        pretend
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    fn put(&self, path: &str, text: &str) {
        let path = self.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, text).expect("a file");
    }

    /// The control plane's address and certificate.
    fn control_plane(&self) -> (String, String) {
        let text = std::fs::read_to_string(&self.admin.kubeconfig).expect("a kubeconfig");
        let config: Value = serde_saphyr::from_str(&text).expect("yaml");
        let cluster = &config["clusters"][0]["cluster"];
        let text = |key: &str| cluster[key].as_str().expect("a text").to_owned();
        (text("server"), text("certificate-authority"))
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shipit"));
        crate::build_server::without_build_server(&mut command);
        command
            .args(arguments)
            .current_dir(self.path())
            .env("NO_COLOR", "1")
            .env("AWS_ENDPOINT_URL", &self.endpoint)
            .envs(self.who.iter().cloned())
            .env_remove("KUBECONFIG");
        command
    }

    fn run(&self, arguments: &[&str]) -> Said {
        let said = Said::from(&self.command(arguments).output().expect("shipit starts"));
        for text in [&said.stdout, &said.stderr] {
            assert!(
                !text.contains("canary-secret-key") && !text.contains("k8s-aws-v1."),
                "{text}"
            );
        }
        said
    }

    /// A service that nobody starts, with these lines of `registry:` and `cluster:`.
    fn configure(&self, registry: &str, cluster: &str) {
        let (server, ca) = self.control_plane();
        let (name, to) = (&self.name, &self.admin.registry);
        let text = format!(
            "version: 1\nproject: {name}\nregistry:\n  kind: ecr\n  region: eu-central-1\n  account: \"123456789012\"\n  \
             endpoint: {to}\n{registry}cluster:\n  kind: eks\n  name: {name}\n  region: eu-central-1\n  \
             endpoint: {server}\n  certificate_authority: {ca}\n  create_namespaces: true\n{cluster}\
             traffic: {{kind: service}}\npromotion: {{probe: {{rate: 0, linger: 1ms}}}}\nservices:\n  web:\n    port: 8080\n    \
             build: {{kind: pack, context: app, copy: {{a.txt: /a.txt}}, entrypoint: [/a]}}\n"
        );
        self.put("shipit.yaml", &text);
        self.put("environments/staging.yaml", "{}\n");
    }

    fn apply(&self) -> Said {
        self.run(&["apply", "--env", "staging", "--auto-approve"])
    }

    fn plan(&self) -> Said {
        self.run(&["plan", "--env", "staging", "--detailed-exitcode"])
    }

    /// The image that was pushed last: its digest and its manifest.
    fn pushed(&self) -> (String, String) {
        let ask = |path: &str, header: &str| {
            let url = format!("http://{}/v2/{}/web/{path}", self.admin.registry, self.name);
            let output = Command::new("curl")
                .args(["--silent", "--fail", "--header", header, &url])
                .output();
            output.expect("curl starts").stdout
        };
        let tags: Value = serde_json::from_slice(&ask("tags/list", "a: b")).expect("JSON");
        let tag = tags["tags"][0].as_str().expect("a tag").to_owned();
        let manifest = ask(
            &format!("manifests/{tag}"),
            "accept: application/vnd.oci.image.manifest.v1+json",
        );
        (
            shipit::model::Digest::of(&manifest).to_string(),
            String::from_utf8(manifest).expect("text"),
        )
    }

    /// Asks Amazon directly, as somebody else would.
    fn ecr(&self, operation: &str, body: &Value) -> Value {
        let target = format!("x-amz-target: AmazonEC2ContainerRegistry_V20150921.{operation}");
        let scope = "authorization: AWS4-HMAC-SHA256 Credential=x/20260101/eu-central-1/ecr/aws4_request, SignedHeaders=host, \
                     Signature=-";
        let output = Command::new("curl")
            .args([
                "--silent",
                "--fail-with-body",
                "--header",
                &target,
                "--header",
                scope,
            ])
            .args([
                "--header",
                "content-type: application/x-amz-json-1.1",
                "--data",
                &body.to_string(),
            ])
            .arg(&self.endpoint)
            .output()
            .expect("curl starts");
        assert!(
            output.status.success(),
            "{operation}: {}",
            String::from_utf8_lossy(&output.stdout)
        );
        serde_json::from_slice(&output.stdout).expect("JSON")
    }
}

const CLUSTER: &str = "  create: {version: \"1.33\", role: \"arn:aws:iam::123456789012:role/eks\", subnets: [subnet-1]}\n  \
                       fargate_profiles:\n    apps: {namespaces: [\"a*\"], subnets: [subnet-1], role: \
                       \"arn:aws:iam::123456789012:role/pods\"}\n    jobs: {namespaces: [jobs], subnets: [subnet-1], role: \
                       \"arn:aws:iam::123456789012:role/pods\"}\n";

#[test]
fn from_an_empty_account_to_live_in_one_apply() {
    let Some(cloud) = Cloud::new() else { return };
    cloud.put("app/a.txt", "v1");
    cloud.configure(
        "  immutable_tags: true\n  retention: {tagged: 30, untagged: 7d}\n",
        CLUSTER,
    );
    cloud
        .plan()
        .code(2)
        .says("fargate_profile.apps     is not there")
        .says("Plan: 1 build, 7 new, 1 switch.");
    cloud.apply().code(0).says("blue is active");
    cloud.plan().code(0).says("No changes");
    let drift = ["drift", "staging"];
    cloud.run(&drift).code(0).says("Nothing moved");
    let facts = cloud
        .run(&["status", "--env", "staging", "--output", "json"])
        .code(0);
    let facts: Value = serde_json::from_str(&facts.stdout).expect("JSON");
    assert_eq!(facts["facts"]["active"], "blue");
    cloud
        .run(&["doctor", "--env", "staging"])
        .code(0)
        .says("Amazon knows this identity");

    // Somebody changes a repository by hand: it is shown field by field, and set back.
    let name = format!("{}/web", cloud.name);
    cloud.ecr(
        "PutImageTagMutability",
        &serde_json::json!({"repositoryName": name, "imageTagMutability": "MUTABLE"}),
    );
    cloud.ecr(
        "DeleteLifecyclePolicy",
        &serde_json::json!({"repositoryName": name}),
    );
    cloud
        .run(&drift)
        .code(2)
        .says(&format!("~ repository.{name}"))
        .says("immutable_tags\n        was true\n        is  false")
        .says("lifecycle");
    cloud
        .run(&["state", "list", "--env", "staging"])
        .code(0)
        .says(&format!("repository.{name}"))
        .says("fargate_profile.apps");
    cloud
        .plan()
        .code(2)
        .says("immutable_tags")
        .says("lifecycle")
        .says("Plan: 1 change,");
    cloud.apply().code(0);
    let set = cloud.ecr(
        "DescribeRepositories",
        &serde_json::json!({"repositoryNames": [name]}),
    );
    assert_eq!(set["repositories"][0]["imageTagMutability"], "IMMUTABLE");
    cloud.plan().code(0).says("No changes");

    // What cannot be changed is replaced, and what left the configuration goes; one after the
    // other.
    let changed = CLUSTER.replace("[\"a*\"]", "[\"a*\", \"b*\"]");
    let changed = changed
        .split("    jobs:")
        .next()
        .expect("a part")
        .to_owned();
    cloud.configure(
        "  immutable_tags: true\n  retention: {tagged: 30, untagged: 7d}\n",
        &changed,
    );
    cloud
        .plan()
        .code(2)
        .says("± fargate_profile.apps     is replaced: namespaces cannot be changed")
        .says("- fargate_profile.jobs     not in the configuration any more");
    cloud.apply().code(0);
    cloud.plan().code(0).says("No changes");

    // What this endpoint does not know is said, and nothing else is touched.
    let newer = changed.replace("1.33", "1.35");
    cloud.configure(
        "  immutable_tags: true\n  retention: {tagged: 30, untagged: 7d}\n",
        &newer,
    );
    cloud
        .apply()
        .code(1)
        .says("the endpoint does not know UpdateClusterVersion");
    cloud.configure("", &changed);
    cloud
        .run(&["destroy", "--env", "staging", "--auto-approve"])
        .code(0)
        .says("the infrastructure stays");
}

#[test]
fn an_environment_goes_with_its_profiles_and_its_repository_and_the_cluster_stays() {
    let Some(cloud) = Cloud::new() else { return };
    cloud.put("app/a.txt", "v1");
    cloud.configure("  scan_on_push: true\n", CLUSTER);
    cloud.apply().code(0).says("blue is active");

    let (name, stays) = (&cloud.name, "stays: shipit deletes no cluster");
    let end = [
        "destroy",
        "--env",
        "staging",
        "--infrastructure",
        "--auto-approve",
    ];
    let said = cloud
        .run(&end)
        .code(0)
        .says(&format!("cluster.{name} {stays}"))
        .says(&format!("repository.{name}/web is gone"));
    // What was made last goes first, one profile at a time, and all behind the slots.
    let at = |text: &str| {
        said.stderr
            .find(text)
            .unwrap_or_else(|| panic!("{text}: {}", said.stderr))
    };
    let order = [
        at("cleared"),
        at("fargate_profile.jobs is gone"),
        at("fargate_profile.apps is gone"),
        at(&format!("repository.{name}/web is gone")),
    ];
    assert!(order.is_sorted(), "{}", said.stderr);
    cloud.run(&end).code(0).says("No changes").says(stays);
    cloud
        .plan()
        .code(2)
        .says("fargate_profile.apps     is not there");
}

#[test]
fn a_lifecycle_policy_that_would_take_the_live_image_is_refused() {
    let Some(cloud) = Cloud::new() else { return };
    cloud.put("app/a.txt", "v1");
    cloud.configure("  retention: {tagged: 30}\n", CLUSTER);
    cloud.apply().code(0).says("blue is active");
    // moto has no registry behind it: what was pushed is told to it.
    let status = cloud
        .run(&["status", "--env", "staging", "--output", "json"])
        .code(0);
    let status: Value = serde_json::from_str(&status.stdout).expect("JSON");
    let live =
        status["facts"]["slots"]["blue"]["workloads"]["web"]["spec"]["image"]["value"].clone();
    let live = live
        .as_str()
        .map_or_else(|| panic!("no image in {status}"), str::to_owned);
    let manifest = Command::new("curl")
        .args([
            "--silent",
            "--fail",
            "--header",
            "accept: application/vnd.oci.image.manifest.v1+json",
        ])
        .arg(format!(
            "http://{}/v2/{}/web/manifests/{live}",
            cloud.admin.registry, cloud.name
        ))
        .output()
        .expect("curl starts");
    let name = format!("{}/web", cloud.name);
    let put = |manifest: &str, tag: &str, digest: &str| {
        let body = serde_json::json!({"repositoryName": name, "imageManifest": manifest, "imageTag": tag, "imageDigest": digest,
            "imageManifestMediaType": "application/vnd.oci.image.manifest.v1+json"});
        cloud.ecr("PutImage", &body)
    };
    let stored = put(
        &String::from_utf8(manifest.stdout).expect("text"),
        "src-live",
        &live,
    );
    assert_eq!(
        stored["image"]["imageId"]["imageDigest"].as_str(),
        Some(live.as_str())
    );
    // moto's clock has seconds, and the rule counts the newest.
    let second = || {
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .expect("a time")
            .as_secs()
    };
    let pushed = second();
    crate::site::until("the clock goes on", || second() > pushed);
    put(
        "{\"schemaVersion\": 2, \"config\": {\"digest\": \"sha256:x\", \"size\": 1}, \"layers\": []}",
        "other",
        &format!("sha256:{}", "b".repeat(64)),
    );
    cloud.configure("  retention: {tagged: 1}\n", CLUSTER);
    cloud
        .plan()
        .code(6)
        .says("would expire")
        .says("which is live in staging");
    cloud.configure("  retention: {tagged: 2}\n", CLUSTER);
    cloud.plan().code(2).says("lifecycle");
}

#[test]
fn a_cluster_s_settings_and_its_machines_are_changed_in_place() {
    let Some(cloud) = Cloud::new() else { return };
    cloud.put("app/a.txt", "v1");
    let role = "arn:aws:iam::123456789012:role/eks";
    let cluster = |create: &str, max: u16| {
        format!(
            "  create: {{version: 1.30, role: \"{role}\", subnets: [subnet-2, subnet-1]{create}}}\n  node_groups: {{workers: {{role: \
             \"{role}\", subnets: [subnet-1], instance_types: [m7i.large], min: 1, max: {max}}}}}\n"
        )
    };
    cloud.configure("", &cluster("", 3));
    // Digits stay as they are written: 1.30 is not 1.3.
    cloud
        .plan()
        .code(2)
        .says("+ 1.30")
        .says("node_group.workers");
    cloud.apply().code(0).says("blue is active");
    cloud.plan().code(0).says("No changes");
    cloud.configure(
        "",
        &cluster(", logging: [api, audit], tags: {team: shop}", 5),
    );
    cloud
        .plan()
        .code(2)
        .says("+ api, audit")
        .says("- 3")
        .says("+ 5")
        .says("Plan: 2 changes");
    cloud.apply().code(0);
    cloud.plan().code(0).says("No changes");
    // Machines with another role are other machines.
    let other = cluster(", logging: [api, audit]", 5).replace("m7i.large", "m7i.xlarge");
    cloud.configure("", &other);
    cloud
        .plan()
        .code(2)
        .says("± node_group.workers       is replaced: instance_types cannot be changed");
    // Another cluster would have nothing in it.
    cloud.configure(
        "",
        &cluster("", 5).replace("subnet-2, subnet-1]", "subnet-3]"),
    );
    cloud
        .plan()
        .code(6)
        .says("subnets is subnet-1, subnet-2 and cannot become subnet-3");
}

#[test]
fn what_a_scan_found_decides_and_no_result_is_not_clean() {
    let Some(cloud) = Cloud::new() else { return };
    cloud.put("app/a.txt", "v1");
    cloud.configure("  scan_on_push: true\n", CLUSTER);
    let gate = |scan: &str| {
        cloud.put(
            "environments/staging.yaml",
            &format!("promotion: {{before: [{{scan: {scan}}}]}}\n"),
        );
    };
    gate("{}");
    // moto has no registry behind it, and does not know the image.
    cloud
        .apply()
        .code(1)
        .says("there is no result")
        .says("does not have the image");
    let manifest = cloud.pushed();
    let body = serde_json::json!({"repositoryName": format!("{}/web", cloud.name), "imageManifest": manifest.1,
        "imageTag": "x", "imageDigest": manifest.0,
        "imageManifestMediaType": "application/vnd.oci.image.manifest.v1+json"});
    cloud.ecr("PutImage", &body);
    // One that was never scanned is scanned; moto finds one thing of high severity in everything.
    cloud.apply().code(1).says("1 high findings, and 0 may be");
    gate("{high: 1}");
    cloud.apply().code(0).says("blue is active");
}

#[test]
fn an_image_that_nobody_signed_gets_no_traffic() {
    let Some(cloud) = Cloud::new() else { return };
    cloud.put("app/a.txt", "v1");
    cloud.put(
        "cosign.pub",
        include_str!("../../src/model/signature/rsa.pub"),
    );
    cloud.configure("  provenance: true\n  sbom: true\n", CLUSTER);
    let gate = "promotion: {before: [{signature: {keys: [cosign.pub]}}]}\n";
    cloud.put("environments/staging.yaml", gate);
    let repository = format!(
        "cosign sign --key KEY {}/{}/web@",
        cloud.admin.registry, cloud.name
    );
    cloud
        .apply()
        .code(1)
        .says("the image of web is not signed")
        .says(&repository)
        .says("what is in it is attached");
    cloud.put("environments/staging.yaml", "{}\n");
    cloud.apply().code(0).says("blue is active");
}

#[test]
fn every_way_to_be_refused_by_amazon_says_what_to_do() {
    let Some(cloud) = Cloud::new() else { return };
    cloud.put("app/a.txt", "v1");
    cloud.configure("", CLUSTER);
    let with = |name: &str, value: &str| {
        let mut command = cloud.command(&["plan", "--env", "staging"]);
        Said::from(&command.env(name, value).output().expect("shipit starts"))
    };
    with("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        .code(1)
        .says("AWS_ENDPOINT_URL and the proxy");
    let mut command = cloud.command(&["plan", "--env", "staging"]);
    command
        .env_remove("AWS_ACCESS_KEY_ID")
        .env_remove("AWS_SECRET_ACCESS_KEY");
    command
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("HOME", cloud.path());
    Said::from(&command.output().expect("shipit starts"))
        .code(1)
        .says("aws sso login");
}

#[test]
fn what_an_endpoint_does_not_know_is_said() {
    let Some(cloud) = Cloud::new() else { return };
    cloud.put("app/a.txt", "v1");
    cloud.configure("", "  addons: {coredns: {}}\n");
    cloud
        .plan()
        .code(1)
        .says("the endpoint does not know DescribeAddon")
        .says("AWS_ENDPOINT_URL");
    cloud.configure(
        "",
        "  access: {\"arn:aws:iam::123456789012:role/a\": {groups: [a]}}\n",
    );
    cloud
        .plan()
        .code(1)
        .says("the endpoint does not know DescribeAccessEntry");
    cloud.configure("  pull_through: {hub: {upstream: quay.io}}\n", "");
    cloud
        .plan()
        .code(1)
        .says("the endpoint does not know DescribePullThroughCacheRules");
}

#[test]
fn other_registries_are_fetched_through_and_images_copied_beside_the_rules_of_others() {
    let Some(mut cloud) = Cloud::new() else {
        return;
    };
    let pretend = cloud.pretend();
    cloud.put("app/a.txt", "v1");
    let others = json!({"destinations": [{"region": "us-east-1", "registryId": "999999999999"}]});
    pretend.known().replication.push(others.clone());
    let secret = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:ecr-pullthroughcache/hub";
    let through = |upstream: &str| {
        format!("  pull_through: {{hub: {{upstream: {upstream}, credential: \"{secret}\"}}}}\n")
    };
    let copies = "  replication: [{to: eu-west-1}, {to: eu-west-2, account: \"210987654321\"}, {to: us-west-2, repositories: [shop/]}]\n";
    cloud.configure(
        &format!("{}{copies}", through("registry-1.docker.io")),
        CLUSTER,
    );
    cloud
        .plan()
        .code(2)
        .says("+ pull_through.hub")
        .says("+ replication.eu-west-1/123456789012")
        .says("rules that others made stay as they are: everything to us-east-1/999999999999");
    cloud.apply().code(0).says("blue is active");
    cloud.plan().code(0).says("No changes");
    let mark = format!("shipit.dev/{}/staging", cloud.name);
    {
        let known = pretend.known();
        assert_eq!(known.replication[0], others);
        // Three places, two sets of repositories: two rules.
        assert_eq!(known.replication.len(), 3, "{:?}", known.replication);
        assert!(
            known.replication[1].to_string().contains(&mark),
            "{:?}",
            known.replication
        );
        assert_eq!(
            known.pull_through["hub"]["upstreamRegistryUrl"],
            "registry-1.docker.io"
        );
    }
    // Somebody changes both by hand.
    {
        let mut known = pretend.known();
        known.pull_through.get_mut("hub").expect("a rule")["credentialArn"] = Value::Null;
        known.replication.truncate(2);
    }
    cloud
        .plan()
        .code(2)
        .says("~ pull_through.hub")
        .says("replication.")
        .says("Plan: 1 new, 1 change,");
    cloud.apply().code(0);
    assert_eq!(pretend.known().pull_through["hub"]["credentialArn"], secret);
    assert_eq!(pretend.known().replication.len(), 3);
    // Another upstream is another rule; where nothing is copied any more, the rule goes, and
    // others' stay.
    cloud.configure(&through("quay.io"), CLUSTER);
    cloud
        .plan()
        .code(2)
        .says("is replaced: upstream cannot be changed")
        .says("- replication.eu-west-2/210987654321");
    cloud.apply().code(0);
    assert_eq!(
        pretend.known().pull_through["hub"]["upstreamRegistryUrl"],
        "quay.io"
    );
    assert_eq!(pretend.known().replication, [others]);
    // A rule that left the configuration stays: nobody knows who needs it.
    cloud.configure("", CLUSTER);
    cloud.plan().code(0).says("No changes");
}

const TEAM: &str = "arn:aws:iam::123456789012:role/team";

#[test]
fn addons_and_who_may_come_in_are_part_of_the_plan() {
    let Some(mut cloud) = Cloud::new() else {
        return;
    };
    let pretend = cloud.pretend();
    cloud.put("app/a.txt", "v1");
    let access = format!(
        "  access: {{\"{TEAM}\": {{policies: [AmazonEKSViewPolicy, {{policy: AmazonEKSEditPolicy, namespaces: [b, a]}}], groups: [team]}}}}\n"
    );
    let addons = "  addons: {vpc-cni: {version: v1.19.0-eksbuild.1, configuration: {env: {A: \"1\"}}}, coredns: {preserve: true}}\n";
    cloud.configure("", &format!("{CLUSTER}{access}{addons}"));
    cloud
        .plan()
        .code(2)
        .says("+ addon.vpc-cni            is not there")
        .says(&format!("+ access_entry.{TEAM}"));
    cloud
        .apply()
        .code(0)
        .says("addon.vpc-cni is CREATING")
        .says("blue is active");
    cloud.plan().code(0).says("No changes");
    let edit = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSEditPolicy";
    {
        let mut known = pretend.known();
        let (entry, policies) = known.entries.get_mut(TEAM).expect("an entry");
        assert_eq!(entry["kubernetesGroups"], json!(["team"]));
        assert_eq!(
            policies[edit],
            json!({"type": "namespace", "namespaces": ["a", "b"]})
        );
        // Somebody changes both by hand.
        policies.remove(edit);
        policies.insert(
            "arn:aws:eks::aws:cluster-access-policy/AmazonEKSAdminPolicy".to_owned(),
            json!({"type": "cluster"}),
        );
        known.addons.get_mut("vpc-cni").expect("an addon")["addonVersion"] =
            json!("v1.18.0-eksbuild.1");
    }
    cloud
        .plan()
        .code(2)
        .says("- v1.18.0-eksbuild.1")
        .says("AmazonEKSAdminPolicy")
        .says("Plan: 2 changes");
    cloud.apply().code(0);
    cloud.plan().code(0).says("No changes");
    {
        let known = pretend.known();
        assert_eq!(
            known.addons["vpc-cni"]["addonVersion"],
            "v1.19.0-eksbuild.1"
        );
        assert_eq!(
            known.addons["vpc-cni"]["configurationValues"],
            "{\"env\":{\"A\":\"1\"}}"
        );
        assert_eq!(known.entries[TEAM].1.len(), 2);
    }
    // What somebody else has made stays; what this environment made goes when it is not wanted any
    // more.
    pretend.known().addons.insert(
        "kube-proxy".to_owned(),
        json!({"addonName": "kube-proxy", "status": "ACTIVE", "addonVersion": "v1"}),
    );
    cloud.configure("", &format!("{CLUSTER}  addons: {{vpc-cni: {{}}}}\n"));
    cloud
        .plan()
        .code(2)
        .says("- addon.coredns")
        .says(&format!("- access_entry.{TEAM}"))
        .says("2 removals");
    cloud.apply().code(0);
    {
        let known = pretend.known();
        assert_eq!(
            known.addons.keys().collect::<Vec<_>>(),
            ["kube-proxy", "vpc-cni"]
        );
        assert!(known.entries.is_empty());
        assert!(
            known
                .calls
                .iter()
                .any(|call| call.contains("addons/coredns?preserve=true")),
            "{:?}",
            known.calls
        );
    }
    // What an addon lacks is said.
    cloud.configure(
        "",
        &format!("{CLUSTER}  addons: {{adot: {{configuration: {{wrong: true}}}}}}\n"),
    );
    cloud.apply().code(1).says(
        "CREATE_FAILED: ConfigurationConflict: somebody else has put it there (DaemonSet/aws-node)",
    );
    cloud.plan().says("note: addon.adot: it is CREATE_FAILED");
}

/// The credentials of a session of a role.
fn session(cloud: &Cloud, endpoint: &str, role: &str) -> Vec<(String, String)> {
    let url = format!(
        "{endpoint}/?Action=AssumeRole&Version=2011-06-15&RoleSessionName=run-7&RoleArn={role}"
    );
    let scope = "authorization: AWS4-HMAC-SHA256 Credential=x/20260101/eu-central-1/sts/aws4_request, SignedHeaders=host, \
                 Signature=-";
    let output = Command::new("curl")
        .args(["--silent", "--fail", "--header", scope, &url])
        .output();
    let text = String::from_utf8(output.expect("curl starts").stdout).expect("text");
    let between = |name: &str| {
        let (_, rest) = text
            .split_once(&format!("<{name}>"))
            .unwrap_or_else(|| panic!("no {name} in {text}"));
        rest.split_once('<').expect("an end").0.to_owned()
    };
    let named = |name: &str, value: String| (name.to_owned(), value);
    let mut who = cloud.who.clone();
    who.extend([
        named("AWS_ACCESS_KEY_ID", between("AccessKeyId")),
        named("AWS_SECRET_ACCESS_KEY", between("SecretAccessKey")),
        named("AWS_SESSION_TOKEN", between("SessionToken")),
    ]);
    who
}

#[test]
fn nobody_takes_their_own_access_away() {
    let Some(mut cloud) = Cloud::new() else {
        return;
    };
    let moto = cloud.endpoint.clone();
    let pretend = cloud.pretend();
    cloud.put("app/a.txt", "v1");
    let me = "arn:aws:iam::123456789012:role/teams/deployer";
    let other = cloud.who.clone();
    let deployer = session(&cloud, &moto, "arn:aws:iam::123456789012:role/deployer");
    cloud.who.clone_from(&deployer);
    let access =
        |policy: &str| format!("{CLUSTER}  access: {{\"{me}\": {{policies: [{policy}]}}}}\n");
    // Who makes a cluster may do everything in it, until an entry says less.
    cloud.configure("", &access("AmazonEKSViewPolicy"));
    cloud
        .plan()
        .code(6)
        .says("is your own, and would take the place of how you come in now");
    cloud.configure("", &access("AmazonEKSClusterAdminPolicy"));
    cloud.apply().code(0).says("blue is active");
    cloud.plan().code(0).says("No changes");
    cloud.configure("", &access("AmazonEKSViewPolicy"));
    cloud
        .plan()
        .code(6)
        .says("is your own, and would give")
        .says("AmazonEKSClusterAdminPolicy");
    cloud.configure("", CLUSTER);
    cloud
        .plan()
        .code(6)
        .says("would be deleted: you would lose access to the cluster");
    // Somebody else may; and their plan is refused to the one it locks out.
    cloud.who = other;
    cloud
        .run(&["plan", "--env", "staging", "--out", "p.json"])
        .code(0)
        .says("- access_entry.");
    cloud.who = deployer;
    cloud
        .run(&["apply", "p.json", "--auto-approve"])
        .code(6)
        .says("would be deleted: you would lose access to the cluster");
    assert_eq!(pretend.known().entries.len(), 1);
}

#[test]
fn a_cluster_is_upgraded_one_minor_version_at_a_time() {
    let Some(mut cloud) = Cloud::new() else {
        return;
    };
    let pretend = cloud.pretend();
    cloud.put("app/a.txt", "v1");
    cloud.configure("", CLUSTER);
    cloud.apply().code(0).says("blue is active");
    cloud.configure("", &CLUSTER.replace("1.33", "1.35"));
    cloud.plan().code(2).says("- 1.33").says("+ 1.35");
    cloud
        .apply()
        .code(0)
        .says("upgrading to 1.34")
        .says("upgrading to 1.35")
        .says("is UPDATING");
    cloud.plan().code(0).says("No changes");
    assert_eq!(pretend.known().version.as_deref(), Some("1.35"));
    cloud.configure("", CLUSTER);
    cloud
        .apply()
        .code(1)
        .says("there is no way from one to the other");
}

#[test]
fn credentials_come_from_a_web_identity_and_from_the_machine() {
    let Some(mut cloud) = Cloud::new() else {
        return;
    };
    cloud.put("app/a.txt", "v1");
    cloud.configure("", "");
    let pretend = Pretend::start(cloud.endpoint.trim_start_matches("http://"));
    cloud.endpoint = format!("http://{}", pretend.address);
    let named = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    };
    let home = cloud.path().display().to_string();
    let nothing = [("HOME", home.as_str()), ("AWS_MAX_ATTEMPTS", "1")];
    // A pod's: a token in a file, and the role it is for.
    cloud.put("token", "canary-secret-key-web");
    let token = cloud.path().join("token").display().to_string();
    let role = "arn:aws:iam::123456789012:role/web";
    let web = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token.as_str()),
        ("AWS_ROLE_ARN", role),
    ];
    let off = ("AWS_EC2_METADATA_DISABLED", "true");
    cloud.who = named(&[&nothing[..], &web[..], &[off]].concat());
    let doctor = |cloud: &Cloud| cloud.run(&["doctor", "--env", "staging"]);
    doctor(&cloud).says("Amazon knows this identity: arn:aws:sts::123456789012:assumed-role/web/");
    // One that has ended, and one that is not there.
    pretend.known().web_identity = Some("ExpiredTokenException");
    cloud.plan().code(1).says("expired").says("help:");
    pretend.known().web_identity = None;
    std::fs::remove_file(&token).expect("removed");
    cloud.plan().code(1).says(&token).says("help:");

    // The machine's role.
    let service = cloud.endpoint.clone();
    cloud.who = named(
        &[
            &nothing[..],
            &[("AWS_EC2_METADATA_SERVICE_ENDPOINT", service.as_str())],
        ]
        .concat(),
    );
    cloud.plan().code(1).says("no credentials were found");
    pretend.known().machine = Some(
        json!({"Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": "AKIAIOSFODNN7EXAMPLE",
        "SecretAccessKey": "canary-secret-key-5e1d", "Token": "t", "Expiration": "2099-01-01T00:00:00Z",
        "LastUpdated": "2026-01-01T00:00:00Z"}),
    );
    doctor(&cloud).says("Amazon knows this identity: arn:aws:sts::123456789012:");

    // A session of SSO that nobody logged in to.
    cloud.put(
        ".aws/config",
        "[profile shop]\nsso_session = corp\nsso_account_id = 123456789012\nsso_role_name = dev\n\
         [sso-session corp]\nsso_region = eu-central-1\nsso_start_url = https://corp.example.com/start\n",
    );
    cloud.who = named(&[&nothing[..], &[off, ("AWS_PROFILE", "shop")]].concat());
    cloud.plan().code(1).says("aws sso login");
}

/// Every file below a folder that has this in it.
fn leaks(folder: &Path, canary: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
    {
        let path = entry.path();
        if path.is_dir() {
            leaks(&path, canary, found);
        } else if std::fs::read(&path).is_ok_and(|bytes| {
            bytes
                .windows(canary.len())
                .any(|part| part == canary.as_bytes())
        }) {
            found.push(path);
        }
    }
}

#[test]
fn no_credential_and_no_token_is_written_down_or_given_to_a_child() {
    let Some(cloud) = Cloud::new() else { return };
    cloud.put("app/a.txt", "v1");
    cloud.configure("", CLUSTER);
    // What every child of the run was started with, as a build sees it.
    let file = cloud.path().join("shipit.yaml");
    let text = std::fs::read_to_string(&file).expect("a file").replace(
        "context: app,",
        "context: app, run: {shell: \"cat /proc/[0-9]*/cmdline | tr '\\\\000' ' ' > ../argv\"},",
    );
    std::fs::write(&file, text).expect("written");
    cloud
        .run(&["plan", "--env", "staging", "--out", "p.json"])
        .code(0);
    cloud
        .run(&[
            "apply",
            "--env",
            "staging",
            "--auto-approve",
            "--output",
            "json",
        ])
        .code(0);
    let argv = std::fs::read_to_string(cloud.path().join("argv")).expect("what ran");
    assert!(argv.contains("shipit") || argv.contains("apply"), "{argv}");
    for canary in ["canary-secret-key-5e1d", "k8s-aws-v1."] {
        let mut found = Vec::new();
        leaks(cloud.path(), canary, &mut found);
        assert!(found.is_empty(), "{canary}: {found:?}");
    }
}

/// The folder with the tools that the tests have built.
pub fn tools() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/build");
    let built = Command::new(script).output().expect("it starts");
    PathBuf::from(String::from_utf8_lossy(&built.stdout).trim())
}

pub fn git(folder: &Path, arguments: &[&str]) {
    let output = Command::new("git")
        .args(["-c", "user.name=a", "-c", "user.email=a@example.com"])
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("git starts");
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The example with three branches, on the tests' own parts.
pub fn example(cloud: &Cloud) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/eks-fargate");
    let copied = Command::new("cp")
        .arg("-r")
        .arg(format!("{}/.", from.display()))
        .arg(cloud.path())
        .status();
    assert!(copied.expect("cp starts").success());
    let (server, ca) = cloud.control_plane();
    let (name, to) = (&cloud.name, &cloud.admin.registry);
    let file = cloud.path().join("shipit.yaml");
    let text = std::fs::read_to_string(&file).expect("a file");
    let text = text
        .replace("project: storefront", &format!("project: {name}"))
        .replace(
            "storefront/{{ service }}",
            &format!("{name}/{{{{ service }}}}"),
        )
        .replace("kind: ecr\n", &format!("kind: ecr\n  endpoint: {to}\n"))
        .replace(
            "name: storefront\n",
            &format!("name: {name}\n  endpoint: {server}\n  certificate_authority: {ca}\n"),
        )
        .replace(
            "docker.io/library/busybox:1.36",
            &format!("{to}/{name}/base:1"),
        );
    std::fs::write(&file, text).expect("written");
    let file = cloud.path().join("environments/production.yaml");
    let text = std::fs::read_to_string(&file)
        .expect("a file")
        .replace("storefront-", &format!("{name}-"));
    std::fs::write(&file, text).expect("written");
    // A base image of the tests' own: there is no outside registry to pull from.
    let base = cloud
        .path()
        .join("../")
        .canonicalize()
        .expect("a folder")
        .join(format!("{name}-base"));
    std::fs::create_dir_all(&base).expect("a folder");
    std::fs::copy("/bin/busybox", base.join("busybox")).expect("busybox-static is there");
    std::fs::write(
        base.join("Dockerfile"),
        "FROM scratch\nCOPY busybox /bin/busybox\n",
    )
    .expect("written");
    let tag = format!("{to}/{name}/base:1");
    for arguments in [
        vec!["build", "--quiet", "--tag", &tag, "."],
        vec!["push", "--quiet", &tag],
    ] {
        let output = Command::new("docker")
            .args(&arguments)
            .current_dir(&base)
            .output()
            .expect("docker starts");
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    std::fs::remove_dir_all(base).expect("removed");
}

#[test]
fn the_example_goes_from_an_empty_account_through_three_branches_and_back() {
    let Some(cloud) = Cloud::new() else { return };
    example(&cloud);
    let root = cloud.path().to_owned();
    std::fs::write(root.join(".gitignore"), "/state/\n").expect("written");
    let run = |arguments: &[&str]| {
        let path = format!(
            "{}:{}",
            tools().display(),
            std::env::var("PATH").expect("a path")
        );
        Said::from(
            &cloud
                .command(arguments)
                .env("PATH", path)
                .output()
                .expect("shipit starts"),
        )
    };
    git(&root, &["init", "--quiet", "--initial-branch", "master"]);
    git(&root, &["add", "."]);
    git(&root, &["commit", "--quiet", "--message", "the example"]);
    git(&root, &["branch", "staging"]);
    git(&root, &["checkout", "--quiet", "-b", "develop"]);
    // From nothing to live: the repository, the cluster, its profile, the image, the pods.
    run(&["apply", "--auto-approve"])
        .code(0)
        .says("develop")
        .says("release 1; blue is active");

    // A commit on develop goes live there; what was merged from it goes live on staging, with the
    // same image.
    std::fs::write(root.join("app/index.html"), "<h1>two</h1>\n").expect("written");
    git(&root, &["commit", "--quiet", "--all", "--message", "two"]);
    run(&["apply", "--auto-approve"])
        .code(0)
        .says("release 2; green is active");
    git(&root, &["checkout", "--quiet", "staging"]);
    git(
        &root,
        &[
            "merge",
            "--quiet",
            "--no-ff",
            "--message",
            "merge develop",
            "develop",
        ],
    );
    run(&["apply", "--auto-approve"])
        .code(0)
        .says("are built already")
        .says("release 1; blue is active");

    // Nobody commits on staging itself.
    std::fs::write(root.join("app/index.html"), "<h1>by hand</h1>\n").expect("written");
    git(
        &root,
        &["commit", "--quiet", "--all", "--message", "by hand"],
    );
    run(&["apply", "--auto-approve"]).code(6);
    git(&root, &["reset", "--quiet", "--hard", "HEAD~1"]);

    // The same image on to production, where it waits for its word; and back.
    git(&root, &["checkout", "--quiet", "master"]);
    git(
        &root,
        &[
            "merge",
            "--quiet",
            "--no-ff",
            "--message",
            "merge staging",
            "staging",
        ],
    );
    run(&["promote", "staging", "--to", "production", "--auto-approve"])
        .code(0)
        .says("waits");
    run(&["promote", "blue", "--env", "production", "--auto-approve"])
        .code(0)
        .says("blue is active");
    git(&root, &["checkout", "--quiet", "develop"]);
    std::fs::write(root.join("app/index.html"), "<h1>three</h1>\n").expect("written");
    git(&root, &["commit", "--quiet", "--all", "--message", "three"]);
    run(&["apply", "--auto-approve"]).code(0).says("release 3");
    git(&root, &["checkout", "--quiet", "staging"]);
    git(
        &root,
        &[
            "merge",
            "--quiet",
            "--no-ff",
            "--message",
            "merge develop",
            "develop",
        ],
    );
    run(&["apply", "--auto-approve"])
        .code(0)
        .says("release 2; green is active");
    git(&root, &["checkout", "--quiet", "master"]);
    git(
        &root,
        &[
            "merge",
            "--quiet",
            "--no-ff",
            "--message",
            "merge staging",
            "staging",
        ],
    );
    run(&["promote", "staging", "--to", "production", "--auto-approve"])
        .code(0)
        .says("waits");
    run(&["promote", "green", "--env", "production", "--auto-approve"])
        .code(0)
        .says("green is active");
    run(&["rollback", "--env", "production", "--auto-approve"])
        .code(0)
        .says("blue is active");
    for environment in ["develop", "staging", "production"] {
        run(&["destroy", "--env", environment, "--auto-approve"])
            .code(0)
            .says("nothing is live");
    }
}

/// One request of a whole run is spoiled, at Amazon or at the registry. Whatever comes of that run,
/// it is said in a way that helps, and the next one comes to the same end; nothing is there twice.
#[test]
fn any_request_may_fail_in_any_way() {
    use crate::faults::{FAULTS, Fault, Proxy};
    let Some(first) = Cloud::new() else { return };
    let only = std::env::var("SHIPIT_TEST_FAULTS").ok();
    // How many requests an undisturbed run sends.
    let run = |cloud: &Cloud, amazon: (usize, Fault), registry: (usize, Fault)| {
        let aws = Proxy::start(
            cloud.endpoint.trim_start_matches("http://"),
            amazon.0,
            amazon.1,
        );
        let images = Proxy::start(&cloud.admin.registry, registry.0, registry.1);
        cloud.put("app/a.txt", "v1");
        cloud.configure(
            "  immutable_tags: true\n  retention: {tagged: 30}\n",
            CLUSTER,
        );
        let file = cloud.path().join("shipit.yaml");
        let text = std::fs::read_to_string(&file).expect("a file");
        let through = text.replace(
            &format!("endpoint: {}\n", cloud.admin.registry),
            &format!("endpoint: {}\n", images.address),
        );
        std::fs::write(&file, through).expect("written");
        let mut command = cloud.command(&["apply", "--env", "staging", "--auto-approve"]);
        command
            .env("AWS_ENDPOINT_URL", format!("http://{}", aws.address))
            .env("AWS_ENDPOINT_URL_STS", &cloud.endpoint);
        let said = Said::from(&command.output().expect("shipit starts"));
        let counts = (aws.seen(), images.seen());
        // Again, undisturbed, by the same address.
        let mut command = cloud.command(&["apply", "--env", "staging", "--auto-approve"]);
        command
            .env("AWS_ENDPOINT_URL", format!("http://{}", aws.address))
            .env("AWS_ENDPOINT_URL_STS", &cloud.endpoint);
        let again = Said::from(&command.output().expect("shipit starts"));
        (said, counts, again)
    };
    let never = (0, Fault::Lost);
    let (said, (amazon, registry), again) = run(&first, never, never);
    said.code(0);
    again.code(0).says("No changes");
    assert!(
        amazon > 10 && registry > 5,
        "{amazon} and {registry} requests"
    );
    let mut cases = Vec::new();
    for fault in FAULTS {
        cases.extend((1..=amazon).map(|number| ((number, fault), never)));
        cases.extend((1..=registry).map(|number| (never, (number, fault))));
    }
    cases.extend((1..=registry).map(|number| (never, (number, Fault::Wrong))));
    // A few of all the cases, others each time; SHIPIT_TEST_FAULTS tries every one, or all of one
    // kind: `Wrong`.
    if let Some(only) = only.as_deref().filter(|only| *only != "1") {
        cases.retain(|(amazon, registry)| {
            let fault = if registry.0 > 0 { registry.1 } else { amazon.1 };
            format!("{fault:?}") == only
        });
    }
    let start = std::process::id() as usize;
    let step = if only.is_some() { 1 } else { cases.len() / 20 };
    let chosen: Vec<_> = (0..cases.len())
        .step_by(step)
        .map(|at| cases[(at + start) % cases.len()])
        .collect();
    let (mut held, mut failed) = (0, 0);
    for (amazon, registry) in chosen {
        let cloud = Cloud::new().expect("it is there");
        let (said, _, again) = run(&cloud, amazon, registry);
        let what = format!(
            "Amazon {amazon:?}, registry {registry:?}\n{}\n{}",
            said.stdout, said.stderr
        );
        match said.code {
            Some(0) => held += 1,
            Some(1) => {
                failed += 1;
                assert!(said.stderr.contains("help:"), "{what}");
            }
            _ => panic!("{what}"),
        }
        assert!(!said.stderr.contains("panicked"), "{what}");
        assert_eq!(
            again.code,
            Some(0),
            "{what}\n--- again\n{}\n{}",
            again.stdout,
            again.stderr
        );
        let status = cloud
            .run(&["status", "--env", "staging", "--output", "json"])
            .code(0);
        let status: Value = serde_json::from_str(&status.stdout).expect("JSON");
        assert_eq!(status["facts"]["active"], "blue", "{what}");
        let slots = status["facts"]["slots"].as_object().expect("slots");
        assert_eq!(slots.keys().collect::<Vec<_>>(), ["blue"], "{what}");
    }
    eprintln!(
        "{held} runs went on all the same, {failed} failed and came to the same end when run again"
    );
}
