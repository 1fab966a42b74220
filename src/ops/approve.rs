//! `approve`: a signature of a plan file. It needs the configuration, Git and a key, and neither
//! the cluster nor the state: whoever approves need not be able to deploy.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use crate::config::Project;
use crate::files;
use crate::model::approval::{
    ApprovalRule, Approver, Authors, NAMESPACE, PlanApproval, SignedBy, Statement,
};
use crate::model::plan::Plan;
use crate::model::sshsig::{LONGEST, SshKey, Sshsig};
use crate::model::verdict::Verdict;
use crate::ops::plan_file::{LIMIT, PlanFile};
use crate::ops::policy::wanted::{Demand, Place, wanted};
use crate::ops::session::checkout;
use crate::ops::{Error, wiring};
use crate::policy::approvals::Given;
use crate::policy::{Refusal, approved, is_no_change};

/// How long somebody else may take to write a plan file.
const PATIENCE: Duration = Duration::from_secs(10);

/// A plan file that may be approved.
pub struct Approving {
    path: PathBuf,
    /// What it has.
    pub file: PlanFile,
    demands: Vec<Demand>,
}

/// A key that signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningKey {
    /// The file that `ssh-keygen` is given.
    pub path: PathBuf,
    /// Whose it is; none where only its signature will tell.
    pub name: Option<String>,
}

/// How a plan stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Whose approvals count.
    pub by: Vec<SignedBy>,
    /// What the rules say, each of them.
    pub verdicts: Vec<Verdict>,
}

impl Standing {
    /// Whether there are as many as are wanted.
    #[must_use]
    pub fn is_enough(&self) -> bool {
        self.verdicts.iter().all(Verdict::is_passed)
    }
}

impl Approving {
    /// Opens a plan file in the checkout of its project.
    pub async fn open(
        folder: &Path,
        path: &Path,
        file: PlanFile,
        fetch: bool,
    ) -> Result<Self, Error> {
        let (project, scm, source) = checkout(folder).await?;
        is_no_change(source.change.as_ref())?;
        is_of(&project, &file.plan)?;
        let place = Place {
            project: &project,
            environment: &file.plan.environment,
            source: &source,
            scm: &*scm,
            fetch: fetch || project.branches.fetch,
        };
        let wanted = wanted(place, None).await?;
        if let Some(unread) = wanted.unread.into_iter().next() {
            return Err(Error::Refused(Refusal {
                what: format!(
                    "nobody can tell which approvals {} wants: {}",
                    unread.branch, unread.reason
                ),
                help: unread.help,
            }));
        }
        if wanted.demands.is_empty() {
            let environment = &file.plan.environment;
            let what = format!("{environment} wants no approvals; nothing was signed");
            return Err(needless(what, path));
        }
        if file.plan.is_empty() {
            let what = "the plan does nothing; nothing was signed".to_owned();
            return Err(needless(what, path));
        }
        Ok(Self {
            path: path.to_path_buf(),
            file,
            demands: wanted.demands,
        })
    }

    /// What is wanted, in words: `2 approvals of tech-leads`.
    #[must_use]
    pub fn wants(&self) -> String {
        let each = self.demands.iter().map(|demand| demand.rule.wants());
        each.collect::<Vec<_>>().join(", and ")
    }

    /// Whose approvals are wanted, in words: `tech-leads`.
    #[must_use]
    pub fn of(&self) -> String {
        let missing = |demand: &&Demand| !demand.rule.by.is_empty();
        let first = self.demands.iter().find(missing);
        first.map_or_else(String::new, |demand| demand.rule.of())
    }

    /// What is signed at a time.
    #[must_use]
    pub fn statement(&self, at: Timestamp) -> Statement {
        self.file.statement(at)
    }

    /// The key that was named, and whose it is, as far as its public half lies beside it.
    pub fn key(&self, path: &Path) -> Result<SigningKey, Error> {
        // A pipe would be waited for.
        if !std::fs::metadata(path).is_ok_and(|there| there.is_file()) {
            return Err(Error::Usage {
                what: format!("{} is no file with a key", path.display()),
                help: "name an SSH key, as ~/.ssh/id_ed25519".to_owned(),
            });
        }
        let mut public = path.as_os_str().to_owned();
        public.push(".pub");
        let known = [PathBuf::from(public), path.to_path_buf()]
            .iter()
            .find_map(|path| public_key(path));
        let name = match &known {
            Some(key) => Some(self.whose(key)?),
            None => None,
        };
        Ok(SigningKey {
            path: path.to_path_buf(),
            name,
        })
    }

    /// The key in `~/.ssh` that is an approver's.
    pub fn own_key(&self) -> Result<SigningKey, Error> {
        let home = std::env::var_os("HOME").unwrap_or_default();
        let folder = Path::new(&home).join(".ssh");
        let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "pub"))
            .filter(|path| {
                let name = path.file_name().and_then(|name| name.to_str());
                name.is_some_and(|name| name.starts_with("id_"))
            })
            .collect();
        files.sort();

        let mut own: Vec<SigningKey> = files
            .into_iter()
            .filter_map(|path| {
                let name = self.whose(&public_key(&path)?).ok();
                name.map(|name| SigningKey {
                    path,
                    name: Some(name),
                })
            })
            .collect();
        own.dedup_by(|later, first| later.name == first.name);
        match own.len() {
            1 => Ok(own.remove(0)),
            0 => Err(Error::Refused(Refusal {
                what: format!(
                    "no key in {} is one of those that may approve: {} wants {}",
                    folder.display(),
                    self.file.plan.environment,
                    self.wants()
                ),
                help: format!(
                    "name one by --key KEY, or add yours under `approvers` in shipit.yaml{}; \
                     `ssh-keygen -t ed25519` makes one",
                    self.on_branch()
                ),
            })),
            _ => {
                let names: Vec<String> = own.into_iter().filter_map(|key| key.name).collect();
                Err(Error::Usage {
                    what: format!("{} has keys of {}", folder.display(), names.join(" and ")),
                    help: "say which one signs by --key KEY".to_owned(),
                })
            }
        }
    }

    /// Signs it with a key.
    pub async fn sign(&self, key: &SigningKey) -> Result<PlanApproval, Error> {
        let statement = self.statement(Timestamp::now());
        let signed = wiring::sign(&key.path, NAMESPACE, &statement.message()).await;
        let signature = signed.map_err(|what| Error::NotApproved {
            what: format!("the plan was not signed: {what}"),
            help: format!(
                "look at the key {}; where there is no ssh-keygen, `shipit approve {} --print` \
                 says what to sign elsewhere",
                key.path.display(),
                self.path.display()
            ),
        })?;
        Ok(PlanApproval {
            at: statement.at,
            signature,
        })
    }

    /// What was signed elsewhere: the message that was printed, and its signature.
    pub fn signed_elsewhere(
        &self,
        message: &Path,
        signature: &Path,
    ) -> Result<PlanApproval, Error> {
        let statement: Statement = serde_json::from_str(&text(message)?)
            .map_err(|error| self.no_message(message, &error.to_string()))?;
        if self.statement(statement.at) != statement {
            return Err(self.no_message(message, "it is of another plan"));
        }
        Ok(PlanApproval {
            at: statement.at,
            signature: text(signature)?,
        })
    }

    fn no_message(&self, message: &Path, why: &str) -> Error {
        Error::Usage {
            what: format!(
                "{} is not what `shipit approve {} --print` prints: {why}",
                message.display(),
                self.path.display()
            ),
            help: format!(
                "`shipit approve {} --print > {}` writes it",
                self.path.display(),
                message.display()
            ),
        }
    }

    /// Puts an approval into the file, in the place of an earlier one of the same person, and says
    /// whose it is.
    ///
    /// # Errors
    /// It would not count; or the file is not what it was.
    pub fn attach(&mut self, approval: PlanApproval) -> Result<String, Error> {
        let name = self.name_of(&approval)?;
        // Somebody else may have approved it meanwhile, or does just now.
        let unlocked = |error: std::io::Error| Error::PlanFile {
            reason: format!("locking {}: {error}", self.path.display()),
        };
        let lock = files::lock_replaced(&self.path, PATIENCE).map_err(unlocked)?;
        let bytes = files::read(&self.path, LIMIT).map_err(|error| error.to_string());
        let now = bytes.and_then(|bytes| PlanFile::read(&bytes));
        let mut file = now.map_err(|reason| Error::PlanFile { reason })?;
        if (&file.plan, &file.made) != (&self.file.plan, &self.file.made) {
            return Err(Error::PlanFile {
                reason: "it was made anew while you looked at it".to_owned(),
            });
        }

        file.approvals
            .retain(|other| self.name_of(other).ok().as_ref() != Some(&name));
        file.approvals.push(approval);
        let text = file.text();
        // Whoever reads it must take it.
        PlanFile::read(text.as_bytes()).map_err(|reason| Error::PlanFile { reason })?;
        files::outputs::write(&self.path, text.as_bytes()).map_err(|error| Error::PlanFile {
            reason: format!("writing {}: {error}", self.path.display()),
        })?;
        drop(lock);
        self.file = file;
        Ok(name)
    }

    /// Whose approval it is.
    fn name_of(&self, approval: &PlanApproval) -> Result<String, Error> {
        let refused = |what: String| {
            Error::Refused(Refusal {
                what: format!("the signature does not count: {what}"),
                help: format!(
                    "nothing was changed; sign what `shipit approve {} --print` prints, for the \
                     namespace {NAMESPACE}",
                    self.path.display()
                ),
            })
        };
        let signature = Sshsig::read(&approval.signature).map_err(refused)?;
        let name = self.whose(signature.key())?;
        let message = self.statement(approval.at).message();
        signature
            .is_by(signature.key(), NAMESPACE, &message)
            .map_err(refused)?;
        Ok(name)
    }

    /// Whose key it is, if any rule takes it.
    fn whose(&self, key: &SshKey) -> Result<String, Error> {
        let mut known: Option<(&Approver, &ApprovalRule)> = None;
        for demand in &self.demands {
            let mut approvers = demand.approvers.iter();
            if let Some(found) = approvers.find(|one| one.keys.contains(key)) {
                if demand.rule.takes(found) {
                    return Ok(found.name.clone());
                }
                known = Some((found, &demand.rule));
            }
        }
        Err(Error::Refused(match known {
            Some((approver, rule)) => Refusal {
                what: format!(
                    "the approval of {} does not count here: {} wants {}",
                    approver.name,
                    self.file.plan.environment,
                    rule.wants()
                ),
                help: "ask one of them to approve it".to_owned(),
            },
            None => Refusal {
                what: format!("the key {} is nobody's under approvers", key.fingerprint()),
                help: format!(
                    "add it under `approvers` in shipit.yaml{}, or name another by --key KEY",
                    self.on_branch()
                ),
            },
        }))
    }

    /// Where the approvers are written.
    fn on_branch(&self) -> String {
        let branch = self.demands.iter().find_map(|demand| demand.branch.clone());
        branch.map_or_else(String::new, |branch| format!(" on {branch}"))
    }

    /// How it stands, as far as the file tells: who wrote its commits is asked when it is carried
    /// out.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let now = Timestamp::now();
        let of = self.statement(now);
        let given = Given {
            approvals: &self.file.approvals,
            of: &of,
            authors: &Authors::NotAsked,
            now,
        };
        let mut standing = Standing {
            by: Vec::new(),
            verdicts: Vec::new(),
        };
        for demand in &self.demands {
            let (verdict, by) = approved(&demand.rule, &demand.approvers, given);
            standing.verdicts.push(verdict);
            let is_new = |by: &SignedBy| standing.by.iter().all(|other| other.name != by.name);
            let new: Vec<SignedBy> = by.into_iter().filter(is_new).collect();
            standing.by.extend(new);
        }
        standing
    }
}

/// That a plan is of a project and of one of its environments.
fn is_of(project: &Project, plan: &Plan) -> Result<(), Error> {
    let is_here = project.environments.contains_key(&plan.environment);
    if plan.project == project.name && is_here {
        return Ok(());
    }
    Err(Error::PlanFile {
        reason: format!(
            "it was made for {} → {}, and here is no such environment of {}",
            plan.project, plan.environment, project.name
        ),
    })
}

fn needless(what: String, path: &Path) -> Error {
    let shown = path.display();
    Error::Usage {
        what,
        help: format!(
            "`shipit show {shown}` shows it; environments want approvals by the key `approvals`"
        ),
    }
}

/// The public key in a file, if it has one.
fn public_key(path: &Path) -> Option<SshKey> {
    let limit = u64::try_from(LONGEST).unwrap_or(u64::MAX);
    files::read_text(path, limit).ok()?.try_into().ok()
}

fn text(path: &Path) -> Result<String, Error> {
    let limit = u64::try_from(LONGEST).unwrap_or(u64::MAX);
    files::read_text(path, limit).map_err(|error| Error::Usage {
        what: format!("{} cannot be read: {error}", path.display()),
        help: "name a file that you can read".to_owned(),
    })
}
