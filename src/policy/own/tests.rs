//! What expressions mean: a version of the library in which one of these means something else is
//! not taken.

use serde_json::{Value, json};

use crate::model::own_rule::{Ask, OwnRule};
use crate::model::verdict::Ruling;
use crate::policy::own::{ask, compile, holds};

fn facts() -> Value {
    json!({
        "plan": {
            "project": "shop",
            "state": {"serial": 3},
            "steps": [
                {"id": 1, "address": "image.web", "action": {"do": "build"}},
                {"id": 2, "address": "object.v1/ConfigMap/a/b", "action": {"do": "delete"}},
                {"id": 3, "address": "traffic", "action": {"do": "switch", "from": "blue", "to": "green"}},
            ],
            "notes": [],
            "ratio": 0.5,
        },
        "source": {"branch": "feature/ABC-12", "commit": "0123abc", "dirty": false},
        "change": null,
        "environment": "production",
        "actor": {"user": "kim", "host": "laptop", "run": "1"},
        "now": "2026-11-27T10:30:00Z",
        "live": null,
    })
}

#[test]
fn an_expression_means_what_it_meant() {
    let cases: &[(&str, Result<bool, &str>)] = &[
        ("true", Ok(true)),
        ("environment == 'production'", Ok(true)),
        ("environment in ['staging', 'production']", Ok(true)),
        ("plan.steps.all(s, s.action.do != 'delete')", Ok(false)),
        (
            "plan.steps.exists(s, s.action.do == 'switch' && s.action.to == 'green')",
            Ok(true),
        ),
        ("plan.steps.exists_one(s, s.action.do == 'build')", Ok(true)),
        ("plan.steps.filter(s, s.id > 1).size() == 2", Ok(true)),
        ("plan.steps.map(s, s.id) == [1, 2, 3]", Ok(true)),
        ("size(plan.notes) == 0", Ok(true)),
        ("plan.notes.all(n, false)", Ok(true)),
        ("plan.notes.exists(n, true)", Ok(false)),
        ("has(plan.steps) && !has(plan.losses)", Ok(true)),
        ("change == null && live == null", Ok(true)),
        ("source.branch.startsWith('feature/')", Ok(true)),
        (
            "source.branch.endsWith('12') && source.branch.contains('ABC')",
            Ok(true),
        ),
        ("source.branch.matches('[A-Z]+-[0-9]+')", Ok(true)),
        ("source.branch.matches('^[A-Z]+-[0-9]+$')", Ok(false)),
        ("!source.dirty", Ok(true)),
        ("plan.state.serial + 1 == 4", Ok(true)),
        ("plan.state.serial > 2 && plan.state.serial <= 3", Ok(true)),
        ("plan.state.serial > 2.5", Ok(true)),
        ("plan.state.serial == 3.0", Ok(true)),
        ("plan.ratio < 1", Ok(true)),
        ("7 / 2 == 3 && 7 % 2 == 1 && -7 / 2 == -3", Ok(true)),
        ("environment == 'production' ? false : true", Ok(false)),
        ("plan['project'] == 'shop'", Ok(true)),
        ("'project' in plan", Ok(true)),
        ("plan.steps[0].action['do'] == 'build'", Ok(true)),
        ("now > timestamp('2026-11-27T00:00:00Z')", Ok(true)),
        ("now.getHours() == 10 && now.getDayOfWeek() == 5", Ok(true)),
        ("now.getHours('Europe/Berlin') == 11", Ok(true)),
        (
            "now + duration('1h') == timestamp('2026-11-27T11:30:00Z')",
            Ok(true),
        ),
        (
            "string(plan.state.serial) == '3' && int('3') == 3",
            Ok(true),
        ),
        ("type(environment) == string", Ok(true)),
        ("'a' + 'b' == 'ab' && [1] + [2] == [1, 2]", Ok(true)),
        ("size('日本') == 2", Ok(true)),
        // One side that says it all is enough, whatever the other does.
        ("false && 1 / 0 == 1", Ok(false)),
        ("true || 1 / 0 == 1", Ok(true)),
        ("1 / 0 == 1 || true", Ok(true)),
        ("1 / 0 == 1 && false", Ok(false)),
        // Things of different kinds are never the same, and are not compared otherwise.
        ("environment == 1", Ok(false)),
        ("plan == null", Ok(false)),
        ("environment > 1", Err("")),
        ("environment + 1 == ''", Err("")),
        // What cannot be told is refused.
        ("1 / 0 == 1", Err("zero")),
        ("1 % 0 == 1", Err("zero")),
        ("9223372036854775807 + 1 > 0", Err("verflow")),
        ("-9223372036854775808 / -1 > 0", Err("verflow")),
        ("plan.nothing == 1", Err("nothing")),
        ("plan.steps[7].id == 1", Err("")),
        ("live.release == 1", Err("")),
        ("plan.steps.all(s, s.action.from == 'blue')", Err("from")),
        ("plan.steps", Err("list")),
        ("'yes'", Err("string")),
        ("1", Err("int")),
        ("null", Err("null")),
        ("source.branch.matches('[')", Err("")),
        ("timestamp('never') > now", Err("")),
        ("nothing_of_the_kind(1)", Err("")),
    ];
    let facts = facts();
    for (text, wanted) in cases {
        let said = holds(text, &facts);
        match (wanted, &said) {
            (Ok(wanted), Ok(said)) if wanted == said => {}
            (Err(part), Err(why)) if why.contains(part) => {}
            _ => panic!("{text}: {said:?} in place of {wanted:?}"),
        }
    }
}

#[test]
fn what_is_no_expression_is_said_with_its_place() {
    let cases = [
        ("plan.steps.all(s, s.x ==", (1, 25), "no expression"),
        ("true &&\n  pln.steps == 1", (2, 3), "nothing called `pln`"),
        ("s == 1 && [1].all(s, s == 1)", (1, 1), "nothing called `s`"),
        (
            "[1].all(a, [1].all(b, [1].all(c, [1].all(d, true))))",
            (1, 0),
            "more than 3 deep",
        ),
        ("", (1, 1), "no expression"),
    ];
    for (text, (line, column), message) in cases {
        let fault = compile(text).expect_err(text);
        assert!(fault.message.contains(message), "{text}: {fault:?}");
        assert_eq!(fault.line, line, "{text}: {fault:?}");
        if column > 0 {
            assert_eq!(fault.column, column, "{text}: {fault:?}");
        }
    }
}

#[test]
fn what_is_huge_or_deep_is_refused_and_ends_nothing() {
    let deep = "(".repeat(2_000) + "true" + &")".repeat(2_000);
    let nots = "!".repeat(4_000) + "true";
    let long = "1 == 1 && ".repeat(400) + "true";
    let huge = "'".to_owned() + &"x".repeat(5_000) + "' == ''";
    for text in [&deep, &nots, &long, &huge] {
        // Whether the library takes it is its own matter.
        let _ = compile(text);
        let _ = holds(text, &facts());
    }
    assert!(compile(&huge).is_err());

    let numbers: Vec<String> = (0..900).map(|number| number.to_string()).collect();
    let list = format!("[{}]", numbers.join(","));
    let slow = format!("{list}.all(a, plan.many.all(b, plan.many.all(c, a + b + c >= 0)))");
    let mut facts = facts();
    facts["plan"]["many"] = (0..5_000).collect::<Vec<_>>().into();
    let said = holds(&slow, &facts).expect_err("it takes too long");
    assert!(said.contains("not done within"), "{said}");
}

#[test]
fn a_rule_applies_when_it_says_so_and_is_refused_where_it_cannot_be_asked() {
    let rule = |when: Option<&str>, must: &str| OwnRule {
        key: "policy.0".to_owned(),
        name: "nothing is deleted".to_owned(),
        ask: Ask::Expression {
            when: when.map(str::to_owned),
            must: must.to_owned(),
            help: Some("use destroy".to_owned()),
        },
    };
    let asked = |when, must| ask(&rule(when, must), &facts()).expect("a verdict");
    assert_eq!(asked(None, "true").ruling, Ruling::Passed);
    assert_eq!(asked(Some("false"), "1 / 0 == 1").ruling, Ruling::Passed);
    let refused = asked(None, "false");
    assert_eq!(refused.ruling, Ruling::Refused);
    assert_eq!(refused.help.as_deref(), Some("use destroy"));
    for (when, must) in [
        (None, "1 / 0 == 1"),
        (Some("1 / 0 == 1"), "true"),
        (Some("1"), "true"),
    ] {
        let verdict = asked(when, must);
        assert_eq!(verdict.ruling, Ruling::Refused, "{verdict:?}");
        assert!(verdict.reason.contains("cannot be asked"), "{verdict:?}");
    }
}
