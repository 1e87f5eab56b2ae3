//! What a start costs, counted in system calls (docs/SPEC.md).

use std::fs;
use std::path::Path;

use super::support::run::outcome;
use super::support::{Scratch, as_tester, lacks, program, real};

/// Runs `hrun IMAGE -- true` under strace(1) with options, and gives back what that wrote.
fn trace(options: &[&str]) -> String {
    let scratch = Scratch::new();
    let log = scratch.join("log");
    let mut strace = as_tester(Path::new("strace"));
    strace.args(options).arg("-o").arg(&log).arg(program("hrun"));
    outcome(strace.arg(real("bookworm")).args(["--", "true"])).ok();
    fs::read_to_string(log).unwrap()
}

/// The number of calls in the last row of `strace -c`.
fn total(table: &str) -> u32 {
    let row = table.lines().find(|line| line.ends_with(" total")).unwrap_or_default();
    let calls = row.split_whitespace().nth(3).and_then(|calls| calls.parse().ok());
    calls.unwrap_or_else(|| panic!("no total in:\n{table}"))
}

#[test]
fn a_start_makes_fewer_than_120_system_calls() {
    if lacks("strace") {
        return;
    }
    let table = trace(&["-f", "-c"]);
    let calls = total(&table);
    assert!(calls < 120, "{calls} system calls:\n{table}");
    println!("{calls} system calls, those of the dynamic loader and of true(1) among them");
}

#[test]
fn a_start_makes_no_process() {
    if lacks("strace") {
        return;
    }
    let log = trace(&["-f", "-e", "trace=process"]);
    for call in ["clone", "clone3", "fork", "vfork"] {
        assert!(!log.contains(&format!("{call}(")), "{log}");
    }
    let programs: Vec<&str> = log.lines().filter(|line| line.ends_with(" = 0")).collect();
    let programs: Vec<&&str> = programs.iter().filter(|line| line.contains("execve(")).collect();
    assert_eq!(programs.len(), 2, "hrun and the command: {programs:?}");
}
