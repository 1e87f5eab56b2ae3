//! Descriptions of devices in YAML: what they want can be applied.
#![no_main]

use libfuzzer_sys::fuzz_target;
use runtime::cdi::Format;

fuzz_target!(|contents: &[u8]| fuzz::devices::check(contents, Format::Yaml));
