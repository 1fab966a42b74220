//! A kubeconfig is a document of somebody else's: what is taken from it is what is listed here, and
//! nothing else.
//!
//! A login is a token, a certificate, or a user with a password. What starts a program is code, by
//! whichever key it is said, and needs the operator's word. One that lies in the project comes with
//! the repository: it names no file outside of that, for what is in such a file would be shown to
//! the server that it names. An authority's certificates are shown to nobody, and may be anywhere.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use kube::config::{AuthInfo, Cluster, Kubeconfig};

use crate::driver::kubernetes::client::connect::{ClusterConnection, refused, unreadable};
use crate::files::beneath::repository;
use crate::model::is_loopback;
use crate::port::engine::EngineError;

/// The largest kubeconfig that is read.
const FILE_LIMIT: u64 = 8 << 20;
/// What to do with one that is not trusted so far.
const AS_CODE: &str = "write `cluster: {exec_plugins: true}` if you trust this kubeconfig as code";

/// What a kubeconfig says of one context.
#[derive(Debug)]
pub(in crate::driver) struct Chosen {
    /// The context.
    pub context: String,
    user: String,
    cluster: Cluster,
    login: AuthInfo,
}

/// Reads a kubeconfig that the configuration names.
pub(in crate::driver) fn read(path: &Path) -> Result<Kubeconfig, EngineError> {
    match fs::metadata(path) {
        // A pipe would be waited for, and a device has no end.
        Ok(meta) if !meta.is_file() || meta.len() > FILE_LIMIT => Err(refused(
            format!("{} is no kubeconfig", path.display()),
            format!("name a file of less than {} MiB", FILE_LIMIT >> 20),
        )),
        _ => Kubeconfig::read_from(path).map_err(|error| unreadable(&error)),
    }
}

/// The kubeconfig that `KUBECONFIG` names; none where it names none. Of a list those that are not
/// there are passed over, as kubectl does; one alone has to be there.
pub(in crate::driver) fn of_the_environment() -> Result<Option<Kubeconfig>, EngineError> {
    let named = std::env::var_os("KUBECONFIG").unwrap_or_default();
    let named = std::env::split_paths(&named).filter(|path| !path.as_os_str().is_empty());
    let mut paths: Vec<PathBuf> = named.collect();
    if paths.iter().any(|path| path.exists()) {
        paths.retain(|path| path.exists());
    }

    let mut all: Option<Kubeconfig> = None;
    for path in paths {
        let next = read(&path)?;
        let merged = match all {
            Some(before) => before.merge(next).map_err(|error| unreadable(&error))?,
            None => next,
        };
        all = Some(merged);
    }
    Ok(all)
}

/// The context that is meant, with its cluster and its login.
pub(in crate::driver) fn choose(
    file: &Kubeconfig,
    context: Option<&str>,
) -> Result<Chosen, EngineError> {
    let known: Vec<&str> = file
        .contexts
        .iter()
        .map(|context| context.name.as_str())
        .collect();
    let name = context
        .or(file.current_context.as_deref())
        .filter(|name| !name.is_empty());
    let Some(name) = name else {
        let help = format!("name one under `cluster.context`: {}", known.join(", "));
        return Err(refused("the kubeconfig has no current context", help));
    };
    let Some(context) = file.contexts.iter().find(|context| context.name == name) else {
        let help = format!("its contexts are: {}", known.join(", "));
        let reason = format!("the kubeconfig has no context `{name}`");
        return Err(refused(reason, help));
    };

    let context = context.context.clone().unwrap_or_default();
    let cluster = file
        .clusters
        .iter()
        .find(|cluster| cluster.name == context.cluster);
    let user = context.user.unwrap_or_default();
    let login = file.auth_infos.iter().find(|login| login.name == user);
    Ok(Chosen {
        context: name.to_owned(),
        user,
        cluster: cluster
            .and_then(|cluster| cluster.cluster.clone())
            .unwrap_or_default(),
        login: login
            .and_then(|login| login.auth_info.clone())
            .unwrap_or_default(),
    })
}

impl Chosen {
    /// Whether it may be used; `file` is where it was read, when the configuration says that.
    pub fn check(&self, how: &ClusterConnection, file: Option<&Path>) -> Result<(), EngineError> {
        if let Some(program) = self.program().filter(|_| !how.exec_plugins) {
            let user = &self.user;
            return Err(refused(
                format!("user `{user}` of the kubeconfig logs in by starting {program}"),
                AS_CODE,
            ));
        }

        if let Some(server) = self.in_clear() {
            return Err(refused(
                format!(
                    "the login of user `{}` would go in clear to {server}",
                    self.user
                ),
                "write `server: https://…` in the kubeconfig",
            ));
        }

        let Some(file) = file else { return Ok(()) };
        if !how.exec_plugins {
            self.stays_inside(file, how.project.as_deref())?;
        }
        self.names_files(file)
    }

    /// What it names is read whole: a device has no end, and a pipe may never have a beginning.
    fn names_files(&self, file: &Path) -> Result<(), EngineError> {
        let folder = file.parent().unwrap_or(Path::new("."));
        let is_none = |named: &str| {
            let meta = fs::metadata(folder.join(named));
            meta.is_ok_and(|meta| !meta.is_file() || meta.len() > FILE_LIMIT)
        };
        match self.files().find(|(_, named)| is_none(named)) {
            None => Ok(()),
            Some((key, named)) => Err(refused(
                format!(
                    "the kubeconfig's `{key}` is no file that can be read: {}",
                    named.escape_debug()
                ),
                format!("name a file of less than {} MiB", FILE_LIMIT >> 20),
            )),
        }
    }

    /// What a login starts, as the kubeconfig says it: there are two ways to say so, and kube
    /// follows both.
    fn program(&self) -> Option<String> {
        if let Some(exec) = &self.login.exec {
            let command = exec.command.as_deref().unwrap_or("a program");
            return Some(format!("`{}`", command.escape_debug()));
        }
        let provider = self.login.auth_provider.as_ref()?;
        let command = provider.config.get("cmd-path").map(String::as_str);
        let name = provider.name.escape_debug();
        Some(match command {
            Some(command) => format!("`{}` (auth-provider `{name}`)", command.escape_debug()),
            None => format!("what the auth-provider `{name}` needs"),
        })
    }

    /// The server, when a login would be read by everybody on the way to it.
    fn in_clear(&self) -> Option<&str> {
        let server = self.cluster.server.as_deref()?;
        let rest = without_tls(server)?;
        let login = &self.login;
        let has_login = login.token.is_some()
            || login.token_file.is_some()
            || login.password.is_some()
            || login.exec.is_some()
            || login.auth_provider.is_some();
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        (has_login && !is_loopback(host)).then_some(server)
    }

    /// The files that it names.
    fn files(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let named = [
            ("tokenFile", &self.login.token_file),
            ("client-certificate", &self.login.client_certificate),
            ("client-key", &self.login.client_key),
            ("certificate-authority", &self.cluster.certificate_authority),
        ];
        named
            .into_iter()
            .filter_map(|(key, file)| Some((key, file.as_deref()?)))
    }

    /// A kubeconfig that comes with the project, or with its repository, names files of that alone.
    fn stays_inside(&self, file: &Path, project: Option<&Path>) -> Result<(), EngineError> {
        let Some(project) = project.and_then(|project| repository(project).ok()) else {
            return Ok(());
        };
        let is_inside = |path: &Path| resolved(path).is_some_and(|path| path.starts_with(&project));
        if !is_inside(file) {
            return Ok(());
        }

        // Whom to trust is read here and sent to nobody, so its file may be anywhere.
        let sent = self
            .files()
            .filter(|(key, _)| *key != "certificate-authority");
        let outside = { sent }.find(|(_, named)| {
            let folder = file.parent().unwrap_or(Path::new("."));
            !is_inside(&folder.join(named))
        });
        match outside {
            None => Ok(()),
            Some((key, named)) => Err(refused(
                format!(
                    "the kubeconfig lies in the project, and its `{key}` outside of it: {}",
                    named.escape_debug()
                ),
                AS_CODE,
            )),
        }
    }

    /// Makes the token one that can be sent: `token: |` leaves a line end behind it.
    pub fn clean_token(
        &self,
        login: &mut AuthInfo,
        file: Option<&Path>,
    ) -> Result<(), EngineError> {
        // The one way to see it, as the library shows it to nobody by mistake.
        let shown = serde_json::to_value(&*login).unwrap_or_default();
        let Some(token) = shown["token"].as_str() else {
            return Ok(());
        };

        let clean = token.trim();
        if http::HeaderValue::from_str(clean).is_err() {
            let user = self.user.escape_debug();
            let place = file.map_or_else(
                || "the kubeconfig".to_owned(),
                |file| file.display().to_string(),
            );
            return Err(refused(
                format!(
                    "{place}: the token of user `{user}` has a line end or a control character in \
                     it"
                ),
                "write it in one line, as it was given",
            ));
        }
        if clean != token {
            let clean: AuthInfo = serde_json::from_value(serde_json::json!({"token": clean}))
                .map_err(|error| refused(error.to_string(), ""))?;
            login.token = clean.token;
        }
        Ok(())
    }

    /// What somebody should know of it who relies on it.
    pub fn warnings(&self) -> Vec<String> {
        let mut all = Vec::new();
        let server = self.cluster.server.as_deref().unwrap_or_default();
        if self.cluster.insecure_skip_tls_verify == Some(true) {
            all.push(format!(
                "whoever is on the way to {server} can read and change everything: the kubeconfig \
                 says `insecure-skip-tls-verify`"
            ));
        }

        if without_tls(server).is_some() {
            all.push(format!("{server} is spoken to without TLS"));
        }

        if let Some(proxy) = self
            .cluster
            .proxy_url
            .as_deref()
            .filter(|url| !url.is_empty())
        {
            all.push(format!(
                "the kubeconfig's `proxy-url` ({proxy}) is not used: {server} is spoken to directly"
            ));
        }
        all
    }
}

/// The rest of an address without TLS.
fn without_tls(server: &str) -> Option<&str> {
    let scheme = server.get(..7)?;
    scheme.eq_ignore_ascii_case("http://").then(|| &server[7..])
}

/// Where a path leads to at last; for one that leads nowhere yet, where it would be.
fn resolved(path: &Path) -> Option<PathBuf> {
    match path.canonicalize() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let folder = path.parent()?.canonicalize().ok()?;
            // What is no name is `..` or nothing.
            Some(folder.join(path.file_name()?))
        }
        other => other.ok(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chosen(cluster: &str, user: &str) -> Chosen {
        let text = format!(
            "current-context: c\ncontexts: [{{name: c, context: {{cluster: c, user: kim}}}}]\n\
             clusters: [{{name: c, cluster: {cluster}}}]\nusers: [{{name: kim, user: {user}}}]\n"
        );
        let file = Kubeconfig::from_yaml(&text).expect("a kubeconfig");
        choose(&file, None).expect("its context")
    }

    fn reason(error: &EngineError) -> String {
        match error {
            EngineError::Unreachable { reason, help, .. } => format!("{reason} | {help}"),
            other => other.to_string(),
        }
    }

    fn trusted() -> ClusterConnection {
        ClusterConnection {
            exec_plugins: true,
            ..ClusterConnection::default()
        }
    }

    const SERVER: &str = "{server: 'https://a.example.com'}";

    #[test]
    fn a_login_that_is_shown_is_taken_and_one_that_is_started_is_not() {
        for user in [
            "{token: t}",
            "{tokenFile: /t}",
            "{username: kim, password: pw}",
            "{client-certificate-data: YQ==, client-key-data: YQ==}",
            "{}",
        ] {
            let check = chosen(SERVER, user).check(&ClusterConnection::default(), None);
            assert!(check.is_ok(), "{user}");
        }
        for (user, program) in [
            ("{exec: {command: touch, args: [x]}}", "`touch`"),
            ("{exec: {}}", "`a program`"),
            ("{token: t, exec: {command: touch}}", "`touch`"),
            (
                "{auth-provider: {name: gcp, config: {cmd-path: touch, cmd-args: x}}}",
                "`touch` (auth-provider `gcp`)",
            ),
            (
                "{auth-provider: {name: oidc, config: {}}}",
                "auth-provider `oidc`",
            ),
            (
                "{token: t, auth-provider: {name: later, config: {}}}",
                "`later`",
            ),
        ] {
            let chosen = chosen(SERVER, user);
            let error = chosen
                .check(&ClusterConnection::default(), None)
                .expect_err(user);
            let said = reason(&error);
            assert!(
                said.contains(program) && said.contains("exec_plugins"),
                "{said}"
            );
            assert!(chosen.check(&trusted(), None).is_ok(), "{user}");
        }
    }

    #[test]
    fn a_kubeconfig_of_the_project_shows_no_file_of_the_machine() {
        let root = tempfile::tempdir().expect("a folder");
        let (project, secret) = (root.path().join("project"), root.path().join("secret"));
        fs::create_dir(&project).expect("a folder");
        fs::write(&secret, "hunter2").expect("a file");
        let file = project.join("kubeconfig");
        fs::write(&file, "").expect("a file");
        fs::write(project.join("token"), "t").expect("a file");
        std::os::unix::fs::symlink(&secret, project.join("link")).expect("a link");
        let how = ClusterConnection {
            project: Some(project.clone()),
            ..ClusterConnection::default()
        };
        let named = |path: &Path| chosen(SERVER, &format!("{{tokenFile: '{}'}}", path.display()));

        for inside in ["token", "not-yet"] {
            let check = named(&project.join(inside)).check(&how, Some(&file));
            assert!(check.is_ok(), "{inside}");
        }
        for outside in [
            secret.clone(),
            project.join("link"),
            project.join("../secret"),
            PathBuf::from("/etc/shadow"),
        ] {
            let error = named(&outside).check(&how, Some(&file));
            let said = reason(&error.expect_err("outside"));
            assert!(said.contains("`tokenFile` outside"), "{said}");
        }

        let elsewhere = root.path().join("kubeconfig");
        fs::write(&elsewhere, "").expect("a file");
        let own = named(&secret).check(&how, Some(&elsewhere));
        assert!(own.is_ok(), "the operator's own kubeconfig");

        // A project below the top of its repository: all of the repository came with the commit.
        fs::create_dir(root.path().join(".git")).expect("a folder");
        let error = named(Path::new("/etc/shadow")).check(&how, Some(&elsewhere));
        let said = reason(&error.expect_err("outside"));
        assert!(said.contains("`tokenFile` outside"), "{said}");
    }

    #[test]
    fn a_token_is_one_that_a_header_can_have() {
        let cleaned = |token: &str| {
            let chosen = chosen(SERVER, &serde_json::json!({"token": token}).to_string());
            let mut login = chosen.login.clone();
            let file = Path::new("/home/kim/.kube/config");
            let checked = chosen.clean_token(&mut login, Some(file));
            let shown = serde_json::to_value(&login).expect("a login");
            checked.map(|()| shown["token"].as_str().map(str::to_owned))
        };
        for token in ["abc", "abc\n", "abc\r\n", " abc \n\n"] {
            let clean = cleaned(token).expect("a token");
            assert_eq!(clean.as_deref(), Some("abc"), "{token:?}");
        }
        for token in ["a\nb", "a\0b"] {
            let said = reason(&cleaned(token).expect_err(token));
            assert!(said.contains("/home/kim/.kube/config: "), "{said}");
            assert!(said.contains("the token of user `kim`"), "{said}");
            assert!(!said.contains(token), "{said}");
        }
    }

    #[test]
    fn a_login_never_goes_in_clear() {
        let how = ClusterConnection::default();
        for server in [
            "http://a.example.com",
            "HTTP://a.example.com:80/x",
            "http://localhost:1@a.example.com",
            "http://127.0.0.1@a.example.com",
            "http://localhost\\@a.example.com",
            "http://a.example.com#localhost",
        ] {
            let cluster = format!("{{server: '{server}'}}");
            assert!(chosen(&cluster, "{token: t}").check(&how, None).is_err());
            assert!(chosen(&cluster, "{}").check(&how, None).is_ok(), "nobody's");
        }
        let proxy = "{server: 'http://127.0.0.1:8001'}";
        assert!(chosen(proxy, "{token: t}").check(&how, None).is_ok());
    }

    #[test]
    fn what_is_not_safe_about_a_kubeconfig_is_named() {
        let cluster = "{server: 'http://a.example.com', insecure-skip-tls-verify: true, proxy-url: \
                       'http://p'}";
        let said = chosen(cluster, "{}").warnings().join("\n");
        for word in ["insecure-skip-tls-verify", "without TLS", "proxy-url"] {
            assert!(said.contains(word), "{said}");
        }
        assert_eq!(chosen(SERVER, "{token: t}").warnings(), [""; 0]);
    }

    #[test]
    fn a_device_is_no_kubeconfig() {
        let said = reason(&read(Path::new("/dev/zero")).expect_err("it has no end"));
        assert!(said.contains("/dev/zero is no kubeconfig"), "{said}");
    }

    proptest! {
        #[test]
        fn no_kubeconfig_makes_it_fall_over(
            server in "\\PC{0,20}", context in "[a-c]{0,1}", command in proptest::option::of("\\PC{0,8}"),
        ) {
            let file = serde_json::json!({
                "current-context": context,
                "contexts": [{"name": "a", "context": {"cluster": "c", "user": "u"}}, {"name": "b"}],
                "clusters": [{"name": "c", "cluster": {"server": server}}],
                "users": [{"name": "u", "user": {"token": "t", "exec": command.map(|command| serde_json::json!({"command": command}))}}],
            });
            let Ok(file) = serde_json::from_value::<Kubeconfig>(file) else { return Ok(()) };
            if let Ok(chosen) = choose(&file, None) {
                let _ = (chosen.check(&ClusterConnection::default(), None), chosen.warnings());
            }
        }
    }
}
