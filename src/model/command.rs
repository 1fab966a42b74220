//! Commands that people run in instances, or beside them: what is kept of each.

use jiff::Timestamp;

use crate::model::release::Actor;
use crate::model::{ServiceName, Slot};

/// Where a command runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandPlace {
    /// In an instance that runs.
    Instance,
    /// By itself, in the release's image.
    OneOff,
}

/// What was done, where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordedPlace {
    /// A command in an instance that ran.
    Instance,
    /// A command by itself, in the release's image.
    OneOff,
    /// All instances of the service were started anew; there is no command.
    Restart,
    /// The state itself was changed, by a command of `shipit state`.
    State,
}

impl RecordedPlace {
    /// The command of shipit's that did it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Instance => "exec",
            Self::OneOff => "run",
            Self::Restart => "restart",
            Self::State => "state",
        }
    }
}

impl From<CommandPlace> for RecordedPlace {
    fn from(place: CommandPlace) -> Self {
        match place {
            CommandPlace::Instance => Self::Instance,
            CommandPlace::OneOff => Self::OneOff,
        }
    }
}

/// That somebody ran a command, restarted a service, or changed the state.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct CommandRecord {
    /// What tells it from others: two records with one id are of one command, and the later one
    /// counts.
    pub id: String,
    /// When it began.
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
    /// Where it ran, or what was done instead.
    pub place: RecordedPlace,
    /// In which slot; none for what is of no slot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<Slot>,
    /// Of which service; none for what is of no service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceName>,
    /// The program and its arguments, without values of secrets.
    pub command: Vec<String>,
    /// How it ended; none while it runs, and when nobody was there to see it.
    pub exit: Option<u8>,
}

/// How many bytes of a command's words are kept.
const WORDS: usize = 4 << 10;

/// How many bytes of a name are kept: who ran it, and where.
const NAME: usize = 256;

impl CommandRecord {
    /// With no more of each text than is kept. What is left out of the command is counted. Values
    /// of secrets must be out of it by then, for half of one is not found any more.
    #[must_use]
    pub fn shortened(mut self) -> Self {
        let mut room = WORDS;
        let mut left_out = 0;
        let mut command = Vec::new();
        for mut word in self.command {
            let kept = word.floor_char_boundary(room);
            let cut = word.len() - kept;
            word.truncate(kept);
            if room > 0 {
                command.push(word);
            }
            left_out += cut;
            // A word without a byte needs room as well, and nothing comes behind a gap.
            room = if cut > 0 {
                0
            } else {
                room.saturating_sub(kept + 1)
            };
        }
        if left_out > 0 {
            command.push(format!("… and {left_out} bytes"));
        }
        self.command = command;

        let actor = &mut self.actor;
        let names = [&mut actor.user, &mut actor.host, &mut actor.run];
        for name in names.into_iter().chain(&mut actor.ci) {
            name.truncate(name.floor_char_boundary(NAME));
        }
        self
    }
}

/// The last record of each command, in the order in which they began.
#[must_use]
pub fn latest(records: Vec<CommandRecord>) -> Vec<CommandRecord> {
    let mut kept: Vec<CommandRecord> = Vec::new();
    for record in records {
        match kept.iter_mut().find(|other| other.id == record.id) {
            Some(earlier) => *earlier = record,
            None => kept.push(record),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(command: Vec<String>) -> CommandRecord {
        CommandRecord {
            id: "1".to_owned(),
            at: Timestamp::UNIX_EPOCH,
            actor: Actor {
                user: "é".repeat(1000),
                host: "laptop".to_owned(),
                run: "1".to_owned(),
                ci: Some("c".repeat(100_000)),
            },
            place: CommandPlace::OneOff.into(),
            slot: Some(Slot::Blue),
            service: Some("web".parse().expect("a name")),
            command,
            exit: None,
        }
    }

    #[test]
    fn of_a_long_command_its_beginning_is_kept_and_the_rest_is_counted() {
        let short = vec!["sh".to_owned(), String::new(), "-c".to_owned()];
        assert_eq!(record(short.clone()).shortened().command, short);

        let long = [&short[..], &["é".repeat(1 << 20), "end".to_owned()]].concat();
        let kept = record(long).shortened();
        assert_eq!(kept.command[..3], short);
        let bytes: usize = kept.command[..4].iter().map(String::len).sum();
        assert!((WORDS - 10..=WORDS).contains(&bytes), "{bytes}");
        let all = 4 + 2 * (1 << 20) + 3;
        assert_eq!(kept.command[4], format!("… and {} bytes", all - bytes));
        assert_eq!(kept.actor.user.len(), NAME);
        assert_eq!(kept.actor.ci.as_ref().map(String::len), Some(NAME));

        for many in [vec![String::new(); 1 << 20], vec!["a".to_owned(); 1 << 20]] {
            let text = serde_json::to_string(&record(many).shortened()).expect("json");
            assert!(text.len() < 32 << 10, "{}", text.len());
        }
    }
}
