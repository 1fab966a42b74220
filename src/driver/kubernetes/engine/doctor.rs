//! What shipit may do on a cluster: asked of the server, permission by permission.

use std::collections::BTreeSet;

use futures_util::future::try_join_all;
use http::Method;
use serde_json::{Value, json};

use crate::driver::kubernetes::client::api::{Api, ApiError, Kind};
use crate::driver::kubernetes::client::connect;
use crate::driver::kubernetes::engine::{KubernetesEngine, prerequisites};
use crate::model::task::TaskProgram;
use crate::model::{Manifest, ObjectKey};
use crate::port::engine::{CheckResult, EngineError, Scope};

/// What is done with a kind that shipit makes objects of.
const MADE: [&str; 6] = ["get", "list", "watch", "create", "patch", "delete"];

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Permission {
    verb: &'static str,
    group: String,
    resource: String,
    subresource: &'static str,
    namespace: Option<String>,
}

pub(super) async fn examine(
    engine: &KubernetesEngine,
    scope: &Scope,
    wanted: &[Manifest],
    tasks: &[&TaskProgram],
) -> Result<Vec<CheckResult>, EngineError> {
    let mut all: Vec<CheckResult> = connect::warnings(&engine.settings.connection)
        .into_iter()
        .map(unsafe_way)
        .collect();

    let api = engine.api().await?;
    let version = api
        .call(Method::GET, "/version", None)
        .await
        .map_err(|fault| fault.while_(format!("reaching {}", api.server)))?;
    let text = version["gitVersion"]
        .as_str()
        .unwrap_or("an unknown version");
    all.push(CheckResult {
        what: format!("{} answers: {text}", api.server),
        fault: None,
        help: None,
    });
    all.push(CheckResult {
        what: "the server is 1.30 or newer".to_owned(),
        fault: age(&version),
        help: None,
    });

    let failed = |fault: ApiError| fault.while_(format!("asking what is allowed in {scope}"));
    let permissions = permissions(engine, api, wanted, tasks)
        .await
        .map_err(failed)?;
    let asked = permissions.iter().map(|permission| async move {
        let fault = ask(api, permission).await?;
        Ok::<_, ApiError>((permission, fault))
    });
    for (permission, fault) in try_join_all(asked).await.map_err(failed)? {
        all.push(allowed(permission, fault));
    }
    let around = prerequisites::examine(api, wanted).await;
    all.extend(around.map_err(failed)?);
    Ok(all)
}

/// Whether something is allowed, with what to do when it is not.
fn allowed(permission: &Permission, fault: Option<String>) -> CheckResult {
    let place = permission
        .namespace
        .as_ref()
        .map_or_else(|| "all of the cluster".to_owned(), Clone::clone);
    let group = if permission.group.is_empty() {
        String::new()
    } else {
        format!(".{}", permission.group)
    };
    let sub = if permission.subresource.is_empty() {
        String::new()
    } else {
        format!("/{}", permission.subresource)
    };

    let what = format!(
        "{} {}{sub}{group} in {place}",
        permission.verb, permission.resource
    );
    let help = fault.as_ref().map(|_| {
        format!(
            "add the verb `{}` for `{}{sub}` to the Role",
            permission.verb, permission.resource
        )
    });
    CheckResult { what, fault, help }
}

fn unsafe_way(fault: String) -> CheckResult {
    let help =
        "put it right in the kubeconfig; until then this is only for a network that you trust";
    CheckResult {
        what: "the way to the cluster is safe".to_owned(),
        fault: Some(fault),
        help: Some(help.to_owned()),
    }
}

/// `preStop.sleep` is on since 1.30.
fn age(version: &Value) -> Option<String> {
    let number = |name: &str| {
        let text = version[name].as_str().unwrap_or_default();
        let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<u32>().unwrap_or(0)
    };
    let found = (number("major"), number("minor"));
    (found < (1, 30)).then(|| format!("it is {}.{}: pods would not stop gently", found.0, found.1))
}

async fn permissions(
    engine: &KubernetesEngine,
    api: &Api,
    wanted: &[Manifest],
    tasks: &[&TaskProgram],
) -> Result<BTreeSet<Permission>, ApiError> {
    let namespaces = &engine.settings.namespaces;
    let mut permissions = Permissions::default();
    permissions.for_records(api, &namespaces.home).await?;
    for namespace in namespaces.slots.values() {
        permissions
            .for_slot(api, namespace, &namespaces.home)
            .await?;
        permissions.for_tasks(api, namespace, tasks).await?;
    }
    for manifest in wanted {
        permissions.for_object(api, &manifest.key()).await?;
    }
    Ok(permissions.all)
}

/// What an environment needs to be allowed.
#[derive(Default)]
struct Permissions {
    all: BTreeSet<Permission>,
}

impl Permissions {
    fn add(
        &mut self,
        verb: &'static str,
        kind: &Kind,
        subresource: &'static str,
        namespace: Option<&str>,
    ) {
        self.all.insert(Permission {
            verb,
            group: kind.group().to_owned(),
            resource: kind.plural.clone(),
            subresource,
            namespace: namespace.filter(|_| kind.namespaced).map(str::to_owned),
        });
    }

    async fn for_records(&mut self, api: &Api, home: &str) -> Result<(), ApiError> {
        for name in [("v1", "ConfigMap"), ("v1", "Secret")] {
            let kind = api.must(name).await?;
            for verb in ["get", "create", "update", "patch", "delete"] {
                self.add(verb, &kind, "", Some(home));
            }
        }
        let lease = api.must(("coordination.k8s.io/v1", "Lease")).await?;
        for verb in ["get", "create", "update", "delete"] {
            self.add(verb, &lease, "", Some(home));
        }
        Ok(())
    }

    async fn for_slot(&mut self, api: &Api, namespace: &str, home: &str) -> Result<(), ApiError> {
        let pods = api.must(("v1", "Pod")).await?;
        for verb in ["list", "watch"] {
            self.add(verb, &pods, "", Some(namespace));
        }
        self.add("get", &pods, "log", Some(namespace));

        let events = api.must(("v1", "Event")).await?;
        self.add("list", &events, "", Some(namespace));

        let slices = api.must(("discovery.k8s.io/v1", "EndpointSlice")).await?;
        for verb in ["list", "watch"] {
            self.add(verb, &slices, "", Some(namespace));
            self.add(verb, &slices, "", Some(home));
        }
        Ok(())
    }

    /// A task that runs by itself is a Job, and one that is `exec` a command in a pod.
    async fn for_tasks(
        &mut self,
        api: &Api,
        namespace: &str,
        tasks: &[&TaskProgram],
    ) -> Result<(), ApiError> {
        for task in tasks {
            match task {
                TaskProgram::Run(_) => {
                    let jobs = api.must(("batch/v1", "Job")).await?;
                    for verb in ["get", "create", "delete"] {
                        self.add(verb, &jobs, "", Some(namespace));
                    }
                }
                TaskProgram::Exec { .. } => {
                    let pods = api.must(("v1", "Pod")).await?;
                    for verb in ["get", "create"] {
                        self.add(verb, &pods, "exec", Some(namespace));
                    }
                }
            }
        }
        Ok(())
    }

    async fn for_object(&mut self, api: &Api, key: &ObjectKey) -> Result<(), ApiError> {
        let Some(kind) = api.kind(&key.api_version, &key.kind).await? else {
            return Ok(());
        };
        for verb in MADE {
            self.add(verb, &kind, "", key.namespace.as_deref());
        }
        if key.kind == "CronJob" {
            // A switch hands over which time was the last one, and `status` shows what became of it.
            self.add("patch", &kind, "status", key.namespace.as_deref());
            let jobs = api.must(("batch/v1", "Job")).await?;
            self.add("list", &jobs, "", key.namespace.as_deref());
        }
        if key.kind == "HorizontalPodAutoscaler" {
            let deployments = api.must(("apps/v1", "Deployment")).await?;
            self.add("patch", &deployments, "scale", key.namespace.as_deref());
        }
        Ok(())
    }
}

/// Why something is not allowed; none when it is.
async fn ask(api: &Api, permission: &Permission) -> Result<Option<String>, ApiError> {
    let body = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {
            "verb": permission.verb, "group": permission.group, "resource": permission.resource,
            "subresource": permission.subresource, "namespace": permission.namespace,
        }},
    });
    let answer = api.create(&body).await?;
    if answer["status"]["allowed"] == true {
        return Ok(None);
    }
    let reason = answer["status"]["reason"]
        .as_str()
        .filter(|reason| !reason.is_empty());
    Ok(Some(reason.unwrap_or("not allowed").to_owned()))
}
