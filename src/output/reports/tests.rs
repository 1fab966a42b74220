//! What CI servers get.

use super::*;

fn report() -> Report {
    let refused = Verdict::refused(
        "branches.staging.offshoots",
        "commit aaaaaaa (<b>\"x\" & y\u{7}</b>, by kim) was made on a branch from staging",
        "make it from develop",
    );
    let place = RulePlace {
        file: "shipit.yaml".to_owned(),
        line: 7,
        column: 5,
    };
    Report {
        title: "shop → staging".to_owned(),
        verdicts: vec![
            Verdict {
                place: Some(place),
                ..refused.on("staging").at("a".repeat(40))
            },
            Verdict::undecided("branches.master.gives", "it is not here", "fetch it"),
            Verdict::passed("ticket", "the branch names ABC-1"),
        ],
        steps: vec![
            StepResult {
                address: "image.web".to_owned(),
                title: "build".to_owned(),
                millis: Some(1_234),
                failure: None,
            },
            StepResult {
                address: "slot.green".to_owned(),
                title: "wait until ready".to_owned(),
                millis: Some(5),
                failure: Some("not ready\nlast line %".to_owned()),
            },
        ],
        ..Report::default()
    }
}

#[test]
fn junit_has_a_case_for_each_rule_and_step() {
    insta::assert_snapshot!(report().text(Kind::Junit));
    let empty = Report {
        title: "plan".to_owned(),
        ..Report::default()
    };
    let text = empty.text(Kind::Junit);
    assert!(text.contains("<testcase "), "Jenkins wants one: {text}");
}

#[test]
fn sarif_has_each_fault_with_its_place() {
    let text = report().text(Kind::Sarif);
    let document: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let results = document["runs"][0]["results"].as_array().expect("results");
    assert_eq!(results.len(), 2, "what passed is no result");
    let place = &results[0]["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "shipit.yaml");
    assert_eq!(place["region"]["startLine"], 7);
    assert_eq!(results[0]["level"], "error");
    assert_eq!(results[1]["level"], "warning");
    let index = results[0]["ruleIndex"].as_u64().expect("an index");
    let index = usize::try_from(index).expect("an index");
    let rule = &document["runs"][0]["tool"]["driver"]["rules"][index]["id"];
    assert_eq!(rule, "branches.staging.offshoots");
}

#[test]
fn what_nobody_sees_is_shown_and_no_text_is_a_link() {
    let refused = Verdict::refused("ticket", "commit [a](https://b) \u{202e}gnp", "none");
    let report = Report {
        verdicts: vec![refused],
        ..Report::default()
    };
    let junit = report.text(Kind::Junit);
    assert!(junit.contains(r"\u{202e}gnp"), "{junit}");
    let sarif = report.text(Kind::Sarif);
    assert!(
        !sarif.contains('\u{202e}') && sarif.contains(r"\u202egnp"),
        "{sarif}"
    );
    let document: serde_json::Value = serde_json::from_str(&sarif).expect("JSON");
    let text = document["runs"][0]["results"][0]["message"]["text"].to_string();
    assert!(text.contains(r"\\[a\\](https"), "{text}");
}

#[test]
fn sarif_is_what_its_standard_says() {
    let schema = include_str!("../../../tests/schemas/sarif-2.1.0.json");
    let mut schema: serde_json::Value = serde_json::from_str(schema).expect("JSON");
    // It is no regular expression, and nothing of ours has a language.
    for part in ["run", "toolComponent"] {
        let language = &mut schema["definitions"][part]["properties"]["language"];
        assert!(language["pattern"].take().is_string());
        language["pattern"] = "".into();
    }
    let schema = jsonschema::validator_for(&schema).expect("a schema");
    let wrong = |document: &serde_json::Value| -> Vec<String> {
        let errors = schema.iter_errors(document);
        errors.map(|error| error.to_string()).collect()
    };
    for report in [report(), Report::default()] {
        let text = report.text(Kind::Sarif);
        let document: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(wrong(&document), Vec::<String>::new(), "{text}");
    }

    // The schema is asked: what is wrong is found.
    let text = report().text(Kind::Sarif);
    let mut document: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    document["runs"][0]["results"][0]["level"] = "fatal".into();
    assert_eq!(wrong(&document).len(), 1, "{document:#}");
}

#[test]
fn gitlab_gets_three_numbers() {
    let text = Report::default().text(Kind::Gitlab);
    assert_eq!(text, "{\"create\":0,\"update\":0,\"delete\":0}\n");
}

#[test]
fn gitlab_shows_each_fault_beside_its_line() {
    let mut report = report();
    // The same fault, twice.
    let first = report.verdicts[0].clone();
    report.verdicts.push(first);
    let text = report.text(Kind::CodeQuality);
    insta::assert_snapshot!(text);

    let entries: Vec<serde_json::Value> = serde_json::from_str(&text).expect("a list");
    let fingerprints: std::collections::BTreeSet<String> = entries
        .iter()
        .map(|entry| entry["fingerprint"].to_string())
        .collect();
    assert_eq!(
        (entries.len(), fingerprints.len()),
        (3, 3),
        "of two that are equal GitLab shows one"
    );
    assert_eq!(Report::default().text(Kind::CodeQuality), "[]\n");
}

#[test]
fn gitlab_s_required_fields_are_there() {
    let schema = serde_json::json!({
        "type": "array",
        "items": {
            "type": "object",
            "required": ["description", "check_name", "fingerprint", "severity", "location"],
            "properties": {
                "description": {"type": "string", "minLength": 1},
                "check_name": {"type": "string", "minLength": 1},
                "fingerprint": {"type": "string", "minLength": 1},
                "severity": {"enum": ["info", "minor", "major", "critical", "blocker"]},
                "location": {
                    "type": "object",
                    "required": ["path", "lines"],
                    "properties": {
                        "path": {"type": "string", "pattern": "^[^./]"},
                        "lines": {
                            "type": "object",
                            "required": ["begin"],
                            "properties": {"begin": {"type": "integer", "minimum": 1}},
                        },
                    },
                },
            },
        },
    });
    let schema = jsonschema::validator_for(&schema).expect("a schema");
    assert_ne!(report().text(Kind::CodeQuality).trim(), "[]");
    for report in [report(), Report::default()] {
        let text = report.text(Kind::CodeQuality);
        let document: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let errors = schema.iter_errors(&document);
        let wrong: Vec<String> = errors.map(|error| error.to_string()).collect();
        assert_eq!(wrong, Vec::<String>::new(), "{text}");
    }
}

#[test]
fn what_does_not_fit_is_left_out_whole_and_said() {
    let sections = [
        ("the rules", "r".repeat(100)),
        ("the plan", "p".repeat(2_000)),
        ("how it ended", "e".repeat(100)),
    ];
    let text = bounded(&sections, 1_000);
    assert!(text.len() <= 1_000);
    assert!(
        text.contains(&"e".repeat(100)) && !text.contains("ppp"),
        "{text}"
    );
    assert!(
        text.contains("Left out, as it does not fit here: the plan."),
        "{text}"
    );
    assert_eq!(bounded(&sections, 10_000).matches("Left out").count(), 0);
}

#[test]
fn a_text_makes_no_command_of_githubs() {
    let mut report = report();
    report.verdicts[0].reason = "50% of it\n::add-mask::x".to_owned();
    report.verdicts[0].rule = "branches.a,b:c".to_owned();
    let lines = annotations(&report, "app/");
    assert_eq!(
        lines[0],
        "::error file=app/shipit.yaml,line=7,col=5,title=branches.a%2Cb%3Ac::50%25 of \
         it%0A::add-mask::x%0Amake it from develop"
    );
    assert!(lines.iter().all(|line| !line.contains('\n')));
    assert_eq!(lines.len(), 2);
}

#[test]
fn tests_of_a_task_are_suites_and_the_failing_ones_are_faults() {
    let xml = r#"<testsuite name="cart &quot;a&quot;"><testcase classname="shop" name="adds"/>
        <testcase name="removes" time="0.5" file="test/cart.rb" line="9">
          <failure message="&lt;b&gt; [a](https://b)">all of it</failure></testcase>
        <testcase name="outside" file="/etc/passwd"><error message="gone"/></testcase>
        <testcase name="later"><skipped/></testcase></testsuite>"#;
    let mut tests = TestReport::default();
    crate::model::test_report::junit::read(&mut tests, "a.xml", xml.as_bytes());
    tests.problem("b.xml: it is a link");
    let report = Report {
        title: "shop → staging".to_owned(),
        tests: vec![("task.green/test".to_owned(), tests)],
        ..report()
    };
    insta::assert_snapshot!("junit_with_tests", report.text(Kind::Junit));
    insta::assert_snapshot!("comment_with_tests", report.text(Kind::Markdown));

    let sarif: serde_json::Value = serde_json::from_str(&report.text(Kind::Sarif)).expect("JSON");
    let results = sarif["runs"][0]["results"].as_array().expect("results");
    let places: Vec<(&str, u64)> = results
        .iter()
        .filter(|result| result["ruleId"] == "tests")
        .filter_map(|result| {
            let place = &result["locations"][0]["physicalLocation"];
            let file = place["artifactLocation"]["uri"].as_str()?;
            Some((file, place["region"]["startLine"].as_u64()?))
        })
        .collect();
    assert_eq!(places, [("test/cart.rb", 9), ("shipit.yaml", 1)]);
}
