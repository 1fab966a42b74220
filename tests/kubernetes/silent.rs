//! A server that takes connections and says nothing.

use std::net::TcpListener;

use crate::site::Site;

#[test]
fn a_server_that_says_nothing_is_told_from_one_that_is_not_there() {
    let Some(mut site) = Site::new() else { return };
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    // It accepts by itself up to its backlog: the kernel does.
    is_at(&mut site, &silent);
    site.plan().code(1).says("connected, no answer");
}

#[test]
fn a_state_that_cannot_be_reached_is_no_matter_of_a_disk() {
    let Some(mut site) = Site::new() else { return };
    let gone = TcpListener::bind("127.0.0.1:0").expect("a port");
    is_at(&mut site, &gone);
    drop(gone);
    site.staging.push("state: {kind: kubernetes}".to_owned());
    site.run(&["history", "--env", "staging"])
        .code(1)
        .says("Connection refused")
        .says("kubeconfig")
        .says_not("disk");
}

/// Has the site take a listener for its API server.
fn is_at(site: &mut Site, server: &TcpListener) {
    let address = server.local_addr().expect("an address");
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
         clusters: [{{name: c, cluster: {{server: \"https://{address}\", insecure-skip-tls-verify: true}}}}]\n\
         users: [{{name: c, user: {{token: t}}}}]\ncontexts: [{{name: c, context: {{cluster: c, user: c}}}}]\n"
    );
    site.put("silent.kubeconfig", &text);
    site.kubeconfig = site.path().join("silent.kubeconfig");
}
