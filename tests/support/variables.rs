//! Runs with other variables than those of a fresh login, and what the command sees of them.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use super::run::{Outcome, as_tester, program};

/// A command that becomes `hrun`, with more variables: `["A=1", "B=2"]`.
///
/// busybox sets them: it is static, so that it does not heed `LD_PRELOAD` and its like itself.
pub fn command_with<V: AsRef<OsStr>, A: AsRef<OsStr>>(
    variables: impl IntoIterator<Item = V>,
    arguments: impl IntoIterator<Item = A>,
) -> Command {
    let mut command = as_tester(&program("busybox"));
    command.arg("env").args(variables).arg(program("hrun")).args(arguments);
    command
}

/// Runs `hrun` with more variables.
#[track_caller]
pub fn hrun_with<V: AsRef<OsStr>, A: AsRef<OsStr>>(
    variables: impl IntoIterator<Item = V>,
    arguments: impl IntoIterator<Item = A>,
) -> Outcome {
    Outcome::new(command_with(variables, arguments).output().expect("hrun starts"))
}

/// Runs `hrun` behind a pipe that a shell command writes to.
///
/// The tester's shell makes the pipe: nobody can open `/dev/stdin` if it is a pipe of root's.
#[track_caller]
pub fn hrun_piped<A: AsRef<OsStr>>(
    writer: &str,
    arguments: impl IntoIterator<Item = A>,
) -> Outcome {
    let mut command = as_tester(&program("busybox"));
    command.args(["sh", "-c", &format!("{writer} | \"$0\" \"$@\"")]);
    command.arg(program("hrun")).args(arguments);
    Outcome::new(command.output().expect("the shell starts"))
}

/// The command's whole environment, given more variables of the host and options.
#[track_caller]
pub fn environment(image: &Path, host: &[&str], options: &[&str]) -> BTreeMap<String, String> {
    let image = image.to_str().unwrap();
    let words = options.iter().copied().chain([image, "/bin/probe", "env"]);
    let items = hrun_with(host, words).items();
    let split = |item: &String| {
        let (name, value) = item.split_once('=').unwrap();
        (name.to_owned(), value.to_owned())
    };
    let variables: BTreeMap<_, _> = items.iter().map(split).collect();
    assert_eq!(variables.len(), items.len(), "a name twice in {items:?}");
    variables
}

/// Some of the command's variables, in order: `A=1`, or `A` for one that is not set.
#[track_caller]
pub fn variables(image: &Path, names: &[&str], host: &[&str], options: &[&str]) -> Vec<String> {
    let environment = environment(image, host, options);
    let shown = |name: &&str| match environment.get(*name) {
        Some(value) => format!("{name}={value}"),
        None => (*name).to_owned(),
    };
    names.iter().map(shown).collect()
}
