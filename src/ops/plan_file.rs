//! Plan files: a plan that was made before, and what it is bound to.
//!
//! A plan file brings nothing in. When it is applied, the plan is made again, from the
//! configuration, the rules and the world as they are then; the file only says what that plan has
//! to be equal to, and what is carried out is the one that was made. Nor does it say that anything
//! may be done: approval is another thing ([`crate::model::approval`]).

use std::collections::BTreeMap;

use serde_json::Value;

use crate::model::ContentHash;
use crate::model::journal::{Journal, What};
use crate::model::plan::{Intent, Plan};
use crate::model::state::State;
use crate::ops::plan::{Request, make_plan_with};
use crate::ops::{Error, Session, policy};
use crate::plan::{Difference, difference};

/// The largest plan file that is read.
pub const LIMIT: u64 = 64 << 20;

/// The version that makes the files.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A plan file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanFile {
    /// The plan.
    pub plan: Plan,
    /// What it is bound to, besides what it says itself.
    pub made: Made,
}

/// How a plan file was made.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Made {
    /// The version of shipit that made it.
    pub shipit: String,
    /// Whether it was asked to build even what was built from the same inputs before.
    pub rebuild: bool,
    /// The configuration's files that it was made from, and what was rendered from them, each with
    /// its hash.
    pub configuration: BTreeMap<String, ContentHash>,
    /// Over the plan, so that a torn or edited file is told from a stale one. It keeps nobody out
    /// who can compute it.
    pub checksum: ContentHash,
}

/// What stands in the file beside the plan's own fields.
#[derive(serde::Deserialize)]
struct Beside {
    made: Option<Made>,
}

impl PlanFile {
    /// The file of a plan that was made just now.
    pub async fn new(session: &Session, plan: Plan, rebuild: bool) -> Result<Self, Error> {
        let made = Made {
            shipit: VERSION.to_owned(),
            rebuild,
            configuration: configuration(session).await?,
            checksum: plan.hash(),
        };
        Ok(Self { plan, made })
    }

    /// Its text: the plan's document, and how it was made.
    #[must_use]
    pub fn text(&self) -> String {
        let mut document = serde_json::to_value(&self.plan).unwrap_or_default();
        document["made"] = serde_json::to_value(&self.made).unwrap_or_default();
        serde_json::to_string_pretty(&document).unwrap_or_default()
    }

    /// Reads a file's bytes.
    ///
    /// # Errors
    /// Why it is none that can be applied.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        let unreadable = |error: serde_json::Error| {
            if error.is_eof() {
                format!("it is cut off: {error}")
            } else {
                format!("it is not a plan: {error}")
            }
        };

        let plan: Plan = serde_json::from_slice(bytes).map_err(unreadable)?;
        let beside: Beside = serde_json::from_slice(bytes).map_err(unreadable)?;
        // Whatever is not the plan's or how it was made is nobody's.
        let mut document: Value = serde_json::from_slice(bytes).map_err(unreadable)?;
        if let Some(fields) = document.as_object_mut() {
            fields.remove("made");
        }
        let Some(made) = beside.made else {
            return Err("it does not say how it was made".to_owned());
        };
        if plan.intent != Intent::Apply {
            return Err("it is not a plan of `apply`".to_owned());
        }
        if plan.hash() != made.checksum {
            return Err("it was edited: its content does not fit its checksum".to_owned());
        }
        if document != serde_json::to_value(&plan).unwrap_or_default() {
            return Err("it was edited: it says what no plan does".to_owned());
        }
        Ok(Self { plan, made })
    }
}

/// The configuration of an environment, file by file.
async fn configuration(session: &Session) -> Result<BTreeMap<String, ContentHash>, Error> {
    let overlay = format!("environments/{}.", session.environment);
    let own = session
        .project
        .files
        .iter()
        .filter(|(name, _)| !name.starts_with("environments/") || name.starts_with(&overlay))
        .map(|(name, hash)| (name.clone(), hash.clone()));
    let texts = session.sources().await?;
    let sources = texts
        .files
        .iter()
        .map(|(path, text)| (path.display().to_string(), ContentHash::of(text.as_bytes())));
    let rendered = texts.rendered.iter().map(|((service, slot), text)| {
        let of = service
            .as_ref()
            .map_or_else(|| "the environment".to_owned(), ToString::to_string);
        let name = format!("what is rendered for {of} in {slot}");
        (name, ContentHash::of(text.as_bytes()))
    });
    Ok(own.chain(sources).chain(rendered).collect())
}

/// The plan as it has to be now, if that is what the file says.
pub(super) async fn draw_again(
    session: &Session,
    file: &PlanFile,
    state: &State,
) -> Result<Plan, Error> {
    is_for(session, &file.plan, state)?;
    // What a rule refuses is refused whatever else has changed.
    policy::deployable(session).await?;
    if let Some(reason) = stale(session, file, state).await? {
        return Err(Error::Stale { reason });
    }

    let wanted = Request::Apply {
        rebuild: file.made.rebuild,
    };
    let made = make_plan_with(session, &wanted, state).await?;
    match difference(&file.plan, &made) {
        None => Ok(made),
        Some(Difference::Moved(reason)) => Err(Error::Stale { reason }),
        Some(Difference::Unfounded(what)) => Err(Error::PlanFile {
            reason: format!(
                "it says something else than the configuration does about {what}: it was edited, or made from another one"
            ),
        }),
    }
}

/// Whether it was made for this project, environment and line of history.
pub(super) fn is_for(session: &Session, plan: &Plan, state: &State) -> Result<(), Error> {
    let foreign = |reason: String| Err(Error::PlanFile { reason });
    let (project, environment) = (&session.project.name, &session.environment);
    if plan.project != *project || plan.environment != *environment {
        return foreign(format!(
            "it was made for {} → {}, and this is {project} → {environment}",
            plan.project, plan.environment
        ));
    }
    match (&plan.state.lineage, &state.lineage) {
        (Some(then), Some(now)) if then != now => foreign(format!(
            "it was made with another state of {environment}: its lineage is {then}, and this one's is {now}"
        )),
        _ => Ok(()),
    }
}

/// What has moved since it was made, as far as that is known without looking at the world.
async fn stale(session: &Session, file: &PlanFile, state: &State) -> Result<Option<String>, Error> {
    if let Some(reason) = overtaken(session, file, state).await? {
        return Ok(Some(reason));
    }
    let now = configuration(session).await?;
    Ok(changed(&file.made.configuration, &now))
}

/// That somebody has applied since it was made, or that it was made by another shipit.
pub(super) async fn overtaken(
    session: &Session,
    file: &PlanFile,
    state: &State,
) -> Result<Option<String>, Error> {
    if file.plan.state.serial != state.serial || file.plan.state.lineage != state.lineage {
        let journal = session
            .ports
            .store
            .last_journal(&session.environment)
            .await?;
        return Ok(Some(passed(file, state, journal.as_ref())));
    }
    if file.made.shipit != VERSION {
        return Ok(Some(format!(
            "it was made by shipit {}, and this is {VERSION}",
            file.made.shipit
        )));
    }
    Ok(None)
}

fn passed(file: &PlanFile, state: &State, journal: Option<&Journal>) -> String {
    let began = journal.and_then(|journal| {
        journal.entries.iter().find_map(|entry| match &entry.what {
            What::Began { actor, plan, .. }
                if plan.state == file.plan.state && difference(&file.plan, plan).is_none() =>
            {
                Some(actor)
            }
            _ => None,
        })
    });
    match began {
        Some(actor) => format!("it was carried out already, by {actor}"),
        None => format!(
            "it was made at serial {} of the state, which is at {} now: somebody has applied since",
            file.plan.state.serial, state.serial
        ),
    }
}

fn changed(
    then: &BTreeMap<String, ContentHash>,
    now: &BTreeMap<String, ContentHash>,
) -> Option<String> {
    let names = then.keys().chain(now.keys());
    let mut names: Vec<&str> = names
        .filter(|name| then.get(*name) != now.get(*name))
        .map(String::as_str)
        .collect();
    names.sort_unstable();
    names.dedup();
    let (first, more) = names.split_first()?;
    Some(match more.len() {
        0 => format!("{first} changed since"),
        1 => format!("{first} and {} changed since", more[0]),
        count => format!("{first} and {count} other files changed since"),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::plan::{FORMAT, StateRef};
    use crate::model::promotion::{Mode, Probe, Strategy as Rollout};
    use crate::model::source::Source;

    fn file() -> PlanFile {
        let plan = Plan {
            format: FORMAT,
            intent: Intent::Apply,
            project: "shop".parse().expect("a name"),
            environment: "staging".parse().expect("a name"),
            source: Source::default(),
            state: StateRef {
                lineage: Some("l".to_owned()),
                serial: 7,
            },
            strategy: Rollout::BlueGreen,
            mode: Mode::Auto,
            probe: Probe::default(),
            active: None,
            target: None,
            steps: Vec::new(),
            reverse: Vec::new(),
            unchanged: Vec::new(),
            notes: Vec::new(),
            rollback_blockers: Vec::new(),
            losses: Vec::new(),
        };
        let made = Made {
            shipit: VERSION.to_owned(),
            rebuild: false,
            configuration: BTreeMap::from([("shipit.yaml".to_owned(), ContentHash::of(b"1"))]),
            checksum: plan.hash(),
        };
        PlanFile { plan, made }
    }

    #[test]
    fn what_was_written_is_read() {
        let file = file();
        assert_eq!(PlanFile::read(file.text().as_bytes()), Ok(file));
    }

    #[test]
    fn a_file_that_was_edited_is_told_from_one_that_is_cut_off() {
        let text = file().text();
        let edited = text.replace("\"auto\"", "\"manual\"");
        assert!(PlanFile::read(edited.as_bytes()).is_err_and(|why| why.contains("edited")));
        let cut = &text[..text.len() / 2];
        assert!(PlanFile::read(cut.as_bytes()).is_err_and(|why| why.contains("cut off")));
    }

    #[test]
    fn what_no_plan_has_is_an_edit_wherever_it_stands() {
        for (from, to) in [
            ("\"format\":", "\"more\": 1, \"format\":"),
            ("\"serial\":", "\"more\": null, \"serial\":"),
        ] {
            let edited = file().text().replacen(from, to, 1);
            let why = PlanFile::read(edited.as_bytes()).expect_err("an edit");
            assert!(why.contains("edited"), "{why}");
        }
    }

    #[test]
    fn the_files_that_changed_are_named() {
        let hash = |text: &str| ContentHash::of(text.as_bytes());
        let then = BTreeMap::from([("a".to_owned(), hash("1")), ("b".to_owned(), hash("1"))]);
        assert_eq!(changed(&then, &then), None);
        let now = BTreeMap::from([("a".to_owned(), hash("2")), ("b".to_owned(), hash("1"))]);
        assert_eq!(changed(&then, &now).as_deref(), Some("a changed since"));
        let now = BTreeMap::from([("c".to_owned(), hash("1"))]);
        let said = "a and 2 other files changed since";
        assert_eq!(changed(&then, &now).as_deref(), Some(said));
    }

    proptest! {
        #[test]
        fn a_file_that_was_torn_or_changed_is_refused_or_says_the_same(
            cut in any::<prop::sample::Index>(),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let file = file();
            let bytes = file.text().into_bytes();
            prop_assert!(PlanFile::read(&bytes[..cut.index(bytes.len())]).is_err());
            let mut changed = bytes.clone();
            changed[at.index(bytes.len())] = byte;
            if let Ok(read) = PlanFile::read(&changed) {
                prop_assert_eq!(read.plan, file.plan);
            }
        }

        #[test]
        fn a_hostile_file_is_refused_and_ends_nothing(
            bytes in prop_oneof![
                any::<Vec<u8>>(),
                (1_usize..100_000).prop_map(|depth| vec![b'['; depth]),
                (1_usize..10_000).prop_map(|depth| "{\"steps\":".repeat(depth).into_bytes()),
                (1_usize..100_000).prop_map(|digits| {
                    let digits = "9".repeat(digits);
                    file().text().replace("\"serial\": 7", &format!("\"serial\": {digits}e9")).into_bytes()
                }),
                Just(file().text().replacen("\"format\":", "\"format\": 1, \"format\":", 1).into_bytes()),
            ],
        ) {
            prop_assert!(PlanFile::read(&bytes).is_err());
        }
    }
}
