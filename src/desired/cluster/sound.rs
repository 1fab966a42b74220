//! What no server takes of a manifest and what needs no server to be known: here the place is
//! known, and nothing was applied yet.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::desired::DesiredError;
use crate::model::Manifest;
use crate::model::quantity::Quantity;

/// The kinds whose selector must find the pods of their own template.
const SELECTING: [&str; 4] = ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"];

/// What is wrong, and what to do.
type Wrong = (String, &'static str);

/// Refuses a manifest that no server takes.
pub(super) fn refuse(place: &str, manifest: &Manifest) -> Result<(), DesiredError> {
    let Err((what, help)) = look(manifest) else {
        return Ok(());
    };
    let short = manifest.key().short();
    Err(DesiredError::new(format!("{place}: {short}: {what}"), help))
}

/// The groups whose kinds are a server's own: what a kind of somebody else's leaves out, its
/// operator may fill in.
const BUILT_IN: [&str; 3] = ["", "apps", "batch"];

fn look(manifest: &Manifest) -> Result<(), Wrong> {
    if !BUILT_IN.contains(&manifest.key().group()) {
        return Ok(());
    }
    let body = manifest.body();
    match manifest.kind() {
        "ConfigMap" => {
            texts("data", &body["data"])?;
            texts("binaryData", &body["binaryData"])?;
        }
        "CronJob" => schedule(&body["spec"]["schedule"])?,
        "PersistentVolumeClaim" => {
            quantities("spec.resources", &body["spec"]["resources"])?;
        }
        kind if SELECTING.contains(&kind) => selector(&body["spec"])?,
        _ => {}
    }

    let claims = &body["spec"]["volumeClaimTemplates"];
    for claim in list(claims) {
        quantities("volumeClaimTemplates", &claim["spec"]["resources"])?;
    }
    let mut manifest = manifest.clone();
    let spec = match manifest.kind() {
        "Pod" => manifest.body()["spec"].clone(),
        _ => match manifest.pod_template() {
            Some(template) => template["spec"].clone(),
            None => return Ok(()),
        },
    };
    pod(&spec, names(claims))
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn names(entries: &Value) -> BTreeSet<String> {
    let names = list(entries).filter_map(|entry| {
        let name = entry["metadata"]["name"].as_str();
        name.or(entry["name"].as_str()).map(str::to_owned)
    });
    names.collect()
}

/// A map of texts. YAML makes numbers and booleans of words that are not quoted.
fn texts(field: &str, map: &Value) -> Result<(), Wrong> {
    for (key, value) in map.as_object().into_iter().flatten() {
        text(&format!("{field}.{key}"), value)?;
    }
    Ok(())
}

fn text(field: &str, value: &Value) -> Result<(), Wrong> {
    let is = match value {
        Value::Number(_) => "a number",
        Value::Bool(_) => "a boolean",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
        Value::String(_) | Value::Null => return Ok(()),
    };
    let what = format!("`{field}` is {is}, and the server takes texts there alone");
    Err((what, "put it in quotes: `\"8080\"`, `\"true\"`, `\"1.10\"`"))
}

fn selector(spec: &Value) -> Result<(), Wrong> {
    let labels = &spec["template"]["metadata"]["labels"];
    for (key, wanted) in spec["selector"]["matchLabels"]
        .as_object()
        .into_iter()
        .flatten()
    {
        if labels.get(key) != Some(wanted) {
            let what = format!("its selector asks for the label `{key}: {}`", shown(wanted));
            return Err((
                format!("{what}, which its own pods do not have"),
                "write the same under `spec.selector.matchLabels` and \
                 `spec.template.metadata.labels`",
            ));
        }
    }
    Ok(())
}

fn shown(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn pod(spec: &Value, mut volumes: BTreeSet<String>) -> Result<(), Wrong> {
    volumes.extend(names(&spec["volumes"]));
    for field in ["initContainers", "containers"] {
        for (number, container) in (1..).zip(list(&spec[field])) {
            let name = container["name"].as_str();
            let name = name.map_or_else(|| format!("number {number} of `{field}`"), str::to_owned);
            of_container(container, &volumes)
                .map_err(|(what, help)| (format!("container {name}: {what}"), help))?;
        }
    }
    Ok(())
}

fn of_container(container: &Value, volumes: &BTreeSet<String>) -> Result<(), Wrong> {
    match &container["image"] {
        Value::String(name) if !name.is_empty() => {}
        Value::Null | Value::String(_) => {
            let what = "it has no `image`".to_owned();
            return Err((what, "`{{ image }}` is that of the service"));
        }
        other => {
            let what = format!("its `image` is `{other}`, and no text");
            return Err((what, "put it in quotes"));
        }
    }
    for variable in list(&container["env"]) {
        let name = variable["name"].as_str().unwrap_or_default();
        // Since 1.34 all that can be printed is a name, but for what parts it from its value.
        if name.is_empty() || name.contains('=') || !name.bytes().all(|it| (32..127).contains(&it))
        {
            let what = format!("`env` has a variable of the name `{name}`");
            return Err((what, "a name is letters, digits and `_`"));
        }
        text(&format!("env.{name}.value"), &variable["value"])?;
    }
    for mount in list(&container["volumeMounts"]) {
        let name = mount["name"].as_str().unwrap_or_default();
        if !volumes.contains(name) {
            let what = format!("`volumeMounts` names the volume `{name}`, which is not there");
            return Err((what, "name one of `volumes:` of the pod"));
        }
    }
    quantities("resources", &container["resources"])
}

fn quantities(field: &str, resources: &Value) -> Result<(), Wrong> {
    for part in ["requests", "limits"] {
        for (name, value) in resources[part].as_object().into_iter().flatten() {
            let is_one = match value {
                Value::Number(_) | Value::Null => true,
                Value::String(text) => text.parse::<Quantity>().is_ok(),
                _ => false,
            };
            if !is_one {
                let what = format!("`{field}.{part}.{name}: {}` is no quantity", shown(value));
                return Err((what, "write `500m`, `2`, `512Mi` or `1.5Gi`"));
            }
        }
    }
    Ok(())
}

fn schedule(schedule: &Value) -> Result<(), Wrong> {
    let Some(text) = schedule.as_str() else {
        return Ok(());
    };
    // `@every 1h` and the like are Kubernetes' own.
    if text.starts_with('@') {
        return Ok(());
    }
    let fields: Vec<&str> = text.split_whitespace().collect();
    let fault = if fields.len() == FIELDS.len() {
        let mut both = FIELDS.iter().zip(&fields);
        both.find_map(|(field, text)| field.fault(text))
    } else {
        Some(format!("it has {} fields, and not five", fields.len()))
    };
    match fault {
        None => Ok(()),
        Some(fault) => Err((
            format!("the schedule `{text}` is none: {fault}"),
            "write minute, hour, day, month and weekday: `30 4 * * 1`",
        )),
    }
}

/// A field of a schedule, as `cron` of Kubernetes' controller reads it.
struct Field {
    name: &'static str,
    least: u32,
    most: u32,
    /// Words for its numbers, from the least one on.
    words: &'static [&'static str],
}

const MONTHS: &[&str] = &[
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const DAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

const fn field(name: &'static str, least: u32, most: u32, words: &'static [&'static str]) -> Field {
    Field {
        name,
        least,
        most,
        words,
    }
}

const FIELDS: [Field; 5] = [
    field("minute", 0, 59, &[]),
    field("hour", 0, 23, &[]),
    field("day", 1, 31, &[]),
    field("month", 1, 12, MONTHS),
    field("weekday", 0, 6, DAYS),
];

impl Field {
    fn fault(&self, text: &str) -> Option<String> {
        let mut parts = text.split(',');
        let part = parts.find(|part| !self.is_range(part))?;
        let (name, least, most) = (self.name, self.least, self.most);
        Some(format!("`{part}` is no {name} ({least} to {most})"))
    }

    /// `*`, `5`, `1-5`, each with a step or without.
    fn is_range(&self, text: &str) -> bool {
        let (range, step) = match text.split_once('/') {
            Some((range, step)) => (range, step.parse::<u32>().is_ok_and(|step| step > 0)),
            None => (text, true),
        };
        let is_range = match range.split_once('-') {
            _ if matches!(range, "*" | "?") => true,
            Some((from, to)) => {
                let ends = self.number(from).zip(self.number(to));
                ends.is_some_and(|(from, to)| from <= to)
            }
            None => self.number(range).is_some(),
        };
        step && is_range
    }

    fn number(&self, text: &str) -> Option<u32> {
        let word = text.to_ascii_lowercase();
        let word = self
            .words
            .iter()
            .zip(self.least..)
            .find(|(it, _)| **it == word);
        let number = word
            .map(|(_, number)| number)
            .or_else(|| text.parse().ok())?;
        (self.least..=self.most).contains(&number).then_some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> Option<String> {
        let body: Value = serde_saphyr::from_str(text).expect("YAML");
        let manifest = Manifest::try_from(body).expect("a manifest");
        refuse("own.yaml:1", &manifest)
            .err()
            .map(|error| error.what)
    }

    fn deployment(labels: &str, pod: &str) -> String {
        format!(
            "{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: web}}, spec: {{selector: \
             {{matchLabels: {{app: web}}}}, template: {{metadata: {{labels: {labels}}}, spec: \
             {pod}}}}}}}"
        )
    }

    #[test]
    fn what_no_server_takes_is_refused_with_what_is_wrong() {
        let map = |data: &str| {
            format!("{{apiVersion: v1, kind: ConfigMap, metadata: {{name: c}}, data: {data}}}")
        };
        let job = |schedule: &str| {
            format!(
                "{{apiVersion: batch/v1, kind: CronJob, metadata: {{name: j}}, spec: {{schedule: '{schedule}'}}}}"
            )
        };
        let pod = |container: &str| {
            let pod =
                format!("{{volumes: [{{name: data}}], containers: [{{name: web, {container}}}]}}");
            deployment("{app: web, tier: front}", &pod)
        };
        for good in [
            map("{PORT: '8080'}"),
            job("*/15 0-6,22 1 JAN-MAR/2 MON-FRI"),
            job("@every 5m"),
            pod("image: a, env: [{name: A, value: '1'}, {name: B, valueFrom: {}}]"),
            pod("image: a, volumeMounts: [{name: data, mountPath: /d}]"),
            pod("image: a, resources: {limits: {memory: 1.5Gi, cpu: 2}, requests: {cpu: 500m}}"),
        ] {
            assert_eq!(fault(&good), None, "{good}");
        }
        for (bad, expected) in [
            (map("{PORT: 8080}"), "`data.PORT` is a number"),
            (map("{T: true}"), "`data.T` is a boolean"),
            (job("61 * * * *"), "the schedule `61 * * * *` is none"),
            (job("* * * *"), "it has 4 fields"),
            (job("* * * * 7"), "`7` is no weekday (0 to 6)"),
            (pod("env: []"), "container web: it has no `image`"),
            (pod("image: y"), "its `image` is `true`, and no text"),
            (
                pod("image: a, env: [{name: P, value: 1}]"),
                "`env.P.value` is a number",
            ),
            (
                pod("image: a, env: [{name: 'A=B', value: x}]"),
                "the name `A=B`",
            ),
            (
                pod("image: a, volumeMounts: [{name: other, mountPath: /d}]"),
                "the volume `other`, which is not there",
            ),
            (
                pod("image: a, resources: {limits: {memory: 1_000Mi}}"),
                "`resources.limits.memory: 1_000Mi` is no quantity",
            ),
            (
                deployment("{app: api}", "{containers: []}"),
                "its selector asks for the label `app: web`",
            ),
        ] {
            let fault = fault(&bad).expect(&bad);
            assert!(fault.starts_with("own.yaml:1: "), "{fault}");
            assert!(fault.contains(expected), "{fault}");
        }
    }

    #[test]
    fn a_quantity_is_a_number_with_a_unit() {
        for good in [
            "1", "0.5", ".5", "5.", "100m", "1Ki", "2E", "1e3", "1E-2", "+1", "-1Gi",
        ] {
            assert!(good.parse::<Quantity>().is_ok(), "{good}");
        }
        for bad in [
            "", "m", ".", "1_000Mi", "1 Gi", "1.2.3", "1mi", "1e", "0x1", "1GB",
        ] {
            assert!(bad.parse::<Quantity>().is_err(), "{bad}");
        }
    }
}
