#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| shipit::fuzzing::test_report(bytes));
