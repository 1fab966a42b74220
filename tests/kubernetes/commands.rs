//! Commands in pods of their own: what they leave, and what they wrote before anybody looked.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::front::Front;
use crate::rounds::client;
use crate::said::Said;
use crate::site::{Site, until};

impl Site {
    /// The pods of commands.
    fn commands(&self) -> Vec<Value> {
        let path = format!(
            "{}?labelSelector=shipit.dev/command",
            self.cluster.of("v1", "pods")
        );
        let list = self.cluster.get(&path);
        list["items"].as_array().cloned().unwrap_or_default()
    }
}

/// A site whose first release is live, and an account that may make pods: the documented Role may
/// not.
fn live() -> Option<Site> {
    let mut site = Site::new()?;
    site.kubeconfig = site.cluster.admin.kubeconfig.clone();
    site.apply().code(0);
    Some(site)
}

/// What `shipit run` has made when it is killed, and what nobody takes away then.
fn leave_behind(site: &Site) -> String {
    let pod = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"generateName": "web-command-", "labels": {"shipit.dev/project": "shop",
            "shipit.dev/environment": "staging", "shipit.dev/command": "blue.web"}},
        "spec": {"restartPolicy": "Never", "activeDeadlineSeconds": 3600,
            "securityContext": {"runAsNonRoot": true, "runAsUser": 1000,
                "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{"name": "web", "image": "example.com/web:1", "command": ["sleep", "9"],
                "securityContext": {"allowPrivilegeEscalation": false,
                    "capabilities": {"drop": ["ALL"]}}}]}});
    site.cluster.post(&site.cluster.of("v1", "pods"), &pod);
    let name = site.commands()[0]["metadata"]["name"].clone();
    name.as_str().expect("a name").to_owned()
}

#[test]
fn destroy_ends_the_pod_of_a_command_whose_shipit_has_died() {
    let Some(site) = live() else { return };
    let destroy = ["destroy", "--env", "staging", "--auto-approve"];
    let name = leave_behind(&site);
    site.run(&destroy)
        .code(0)
        .says(&format!("- Pod/{name}"))
        .says("a command of `shipit run`");
    until("the pod is gone", || site.commands().is_empty());

    // One that came behind the end is found as well.
    let name = leave_behind(&site);
    site.run(&destroy).code(0).says(&format!("- Pod/{name}"));
    until("the pod is gone", || site.commands().is_empty());
    site.run(&destroy).code(0).says("No changes");
}

/// What a command ends as before anybody could be attached to it.
async fn answer(
    kubeconfig: std::path::PathBuf,
    kube: Arc<OnceCell<kube::Client>>,
    has_ended: Arc<AtomicBool>,
    request: Request<Incoming>,
) -> Result<Response<Body>, std::io::Error> {
    let path = request.uri().path().to_owned();
    let said = |status: StatusCode, body: String| {
        let response = Response::builder().status(status);
        let response = response.header("content-type", "application/json");
        response
            .body(Body::from(body.into_bytes()))
            .map_err(std::io::Error::other)
    };
    if path.ends_with("/attach") {
        has_ended.store(true, Ordering::SeqCst);
        let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 400,
            "reason": "BadRequest", "message": "the container is not running"});
        return said(StatusCode::BAD_REQUEST, status.to_string());
    }
    if path.ends_with("/log") {
        return said(StatusCode::OK, "first\nlast\n".to_owned());
    }

    let is_pod = path.contains("/pods/web-command-") && request.method() == "GET";
    let client = kube.get_or_init(|| client(&kubeconfig)).await;
    let (mut head, body) = request.into_parts();
    head.headers.remove("host");
    let body = body.collect().await.map_err(std::io::Error::other)?;
    let request = Request::from_parts(head, Body::from(body.to_bytes()));
    let answer = client.send(request).await.map_err(std::io::Error::other)?;
    if !is_pod || !answer.status().is_success() || !has_ended.load(Ordering::SeqCst) {
        return Ok(answer);
    }
    let body = answer.into_body().collect().await;
    let body = body.map_err(std::io::Error::other)?.to_bytes();
    let mut pod: Value = serde_json::from_slice(&body).map_err(std::io::Error::other)?;
    let container = pod["spec"]["containers"][0]["name"].clone();
    pod["status"]["phase"] = "Succeeded".into();
    pod["status"]["containerStatuses"] =
        json!([{"name": container, "state": {"terminated": {"exitCode": 7}}}]);
    said(StatusCode::OK, pod.to_string())
}

#[test]
fn what_a_command_wrote_before_anybody_was_attached_is_shown() {
    let Some(mut site) = live() else { return };
    let (own, kube) = (site.kubeconfig.clone(), Arc::new(OnceCell::new()));
    let has_ended = Arc::new(AtomicBool::new(false));
    let front = Front::start(move |_, request| {
        answer(
            own.clone(),
            Arc::clone(&kube),
            Arc::clone(&has_ended),
            request,
        )
    });
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
         clusters: [{{name: c, cluster: {{server: \"http://{}\"}}}}]\n\
         users: [{{name: c, user: {{}}}}]\ncontexts: [{{name: c, context: {{cluster: c, user: c}}}}]\n",
        front.address
    );
    site.put("front.kubeconfig", &text);
    site.kubeconfig = site.path().join("front.kubeconfig");

    let mut command: Command =
        site.command(&["run", "web", "--env", "staging", "-i", "--", "true"]);
    let said = Said::from(&command.output().expect("shipit starts"));
    let said = said.code(7);
    assert_eq!(said.stdout, "first\nlast\n", "{}", said.stderr);
}
