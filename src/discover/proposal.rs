//! What is proposed, before it is YAML.

use std::collections::BTreeMap;
use std::fmt;

use crate::model::port::PortName;
use crate::model::{Period, ProjectName, ServiceName};

/// The most characters of a remark: hostile names are no reason for a page of them.
const LONGEST: usize = 300;
/// The most characters of a name, so that a slot's name fits behind it.
const LONGEST_NAME: usize = 50;

/// What has no counterpart, or what a person should look at: one line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Remark(String);

impl Remark {
    /// One line, whatever is in the text.
    pub(super) fn new(text: impl AsRef<str>) -> Self {
        let text = &without_logins(text.as_ref());
        let mut line: String = text.chars().take(LONGEST).flat_map(visible).collect();
        if text.chars().nth(LONGEST).is_some() {
            line.push('…');
        }
        Self(line)
    }

    /// That a key of the source is left out, and why.
    pub(super) fn left_out(key: &str, why: &str) -> Self {
        Self::new(format!("left out: {key}: {why}"))
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text with dots in the place of logins in addresses: `https://…@host`.
fn without_logins(text: &str) -> String {
    let mut parts = text.split("//");
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(['/', ' ', '`', '\'', '"']).unwrap_or(part.len());
        let from = part[..end].rfind('@').unwrap_or(0);
        shown.push_str("//");
        shown.push_str(if from > 0 { "…" } else { "" });
        shown.push_str(&part[from..]);
    }
    shown
}

/// A character as it may stand in a comment.
fn visible(sign: char) -> Vec<char> {
    if super::yaml::is_plain(sign) {
        vec![sign]
    } else {
        sign.escape_default().collect()
    }
}

/// A configuration that is proposed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// The project.
    pub project: ProjectName,
    /// What it was made from, for a reader.
    pub from: String,
    /// What runs the services.
    pub engine: EngineProposal,
    /// Where images are kept, where that is not a folder.
    pub registry: Option<RegistryProposal>,
    /// The services.
    pub services: BTreeMap<ServiceName, ServiceProposal>,
    /// The secrets that services name, and where each comes from.
    pub secrets: BTreeMap<String, SecretProposal>,
    /// What is to be said of the whole.
    pub remarks: Vec<Remark>,
}

/// What runs the services.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineProposal {
    /// Docker on this machine.
    Docker {
        /// Whether what is published is open beyond this machine.
        is_open: bool,
    },
    /// A Kubernetes cluster.
    Kubernetes {
        /// The namespace; one is made where there is none.
        namespace: Option<String>,
        /// The context of the kubeconfig.
        context: Option<String>,
        /// How traffic arrives: whether by an Ingress.
        ingress: Option<IngressProposal>,
        /// Whether two colours were seen.
        is_blue_green: bool,
    },
}

/// How an Ingress takes traffic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IngressProposal {
    /// Its class.
    pub class: Option<String>,
    /// The Secret with its certificate.
    pub tls_secret: Option<String>,
}

/// A registry on the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistryProposal {
    /// Any.
    Oci {
        /// Its address.
        endpoint: String,
        /// The repository's name, a template; the usual one without it.
        repository: Option<String>,
    },
    /// Amazon's.
    Ecr {
        /// The region.
        region: String,
        /// The account.
        account: String,
        /// The repository's name, a template; the usual one without it.
        repository: Option<String>,
        /// Whether a tag stays where it is.
        immutable_tags: Option<bool>,
        /// Whether images are scanned when they are pushed.
        scan_on_push: Option<bool>,
    },
}

/// Where a secret comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretProposal {
    /// A variable of who applies.
    Env(String),
    /// A file of the project.
    File(String),
    /// A key of a Secret of the cluster.
    Kubernetes {
        /// The Secret.
        name: String,
        /// Its key.
        key: String,
    },
    /// A parameter of Amazon's Parameter Store.
    AwsParameter(String),
    /// A secret of Amazon's Secrets Manager.
    AwsSecret {
        /// Its name.
        name: String,
        /// The key in its document; none: all of it.
        key: Option<String>,
    },
}

/// One service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceProposal {
    /// Its image.
    pub image: ImageProposal,
    /// The port that gets the traffic.
    pub port: Option<u16>,
    /// Whether something else than HTTP is spoken there.
    pub is_tcp: bool,
    /// Where it was reached on the machine.
    pub published: Option<u16>,
    /// Its other ports.
    pub ports: BTreeMap<PortName, PortProposal>,
    /// How many instances.
    pub replicas: Option<u16>,
    /// Variables.
    pub env: BTreeMap<String, ValueProposal>,
    /// Files with secrets, by their path inside.
    pub files: BTreeMap<String, String>,
    /// Volumes, from the path inside.
    pub volumes: BTreeMap<String, String>,
    /// The argument vector.
    pub command: Vec<String>,
    /// The health check.
    pub health: HealthProposal,
    /// How long it has to stop.
    pub stop_grace: Option<Period>,
    /// Amounts, by their keys under `resources`.
    pub resources: BTreeMap<&'static str, String>,
    /// The user's number, on a cluster.
    pub user: Option<u32>,
    /// The host at which an Ingress takes its traffic.
    pub host: Option<String>,
    /// Whether it must never run twice at once.
    pub is_exclusive: bool,
    /// What is to be said of it.
    pub remarks: Vec<Remark>,
}

/// An image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ImageProposal {
    /// Nothing says which.
    #[default]
    Unknown,
    /// It is there, by this name.
    Named(String),
    /// It is built from a Dockerfile.
    Built(BuildProposal),
}

/// How an image is built.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BuildProposal {
    /// The folder.
    pub context: String,
    /// The Dockerfile in it.
    pub dockerfile: Option<String>,
    /// The stage.
    pub target: Option<String>,
    /// Arguments.
    pub args: BTreeMap<String, String>,
    /// What it is for.
    pub platforms: Vec<String>,
}

/// A port besides the one with the traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortProposal {
    /// Its number.
    pub number: u16,
    /// Whether something else than HTTP is spoken there.
    pub is_tcp: bool,
    /// Where it was reached on the machine.
    pub published: Option<u16>,
}

/// A variable's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueProposal {
    /// As it is.
    Plain(String),
    /// A secret's name.
    Secret(String),
}

/// A health check.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HealthProposal {
    /// What is asked by HTTP.
    pub path: Option<String>,
    /// A command that is run.
    pub run: Vec<String>,
    /// How often.
    pub interval: Option<Period>,
    /// How long an answer may take.
    pub timeout: Option<Period>,
    /// After how many failures it counts.
    pub failures: Option<u32>,
    /// How long a start may take.
    pub start_within: Option<Period>,
}

impl Proposal {
    pub(super) fn new(project: &str, from: impl Into<String>, engine: EngineProposal) -> Self {
        Self {
            project: project_name(project),
            from: from.into(),
            engine,
            registry: None,
            services: BTreeMap::new(),
            secrets: BTreeMap::new(),
            remarks: Vec::new(),
        }
    }

    /// A name for a service that no other has, made of what it was called.
    pub(super) fn service_name(&self, text: &str) -> ServiceName {
        let mut base = label(text, "service");
        // A cluster has a Service of such a name for each slot.
        if base.ends_with("-blue") || base.ends_with("-green") {
            base.push_str("-app");
        }
        let numbers = std::iter::once(base.clone()).chain((2..).map(|n| format!("{base}-{n}")));
        let mut names = numbers.filter_map(|name| name.parse::<ServiceName>().ok());
        names
            .find(|name| !self.services.contains_key(name))
            .expect("some number is free")
    }

    /// Adds a service, with a remark where it has another name than before.
    pub(super) fn add(&mut self, called: &str, mut service: ServiceProposal) -> ServiceName {
        let name = self.service_name(called);
        if name.as_str() != called {
            let text = format!("it was called {called}, which is no name here or is another's");
            service.remarks.insert(0, Remark::new(text));
        }
        service.settle();
        self.services.insert(name.clone(), service);
        name
    }

    pub(super) fn remark(&mut self, text: impl AsRef<str>) {
        self.remarks.push(Remark::new(text));
    }
}

impl ServiceProposal {
    pub(super) fn remark(&mut self, text: impl AsRef<str>) {
        self.remarks.push(Remark::new(text));
    }

    pub(super) fn left_out(&mut self, key: &str, why: &str) {
        self.remarks.push(Remark::left_out(key, why));
    }

    /// Takes out the variables that say its ports, which shipit sets.
    fn settle(&mut self) {
        let of_traffic = self.port.map(|_| "PORT".to_owned());
        let names = self.ports.keys().map(PortName::variable).chain(of_traffic);
        for name in names.collect::<Vec<String>>() {
            if self.env.remove(&name).is_some() {
                self.left_out(&name, "shipit itself sets it");
            }
        }
    }
}

/// A name of letters, digits and dashes, made of any text.
pub(super) fn label(text: &str, fallback: &str) -> String {
    let plain = |sign: char| {
        if sign.is_ascii_alphanumeric() {
            sign.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    let name: String = text.chars().take(LONGEST_NAME).map(plain).collect();
    let name = name.trim_matches('-');
    let doubled: Vec<&str> = name.split('-').filter(|part| !part.is_empty()).collect();
    if doubled.is_empty() {
        fallback.to_owned()
    } else {
        doubled.join("-")
    }
}

/// A project's name, made of any text: two thirds of it are enough for a namespace.
fn project_name(text: &str) -> ProjectName {
    let mut name = label(text, "app");
    name.truncate(40);
    let name = name.trim_end_matches('-').parse();
    name.or_else(|_| "app".parse()).expect("`app` is a name")
}
