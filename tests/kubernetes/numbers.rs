//! Another number for a service's port: pods of two releases stand behind one Service.

use crate::site::{Site, until};

impl Site {
    /// The ports at which the live Service leads to pods.
    fn pod_ports(&self) -> Vec<u64> {
        let slices = self.cluster.get(&self.cluster.of(
            "discovery.k8s.io/v1",
            "endpointslices?labelSelector=kubernetes.io/service-name%3Dweb",
        ));
        let slices = slices["items"].as_array().cloned().unwrap_or_default();
        let ports = slices
            .iter()
            .filter(|slice| {
                slice["endpoints"]
                    .as_array()
                    .is_some_and(|all| !all.is_empty())
            })
            .flat_map(|slice| slice["ports"].as_array().cloned().unwrap_or_default());
        ports.filter_map(|port| port["port"].as_u64()).collect()
    }
}

#[test]
fn live_traffic_finds_the_port_of_the_release_that_it_goes_to() {
    let Some(mut site) = Site::live() else { return };
    until("blue is led to", || site.pod_ports() == [8080]);

    site.staging
        .push("services: {web: {port: 9090}}".to_owned());
    site.plan()
        .code(2)
        .says("live traffic arrives at port 8080 of Service/web")
        .says_not("port 8080 of its pods");
    site.apply().code(6).says("--allow-data-loss route.web");
    let apply = ["apply", "--env", "staging", "--auto-approve"];
    let consent = ["--allow-data-loss", "route.web"];
    site.run(&[&apply[..], &consent].concat()).code(0);
    until("green is led to", || site.pod_ports() == [9090]);

    site.run(&["rollback", "--env", "staging", "--auto-approve"])
        .code(0);
    until("blue is led to at its own port", || {
        site.pod_ports() == [8080]
    });
}
