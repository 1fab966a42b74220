//! Annotations and labels of the user's own, as templates are rendered.

use serde_json::{Map, Value};

use crate::config::schema::Marks;
use crate::desired::DesiredError;
use crate::desired::cluster::Site;
use crate::model::mark_key::value_problem;
use crate::model::{Manifest, ServiceName, Slot};

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
    /// Puts annotations and labels on an object.
    pub fn mark(
        &self,
        object: &mut Manifest,
        annotations: &Marks,
        labels: &Marks,
    ) -> Result<(), DesiredError> {
        for (key, value) in self.annotations(annotations)? {
            object.annotate(&key, value.as_str().unwrap_or_default());
        }
        for (key, value) in self.labels(labels)? {
            object.label(&key, value.as_str().unwrap_or_default());
        }
        Ok(())
    }

    /// Annotations as they are rendered.
    pub fn annotations(&self, marks: &Marks) -> Result<Map<String, Value>, DesiredError> {
        self.rendered("annotations", marks)
    }

    /// Labels as they are rendered; what one becomes must be a word.
    pub fn labels(&self, marks: &Marks) -> Result<Map<String, Value>, DesiredError> {
        let rendered = self.rendered("labels", marks)?;
        for (key, value) in &rendered {
            let text = value.as_str().unwrap_or_default();
            if let Some(problem) = value_problem(text) {
                return Err(DesiredError {
                    what: format!("{}.labels.{key}: it becomes `{text}`: {problem}", self.at),
                    help: "write a shorter word, or an annotation".to_owned(),
                });
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
