//! What a Dockerfile says: which images it starts from, and on which line a step stands.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::Range;
use std::path::Path;

use oci_spec::distribution::Reference;
use parse_dockerfile::{Flag, FromInstruction, Instruction, UnescapedString};

use crate::port::builder::BuildError;
use crate::port::registry::Bases;

/// An image of a registry in a Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct External {
    /// Its whole name: `docker.io/library/debian:12`.
    pub name: String,
    /// Where it is in the text; none where it cannot be written over.
    pub span: Option<Range<usize>>,
    /// Whether a stage starts from it, and which.
    pub stage: Option<usize>,
}

/// A Dockerfile that was read.
#[derive(Debug, Clone)]
pub(super) struct Text {
    pub whole: String,
    pub externals: Vec<External>,
    /// Each stage's name, and what it starts from.
    stages: Vec<(Option<String>, String)>,
    /// Each instruction's beginning, and the text up to the next.
    steps: Vec<Range<usize>>,
}

impl Text {
    pub fn parse(
        text: &str,
        file: &Path,
        args: &BTreeMap<String, String>,
    ) -> Result<Self, BuildError> {
        let read = parse_dockerfile::parse(text).map_err(|error| invalid(file, error))?;
        let mut reading = Reading {
            text,
            file,
            args,
            values: BTreeMap::new(),
            stages: Vec::new(),
            externals: Vec::new(),
        };
        for instruction in &read.instructions {
            reading.instruction(instruction)?;
        }

        let starts: Vec<usize> = read.instructions.iter().map(start).collect();
        let ends = starts.iter().skip(1).copied().chain([text.len()]);
        let steps = starts.iter().copied().zip(ends);
        Ok(Self {
            externals: reading.externals,
            stages: reading.stages,
            steps: steps.map(|(start, end)| start..end).collect(),
            whole: text.to_owned(),
        })
    }

    /// The image that a stage starts from, through the stages between; the last stage without a
    /// target.
    pub fn base(&self, target: Option<&str>) -> Option<&External> {
        let named = |wanted: &str| {
            let by_name = |(name, _): &(Option<String>, String)| {
                name.as_ref()
                    .is_some_and(|name| name.eq_ignore_ascii_case(wanted))
            };
            self.stages.iter().rposition(by_name)
        };
        let last = self.stages.len().checked_sub(1)?;
        let mut at = target.map_or(Some(last), |target| {
            named(target).or_else(|| target.parse().ok())
        })?;

        loop {
            let external = self
                .externals
                .iter()
                .find(|external| external.stage == Some(at));
            if external.is_some() {
                return external;
            }
            // An earlier stage: a name means the stages above.
            let (_, from) = self.stages.get(at)?;
            at = named(from).filter(|earlier| *earlier < at)?;
        }
    }

    /// The text with every image by its digest, on the same lines: what the plan saw is what is
    /// built on.
    pub fn pinned(&self, bases: &Bases) -> String {
        let mut pinned = self.whole.clone();
        for external in self.externals.iter().rev() {
            if let (Some(span), Some(base)) = (&external.span, bases.get(&external.name)) {
                let name: Option<Reference> = external.name.parse().ok();
                let Some(name) = name.filter(|name| name.digest().is_none()) else {
                    continue;
                };
                let exact = format!("{}/{}@{}", name.registry(), name.repository(), base.digest);
                pinned.replace_range(span.clone(), &exact);
            }
        }
        pinned
    }

    /// Where the step stands that a tool's output ends with: its line, and its text.
    pub fn failed_step(&self, log: &[String]) -> Option<(usize, String)> {
        let said = log.iter().rev().find_map(|line| step(line))?;
        let wanted = squeezed(said);
        let found = self.steps.iter().find(|span| {
            let text = squeezed(&self.whole[(*span).clone()]);
            !wanted.is_empty() && text.starts_with(&wanted)
        })?;
        let text = self.whole[found.clone()]
            .lines()
            .next()
            .unwrap_or_default()
            .trim()
            .to_owned();
        Some((line(&self.whole, found.start), text))
    }
}

/// A Dockerfile that is being read, an instruction after the other.
struct Reading<'a> {
    text: &'a str,
    file: &'a Path,
    /// What the configuration says for an ARG.
    args: &'a BTreeMap<String, String>,
    /// Every ARG before the first stage, with what it is.
    values: BTreeMap<String, String>,
    stages: Vec<(Option<String>, String)>,
    externals: Vec<External>,
}

impl Reading<'_> {
    fn instruction(&mut self, instruction: &Instruction<'_>) -> Result<(), BuildError> {
        match instruction {
            Instruction::Arg(arg) if self.stages.is_empty() => self.arg(&arg.arguments.value),
            Instruction::From(from) => self.from(from)?,
            Instruction::Copy(copy) => {
                if let Some(value) = flag(&copy.options, "from")
                    && value.value.parse::<usize>().is_err()
                {
                    self.image(&value.value, Some(value.span.clone()), None)?;
                }
            }
            Instruction::Run(run) => {
                for mount in run.options.iter().filter(|flag| flag.name.value == "mount") {
                    self.mount(mount)?;
                }
            }
            _ => {}
        }

        Ok(())
    }

    fn arg(&mut self, words: &str) {
        for word in words.split_whitespace() {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            let value = expand(value.trim_matches(['"', '\'']), &self.values);
            let value = self.args.get(name).cloned().unwrap_or(value);
            self.values.insert(name.to_owned(), value);
        }
    }

    fn from(&mut self, from: &FromInstruction<'_>) -> Result<(), BuildError> {
        let image = expand(&from.image.value, &self.values);
        if image.is_empty() {
            let line = line(self.text, from.image.span.start);
            let name = &from.image.value;
            let reason =
                format!("line {line}: `{name}` is nothing without a value; give it under `args:`");
            return Err(invalid(self.file, reason));
        }

        let (span, stage) = (from.image.span.clone(), self.stages.len());
        self.image(&image, Some(span), Some(stage))?;
        let name = from.as_.as_ref().map(|(_, name)| name.value.to_string());
        self.stages.push((name, image));
        Ok(())
    }

    fn mount(&mut self, mount: &Flag<'_>) -> Result<(), BuildError> {
        let value = mount.value.as_ref();
        let value = value.map_or("", |value| value.value.as_ref());
        let from = value.split(',').find_map(|part| part.strip_prefix("from="));
        match from.filter(|from| from.parse::<usize>().is_err()) {
            Some(from) => self.image(from, None, None),
            None => Ok(()),
        }
    }

    /// Keeps an image, unless it is an earlier stage or nothing at all.
    fn image(
        &mut self,
        image: &str,
        span: Option<Range<usize>>,
        stage: Option<usize>,
    ) -> Result<(), BuildError> {
        let mut names = self.stages.iter().filter_map(|(name, _)| name.as_ref());
        if image == "scratch" || names.any(|name| name.eq_ignore_ascii_case(image)) {
            return Ok(());
        }

        let name: Reference = image.parse().map_err(|error| {
            let at = span.as_ref();
            let line = at.map_or(0, |span| line(self.text, span.start));
            invalid(self.file, format!("line {line}: `{image}`: {error}"))
        })?;
        self.externals.push(External {
            name: name.whole(),
            span,
            stage,
        });
        Ok(())
    }
}

fn invalid(file: &Path, reason: impl Display) -> BuildError {
    BuildError::Invalid {
        reason: format!("{}: {reason}", file.display()),
    }
}

/// The step in a line of a tool's output: `Step 2/3 : RUN x` (Docker without BuildKit), `STEP 2/3:
/// RUN x` (buildah), ` > [2/3] RUN x:` (BuildKit).
fn step(line: &str) -> Option<&str> {
    let line = line.trim();
    if let Some(rest) = line
        .strip_prefix("Step ")
        .or_else(|| line.strip_prefix("STEP "))
    {
        return rest.split_once(':').map(|(_, step)| step.trim());
    }
    let rest = line.strip_prefix("> [")?;
    let step = rest.split_once("] ")?.1.trim();
    Some(step.strip_suffix(':').unwrap_or(step))
}

/// Without blanks and line continuations, which every tool writes in its own way.
fn squeezed(text: &str) -> String {
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'));
    lines
        .flat_map(|line| line.trim_end().trim_end_matches('\\').chars())
        .filter(|c| !c.is_whitespace())
        .collect()
}

fn line(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

fn flag<'a>(flags: &'a [Flag<'_>], name: &str) -> Option<&'a UnescapedString<'a>> {
    flags
        .iter()
        .find(|flag| flag.name.value == name)?
        .value
        .as_ref()
}

fn start(instruction: &Instruction<'_>) -> usize {
    match instruction {
        Instruction::Add(it) => it.add.span.start,
        Instruction::Arg(it) => it.arg.span.start,
        Instruction::Cmd(it) => it.cmd.span.start,
        Instruction::Copy(it) => it.copy.span.start,
        Instruction::Entrypoint(it) => it.entrypoint.span.start,
        Instruction::Env(it) => it.env.span.start,
        Instruction::Expose(it) => it.expose.span.start,
        Instruction::From(it) => it.from.span.start,
        Instruction::Healthcheck(it) => it.healthcheck.span.start,
        Instruction::Label(it) => it.label.span.start,
        Instruction::Onbuild(it) => it.onbuild.span.start,
        Instruction::Run(it) => it.run.span.start,
        Instruction::Shell(it) => it.shell.span.start,
        Instruction::Stopsignal(it) => it.stopsignal.span.start,
        Instruction::User(it) => it.user.span.start,
        Instruction::Volume(it) => it.volume.span.start,
        Instruction::Workdir(it) => it.workdir.span.start,
        _ => 0,
    }
}

/// `$NAME`, `${NAME}`, `${NAME:-default}` and `${NAME:+other}`, as a FROM may have them.
fn expand(text: &str, values: &BTreeMap<String, String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(end) = rest.strip_prefix('{').and_then(|inner| inner.find('}')) {
            out.push_str(&braced(&rest[1..=end], values));
            rest = &rest[end + 2..];
        } else {
            let end = rest
                .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
                .unwrap_or(rest.len());
            out.push_str(values.get(&rest[..end]).map_or("", String::as_str));
            rest = &rest[end..];
        }
    }

    out.push_str(rest);
    out
}

fn braced(inner: &str, values: &BTreeMap<String, String>) -> String {
    let value = |name: &str| values.get(name).filter(|value| !value.is_empty());
    if let Some((name, default)) = inner.split_once(":-") {
        return value(name).map_or_else(|| expand(default, values), Clone::clone);
    }
    if let Some((name, other)) = inner.split_once(":+") {
        return value(name).map_or_else(String::new, |_| expand(other, values));
    }
    value(inner).cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Digest;
    use crate::port::registry::BaseImages;

    const TEXT: &str = "ARG VERSION=12\nARG BASE=debian\nFROM ${BASE}:${VERSION} AS build\nRUN \
                        make \\\n    # why\n    all\nFROM build AS test\nRUN ./test\nFROM \
                        localhost:5000/runtime/static:1\nCOPY --from=build /a /a\nCOPY \
                        --from=busybox:1 /bin/sh /sh\nCOPY --from=0 /b /b\nFROM scratch\n";

    fn read(args: &[(&str, &str)]) -> Text {
        let args = args
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Text::parse(TEXT, Path::new("Dockerfile"), &args).expect("a Dockerfile")
    }

    #[test]
    fn the_images_of_registries_are_found_and_the_stages_are_not() {
        let names = |text: &Text| -> Vec<String> {
            text.externals
                .iter()
                .map(|external| external.name.clone())
                .collect()
        };
        let wanted = [
            "docker.io/library/debian:12",
            "localhost:5000/runtime/static:1",
            "docker.io/library/busybox:1",
        ];
        assert_eq!(names(&read(&[])), wanted);
        assert_eq!(
            names(&read(&[("VERSION", "13")]))[0],
            "docker.io/library/debian:13"
        );
    }

    #[test]
    fn images_are_pinned_on_their_own_lines() {
        let digest = Digest::of(b"x");
        let base = BaseImages {
            digest: digest.clone(),
            images: BTreeMap::new(),
        };
        let text = read(&[]);
        let bases = text
            .externals
            .iter()
            .map(|external| (external.name.clone(), base.clone()))
            .collect();
        let pinned = text.pinned(&bases);
        assert!(
            pinned.contains(&format!(
                "FROM docker.io/library/debian@{digest} AS build\n"
            )),
            "{pinned}"
        );
        assert!(
            pinned.contains(&format!(
                "COPY --from=docker.io/library/busybox@{digest} /bin/sh"
            )),
            "{pinned}"
        );
        assert!(pinned.contains("FROM build AS test\n"), "{pinned}");
        assert_eq!(pinned.lines().count(), TEXT.lines().count());
    }

    #[test]
    fn a_stage_s_base_is_found_through_the_stages_between() {
        let base = |text: &str, target: Option<&str>| {
            let text =
                Text::parse(text, Path::new("Dockerfile"), &BTreeMap::new()).expect("a Dockerfile");
            text.base(target).map(|external| external.name.clone())
        };
        let text = "FROM golang AS build\nFROM alpine AS other\nFROM build\n";
        assert_eq!(
            base(text, None).as_deref(),
            Some("docker.io/library/golang:latest")
        );
        assert_eq!(
            base(text, Some("Other")).as_deref(),
            Some("docker.io/library/alpine:latest")
        );
        assert_eq!(
            base(text, Some("1")).as_deref(),
            Some("docker.io/library/alpine:latest")
        );
        assert_eq!(base(TEXT, None), None, "nothing");
        assert_eq!(
            base("FROM a AS a\nFROM a\n", None).as_deref(),
            Some("docker.io/library/a:latest")
        );
    }

    #[test]
    fn a_failed_step_is_found_in_the_words_of_every_tool() {
        let text = read(&[]);
        for said in [
            "Step 2/9 : RUN make     all",
            "STEP 2/9: RUN make all",
            " > [build 2/2] RUN make     all:",
        ] {
            let log = vec!["before".to_owned(), said.to_owned(), "make: no".to_owned()];
            assert_eq!(
                text.failed_step(&log),
                Some((4, "RUN make \\".to_owned())),
                "{said}"
            );
        }
        assert_eq!(text.failed_step(&["nothing".to_owned()]), None);
    }
}
