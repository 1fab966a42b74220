//! What the types of `server.yaml` cannot say.

use std::path::Component;
use std::time::Duration;

use super::schema::{DashboardConfig, On, ReceiverConfig, ServerConfig, ServerProject};
use crate::config::findings::Findings;
use crate::model::bounds::{Bounds, Commands, EVERYTHING};

/// How long somebody stays signed in at the most.
const LONGEST_SESSION: Duration = Duration::from_hours(30 * 24);

/// How often a repository is asked at the most: it may be a forge's, which counts.
const POLL: Duration = Duration::from_secs(5);

pub(super) fn check(config: &ServerConfig, findings: &mut Findings<'_>) {
    if config.version != 1 {
        findings.add(
            &["version"],
            "this shipit knows version 1",
            "write `version: 1`",
        );
    }
    if config.data.is_relative() {
        let message = "this is relative to wherever the server is started";
        findings.add(&["data"], message, "write the whole path");
    }
    if config
        .listen
        .remote
        .as_ref()
        .is_some_and(|remote| remote.names.is_empty())
    {
        let help =
            "write `names: [ship.example.com]`: a client compares them with what it asked for";
        findings.add(&["listen", "remote", "names"], "it has no name", help);
    }
    if let Some(dashboard) = &config.dashboard {
        check_dashboard(config, dashboard, findings);
    }
    if config.projects.is_empty() {
        let help = "write one: `projects: {storefront: {source: …, environments: …, may: …}}`";
        findings.add(&["projects"], "there is no project", help);
    }
    for (name, project) in &config.projects {
        check_project(project, &["projects", name.as_str()], findings);
    }
}

/// Tokens are typed into its pages, and go nowhere where somebody may read them on the way.
fn check_dashboard(
    config: &ServerConfig,
    dashboard: &DashboardConfig,
    findings: &mut Findings<'_>,
) {
    match &config.listen.web {
        None => {
            let help = "write `listen: {web: {address: \"0.0.0.0:8443\", tls: …}}`";
            findings.add(&["dashboard"], "there is no listener for its pages", help);
        }
        Some(web) if !config.has_tls() && !web.address.ip().to_canonical().is_loopback() => {
            let message = "tokens would be sent in the clear";
            let help = "give `listen.web` a certificate (`tls`); with a proxy in front that has \
                        one, write `public_url: https://…`, or listen at 127.0.0.1";
            findings.add(&["dashboard"], message, help);
        }
        Some(_) => {}
    }
    let (session, idle) = (dashboard.session.get(), dashboard.idle.get());
    if session.is_zero() || session > LONGEST_SESSION {
        let help = "write `session: 12h`; 30 days is the most";
        findings.add(
            &["dashboard", "session"],
            "this is no time to stay signed in",
            help,
        );
    }
    if idle.is_zero() || idle > session {
        let help = "write `idle: 1h`; it ends with `session` at the latest";
        findings.add(&["dashboard", "idle"], "this is not within `session`", help);
    }
}

fn check_project(project: &ServerProject, at: &[&str], findings: &mut Findings<'_>) {
    let url = &project.source.url;
    let is_url = !url.is_empty() && !url.starts_with('-') && !url.contains(char::is_control);
    if !is_url || url.contains("::") {
        let help =
            "write `url: \"ssh://git@git.example.com/shop.git\"`, or a folder of this machine";
        findings.add(
            &[at, &["source", "url"]].concat(),
            "this is no URL of a repository",
            help,
        );
    }
    let is_inside = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    if !project.source.folder.components().all(is_inside) {
        let message = "this leads out of the repository";
        let help = "write the folder's path below the repository's top, as `services/shop`";
        findings.add(&[at, &["source", "folder"]].concat(), message, help);
    }
    if project.source.poll.is_some_and(|poll| poll.get() < POLL) {
        let message = "a repository is not asked as often";
        let help = format!("write `poll: {}s`, or more", POLL.as_secs());
        findings.add(&[at, &["source", "poll"]].concat(), message, help);
    }
    if let Bounds::Everything(word) = &project.may
        && word != EVERYTHING
    {
        let help = "write `may: everything` where whoever may push is trusted as the server's own \
                    user, or a map";
        findings.add(
            &[at, &["may"]].concat(),
            format!("`{word}` says nothing"),
            help,
        );
    }

    if let (Some(_), Bounds::Only(allowed)) = (&project.pipeline, &project.may)
        && allowed.commands == Commands::Never
    {
        let message = "its commands run what is in the repository, and `may.commands` is `never`";
        let help = "write `commands: allowed`, or take the pipeline out";
        findings.add(&[at, &["pipeline"]].concat(), message, help);
    }

    for (name, receiver) in &project.receivers {
        check_receiver(
            name,
            receiver,
            &[at, &["receivers", name.as_str()]].concat(),
            findings,
        );
    }
    for (name, rule) in &project.environments {
        let at = [at, &["environments", name.as_str(), "on"]].concat();
        check_on(&rule.on, &at, findings);
    }
}

fn check_receiver(name: &str, receiver: &ReceiverConfig, at: &[&str], findings: &mut Findings<'_>) {
    let may_stand = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || !name.chars().all(may_stand) {
        let help = "it stands in a URL: letters, digits, `-` and `_`";
        findings.add(at, "this is no name of a receiver", help);
    }
    let key = [at, &["secrets"]].concat();
    if receiver.secrets.is_empty() {
        let help = "write `secrets: [{file: /etc/shipit/hook}]`; nothing unsigned is ever taken";
        findings.add(&key, "there is no secret", help);
    }
    let is_one = |(file, env): (bool, bool)| file != env;
    let mut sources = receiver
        .secrets
        .iter()
        .map(|one| (one.file.is_some(), one.env.is_some()));
    if !sources.all(is_one) {
        let help = "write `{file: PATH}` or `{env: NAME}`";
        findings.add(&key, "a secret has one source", help);
    }
    if receiver.body.bytes() > 64 << 20 {
        let help = "the largest that any sender has is 25MiB";
        findings.add(&[at, &["body"]].concat(), "this is too large", help);
    }
}

fn check_on(on: &On, at: &[&str], findings: &mut Findings<'_>) {
    if *on == On::default() {
        let help = "write `on: {branch: staging}` or `on: {tag: \"v*\"}`";
        findings.add(at, "it is deployed on nothing", help);
    }
    let has_one_branch = on
        .branch
        .as_ref()
        .is_some_and(|branch| !branch.contains(['*', '?', '[', '{']));
    if on.image.is_some() && !has_one_branch {
        let help = "add `branch: NAME`, whose files say how the image runs";
        findings.add(at, "an image has no files of its own", help);
    }
    let globs = [("branch", on.branch.as_ref()), ("tag", on.tag.as_ref())];
    for (key, glob) in globs {
        if let Some(glob) = glob
            && (glob.is_empty() || globset::Glob::new(glob).is_err())
        {
            let path = [at, &[key]].concat();
            findings.add(
                &path,
                format!("`{glob}` is no name and no glob"),
                "write a name, or `v*`",
            );
        }
    }
}
