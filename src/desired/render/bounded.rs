//! The bounds that need no process of their own: length, steps, what comes out, and a stack of
//! known size.

use std::io;

use minijinja::value::Serde;
use minijinja::{Environment, ErrorKind, UndefinedBehavior};

use crate::desired::render::{LONGEST, LONGEST_TAG, MOST, RenderFault, Request, STACK, STEPS};
use crate::model::object::SECRET;

/// What can be said of a template before it is rendered.
pub(super) fn look_at(text: &str) -> Result<(), RenderFault> {
    if text.len() > LONGEST {
        return Err(RenderFault::say(format!(
            "it has {} bytes; {LONGEST} is the most",
            text.len()
        )));
    }
    for (line, part) in (1..).zip(text.split_inclusive('\n')) {
        if let Some(reason) = long_tag(part) {
            return Err(RenderFault {
                reason,
                line: Some(line),
            });
        }
    }
    long_tag(text).map_or(Ok(()), |reason| Err(RenderFault::say(reason)))
}

fn long_tag(text: &str) -> Option<String> {
    let begin = |at: usize| text[at..].find('{').map(|found| at + found);
    let mut at = 0;
    while let Some(start) = begin(at) {
        let end = match text[start..].get(1..2) {
            Some("{") => "}}",
            Some("%") => "%}",
            _ => {
                at = start + 1;
                continue;
            }
        };

        let length = text[start..].find(end).unwrap_or(text.len() - start);
        if length > LONGEST_TAG {
            return Some(format!(
                "a tag of {length} bytes; {LONGEST_TAG} is the most"
            ));
        }
        at = start + length.max(2);
    }
    None
}

/// Renders on a thread whose stack is known.
pub(super) fn on_a_thread(request: &Request) -> Result<String, RenderFault> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("template".to_owned())
            .stack_size(STACK)
            .spawn_scoped(scope, || render(request));
        match thread.map(std::thread::ScopedJoinHandle::join) {
            Ok(Ok(rendered)) => rendered,
            Ok(Err(_)) => Err(RenderFault::say(
                "rendering it ended in a fault of the library",
            )),
            Err(error) => Err(RenderFault::say(format!("no thread can be had: {error}"))),
        }
    })
}

fn render(request: &Request) -> Result<String, RenderFault> {
    let mut jinja = Environment::new();
    // Whether there is a branch may be asked; what there is not is no text.
    jinja.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    jinja.set_fuel(Some(STEPS));
    jinja.add_function("secret", |name: String| format!("{SECRET}{name}"));
    let mut out = Limited(Vec::new());
    let rendered = jinja
        .template_from_named_str(&request.name, &request.text)
        .and_then(|template| {
            template
                .render_captured_to(Serde(&request.known), &mut out)
                .map(drop)
        });

    match rendered {
        Ok(()) => String::from_utf8(out.0).map_err(|_| RenderFault::say("it is not UTF-8")),
        Err(error) => Err(RenderFault {
            reason: match error.kind() {
                ErrorKind::OutOfFuel => format!("it takes more than {STEPS} steps"),
                ErrorKind::WriteFailure => format!("more than {MOST} bytes come out of it"),
                kind => match error.detail() {
                    Some(detail) => format!("{kind}: {detail}"),
                    None => kind.to_string(),
                },
            },
            line: error.line(),
        }),
    }
}

/// What comes out, up to its bound.
struct Limited(Vec<u8>);

impl io::Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MOST {
            return Err(io::Error::other("too long"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rendered(text: &str) -> Result<String, RenderFault> {
        look_at(text)?;
        on_a_thread(&Request {
            name: "t".to_owned(),
            text: text.to_owned(),
            known: serde_json::json!({"project": "shop", "commit": null}),
        })
    }

    fn reason(text: &str) -> String {
        rendered(text).expect_err(text).reason
    }

    #[test]
    fn an_ordinary_template_is_rendered_as_ever() {
        let text = "a {{ project }}{% for n in range(3) %}-{{ n }}{% endfor %} {{ secret('x') }}";
        assert_eq!(
            rendered(text).expect("rendered"),
            format!("a shop-0-1-2 {SECRET}x")
        );
        assert_eq!(rendered("{{ commit }}").expect("rendered"), "None");
        assert!(reason("{{ projekt }}").contains("undefined"));
    }

    #[test]
    fn what_would_never_end_or_never_fit_is_refused_with_its_bound() {
        let nested =
            "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}";
        assert!(reason(nested).contains("steps"), "{}", reason(nested));
        let long = format!(
            "{{% for a in range(100000) %}}{}{{% endfor %}}",
            "x".repeat(1_000)
        );
        assert!(reason(&long).contains("come out"), "{}", reason(&long));
        let deep = format!("{{{{ {}1 }}}}", "-".repeat(30_000));
        assert!(reason(&deep).contains("a tag of"), "{}", reason(&deep));
        let filters = format!("a\n{{{{ 1{} }}}}", "|string".repeat(5_000));
        assert_eq!(rendered(&filters).expect_err("long").line, Some(2));
        assert!(reason(&"x".repeat(LONGEST + 1)).contains("is the most"));
        let macros = "{% macro a(n) %}{{ a(n) }}{% endmacro %}{{ a(1) }}";
        assert!(rendered(macros).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_text_ends_more_than_itself(text in "(\\{\\{|\\}\\}|\\{%|%\\}|[a-z(\\[|\\-~ ]|for |in \
            |if |set |range\\(9\\)|endfor){0,40}") {
            let _ = rendered(&text);
        }
    }
}
