//! The engine `host` on another machine: the same calls of its agent, through a connection of ssh.
//!
//! What differs: images are sent before they are deployed, checks and measurements reach what is
//! there through the connection, and a call that fails because the connection ended says so.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{BoxStream, StreamExt as _};
use jiff::Timestamp;

use crate::driver::host::listening::{listening, meet};
use crate::driver::host::push::Wanted;
use crate::driver::host::{HostEngine, Machine, Reached, examine};
use crate::model::facts::Facts;
use crate::model::outcome::Url;
use crate::model::port::PortName;
use crate::model::route::Route;
use crate::model::schedule::ScheduleFacts;
use crate::model::secret::SecretValue;
use crate::model::task::{TaskId, TaskProgram};
use crate::model::workload::Workload;
use crate::model::{
    Fingerprint, LiveTraffic, Manifest, Period, Platform, Role, ServiceName, Slot, TaskName,
};
use crate::port::Progress;
use crate::port::engine::{
    CheckResult, CommandRequest, Engine, EngineError, Incoming, LogLine, LogQuery, Permit,
    Placement, Pull, Restart, RunningCommand, Scope, TaskEnd, TaskPlace, TaskRun,
};

/// How long a look at what a machine has may take.
const LOOK: Duration = Duration::from_mins(2);

/// Another machine.
#[derive(Clone)]
pub struct ElsewhereEngine {
    agent: HostEngine,
    machine: Machine,
    /// Whose images are asked about before there is a permit.
    scope: Scope,
}

impl ElsewhereEngine {
    /// The agent of another machine, for an environment.
    #[must_use]
    pub fn new(machine: Machine, scope: Scope) -> Self {
        Self {
            agent: HostEngine::on(machine.clone()),
            machine,
            scope,
        }
    }

    /// What came out of a call; that the connection has ended, when that is why.
    async fn told<T: Send>(
        &self,
        call: impl Future<Output = Result<T, EngineError>> + Send,
    ) -> Result<T, EngineError> {
        match call.await {
            Ok(value) => Ok(value),
            Err(error) => Err(self.machine.explained(error).await),
        }
    }

    /// Where an image comes from: a folder of this machine, or none when the other machine fetches
    /// it itself or somebody has sent it there before.
    async fn found(
        &self,
        agent: &mut Reached,
        (workload, pull): (&Workload, &Pull),
    ) -> Result<Found, EngineError> {
        let (Pull::Layout(layout), Some(image)) = (pull, workload.image.value()) else {
            return Ok(Found::There(pull.clone()));
        };
        let platform = self.platform(agent)?;
        let error = match Wanted::read(layout.clone(), image.clone(), platform).await {
            Ok(wanted) => return Ok(Found::Here(wanted)),
            Err(error) => error,
        };
        match Wanted::sent_before(&mut agent.client, &self.scope, image).await? {
            Some(layout) => Ok(Found::There(Pull::Layout(layout))),
            None => Err(error),
        }
    }

    /// What images for the machine are made for.
    fn platform(&self, agent: &Reached) -> Result<Platform, EngineError> {
        let earlier = |_| EngineError::Refused {
            reason: "the agent there is of an earlier version and takes no images".to_owned(),
            help: format!(
                "`shipit agent upgrade --at {}` puts this version there",
                self.machine.address()
            ),
        };
        agent.info.platform.parse().map_err(earlier)
    }

    /// Has an image sent that is in a folder of this machine.
    async fn send(
        &self,
        permit: &Permit,
        image: (&Workload, &Pull),
        progress: Progress<'_>,
    ) -> Result<Pull, EngineError> {
        let mut agent = self.machine.agent().await?;
        match self.found(&mut agent, image).await? {
            Found::There(pull) => Ok(pull),
            Found::Here(wanted) => {
                let layout = wanted.send(&mut agent.client, permit, progress).await?;
                Ok(Pull::Layout(layout))
            }
        }
    }

    /// Where this machine reaches an address there: through the connection.
    async fn reached(&self, there: SocketAddr) -> Result<SocketAddr, EngineError> {
        self.machine.port(local(there)).await
    }
}

/// Where an image is.
enum Found {
    /// In a folder of this machine, from which it is sent.
    Here(Wanted),
    /// Where the agent fetches it.
    There(Pull),
}

/// An address that its own machine can connect to.
fn local(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// The scheme of a URL that names an address, and the address.
fn parts(url: &str) -> Option<(&str, SocketAddr)> {
    let (scheme, address) = url.split_once("://")?;
    Some((scheme, address.parse().ok()?))
}

/// A URL as others reach it: by the machine's own name, where it listens at any address. What it
/// has for itself alone stays as the machine has it.
fn for_people(url: Url, host: &str) -> Url {
    let own = match parts(&url.url) {
        Some((scheme, address)) if address.ip().is_unspecified() => {
            format!("{scheme}://{host}:{}", address.port())
        }
        _ => return url,
    };
    Url { url: own, ..url }
}

#[async_trait]
impl Engine for ElsewhereEngine {
    async fn observe(&self, scope: &Scope) -> Result<Facts, EngineError> {
        self.told(self.agent.observe(scope)).await
    }

    async fn listen(
        &self,
        permit: &Permit,
        route: &Route,
        expects: Option<Fingerprint>,
    ) -> Result<(), EngineError> {
        self.told(self.agent.listen(permit, route, expects)).await
    }

    async fn listen_together(
        &self,
        permit: &Permit,
        routes: &[Route],
        expects: Option<Fingerprint>,
    ) -> Result<(), EngineError> {
        let call = self.agent.listen_together(permit, routes, expects);
        self.told(call).await
    }

    async fn stop_listening(
        &self,
        permit: &Permit,
        service: &ServiceName,
    ) -> Result<(), EngineError> {
        self.told(self.agent.stop_listening(permit, service)).await
    }

    async fn room(&self, incoming: &[Incoming]) -> Result<(), EngineError> {
        self.told(async {
            let mut agent = self.machine.agent().await?;
            for one in incoming {
                let image = (&one.workload, &one.pull);
                if let Found::Here(wanted) = self.found(&mut agent, image).await? {
                    wanted.missing(&mut agent.client, &self.scope).await?;
                }
            }
            Ok(())
        })
        .await
    }

    async fn secret_hashes(
        &self,
        scope: &Scope,
        values: &BTreeMap<String, SecretValue>,
    ) -> Result<BTreeMap<String, String>, EngineError> {
        self.told(self.agent.secret_hashes(scope, values)).await
    }

    async fn deploy(
        &self,
        permit: &Permit,
        placement: Placement,
        progress: Progress<'_>,
    ) -> Result<(), EngineError> {
        self.told(async {
            let image = (&placement.workload, &placement.pull);
            let pull = self.send(permit, image, progress).await?;
            let placement = Placement { pull, ..placement };
            self.agent.deploy(permit, placement, progress).await
        })
        .await
    }

    async fn restart(
        &self,
        permit: &Permit,
        restart: Restart,
        progress: Progress<'_>,
    ) -> Result<(), EngineError> {
        self.told(self.agent.restart(permit, restart, progress))
            .await
    }

    async fn stop(
        &self,
        permit: &Permit,
        slot: Slot,
        service: &ServiceName,
        expects: Option<Fingerprint>,
        progress: Progress<'_>,
    ) -> Result<(), EngineError> {
        let call = self.agent.stop(permit, slot, service, expects, progress);
        self.told(call).await
    }

    async fn undeploy(
        &self,
        permit: &Permit,
        slot: Slot,
        service: &ServiceName,
        expects: Option<Fingerprint>,
    ) -> Result<(), EngineError> {
        let call = self.agent.undeploy(permit, slot, service, expects);
        self.told(call).await
    }

    async fn ready(
        &self,
        scope: &Scope,
        slot: Slot,
        within: Period,
        progress: Progress<'_>,
    ) -> Result<(), EngineError> {
        self.told(self.agent.ready(scope, slot, within, progress))
            .await
    }

    async fn switch(
        &self,
        permit: &Permit,
        from: LiveTraffic,
        to: LiveTraffic,
    ) -> Result<(), EngineError> {
        self.told(self.agent.switch(permit, from, to)).await
    }

    async fn retain(
        &self,
        permit: &Permit,
        slot: Slot,
        until: Timestamp,
    ) -> Result<(), EngineError> {
        self.told(self.agent.retain(permit, slot, until)).await
    }

    async fn run_task(
        &self,
        permit: &Permit,
        run: TaskRun,
        progress: Progress<'_>,
    ) -> Result<TaskEnd, EngineError> {
        self.told(async {
            let mut run = run;
            if let TaskPlace::OneOff(image) = &mut run.place {
                let from = (&image.workload, &image.pull);
                image.pull = self.send(permit, from, progress).await?;
            }
            self.agent.run_task(permit, run, progress).await
        })
        .await
    }

    async fn stop_task(&self, permit: &Permit, id: &TaskId) -> Result<(), EngineError> {
        self.told(self.agent.stop_task(permit, id)).await
    }

    async fn schedules(
        &self,
        scope: &Scope,
        task: Option<&TaskName>,
    ) -> Result<Vec<ScheduleFacts>, EngineError> {
        self.told(self.agent.schedules(scope, task)).await
    }

    async fn examine(
        &self,
        scope: &Scope,
        _: &[Manifest],
        _: &[&TaskProgram],
    ) -> Result<Vec<CheckResult>, EngineError> {
        let looked = examine::examine(&self.machine, scope);
        Ok(tokio::time::timeout(LOOK, looked)
            .await
            .unwrap_or_else(|_| {
                let late = EngineError::Failed {
                    what: format!("looking at {}", self.machine.address()),
                    reason: format!("it was not done within {} s", LOOK.as_secs()),
                };
                vec![examine::failing("the machine answers", &late)]
            }))
    }

    async fn urls(&self, scope: &Scope, role: Role) -> Result<Vec<Url>, EngineError> {
        let urls = self.told(self.agent.urls(scope, role)).await?;
        let host = self.machine.address().url_host();
        let urls = urls.into_iter().map(|url| for_people(url, &host));
        Ok(urls.collect())
    }

    async fn reachable_urls(&self, scope: &Scope, role: Role) -> Result<Vec<Url>, EngineError> {
        let mut urls = self.told(self.agent.urls(scope, role)).await?;
        for url in &mut urls {
            if let Some((scheme, there)) = parts(&url.url) {
                url.url = format!("{scheme}://{}", self.reached(there).await?);
            }
        }
        Ok(urls)
    }

    async fn lost_connections(&self) -> u64 {
        self.machine.lost_connections().await
    }

    async fn port_addresses(
        &self,
        scope: &Scope,
        role: Role,
        port: (&ServiceName, &PortName),
    ) -> Result<Vec<SocketAddr>, EngineError> {
        let there = self.told(self.agent.port_addresses(scope, role, port));
        let mut here = Vec::new();
        for address in there.await? {
            here.push(self.reached(address).await?);
        }
        Ok(here)
    }

    async fn occupied(&self, addresses: &[SocketAddr]) -> Result<Vec<SocketAddr>, EngineError> {
        let tunnel = self.machine.tunnel().await?;
        // A busy machine's tables are long: those that listen are asked for alone.
        let script = "grep -h ' 0A ' /proc/net/tcp /proc/net/tcp6";
        let listed = tunnel.run(script, None, LOOK).await?;
        let listening = listening(&String::from_utf8_lossy(&listed.answer));
        let is_taken = |address: &&SocketAddr| listening.iter().any(|it| meet(*it, **address));
        Ok(addresses.iter().filter(is_taken).copied().collect())
    }

    async fn command(
        &self,
        scope: &Scope,
        request: CommandRequest,
    ) -> Result<RunningCommand, EngineError> {
        let running = self.told(self.agent.command(scope, request)).await?;
        let machine = self.machine.clone();
        let output = running.output.then(move |piece| {
            let machine = machine.clone();
            async move {
                match piece {
                    Ok(piece) => Ok(piece),
                    Err(error) => Err(machine.explained(error).await),
                }
            }
        });
        Ok(RunningCommand {
            input: running.input,
            output: output.boxed(),
        })
    }

    async fn logs(
        &self,
        scope: &Scope,
        query: LogQuery,
    ) -> Result<BoxStream<'static, Result<LogLine, EngineError>>, EngineError> {
        let lines = self.told(self.agent.logs(scope, query)).await?;
        let machine = self.machine.clone();
        let lines = lines.then(move |line| {
            let machine = machine.clone();
            async move {
                match line {
                    Ok(line) => Ok(line),
                    Err(error) => Err(machine.explained(error).await),
                }
            }
        });
        Ok(lines.boxed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(url: &str) -> Url {
        Url {
            service: "web".parse().expect("a name"),
            port: None,
            slot: Slot::Blue,
            url: url.to_owned(),
            trust: Vec::new(),
        }
    }

    #[test]
    fn what_listens_at_any_address_is_told_by_the_machines_name() {
        let told = |text: &str| for_people(url(text), "10.0.0.5").url;
        assert_eq!(told("http://0.0.0.0:8080"), "http://10.0.0.5:8080");
        assert_eq!(told("tcp://[::]:5432"), "tcp://10.0.0.5:5432");
        assert_eq!(told("http://10.0.0.7:80"), "http://10.0.0.7:80");
        assert_eq!(told("http://127.0.0.1:80"), "http://127.0.0.1:80");
    }

    #[test]
    fn what_is_checked_is_asked_on_its_own_machine() {
        let local = |text: &str| local(text.parse().expect("an address")).to_string();
        assert_eq!(local("0.0.0.0:8080"), "127.0.0.1:8080");
        assert_eq!(local("[::]:8080"), "[::1]:8080");
        assert_eq!(local("10.0.0.7:80"), "10.0.0.7:80");
    }
}
