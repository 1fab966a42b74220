use std::fmt::Write as _;

use super::*;

fn read(text: &str) -> Vec<(String, String)> {
    let found = parse(text, &Variables::new());
    found
        .unwrap_or_else(|fault| panic!("{fault:?}"))
        .into_iter()
        .collect()
}

fn one(text: &str) -> String {
    let found = read(text);
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].1.clone()
}

fn refused(text: &str) -> (usize, String) {
    let fault = parse(text, &Variables::new()).expect_err(text);
    (fault.line, fault.reason)
}

#[test]
fn lines_are_read_as_docker_compose_reads_them() {
    for (line, value) in [
        ("A=b", "b"),
        ("A: b", "b"),
        ("export A=b", "b"),
        ("export\tA = b ", "b"),
        ("A=", ""),
        ("A=b # comment", "b"),
        ("A=b# none", "b# none"),
        ("A=#b", "#b"),
        ("A= # comment", ""),
        ("A=b=c:d", "b=c:d"),
        ("A=https://x/#y", "https://x/#y"),
        (r#"A="b # c" # d"#, "b # c"),
        (r#"A='b # $c "d"'"#, r#"b # $c "d""#),
        (r"A='it\'s'", "it's"),
        (r#"A="{\"b\": 1}""#, r#"{"b": 1}"#),
        (r#"A="a\nb\tc\\n""#, "a\nb\tc\\n"),
        (r"A=a\nb", r"a\nb"),
        ("A='one\n# two\nthree'", "one\n# two\nthree"),
        ("A=\"one\ntwo\"", "one\ntwo"),
        ("A=it's", "it's"),
    ] {
        assert_eq!(one(line), value, "{line}");
    }
    let names = read("# c\n\n  B=1\n\t# d\nA=2\nexport=3\nexported=4\n");
    let names: Vec<&str> = names.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["A", "B", "export", "exported"]);
}

#[test]
fn line_ends_and_marks_of_windows_are_no_part_of_a_value() {
    let text = "\u{feff}A=b\r\nC='d\r\ne'\r\n# f\r\n";
    let found = read(text);
    assert_eq!(
        found,
        [("A", "b"), ("C", "d\ne")].map(|(a, b)| (a.to_owned(), b.to_owned()))
    );
}

#[test]
fn a_variable_is_one_that_was_set_before() {
    for (text, value) in [
        ("A=1\nB=$A", "1"),
        ("A=1\nB=${A}2", "12"),
        ("A=1\nB=\"x $A\"", "x 1"),
        ("A=1\nB='$A'", "$A"),
        ("A=1\nB=$$A", "$A"),
        ("A=1\nB=\"\\$A\"", "$A"),
        ("A=1\nB=pa$ss$", "refused"),
        ("A=\nB=${A:-x}", "x"),
        ("A=\nB=${A-x}", ""),
        ("A=1\nB=${A:+y}", "y"),
        ("A=1\nB=${C:-${A}}", "1"),
        ("A=1\nB=5$", "5$"),
        ("A=1\nB=$5", "$5"),
    ] {
        match parse(text, &Variables::new()) {
            Ok(found) => assert_eq!(found["B"], value, "{text}"),
            Err(fault) => assert_eq!((fault.line, "refused"), (2, value), "{text}: {fault:?}"),
        }
    }
    let before = Variables::from([("A".to_owned(), "1".to_owned())]);
    assert_eq!(parse("B=$A", &before).expect("it was set")["B"], "1");
}

#[test]
fn what_cannot_be_meant_is_refused_with_its_line() {
    for (text, line, reason) in [
        ("A=1\n\nB", 3, "`B` has no value"),
        ("A=1\nA=2", 2, "`A` was set in line 1 already"),
        ("A='1\n2", 1, "has no end"),
        ("A=1\nB=\"x\" y", 2, "something follows"),
        ("A B=1", 1, "no name"),
        ("=1", 1, "no name"),
        ("\u{e4}=1", 1, "no name"),
        ("A=$HOME", 1, "`$HOME` is set nowhere before"),
        ("A=${B:?why}", 1, "has to be set"),
        ("A=${B", 1, "is not understood"),
        ("A=${}", 1, "without a name"),
        ("A=${B:-x", 1, "has no `}`"),
        ("A=\0", 1, "zero byte"),
    ] {
        let (at, why) = refused(text);
        assert_eq!(at, line, "{text}: {why}");
        assert!(why.contains(reason), "{text}: {why}");
    }
}

#[test]
fn a_value_that_grows_or_nests_without_end_is_refused() {
    let mut text = format!("A0={}\n", "x".repeat(1000));
    for at in 1..30 {
        let before = format!("${{A{}}}", at - 1).repeat(10);
        let _ = writeln!(text, "A{at}={before}");
    }
    assert!(refused(&text).1.contains("more than 128 KiB"));
    let deep = format!("A={}", "${A:-".repeat(10_000));
    assert!(refused(&deep).1.contains("more than 16 times"));
    let long = format!("A={}", "x".repeat(LONGEST));
    assert!(refused(&long).1.contains("more than 128 KiB"));
}

#[test]
fn no_error_repeats_a_value() {
    for text in [
        "A='TOPSECRET",
        "A=\"x\" TOPSECRET",
        "A=${B:-TOPSECRET",
        "A=1\nA=TOPSECRET",
    ] {
        let fault = parse(text, &Variables::new()).expect_err(text);
        assert!(!format!("{fault:?}").contains("TOPSECRET"), "{fault:?}");
    }
}
