//! Plan files: a plan that was made before, and what it is bound to.
//!
//! A plan file brings nothing in. When it is applied, the plan is made again, from the
//! configuration, the rules and the world as they are then; the file only says what that plan has
//! to be equal to, and what is carried out is the one that was made. Nor does it say that anything
//! may be done: approval is another thing ([`crate::model::approval`]). Signatures may be in it;
//! what they are worth is said by whoever knows the keys.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use crate::model::approval::{PlanApproval, Statement};
use crate::model::journal::{Journal, What};
use crate::model::plan::{FORMAT, Intent, Plan};
use crate::model::state::State;
use crate::model::{ContentHash, sshsig};
use crate::ops::plan::{Extent, Request, Seen, look_and_plan};
use crate::ops::{Error, Session, policy};
use crate::plan::{Difference, difference};
use crate::policy::wants_approvals;

/// The largest plan file that is read.
pub const LIMIT: u64 = 64 << 20;

/// The most approvals of one file.
const MOST_APPROVALS: usize = 64;

/// The version that makes the files.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A plan file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanFile {
    /// The plan.
    pub plan: Plan,
    /// What it is bound to, besides what it says itself.
    pub made: Made,
    /// Who says that it may be carried out: none of it was looked at.
    pub approvals: Vec<PlanApproval>,
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
    #[serde(default)]
    approvals: Vec<PlanApproval>,
}

impl PlanFile {
    /// The file of a plan that was made just now.
    pub async fn new(session: &Session, plan: Plan, rebuild: bool) -> Result<Self, Error> {
        let made = Made {
            shipit: VERSION.to_owned(),
            rebuild,
            configuration: configuration(session, &plan.intent).await?,
            checksum: plan.hash(),
        };
        Ok(Self {
            plan,
            made,
            approvals: Vec::new(),
        })
    }

    /// What an approval of it signs at a time.
    #[must_use]
    pub fn statement(&self, at: Timestamp) -> Statement {
        let of = (&self.plan.project, &self.plan.environment);
        Statement::new(of, self.plan.hash(), ContentHash::of_json(&self.made), at)
    }

    /// Its text: the plan's document, how it was made, and who approves it.
    #[must_use]
    pub fn text(&self) -> String {
        let mut document = serde_json::to_value(&self.plan).unwrap_or_default();
        document["made"] = serde_json::to_value(&self.made).unwrap_or_default();
        if !self.approvals.is_empty() {
            document["approvals"] = serde_json::to_value(&self.approvals).unwrap_or_default();
        }
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
            fields.remove("approvals");
        }
        if plan.format != FORMAT {
            let format = plan.format;
            return Err(format!(
                "it has format {format}, and this shipit carries out {FORMAT}: plan again"
            ));
        }
        let Some(made) = beside.made else {
            return Err("it does not say how it was made".to_owned());
        };
        if !wants_approvals(&plan.intent) {
            return Err("it is not a plan of `apply`, `promote` or `destroy`".to_owned());
        }
        bounded(&beside.approvals)?;
        if plan.hash() != made.checksum {
            return Err("it was edited: its content does not fit its checksum".to_owned());
        }
        if document != serde_json::to_value(&plan).unwrap_or_default() {
            return Err("it was edited: it says what no plan does".to_owned());
        }
        Ok(Self {
            plan,
            made,
            approvals: beside.approvals,
        })
    }
}

fn bounded(approvals: &[PlanApproval]) -> Result<(), String> {
    if approvals.len() > MOST_APPROVALS {
        let count = approvals.len();
        return Err(format!(
            "it has {count} approvals, of {MOST_APPROVALS} at the most"
        ));
    }
    let is_long = |approval: &PlanApproval| approval.signature.len() > sshsig::LONGEST;
    if approvals.iter().any(is_long) {
        let most = sshsig::LONGEST;
        return Err(format!("an approval in it has more than {most} bytes"));
    }
    Ok(())
}

/// The configuration of an environment, file by file. What moves or deletes what is there reads no
/// manifests.
async fn configuration(
    session: &Session,
    intent: &Intent,
) -> Result<BTreeMap<String, ContentHash>, Error> {
    let overlay = format!("environments/{}.", session.environment);
    let own = session
        .project
        .files
        .iter()
        .filter(|(name, _)| !name.starts_with("environments/") || name.starts_with(&overlay))
        .map(|(name, hash)| (name.clone(), hash.clone()));
    if !matches!(intent, Intent::Apply | Intent::PromoteFrom(_)) {
        return Ok(own.collect());
    }
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

/// The plan as it has to be now, if that is what the file says, and what it was made from.
pub(super) async fn draw_again(
    session: &Session,
    request: &Request,
    file: &PlanFile,
    state: &State,
) -> Result<(Plan, Seen), Error> {
    is_of(request, &file.plan)?;
    is_for(session, &file.plan, state)?;
    let wanted = match request {
        Request::Apply { .. } => {
            // What a rule refuses is refused whatever else has changed.
            policy::deployable(session).await?;
            Request::Apply {
                rebuild: file.made.rebuild,
            }
        }
        other => other.clone(),
    };
    if let Some(reason) = stale(session, file, state).await? {
        return Err(Error::Stale { reason });
    }

    let (made, seen) = look_and_plan(session, &wanted, state).await?;
    match difference(&file.plan, &made) {
        None => Ok((made, seen)),
        Some(Difference::Moved(reason)) => Err(Error::Stale { reason }),
        Some(Difference::Unfounded(what)) => Err(Error::PlanFile {
            reason: format!(
                "it says something else than the configuration does about {what}: it was edited, \
                 or made from another one"
            ),
        }),
    }
}

/// Whether it is a plan of what was asked for.
fn is_of(request: &Request, plan: &Plan) -> Result<(), Error> {
    let is_it = match (request, &plan.intent) {
        (Request::Apply { .. }, Intent::Apply)
        | (Request::Destroy(Extent::Environment), Intent::Destroy)
        | (Request::Destroy(Extent::Infrastructure), Intent::DestroyInfrastructure) => true,
        (Request::Promote(asked), Intent::Promote(slot)) => {
            asked.is_none_or(|asked| asked == *slot)
        }
        (Request::PromoteFrom(asked), Intent::PromoteFrom(from)) => *asked == from.environment,
        _ => false,
    };
    if is_it {
        return Ok(());
    }
    let (is, carries) = (command(plan, None), command(plan, Some("FILE")));
    Err(Error::PlanFile {
        reason: format!("it is a plan of `{is}`; `shipit {carries}` carries it out"),
    })
}

/// The command that a plan is of, or that carries its file out.
#[must_use]
pub fn command(plan: &Plan, file: Option<&str>) -> String {
    let with = |words: String| match file {
        Some(file) => format!("{words} --plan {file}"),
        None => words,
    };
    match &plan.intent {
        Intent::Apply => file.map_or_else(|| "apply".to_owned(), |file| format!("apply {file}")),
        Intent::Promote(slot) => with(format!("promote {slot}")),
        Intent::PromoteFrom(from) => with(format!(
            "promote {} --to {}",
            from.environment, plan.environment
        )),
        Intent::Destroy => with("destroy".to_owned()),
        Intent::DestroyInfrastructure => with("destroy --infrastructure".to_owned()),
        Intent::Rollback(release) => format!("rollback --to {release}"),
        Intent::Abort => "abort".to_owned(),
        Intent::Task(name) => format!("task {name}"),
        Intent::Settle => "settle".to_owned(),
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
            "it was made with another state of {environment}: its lineage is {then}, and this \
             one's is {now}"
        )),
        _ => Ok(()),
    }
}

/// What has moved since it was made, as far as that is known without looking at the world.
async fn stale(session: &Session, file: &PlanFile, state: &State) -> Result<Option<String>, Error> {
    if let Some(reason) = overtaken(session, file, state).await? {
        return Ok(Some(reason));
    }
    let now = configuration(session, &file.plan.intent).await?;
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
    use crate::model::plan::StateRef;
    use crate::model::promotion::{Mode, Probe, Strategy as Rollout};
    use crate::model::source::Source;

    fn file() -> PlanFile {
        let plan = Plan {
            format: FORMAT,
            intent: Intent::Apply,
            project: "shop".parse().expect("a name"),
            environment: "staging".parse().expect("a name"),
            source: Source::default(),
            namespaces: std::collections::BTreeSet::new(),
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
            hooks: Vec::new(),
        };
        let made = Made {
            shipit: VERSION.to_owned(),
            rebuild: false,
            configuration: BTreeMap::from([("shipit.yaml".to_owned(), ContentHash::of(b"1"))]),
            checksum: plan.hash(),
        };
        PlanFile {
            plan,
            made,
            approvals: Vec::new(),
        }
    }

    fn approved() -> PlanFile {
        let approval = PlanApproval {
            at: "2026-11-27T08:00:00Z".parse().expect("a time"),
            signature: "-----BEGIN SSH SIGNATURE-----\n".to_owned(),
        };
        PlanFile {
            approvals: vec![approval],
            ..file()
        }
    }

    #[test]
    fn what_was_written_is_read() {
        for file in [file(), approved()] {
            assert_eq!(PlanFile::read(file.text().as_bytes()), Ok(file));
        }
    }

    #[test]
    fn approvals_are_bounded_and_have_no_other_keys() {
        let refused =
            |file: &PlanFile| PlanFile::read(file.text().as_bytes()).expect_err("refused");
        let mut many = approved();
        many.approvals = vec![many.approvals[0].clone(); MOST_APPROVALS];
        assert!(PlanFile::read(many.text().as_bytes()).is_ok());
        many.approvals.push(many.approvals[0].clone());
        assert!(refused(&many).contains("it has 65 approvals, of 64 at the most"));

        let mut long = approved();
        long.approvals[0].signature = "-".repeat(sshsig::LONGEST + 1);
        assert!(refused(&long).contains("more than 16384 bytes"));
        let more = approved()
            .text()
            .replace("\"at\": ", "\"more\": 1, \"at\": ");
        assert!(PlanFile::read(more.as_bytes()).is_err());
    }

    #[test]
    fn an_approval_is_of_the_plan_and_of_how_it_was_made() {
        let at = "2026-11-27T08:00:00.5Z".parse().expect("a time");
        let signed = file().statement(at);
        assert_eq!(
            String::from_utf8(signed.message()).expect("a text"),
            format!(
                "{{\"shipit_approval\":1,\"project\":\"shop\",\"environment\":\"staging\",\
                 \"plan\":\"{}\",\"made\":\"{}\",\"at\":\"2026-11-27T08:00:00Z\"}}\n",
                signed.plan, signed.made
            )
        );
        let edits: [fn(&mut PlanFile); 6] = [
            |file| file.made.shipit.push('1'),
            |file| file.made.rebuild = true,
            |file| file.made.configuration.clear(),
            |file| file.made.checksum = ContentHash::of(b"another"),
            |file| file.plan.state.serial += 1,
            |file| file.plan.notes.push("a note".to_owned()),
        ];
        for edit in edits {
            let mut edited = file();
            edit(&mut edited);
            assert_ne!(edited.statement(at).message(), signed.message());
        }
        // Approvals are no part of what is approved.
        assert_eq!(approved().statement(at), signed);
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
    fn a_plan_of_another_format_is_none() {
        let mut file = file();
        file.plan.format += 1;
        file.made.checksum = file.plan.hash();
        let refused = PlanFile::read(file.text().as_bytes()).expect_err("another format");
        assert!(refused.contains("carries out"), "{refused}");
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
            let file = approved();
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
                    let serial = format!("\"serial\": {digits}e9");
                    file().text().replace("\"serial\": 7", &serial).into_bytes()
                }),
                Just({
                    let twice = "\"format\": 1, \"format\":";
                    file().text().replacen("\"format\":", twice, 1).into_bytes()
                }),
            ],
        ) {
            prop_assert!(PlanFile::read(&bytes).is_err());
        }
    }
}
