//! Descriptions of devices that are sound but for their strings: what they want can be applied.
//!
//! Random bytes seldom are a description; here each line takes the place of one string of it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use runtime::cdi::Format;
use serde_json::Value;

/// Uses all that hrun reads of a description; its fields are sorted, as serde_json keeps them.
const ALL: &str = include_str!("../all.json");

/// Puts lines in place of the strings of a value, in order; an empty line leaves one as it is.
fn put<'a>(lines: &mut impl Iterator<Item = &'a str>, value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Some(line) = lines.next().filter(|line| !line.is_empty()) {
                *text = line.to_owned();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| put(lines, item)),
        Value::Object(fields) => fields.values_mut().for_each(|field| put(lines, field)),
        _ => {}
    }
}

fuzz_target!(|lines: &str| {
    let mut description: Value = serde_json::from_str(ALL).expect("the description is JSON");
    put(&mut lines.split('\n'), &mut description);
    fuzz::devices::check(description.to_string().as_bytes(), Format::Json);
});
