//! How many requests follow each other: a proxy in front of the API server answers in rounds. What
//! comes within a moment is let through together, so that only what waits for an answer makes
//! another round.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::{Request, Response};
use kube::client::Body;
use tokio::sync::{OnceCell, watch};

use crate::front::Front;
use crate::site::Site;

/// For how long nothing comes before a round is let through.
const QUIET: Duration = Duration::from_millis(150);

/// What was counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    pub requests: usize,
    pub rounds: usize,
}

#[derive(Default)]
struct Gate {
    count: Count,
    /// When the last request came that waits; none when none does.
    last: Option<Instant>,
}

struct Shared {
    kubeconfig: PathBuf,
    client: OnceCell<kube::Client>,
    gate: Mutex<Gate>,
    opened: watch::Sender<usize>,
}

pub struct Rounds {
    shared: Arc<Shared>,
    _front: Front,
}

impl Rounds {
    /// Has a site speak to its cluster through the proxy.
    pub fn before(site: &mut Site) -> Self {
        let shared = Arc::new(Shared {
            kubeconfig: site.kubeconfig.clone(),
            client: OnceCell::new(),
            gate: Mutex::default(),
            opened: watch::Sender::new(0),
        });
        let own = Arc::clone(&shared);
        let front = Front::start(move |_, request| Arc::clone(&own).answer(request));
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
             clusters: [{{name: c, cluster: {{server: \"http://{}\"}}}}]\n\
             users: [{{name: c, user: {{}}}}]\ncontexts: [{{name: c, context: {{cluster: c, user: c}}}}]\n",
            front.address
        );
        site.put("rounds.kubeconfig", &text);
        site.kubeconfig = site.path().join("rounds.kubeconfig");
        Self {
            shared,
            _front: front,
        }
    }

    /// What was counted since this was asked last.
    pub fn take(&self) -> Count {
        std::mem::take(&mut self.shared.gate.lock().expect("whole").count)
    }
}

impl Shared {
    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, std::io::Error> {
        let path = request.uri().to_string();
        // A watch has no end, and a lock is renewed by the clock.
        if !path.contains("watch=1") && !path.contains("/leases") {
            if std::env::var_os("SHOW_ROUNDS").is_some() {
                let round = self.gate.lock().expect("whole").count.rounds;
                eprintln!("  {round} {} {path}", request.method());
            }
            self.come().await;
        }
        let client = self.client.get_or_init(|| client(&self.kubeconfig)).await;
        let (mut head, body) = request.into_parts();
        head.headers.remove("host");
        let body = body.collect().await.map_err(std::io::Error::other)?;
        let request = Request::from_parts(head, Body::from(body.to_bytes()));
        client.send(request).await.map_err(std::io::Error::other)
    }

    /// Waits for the round that this request is in.
    async fn come(&self) {
        let mut opened = self.opened.subscribe();
        let round = *opened.borrow_and_update();
        {
            let mut gate = self.gate.lock().expect("whole");
            gate.count.requests += 1;
            gate.last = Some(Instant::now());
        }
        loop {
            let quiet = tokio::time::sleep(QUIET);
            tokio::select! {
                _ = opened.changed() => {}
                () = quiet => self.open_if_quiet(),
            }
            if *opened.borrow_and_update() > round {
                return;
            }
        }
    }

    /// Lets all through that wait, once nobody has come for a moment.
    fn open_if_quiet(&self) {
        let mut gate = self.gate.lock().expect("whole");
        if gate.last.is_some_and(|last| last.elapsed() >= QUIET) {
            gate.last = None;
            gate.count.rounds += 1;
            self.opened.send_modify(|round| *round += 1);
        }
    }
}

pub async fn client(kubeconfig: &std::path::Path) -> kube::Client {
    let file = kube::config::Kubeconfig::read_from(kubeconfig).expect("a kubeconfig");
    let options = kube::config::KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(file, &options).await;
    kube::Client::try_from(config.expect("usable")).expect("a client")
}

/// Twelve objects, three of which make pods.
fn objects(value: &str) -> String {
    let mut text = String::new();
    for number in 0..9 {
        let _ = write!(
            text,
            "---\n{{apiVersion: v1, kind: ConfigMap, metadata: {{name: c{number}}}, data: {{a: {value}}}}}\n"
        );
    }
    for number in 0..3 {
        let _ = write!(
            text,
            "---\n{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: d{number}}}, spec: {{replicas: 0, \
             selector: {{matchLabels: {{app: d{number}}}}}, template: {{metadata: {{labels: {{app: d{number}}}, \
             annotations: {{a: {value}}}}}, spec: {{containers: [{{name: a, image: example.com/a}}]}}}}}}}}\n"
        );
    }
    text
}

#[test]
fn few_requests_wait_for_each_other() {
    let Some(mut site) = Site::new() else { return };
    site.staging.push("manifests: objects.yaml".to_owned());
    site.put("objects.yaml", &objects("one"));
    let rounds = Rounds::before(&mut site);
    let counted = |what: &str| {
        let count = rounds.take();
        eprintln!("{what}: {count:?}");
        count
    };

    site.apply().code(0);
    let first = counted("a first apply of 12 objects and a service");
    site.apply().code(0).says("No changes");
    let nothing = counted("an apply with nothing to do");
    site.plan().code(0);
    let plan = counted("a plan with nothing to do");

    // The same once more, with everything changed.
    site.put("objects.yaml", &objects("two"));
    site.message("v2");
    site.apply().code(0);
    let second = counted("a second apply of 12 objects and a service");
    site.put("objects.yaml", &objects("three"));
    site.apply().code(0);
    let alone = counted("an apply of 12 objects and nothing else");
    site.plan().code(0);
    rounds.take();

    let most = |count: Count, requests: usize, rounds: usize| {
        assert!(count.requests > 0 && count.rounds > 0, "{count:?}");
        assert!(count.requests <= requests, "{count:?}: {requests} requests");
        assert!(count.rounds <= rounds, "{count:?}: {rounds} rounds");
    };
    most(first, 110, 32);
    most(second, 90, 32);
    most(alone, 62, 14);
    most(nothing, plan.requests + 6, plan.rounds + 5);
    most(plan, 14, 4);
}
