//! Annotations and labels of the user's own, as templates are rendered.

use serde_json::{Map, Value};

use crate::config::schema::Marks;
use crate::desired::DesiredError;
use crate::desired::cluster::Site;
use crate::model::mark_key::value_problem;
use crate::model::{Manifest, ServiceName, Slot};

/// Annotations and labels as they are rendered.
#[derive(Debug, Default)]
pub(super) struct Rendered {
    pub annotations: Map<String, Value>,
    pub labels: Map<String, Value>,
}

impl Rendered {
    /// Puts them on an object.
    pub fn put_on(&self, object: &mut Manifest) {
        for (key, value) in &self.annotations {
            object.annotate(key, value.as_str().unwrap_or_default());
        }
        for (key, value) in &self.labels {
            object.label(key, value.as_str().unwrap_or_default());
        }
    }
}

/// For whom marks are rendered, and which key of the configuration has them.
pub(super) struct Owner<'a> {
    pub site: &'a Site<'a>,
    pub service: &'a ServiceName,
    /// None for what belongs to no slot.
    pub slot: Option<Slot>,
    /// As `traffic.entries.web`.
    pub at: &'a str,
}

impl Owner<'_> {
    /// Annotations and labels as they are rendered; what a label becomes must be a word.
    pub fn render(&self, annotations: &Marks, labels: &Marks) -> Result<Rendered, DesiredError> {
        let rendered = Rendered {
            annotations: self.rendered("annotations", annotations)?,
            labels: self.rendered("labels", labels)?,
        };
        for (key, value) in &rendered.labels {
            let text = value.as_str().unwrap_or_default();
            if let Some(problem) = value_problem(text) {
                return Err(DesiredError::new(
                    format!("{}.labels.{key}: it becomes `{text}`: {problem}", self.at),
                    "write a shorter word, or an annotation",
                ));
            }
        }
        Ok(rendered)
    }

    fn rendered(&self, under: &str, marks: &Marks) -> Result<Map<String, Value>, DesiredError> {
        let render = |(key, value): (&String, &crate::config::schema::Text)| {
            let at = format!("{}.{under}.{key}", self.at);
            let templates = self.site.templates;
            let text = match self.slot {
                Some(slot) => templates.render_in(&at, Some(self.service), slot, &value.0)?,
                None => templates.render(&at, self.service, &value.0)?,
            };
            Ok((key.clone(), text.into()))
        };
        marks.iter().map(render).collect()
    }
}
