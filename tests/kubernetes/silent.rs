//! A server that takes connections and says nothing.

use std::net::TcpListener;

use crate::site::Site;

#[test]
fn a_server_that_says_nothing_is_told_from_one_that_is_not_there() {
    let Some(mut site) = Site::new() else { return };
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("an address");
    // It accepts by itself up to its backlog: the kernel does.
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
         clusters: [{{name: c, cluster: {{server: \"https://{address}\", insecure-skip-tls-verify: true}}}}]\n\
         users: [{{name: c, user: {{token: t}}}}]\ncontexts: [{{name: c, context: {{cluster: c, user: c}}}}]\n"
    );
    site.put("silent.kubeconfig", &text);
    site.kubeconfig = site.path().join("silent.kubeconfig");
    site.plan().code(1).says("connected, no answer");
}
