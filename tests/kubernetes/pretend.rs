//! What moto lacks of Amazon, played in front of it: addons, access entries and versions of EKS,
//! pull-through rules and replication of ECR, a machine's metadata. Everything else is passed on to
//! moto.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::{Method, Request, Response};
use serde_json::{Value, json};

use crate::front::{Behind, Front};

/// What the played services know. Tests change it as somebody else would.
#[derive(Default)]
pub struct Known {
    pub addons: BTreeMap<String, Value>,
    /// By principal: the entry, and its policies with their scopes.
    pub entries: BTreeMap<String, (Value, BTreeMap<String, Value>)>,
    pub pull_through: BTreeMap<String, Value>,
    pub replication: Vec<Value>,
    /// The cluster's version, once it was upgraded.
    pub version: Option<String>,
    /// How often a cluster that is upgraded says so.
    updating: u8,
    /// What a machine's metadata service says of its role; nothing without it.
    pub machine: Option<Value>,
    /// What STS says to a web identity, instead of moto.
    pub web_identity: Option<&'static str>,
    /// What came, for a test to look at: `DELETE /clusters/shop/addons/coredns?preserve=true`.
    pub calls: Vec<String>,
}

/// The played services; they end with it.
pub struct Pretend {
    pub address: SocketAddr,
    known: Arc<Mutex<Known>>,
    _front: Front,
}

impl Pretend {
    /// In front of moto at `target` (`127.0.0.1:5000`).
    pub fn start(target: &str) -> Self {
        let known = Arc::new(Mutex::new(Known::default()));
        let (shared, target) = (Arc::clone(&known), target.to_owned());
        let front = Front::start(move |moto, request| {
            serve(moto, target.clone(), Arc::clone(&shared), request)
        });
        Self {
            address: front.address,
            known,
            _front: front,
        }
    }

    pub fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().expect("nobody panicked")
    }
}

async fn serve(
    client: Behind,
    target: String,
    known: Arc<Mutex<Known>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, std::io::Error> {
    let (head, body) = request.into_parts();
    let body = body
        .collect()
        .await
        .map_err(std::io::Error::other)?
        .to_bytes();
    let action = head
        .headers
        .get("x-amz-target")
        .and_then(|value| value.to_str().ok());
    let action = action
        .and_then(|target| target.split('.').nth(1))
        .unwrap_or_default()
        .to_owned();
    let path = decoded(head.uri.path());
    let query = head
        .uri
        .query()
        .map(|query| format!("?{query}"))
        .unwrap_or_default();
    let own = {
        let mut known = known.lock().expect("nobody panicked");
        known
            .calls
            .push(format!("{} {path}{query}{action}", head.method));
        known.answer(&head.method, &path, &action, &body)
    };
    if let Some((status, kind, value)) = own {
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        let answer = Response::builder()
            .status(status)
            .header("x-amzn-errortype", kind);
        let answer = answer.header("x-aws-ec2-metadata-token-ttl-seconds", "21600");
        return Ok(answer
            .body(Full::new(Bytes::from(text)))
            .expect("an answer"));
    }
    let mut to = Request::builder()
        .method(head.method.clone())
        .uri(format!("http://{target}{}", head.uri));
    for (name, value) in head
        .headers
        .iter()
        .filter(|(name, _)| *name != "connection")
    {
        to = to.header(name, value);
    }
    let answer = client
        .request(to.body(Full::new(body)).expect("a request"))
        .await
        .map_err(std::io::Error::other)?;
    let (mut head_back, body) = answer.into_parts();
    let body = body
        .collect()
        .await
        .map_err(std::io::Error::other)?
        .to_bytes();
    let body = known
        .lock()
        .expect("nobody panicked")
        .rewritten(&head.method, &path, body);
    head_back.headers.remove("content-length");
    Ok(Response::from_parts(head_back, Full::new(body)))
}

/// A path as text, with nothing escaped.
fn decoded(path: &str) -> String {
    let mut bytes = path.bytes();
    let mut plain = Vec::new();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            plain.push(byte);
            continue;
        }
        let mut digit = || {
            char::from(bytes.next().unwrap_or(b'0'))
                .to_digit(16)
                .unwrap_or(0)
        };
        plain.push(u8::try_from(digit() * 16 + digit()).unwrap_or(b'?'));
    }
    String::from_utf8(plain).expect("text")
}

type Answer = Option<(u16, &'static str, Value)>;

#[allow(clippy::unnecessary_wraps)] // what is not answered is passed on
fn well(value: Value) -> Answer {
    Some((200, "", value))
}

#[allow(clippy::unnecessary_wraps)]
fn missing(kind: &'static str) -> Answer {
    Some((
        404,
        kind,
        json!({"message": "it is not there", "__type": kind}),
    ))
}

impl Known {
    fn answer(&mut self, method: &Method, path: &str, action: &str, body: &[u8]) -> Answer {
        let parts: Vec<&str> = path.trim_matches('/').splitn(4, '/').collect();
        let json = || serde_json::from_slice::<Value>(body).unwrap_or(Value::Null);
        match (action, &parts[..]) {
            ("", ["latest", ..]) => Some(self.metadata(path)),
            ("", ["clusters", _, "addons", rest @ ..]) => {
                self.addon(method, rest.first().copied().unwrap_or_default(), &json())
            }
            ("", ["clusters", _, "access-entries", rest @ ..]) => {
                self.entry(method, rest.first().copied().unwrap_or_default(), &json())
            }
            ("", ["clusters", _, "updates"]) => self.upgrade(&json()),
            ("", ["tags", ..]) if path.contains(":addon/") => {
                let name = path.rsplit('/').next().unwrap_or_default();
                let addon = self.addons.get_mut(name).expect("an addon");
                let tags = addon["tags"].as_object_mut().expect("tags");
                match *method {
                    Method::DELETE => tags.retain(|key, _| !key.ends_with("preserve")),
                    _ => tags.extend(json()["tags"].as_object().expect("tags").clone()),
                }
                well(json!({}))
            }
            ("", _) => {
                let asks =
                    String::from_utf8_lossy(body).contains("Action=AssumeRoleWithWebIdentity");
                let kind = self.web_identity.filter(|_| asks)?;
                let text = format!(
                    "<ErrorResponse><Error><Type>Sender</Type><Code>{kind}</Code><Message>Token expired</Message></Error></ErrorResponse>"
                );
                Some((400, kind, json!(text)))
            }
            (action, _) => self.ecr(action, &json()),
        }
    }

    /// A cluster of moto's, with the version that it has been given here.
    fn rewritten(&mut self, method: &Method, path: &str, body: Bytes) -> Bytes {
        let is_cluster = path
            .strip_prefix("/clusters/")
            .is_some_and(|name| !name.contains('/'));
        let Some(version) = self
            .version
            .clone()
            .filter(|_| is_cluster && *method == Method::GET)
        else {
            return body;
        };
        let Ok(mut whole) = serde_json::from_slice::<Value>(&body) else {
            return body;
        };
        whole["cluster"]["version"] = json!(version);
        if self.updating > 0 {
            self.updating -= 1;
            whole["cluster"]["status"] = json!("UPDATING");
        }
        Bytes::from(whole.to_string())
    }

    fn metadata(&self, path: &str) -> (u16, &'static str, Value) {
        let Some(role) = &self.machine else {
            return (404, "", json!(""));
        };
        match path
            .trim_end_matches('/')
            .rsplit('/')
            .next()
            .unwrap_or_default()
        {
            "token" => (200, "", json!("a-token")),
            "security-credentials" => (200, "", json!("machine")),
            "machine" if !path.contains("extended") => (200, "", json!(role.to_string())),
            _ => (404, "", json!("")),
        }
    }

    /// One minor version at a time, as Amazon has it.
    fn upgrade(&mut self, body: &Value) -> Answer {
        let minor = |version: &str| {
            version
                .split_once('.')
                .and_then(|(_, minor)| minor.parse::<u32>().ok())
        };
        let now = self.version.clone().unwrap_or_else(|| "1.33".to_owned());
        let goal = body["version"].as_str().unwrap_or_default().to_owned();
        if minor(&now).map(|minor| minor + 1) != minor(&goal) {
            let message =
                format!("Unsupported Kubernetes minor version update from {now} to {goal}");
            return Some((
                400,
                "InvalidParameterException",
                json!({"message": message}),
            ));
        }
        (self.version, self.updating) = (Some(goal), 1);
        well(json!({"update": {"id": "1", "status": "InProgress"}}))
    }

    fn addon(&mut self, method: &Method, rest: &str, body: &Value) -> Answer {
        let name = rest.split('/').next().unwrap_or_default();
        if rest.is_empty() && *method == Method::GET {
            return well(json!({"addons": self.addons.keys().collect::<Vec<_>>()}));
        }
        if rest.is_empty() {
            let name = body["addonName"].as_str().expect("a name").to_owned();
            let mut addon = body.clone();
            addon["addonArn"] = json!(format!(
                "arn:aws:eks:eu-central-1:123456789012:addon/shop/{name}"
            ));
            addon["status"] = json!("CREATING");
            if addon["addonVersion"].is_null() {
                addon["addonVersion"] = json!("v1.0.0-eksbuild.1");
            }
            self.addons.insert(name, addon.clone());
            return well(json!({ "addon": addon }));
        }
        let Some(addon) = self.addons.get_mut(name) else {
            return missing("ResourceNotFoundException");
        };
        match *method {
            Method::DELETE => {
                let addon = self.addons.remove(name);
                well(json!({ "addon": addon }))
            }
            Method::POST => {
                let changes = body.as_object().expect("changes").clone();
                addon.as_object_mut().expect("an addon").extend(changes);
                addon["status"] = json!("UPDATING");
                well(json!({"update": {"id": "1", "status": "InProgress"}}))
            }
            _ => {
                let answer = json!({ "addon": addon });
                // It is there the next time, unless it never will be.
                let is_wrong = addon["configurationValues"]
                    .as_str()
                    .is_some_and(|text| text.contains("wrong"));
                if is_wrong {
                    addon["status"] = json!("CREATE_FAILED");
                    addon["health"] = json!({"issues": [{"code": "ConfigurationConflict",
                        "message": "somebody else has put it there", "resourceIds": ["DaemonSet/aws-node"]}]});
                } else {
                    addon["status"] = json!("ACTIVE");
                }
                well(answer)
            }
        }
    }

    fn entry(&mut self, method: &Method, rest: &str, body: &Value) -> Answer {
        if rest.is_empty() && *method == Method::GET {
            return well(json!({"accessEntries": self.entries.keys().collect::<Vec<_>>()}));
        }
        if rest.is_empty() {
            let principal = body["principalArn"]
                .as_str()
                .expect("a principal")
                .to_owned();
            self.entries
                .insert(principal, (body.clone(), BTreeMap::new()));
            return well(json!({ "accessEntry": body }));
        }
        let (principal, policy) = match rest.split_once("/access-policies") {
            Some((principal, policy)) => (principal, Some(policy.trim_start_matches('/'))),
            None => (rest, None),
        };
        let Some((entry, policies)) = self.entries.get_mut(principal) else {
            return missing("ResourceNotFoundException");
        };
        match (policy, method) {
            (None, &Method::GET) => well(json!({ "accessEntry": entry })),
            (None, &Method::DELETE) => {
                self.entries.remove(principal);
                well(json!({}))
            }
            (None, _) => {
                entry["kubernetesGroups"] = body["kubernetesGroups"].clone();
                well(json!({ "accessEntry": entry }))
            }
            (Some(_), &Method::GET) => {
                let all: Vec<Value> = policies
                    .iter()
                    .map(|(arn, scope)| json!({"policyArn": arn, "accessScope": scope}))
                    .collect();
                well(json!({ "associatedAccessPolicies": all }))
            }
            (Some(policy), &Method::DELETE) => {
                policies.remove(policy);
                well(json!({}))
            }
            (Some(_), _) => {
                let policy = body["policyArn"].as_str().expect("a policy").to_owned();
                policies.insert(policy, body["accessScope"].clone());
                well(json!({}))
            }
        }
    }

    fn ecr(&mut self, action: &str, body: &Value) -> Answer {
        let prefix = body["ecrRepositoryPrefix"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let none = || {
            let kind = "PullThroughCacheRuleNotFoundException";
            Some((
                400,
                kind,
                json!({"__type": kind, "message": "it is not there"}),
            ))
        };
        match action {
            "DescribeRegistry" => well(json!({"registryId": "123456789012",
                "replicationConfiguration": {"rules": self.replication}})),
            "PutReplicationConfiguration" => {
                let rules = body["replicationConfiguration"]["rules"]
                    .as_array()
                    .expect("rules");
                self.replication.clone_from(rules);
                well(json!({}))
            }
            "CreatePullThroughCacheRule" => {
                self.pull_through.insert(prefix, body.clone());
                well(body.clone())
            }
            "DescribePullThroughCacheRules" => {
                let prefix = body["ecrRepositoryPrefixes"][0]
                    .as_str()
                    .unwrap_or_default();
                match self.pull_through.get(prefix) {
                    Some(rule) => well(json!({"pullThroughCacheRules": [rule]})),
                    None => none(),
                }
            }
            "UpdatePullThroughCacheRule" => match self.pull_through.get_mut(&prefix) {
                Some(rule) => {
                    rule["credentialArn"] = body["credentialArn"].clone();
                    well(json!({}))
                }
                None => none(),
            },
            "DeletePullThroughCacheRule" => match self.pull_through.remove(&prefix) {
                Some(rule) => well(rule),
                None => none(),
            },
            _ => None,
        }
    }
}
