//! The words that the AWS Load Balancer Controller understands on objects.

/// Says where the Application Load Balancer sends requests: by pods, or by ports of nodes.
pub const TARGET_TYPE: &str = "alb.ingress.kubernetes.io/target-type";
/// What the load balancer asks to know whether a pod takes requests.
pub const HEALTH_PATH: &str = "alb.ingress.kubernetes.io/healthcheck-path";
/// The port at which it asks.
pub const HEALTH_PORT: &str = "alb.ingress.kubernetes.io/healthcheck-port";
/// Which certificates it shows.
pub const CERTIFICATES: &str = "alb.ingress.kubernetes.io/certificate-arn";
/// Where it listens.
pub const LISTENS: &str = "alb.ingress.kubernetes.io/listen-ports";
/// With a backend's name behind it: what is done for that backend.
pub const ACTIONS: &str = "alb.ingress.kubernetes.io/actions.";
/// In a namespace with this label a pod is not ready before its target group says so.
pub const GATE: &str = "elbv2.k8s.aws/pod-readiness-gate-inject";
