//! A service's entry point: a Service for each slot, which no switch touches, and the live object,
//! which is all that a switch touches.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::config::schema::{
    GatewayTraffic, IngressTraffic, ServiceConfig, ServiceReach, ServiceTraffic, TrafficConfig,
    TrafficEntry,
};
use crate::desired::DesiredError;
use crate::desired::cluster::builtin::manifest;
use crate::desired::cluster::marks::{Owner, Rendered};
use crate::desired::cluster::ports::Ports;
use crate::desired::cluster::{Site, alb, mark};
use crate::model::object::mark as label;
use crate::model::port::{Protocol, ServicePort};
use crate::model::route::{ANY_ADDRESS, ObjectsRoute, Route};
use crate::model::{LiveTraffic, Manifest, ServiceName, Slot};

pub(super) fn route(
    site: &Site<'_>,
    name: &ServiceName,
    service: &ServiceConfig,
    port: ServicePort,
) -> Result<Route, DesiredError> {
    // What is not HTTP is switched by the selector of a Service, however HTTP comes in.
    let plain = TrafficConfig::Service(ServiceTraffic::default());
    let traffic = match &site.configuration.traffic {
        TrafficConfig::Ingress(..) | TrafficConfig::Gateway(..) if !port.protocol.is_http() => {
            &plain
        }
        traffic => traffic,
    };
    let mut way = Way {
        site,
        name,
        traffic,
        port,
        ports: Ports::of(service).of_service(),
        entry: entry(site, name, port.protocol)?,
        marks: Rendered::default(),
    };
    way.read_marks(service)?;
    let mut fixed: Vec<Manifest> = Slot::ALL
        .into_iter()
        .map(|slot| way.slot_service(slot))
        .collect();
    if site.apart() {
        fixed.extend(way.bridges(traffic));
    }

    let live = |to: LiveTraffic| match traffic {
        TrafficConfig::Ingress(_, ingress) => way.ingress(to, ingress),
        TrafficConfig::Gateway(_, gateway) => way.http_route(to, gateway),
        TrafficConfig::Service(service) => way.service(to, service),
        TrafficConfig::Embedded(..) | TrafficConfig::Nginx(..) => {
            way.service(to, &ServiceTraffic::default())
        }
    };
    for object in &mut fixed {
        way.mark(object);
    }

    let at = |to: LiveTraffic| {
        let mut object = manifest(live(to));
        way.mark(&mut object);
        way.mark_live(&mut object, to);
        object.label(label::ACTIVE, to.as_str());
        object
    };
    let slot_urls = way.slot_urls()?;
    let objects = ObjectsRoute {
        off: at(LiveTraffic::Off),
        to: Slot::ALL
            .into_iter()
            .map(|slot| (slot, at(LiveTraffic::All(slot))))
            .collect(),
        targets: Slot::ALL
            .into_iter()
            .map(|slot| (slot, way.target(slot)))
            .collect(),
        fixed,
        port: port.number,
        protocol: port.protocol,
        live_url: way.live_url(),
        address_url: way.address_url(),
        slot_urls,
    };
    Ok(Route::of_objects(name.clone(), objects))
}

/// A service's host and path, as templates are rendered.
fn entry(
    site: &Site<'_>,
    name: &ServiceName,
    protocol: Protocol,
) -> Result<TrafficEntry, DesiredError> {
    let mut entry = site.configuration.traffic.entry(name, protocol);
    for (key, text) in [
        ("host", &mut entry.host),
        ("path", &mut entry.path),
        ("url", &mut entry.url),
    ] {
        if let Some(text) = text {
            *text = site
                .templates
                .render(&format!("traffic.entries.{name}.{key}"), name, text)?;
        }
    }
    Ok(entry)
}

struct Way<'a> {
    site: &'a Site<'a>,
    name: &'a ServiceName,
    /// How traffic comes to this service.
    traffic: &'a TrafficConfig,
    /// The port that gets it.
    port: ServicePort,
    /// All its ports, as a Service lists them.
    ports: Vec<Value>,
    entry: TrafficEntry,
    /// What the live object has besides, in the user's words and by the controller's needs.
    marks: Rendered,
}

impl Way<'_> {
    fn is_alb(&self) -> bool {
        alb::is_meant(self.traffic)
    }

    /// What the configuration says that the live object has besides.
    fn read_marks(&mut self, service: &ServiceConfig) -> Result<(), DesiredError> {
        let owner = Owner {
            site: self.site,
            service: self.name,
            slot: None,
            at: &format!("traffic.entries.{}", self.name),
        };
        self.marks = owner.render(&self.entry.annotations, &self.entry.labels)?;
        if self.is_alb() {
            let mut annotations = alb::defaults(service);
            annotations.append(&mut self.marks.annotations);
            self.marks.annotations = annotations;
        }
        Ok(())
    }

    /// Puts on the live object what it has besides.
    fn mark_live(&self, object: &mut Manifest, to: LiveTraffic) {
        self.marks.put_on(object);
        if self.is_alb() {
            let (key, value) =
                alb::action(self.name, self.port.number, to, |of| self.slot_name(of));
            object.annotate(&key, &value);
        }
    }

    fn mark(&self, object: &mut Manifest) {
        mark::common(self.site, object);
        object.label("app.kubernetes.io/name", self.name.as_str());
        object.label(label::SERVICE, self.name.as_str());
    }

    fn home(&self) -> &str {
        &self.site.namespaces.home
    }

    fn namespace(&self, slot: Slot) -> &str {
        &self.site.namespaces.slots[&slot]
    }

    fn slot_name(&self, slot: Slot) -> String {
        format!("{}-{slot}", self.name)
    }

    fn target(&self, slot: Slot) -> String {
        format!("{}/{}", self.namespace(slot), self.slot_name(slot))
    }

    fn slot_service(&self, slot: Slot) -> Manifest {
        manifest(json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": self.slot_name(slot), "namespace": self.namespace(slot),
                "labels": {label::SLOT: slot.as_str()}},
            "spec": {"selector": mark::selector(self.site, self.name, slot), "ports": self.ports},
        }))
    }

    /// What leads from the home namespace to slots in other ones.
    fn bridges(&self, traffic: &TrafficConfig) -> Vec<Manifest> {
        let slots = Slot::ALL.into_iter();
        match traffic {
            TrafficConfig::Ingress(..) => slots.map(|slot| self.alias(slot)).collect(),
            TrafficConfig::Gateway(..) => slots.map(|slot| self.grant(slot)).collect(),
            TrafficConfig::Service(_) | TrafficConfig::Embedded(..) | TrafficConfig::Nginx(..) => {
                Vec::new()
            }
        }
    }

    /// A name in the home namespace for a slot's Service in another one.
    fn alias(&self, slot: Slot) -> Manifest {
        manifest(json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": self.slot_name(slot), "namespace": self.home()},
            "spec": self.external(slot),
        }))
    }

    fn external(&self, slot: Slot) -> Value {
        let host = format!(
            "{}.{}.svc.cluster.local",
            self.slot_name(slot),
            self.namespace(slot)
        );
        json!({"type": "ExternalName", "externalName": host, "ports": self.ports})
    }

    /// Lets the home namespace's routes reach a slot's Service.
    fn grant(&self, slot: Slot) -> Manifest {
        manifest(json!({
            "apiVersion": "gateway.networking.k8s.io/v1beta1", "kind": "ReferenceGrant",
            "metadata": {"name": self.slot_name(slot), "namespace": self.namespace(slot)},
            "spec": {
                "from": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": self.home()}],
                "to": [{"group": "", "kind": "Service", "name": self.slot_name(slot)}],
            },
        }))
    }

    /// The live Service: its selector is what a switch changes; across namespaces it is the name
    /// that it stands for.
    fn service(&self, to: LiveTraffic, traffic: &ServiceTraffic) -> Value {
        let mut spec = match to {
            LiveTraffic::All(slot) if self.site.apart() => self.external(slot),
            LiveTraffic::Off if self.site.apart() => {
                json!({"type": "ExternalName", "externalName": "off.invalid", "ports": self.ports})
            }
            LiveTraffic::Off | LiveTraffic::All(_) => {
                let slot = to.slot().unwrap_or(Slot::Blue);
                let mut selector = mark::selector(self.site, self.name, slot);
                selector[label::SLOT] = to.as_str().into();
                json!({"selector": selector, "ports": self.ports})
            }
        };
        let reach = match traffic.reach {
            ServiceReach::ClusterIp => None,
            ServiceReach::NodePort => Some("NodePort"),
            ServiceReach::LoadBalancer => Some("LoadBalancer"),
        };
        if let Some(reach) = reach {
            spec["type"] = reach.into();
        }
        if let Some(class) = &traffic.load_balancer_class {
            spec["loadBalancerClass"] = class.clone().into();
        }
        json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": self.name.as_str(), "namespace": self.home()}, "spec": spec})
    }

    fn ingress(&self, to: LiveTraffic, ingress: &IngressTraffic) -> Value {
        let (backend, port) = if self.is_alb() {
            (self.name.to_string(), json!({"name": alb::BY_ANNOTATION}))
        } else {
            let off = || format!("{}-off", self.name);
            let name = to.slot().map_or_else(off, |slot| self.slot_name(slot));
            (name, json!({"number": self.port.number}))
        };
        let mut rule = json!({"http": {"paths": [{
            "path": self.entry.path.as_deref().unwrap_or("/"), "pathType": "Prefix",
            "backend": {"service": {"name": backend, "port": port}},
        }]}});
        let mut spec = json!({});
        if let Some(host) = &self.entry.host {
            rule["host"] = host.clone().into();
        }

        spec["rules"] = json!([rule]);
        if let Some(class) = &ingress.class {
            spec["ingressClassName"] = class.clone().into();
        }
        if let Some(secret) = &ingress.tls_secret {
            let hosts: Vec<&String> = self.entry.host.iter().collect();
            spec["tls"] = json!([{"hosts": hosts, "secretName": secret}]);
        }

        json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": {"name": self.name.as_str(), "namespace": self.home()}, "spec": spec})
    }

    fn http_route(&self, to: LiveTraffic, traffic: &GatewayTraffic) -> Value {
        let backend = |of: Slot| {
            let weight = u8::from(to.reaches(of));
            let mut backend =
                json!({"name": self.slot_name(of), "port": self.port.number, "weight": weight});
            if self.site.apart() {
                backend["namespace"] = self.namespace(of).into();
            }
            backend
        };

        let mut parent = json!({});
        if let Some(gateway) = &traffic.gateway {
            parent["name"] = gateway.name.clone().into();
            if let Some(namespace) = &gateway.namespace {
                parent["namespace"] = namespace.clone().into();
            }
            if let Some(section) = &gateway.section {
                parent["sectionName"] = section.clone().into();
            }
        }

        let path = self.entry.path.as_deref().unwrap_or("/");
        let mut spec = json!({
            "parentRefs": [parent],
            "rules": [{
                "matches": [{"path": {"type": "PathPrefix", "value": path}}],
                "backendRefs": [backend(Slot::Blue), backend(Slot::Green)],
            }],
        });
        if let Some(host) = &self.entry.host {
            spec["hostnames"] = json!([host]);
        }
        json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
            "metadata": {"name": self.name.as_str(), "namespace": self.home()}, "spec": spec})
    }

    fn live_url(&self) -> Option<String> {
        if let Some(url) = &self.entry.url {
            return Some(url.clone());
        }

        let host = self.entry.host.as_ref()?;
        let (scheme, path) = (self.scheme(), self.path());
        Some(format!("{scheme}://{host}{path}"))
    }

    fn scheme(&self) -> &'static str {
        if self.has_tls() { "https" } else { "http" }
    }

    fn has_tls(&self) -> bool {
        match self.traffic {
            TrafficConfig::Ingress(_, ingress) => {
                ingress.tls_secret.is_some()
                    || self.is_alb() && alb::has_tls(&self.marks.annotations)
            }
            TrafficConfig::Gateway(..)
            | TrafficConfig::Service(_)
            | TrafficConfig::Embedded(..)
            | TrafficConfig::Nginx(..) => false,
        }
    }

    /// The path's beginning, without a slash at its end.
    fn path(&self) -> &str {
        let path = self.entry.path.as_deref().unwrap_or_default();
        path.trim_end_matches('/')
    }

    /// How an address of the live object is asked, whatever it turns out to be: `http://*/shop`.
    /// Where it answers to TLS there is no URL: no certificate is for the name that a cloud gives a
    /// load balancer.
    fn address_url(&self) -> Option<String> {
        match self.traffic {
            TrafficConfig::Service(service) if service.reach == ServiceReach::LoadBalancer => {
                let ServicePort { number, protocol } = self.port;
                Some(format!("{}://{ANY_ADDRESS}:{number}", protocol.scheme()))
            }
            // Whether a Gateway answers without TLS, and at which port, it says itself.
            TrafficConfig::Ingress(..) | TrafficConfig::Gateway(..) if !self.has_tls() => {
                Some(format!("http://{ANY_ADDRESS}{}", self.path()))
            }
            TrafficConfig::Service(_)
            | TrafficConfig::Ingress(..)
            | TrafficConfig::Gateway(..)
            | TrafficConfig::Embedded(..)
            | TrafficConfig::Nginx(..) => None,
        }
    }

    fn slot_urls(&self) -> Result<BTreeMap<Slot, String>, DesiredError> {
        let Some(template) = &self.entry.preview_url else {
            return Ok(BTreeMap::new());
        };
        let at = format!("traffic.entries.{}.preview_url", self.name);
        let url = |slot| {
            Ok((
                slot,
                self.site
                    .templates
                    .render_in(&at, Some(self.name), slot, template)?,
            ))
        };
        Slot::ALL.into_iter().map(url).collect()
    }
}
