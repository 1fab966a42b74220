//! A proxy of somebody else's in front of the slots: nginx, whose configuration a switch rewrites.
//!
//! Each slot answers on an address of its own, which never changes. A switch writes the other text,
//! has the proxy test it, has it loaded, and waits until it is in force; only then it is recorded
//! as done. Whatever fails, the text that was there before is there again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::process::Command;
use tokio::time::Instant;

use crate::agent::engine::record::EnvironmentRecord;
use crate::agent::front::etcd::publish;
use crate::files;
use crate::model::route::{Listeners, MARK, Proxy, Publication, Route};
use crate::model::{Fingerprint, LiveTraffic, ServiceName};

/// How long a proxy may take to test a configuration, or to load it.
const COMMAND: Duration = Duration::from_secs(20);
/// How long a loaded configuration may take to be in force, and how long a machine that is busy may
/// take to say so often enough.
const IN_FORCE: Duration = Duration::from_secs(15);
const LONGEST: Duration = Duration::from_mins(1);
/// How many new connections in a row have to be taken by the new configuration, and how far apart:
/// for a tenth of a second the workers of both accept (nginx, `ngx_master_process_cycle`).
const IN_A_ROW: u32 = 25;
const PAUSE: Duration = Duration::from_millis(12);

/// Routes by service.
type Routes = BTreeMap<ServiceName, Route>;

/// Where the proxies of one environment say which slot they lead to. The path is known to this
/// agent alone: whoever reaches the proxy by way of another one comes from this machine too, and
/// has no business with it.
#[derive(Debug, Clone)]
pub(in crate::agent) struct Mark(String);

impl Mark {
    /// The environment's.
    pub fn of(record: &EnvironmentRecord) -> Self {
        let known = (&record.scope, record.lineage.as_deref());
        Self(format!("{MARK}/{}", Fingerprint::of_json(&known).hex()))
    }

    /// A proxy's file with this mark.
    pub fn in_text(&self, proxy: &Proxy, to: LiveTraffic) -> String {
        proxy.text(to).replace(MARK, &self.0)
    }
}

/// Leads every proxy of these routes to a slot, or nowhere.
pub(in crate::agent) async fn lead(
    routes: &Routes,
    mark: &Mark,
    to: LiveTraffic,
) -> Result<(), String> {
    let mut before: Vec<(PathBuf, Option<Vec<u8>>)> = Vec::new();
    let mut touched: Vec<&Proxy> = Vec::new();
    for proxy in listeners(routes).filter_map(|it| it.proxy.as_deref()) {
        let wanted = mark.in_text(proxy, to);
        let there = std::fs::read(&proxy.config).ok();
        if there.as_deref() == Some(wanted.as_bytes()) {
            continue;
        }
        before.push((proxy.config.clone(), there));
        touched.push(proxy);
        if let Err(error) = files::replace(&proxy.config, wanted.as_bytes()) {
            restore(&before);
            return Err(format!("writing {}: {error}", proxy.config.display()));
        }
    }

    let mut commands: Vec<&Vec<String>> = touched.iter().map(|proxy| &proxy.command).collect();
    commands.sort();
    commands.dedup();
    for command in &commands {
        if let Err(reason) = run(command, &["-t"]).await {
            restore(&before);
            return Err(reason);
        }
    }

    let loaded = async {
        for command in &commands {
            run(command, &["-s", "reload"]).await?;
        }
        for listeners in listeners(routes) {
            let proxy = listeners.proxy.as_deref();
            if let Some(proxy) = proxy.filter(|proxy| touched.contains(proxy)) {
                in_force(listeners.live, proxy, mark, to).await?;
            }
        }
        for publication in publications(routes) {
            publish(publication, to).await?;
        }
        Ok::<_, String>(())
    };
    if let Err(reason) = loaded.await {
        restore(&before);
        for command in &commands {
            let _ = run(command, &["-s", "reload"]).await;
        }
        return Err(reason);
    }
    Ok(())
}

/// Takes a route's configuration away.
pub(in crate::agent) async fn remove(route: &Route) {
    let listeners = route.listeners();
    let Some(proxy) = listeners.and_then(|it| it.proxy.as_deref()) else {
        return;
    };
    let _ = std::fs::remove_file(&proxy.config);
    let _ = run(&proxy.command, &["-s", "reload"]).await;
}

fn listeners(routes: &Routes) -> impl Iterator<Item = &Listeners> {
    routes.values().filter_map(Route::listeners)
}

fn publications(routes: &Routes) -> Vec<&Publication> {
    let mut all: Vec<&Publication> = listeners(routes)
        .filter_map(|listeners| listeners.publish.as_ref())
        .collect();
    all.sort();
    all.dedup();
    all
}

fn restore(before: &[(PathBuf, Option<Vec<u8>>)]) {
    for (path, text) in before {
        let restored = match text {
            Some(text) => files::replace(path, text),
            None => std::fs::remove_file(path),
        };
        if let Err(error) = restored {
            tracing::error!(%error, path = %path.display(), "a proxy's configuration could not be \
                put back");
        }
    }
}

async fn run(command: &[String], options: &[&str]) -> Result<(), String> {
    let Some((program, arguments)) = command.split_first() else {
        return Err("no command".to_owned());
    };

    let shown = format!("{} {}", command.join(" "), options.join(" "));
    let output = Command::new(program)
        .args(arguments)
        .args(options)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(COMMAND, output)
        .await
        .map_err(|_| format!("`{shown}` did not end within {} s", COMMAND.as_secs()))?
        .map_err(|error| format!("`{shown}` cannot be started: {error}"))?;
    if output.status.success() {
        return Ok(());
    }

    let said = String::from_utf8_lossy(&output.stderr);
    let said: Vec<&str> = said
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    Err(format!("`{shown}`: {}", said.join("; ")))
}

/// Waits until the proxy says that it leads to the slot. A template of somebody's own that has no
/// mark is taken at its word.
async fn in_force(
    mut address: SocketAddr,
    proxy: &Proxy,
    mark: &Mark,
    to: LiveTraffic,
) -> Result<(), String> {
    let wanted = to.as_str();
    if !proxy.text(to).contains(MARK) {
        return Ok(());
    }
    if address.ip().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    let client = Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(0)
        .build_http::<Full<Bytes>>();
    let begun = Instant::now();
    let mut in_a_row = 0;
    loop {
        let request =
            Request::get(format!("http://{address}{}", mark.0)).header("host", "localhost");
        let request = request
            .body(Full::default())
            .map_err(|error| error.to_string())?;
        let ask = async {
            let answer = client
                .request(request)
                .await
                .map_err(|error| error.to_string())?;
            let body = answer
                .into_body()
                .collect()
                .await
                .map_err(|error| error.to_string())?
                .to_bytes();
            Ok::<_, String>(String::from_utf8_lossy(&body).trim().to_owned())
        };
        let answer = tokio::time::timeout(Duration::from_secs(2), ask).await;
        let answer = answer.unwrap_or_else(|_| Err("no answer".to_owned()));
        in_a_row = if answer.as_deref() == Ok(wanted) {
            in_a_row + 1
        } else {
            0
        };
        if in_a_row == IN_A_ROW {
            return Ok(());
        }
        let patience = if in_a_row > 0 { LONGEST } else { IN_FORCE };
        if begun.elapsed() > patience {
            let said = answer.unwrap_or_else(|error| error);
            return Err(format!(
                "the proxy on {address} does not route to {wanted}: it says `{said}`"
            ));
        }
        tokio::time::sleep(PAUSE).await;
    }
}
