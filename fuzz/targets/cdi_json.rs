//! Descriptions of devices in JSON: what they want can be applied, and as YAML they mean the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use runtime::cdi::{Format, Spec};

fuzz_target!(|contents: &[u8]| {
    fuzz::devices::check(contents, Format::Json);
    let json = Spec::parse(contents, Format::Json);
    let yaml = Spec::parse(contents, Format::Yaml);
    // Each refuses what the other takes: names given twice, lone surrogates, nesting.
    if let (Ok(json), Ok(yaml)) = (json, yaml) {
        assert_eq!(json, yaml);
    }
});
