//! The ways hrun makes mounts; what a user sees must be the same in each.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::Command;

use super::run::{Outcome, command, outcome, probe_arguments};

/// With everything this kernel has; without overlay; as on a node of Red Hat 8; and as on a diskless
/// one, whose root is the initial ramfs.
pub const WAYS: [&[&str]; 4] = [
    &[],
    &["--assume-missing=overlay"],
    &["--assume-missing=overlay,mount-setattr"],
    &["--assume-missing=overlay,mount-setattr,pivot-root"],
];

/// One of the ways.
#[derive(Clone, Copy, Debug)]
pub struct Way(pub &'static [&'static str]);

/// Runs a test once in every way; a test that fails shows the way in its output.
pub fn in_every_way(test: impl Fn(Way)) {
    for way in WAYS {
        println!("in the way {way:?}");
        test(Way(way));
    }
}

impl Way {
    /// A command that becomes `hrun`, with arguments.
    pub fn command<S: AsRef<OsStr>>(self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut words: Vec<OsString> = self.0.iter().map(OsString::from).collect();
        words.extend(arguments.into_iter().map(|word| word.as_ref().to_owned()));
        command(words)
    }

    /// Runs `hrun` with arguments.
    #[track_caller]
    pub fn hrun<S: AsRef<OsStr>>(self, arguments: impl IntoIterator<Item = S>) -> Outcome {
        outcome(&mut self.command(arguments))
    }

    /// A command that runs the probe in an image, with options before it.
    pub fn prober(self, image: &Path, options: &[&str], words: &str) -> Command {
        self.command(probe_arguments(image, options, words))
    }

    /// Runs the probe in an image, with options before it.
    #[track_caller]
    pub fn probe(self, image: &Path, options: &[&str], words: &str) -> Outcome {
        outcome(&mut self.prober(image, options, words))
    }
}
