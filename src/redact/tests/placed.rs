//! Values that a program lays out in lines, in dumps, or in texts in other texts.

use super::*;

const VALUE: &str = "correct-horse battery$taple/9x";

fn chunks(text: &str, width: usize) -> Vec<&str> {
    assert!(text.is_ascii());
    let starts = (0..text.len()).step_by(width);
    starts
        .map(|at| &text[at..text.len().min(at + width)])
        .collect()
}

/// Nothing of the value is shown by the whole text, nor line by line.
fn assert_laid_out_is_hidden(lines: &[String], parts: &[&str], how: &str) {
    let redactor = knowing(&[VALUE]);
    let mut stream = redactor.stream();
    let mut streamed: Vec<String> = lines
        .iter()
        .flat_map(|line| stream.push(line.clone()))
        .collect();
    streamed.extend(stream.finish());
    assert_eq!(streamed.len(), lines.len(), "{how}");

    for shown in [redactor.text(&lines.join("\n")), streamed.join("\n")] {
        for part in parts {
            assert!(!shown.contains(part), "{how}: `{part}` is in {shown}");
        }
    }
}

#[test]
fn a_value_in_lines_with_something_before_each_is_hidden() {
    let long = VALUE.repeat(2);
    for (how, before) in [
        ("a block of YAML", "    "),
        ("a build's log", "#8 0.123 "),
        ("a service's log", "2026-11-27T16:00:00Z web | "),
    ] {
        for width in [9, 13] {
            let parts = chunks(VALUE, width);
            let mut lines = vec![format!("{before}value: |")];
            lines.extend(parts.iter().map(|part| format!("{before}{part}")));
            lines.push(format!("{before}the end"));
            let long_enough: Vec<&str> = parts
                .iter()
                .copied()
                .filter(|part| part.len() > 4)
                .collect();
            assert_laid_out_is_hidden(&lines, &long_enough, how);
        }
    }
    let base64 = STANDARD.encode(long);
    let lines: Vec<String> = chunks(&base64, 16)
        .iter()
        .map(|part| format!("  {part}"))
        .collect();
    let redactor = knowing(&[VALUE]);
    let shown = redactor.text(&lines.join("\n"));
    assert!(!shown.contains(&base64[4..12]), "{shown}");
}

#[test]
fn what_only_looks_as_if_it_went_on_stays() {
    let redactor = knowing(&["abcd-efgh-ijkl-mnop"]);
    let text = "we say abcd\n  and then something else\nabcd\nxx-efgh and more";
    assert_eq!(redactor.text(text), text);
}

fn xxd(text: &str) -> Vec<String> {
    let lines = chunks(text, 16).into_iter().enumerate();
    lines
        .map(|(number, part)| format!("{:08x}: {:39}  {part}", number * 16, pairs(part.as_bytes())))
        .collect()
}

fn hexdump(text: &str) -> Vec<String> {
    let lines = chunks(text, 16).into_iter().enumerate();
    lines
        .map(|(number, part)| {
            let (first, second) = part.split_at(part.len().min(8));
            let digits = format!("{}  {}", dump(first, " "), dump(second, " "));
            format!("{:08x}  {digits:48}  |{part}|", number * 16)
        })
        .collect()
}

fn od(text: &str) -> Vec<String> {
    let lines = chunks(text, 16).into_iter().enumerate();
    lines
        .map(|(number, part)| {
            let cells = part.chars().map(|sign| format!("{sign:>4}"));
            format!("{:07o}{}", number * 16, cells.collect::<String>())
        })
        .collect()
}

#[test]
fn a_dump_of_a_value_is_hidden_with_its_text() {
    let text = format!("password={VALUE}\n").replace('\n', ".");
    let (bytes, spread) = (VALUE.as_bytes(), od(VALUE)[0][7..27].to_owned());
    let digits = [dump("horse", ""), dump("taple", " "), pairs(&bytes[3..9])];
    let mut parts: Vec<&str> = digits.iter().map(String::as_str).collect();
    parts.extend(["horse", "taple", "batte", &spread]);
    for (how, lines) in [
        ("xxd", xxd(&text)),
        ("hexdump -C", hexdump(&text)),
        ("od -c", od(&text)),
    ] {
        assert_laid_out_is_hidden(&lines, &parts, how);
        let logged: Vec<String> = lines.iter().map(|line| format!("web.0 | {line}")).collect();
        assert_laid_out_is_hidden(&logged, &parts, how);
    }
    let other = xxd("nothing that anybody has to hide");
    assert_eq!(knowing(&[VALUE]).lines(other.clone()), other);
}

#[test]
fn a_value_in_decimal_numbers_is_hidden() {
    let redactor = knowing(&[VALUE]);
    for between in [" ", ", ", ",", ",\n    "] {
        let numbers: Vec<String> = VALUE.bytes().map(|byte| byte.to_string()).collect();
        let written = format!("{{\"data\":[{}]}} 12 3", numbers.join(between));
        let shown = redactor.text(&written);
        assert!(shown.starts_with("{\"data\":[***"), "{shown}");
        assert!(shown.ends_with("***]} 12 3"), "{shown}");
        assert!(!shown.contains("114"), "{shown}");
    }
    let signed = "[-61, -92, 98, 99]";
    assert_eq!(knowing(&["äbc"]).text("[-61, -92, 98]"), "[-61, -92, 98]");
    assert_eq!(
        knowing(&["äbcd"]).text(&format!("{}, 100]", &signed[..17])),
        "[***]"
    );
}

#[test]
fn a_value_in_a_text_in_another_text_is_hidden() {
    let login = STANDARD.encode(format!("kim:{VALUE}"));
    let document = format!(r#"{{"auths":{{"r.example.com":{{"auth":"{login}"}}}}}}"#);
    let odd = "pä\"ss\\w\u{f6}rd-of-kim";
    let claims = format!(r#"{{"sub":"kim","password":"{}"}}"#, json(odd));
    let redactor = knowing(&[VALUE, odd]);
    for (how, inside) in [("a login in a document", &document), ("escapes", &claims)] {
        for written in [
            STANDARD.encode(inside),
            URL_SAFE_NO_PAD.encode(inside),
            STANDARD.encode(format!("{{\"more\":\"x\",\"and\":{inside}}}")),
            STANDARD.encode(STANDARD.encode(inside)),
        ] {
            let text = format!("data:\n  a: {written}\nnext line is here\n");
            let shown = redactor.text(&text);
            assert!(shown.contains(MASK), "{how}: {shown}");
            let shown_base64 = shown.split_whitespace().nth(2).unwrap_or_default();
            let left = shown_base64
                .split(MASK)
                .map(|part| STANDARD_NO_PAD.decode(part));
            for part in left.flatten() {
                let part = String::from_utf8_lossy(&part).into_owned();
                assert!(
                    !part.contains("ss\\") && !part.contains(&login[8..20]),
                    "{how}: {part}"
                );
            }
            assert!(shown.ends_with("\nnext line is here\n"), "{how}: {shown}");
        }
    }
}

#[test]
fn the_escapes_of_compose_and_powershell_are_undone() {
    let value = "pa$$w`ord\"with $igns";
    let redactor = knowing(&[value]);
    let compose = format!("DB: {}", value.replace('$', "$$"));
    assert_eq!(redactor.text(&compose), "DB: ***");
    let escaped = |sign: char| match sign {
        '$' | '`' | '"' => format!("`{sign}"),
        sign => sign.to_string(),
    };
    let powershell: String = value.chars().map(escaped).collect();
    assert_eq!(
        redactor.text(&format!("$x = \"{powershell}\"")),
        "$x = \"***\""
    );
    let text = "costs $$5 and `code` here";
    assert_eq!(redactor.text(text), text);
}
