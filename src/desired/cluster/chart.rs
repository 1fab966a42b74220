//! What Helm does with a chart besides applying its objects: hooks, tests, definitions, and what it
//! never deletes.
//!
//! `helm template` writes all of it down as if it were objects.

use crate::config::schema::{ChartCrds, ChartHooks, Rendered};
use crate::desired::DesiredError;
use crate::desired::cluster::own::Document;
use crate::model::ServiceName;
use crate::model::object::mark;

/// What says of an object that it is a hook, and of which kinds.
const HOOK: &str = "helm.sh/hook";

/// Leaves out what Helm would not install, and refuses what shipit does not do.
pub(super) fn as_helm_does(
    at: &str,
    service: Option<&ServiceName>,
    rendered: &Rendered,
    documents: Vec<Document>,
) -> Result<Vec<Document>, DesiredError> {
    let mut objects = Vec::new();
    let mut hooks = Vec::new();
    for mut document in documents {
        let short = document.manifest.key().short();
        match part(&document) {
            Part::Test => continue,
            Part::Hook(kinds) => {
                hooks.push(format!("{short} ({kinds})"));
                continue;
            }
            Part::Definition if rendered.crds == ChartCrds::LeaveOut => continue,
            Part::Definition if service.is_some() => {
                return Err(DesiredError::new(
                    format!(
                        "{at}: the chart has {short} in its crds/, which belongs to the whole \
                         cluster and to no slot"
                    ),
                    "bring it under the environment's own `manifests:`, and say `crds: leave_out` \
                     here",
                ));
            }
            // Helm makes it once and never deletes it: objects of others may have come.
            Part::Definition => document.manifest.annotate(mark::POLICY, "keep"),
            Part::Object => {}
        }
        objects.push(document);
    }

    if rendered.hooks == ChartHooks::Refuse && !hooks.is_empty() {
        return Err(DesiredError::new(
            format!(
                "{at}: the chart has hooks, and shipit runs none: {}",
                hooks.join(", ")
            ),
            "`hooks: leave_out` beside `helm:` leaves them out, if the chart is right without \
                   them; what has to run is a Job of the environment's own, or a command around \
                   the promotion",
        ));
    }
    Ok(objects)
}

/// What a document of a chart is to Helm.
enum Part {
    Object,
    Definition,
    Hook(String),
    /// A hook that only `helm test` runs.
    Test,
}

fn part(document: &Document) -> Part {
    let annotations = &document.manifest.body()["metadata"]["annotations"];
    let hook = annotations[HOOK].as_str().unwrap_or_default();
    let kinds: Vec<&str> = hook
        .split(',')
        .map(str::trim)
        .filter(|kind| !kind.is_empty())
        .collect();
    // It is how charts of Helm's second version wrote what is in crds/ now.
    let is_old_definition = kinds == ["crd-install"];
    if is_old_definition || document.is_from("crds") {
        return Part::Definition;
    }

    let is_test = |kind: &&str| matches!(*kind, "test" | "test-success" | "test-failure");
    if kinds.is_empty() {
        Part::Object
    } else if kinds.iter().all(is_test) {
        Part::Test
    } else {
        Part::Hook(kinds.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::cluster::own::read;
    use crate::desired::cluster::yaml::Budget;

    const CHART: &str = "\
---
# Source: web/crds/widgets.yaml
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
---
# Source: web/templates/tests/check.yaml
apiVersion: v1
kind: Pod
metadata: {name: check, annotations: {helm.sh/hook: 'test-success, test'}}
---
# Source: web/templates/map.yaml
apiVersion: v1
kind: ConfigMap
metadata: {name: map}
";

    const HOOKS: &str = "---
# Source: web/templates/migrate.yaml
apiVersion: batch/v1
kind: Job
metadata: {name: migrate, annotations: {helm.sh/hook: 'pre-install,pre-upgrade'}}
";

    fn names(
        text: &str,
        service: Option<&str>,
        rendered: &Rendered,
    ) -> Result<Vec<String>, String> {
        let mut documents = Vec::new();
        read("chart", text, &Budget::default(), &mut documents)
            .map_err(|error| error.to_string())?;
        let service = service.map(|name| name.parse().expect("a name"));
        let all = as_helm_does("chart", service.as_ref(), rendered, documents);
        let all = all.map_err(|error| format!("{}; {}", error.what, error.help))?;
        Ok(all
            .iter()
            .map(|document| document.manifest.key().short())
            .collect())
    }

    #[test]
    fn a_charts_tests_are_no_objects_and_its_definitions_stay() {
        let all = names(CHART, None, &Rendered::default()).expect("read");
        let definition = "CustomResourceDefinition/widgets.example.com";
        assert_eq!(all, [definition, "ConfigMap/map"]);
        let no_definitions = Rendered {
            crds: ChartCrds::LeaveOut,
            ..Rendered::default()
        };
        let left = names(CHART, Some("web"), &no_definitions);
        assert_eq!(left.expect("read"), ["ConfigMap/map"]);
        let refused = names(CHART, Some("web"), &Rendered::default()).expect_err("in a slot");
        assert!(
            refused.contains(definition) && refused.contains("crds: leave_out"),
            "{refused}"
        );
    }

    #[test]
    fn a_hook_is_named_and_refused_unless_it_may_be_left_out() {
        let chart = format!("{CHART}{HOOKS}");
        let refused = names(&chart, None, &Rendered::default()).expect_err("a hook");
        assert!(
            refused.contains("Job/migrate (pre-install, pre-upgrade)"),
            "{refused}"
        );
        assert!(
            refused.contains("hooks: leave_out") && !refused.contains("Pod/check"),
            "{refused}"
        );
        let without = Rendered {
            hooks: ChartHooks::LeaveOut,
            ..Rendered::default()
        };
        let all = names(&chart, None, &without).expect("read");
        assert!(
            !all.contains(&"Job/migrate".to_owned()) && all.len() == 2,
            "{all:?}"
        );
    }
}
