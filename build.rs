//! Asks the linker to put side by side what every start runs, where `make` says that it can, and to
//! leave out what costs a start a call.

#![allow(clippy::disallowed_methods, reason = "cargo tells a build script everything so")]

use std::env;

/// A page fault brings in 64 KiB around it (fault_around_bytes), so a start pays for every such piece
/// of the program that holds one function it runs: see docs/decisions/0013.
const ORDER: &str = "link/order.txt";

fn main() {
    for name in ["HRUN_LINK_ORDER", "HRUN_LINK_MAP"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    println!("cargo::rerun-if-changed={ORDER}");
    let directory = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    // The first two are options of lld.
    let mut arguments = Vec::new();
    if env::var("HRUN_LINK_ORDER").is_ok_and(|asked| asked == "1") {
        arguments.push(format!("--symbol-ordering-file={directory}/{ORDER}"));
        arguments.push("--no-warn-symbol-ordering".into());
    }
    if let Ok(map) = env::var("HRUN_LINK_MAP") {
        arguments.extend(["--no-demangle".into(), format!("-Map={map}")]);
    }
    // At fixed addresses the read-only table of a relocated program protects little, and making it so is a
    // call of every start (docs/decisions/0001).
    arguments.push("-z,norelro".into());
    for argument in arguments {
        println!("cargo::rustc-link-arg-bin=hrun=-Wl,{argument}");
    }
}
