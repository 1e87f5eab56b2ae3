//! What is done with the files of an image, several times in each container, in turns.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use super::cold::Cold;
use crate::cases::Dice;
use crate::measure::{Spread, output, spread};
use crate::runtimes::Runtime;
use crate::work::Places;

/// Something to do.
#[derive(Clone, Copy)]
pub(super) struct Job {
    /// What `raw.csv` calls it.
    pub(super) name: &'static str,
    /// What its table says.
    pub(super) title: &'static str,
    /// What benches/tree.c is told.
    words: &'static [&'static str],
    /// How often everybody has a turn.
    rounds: usize,
}

/// By the names that promises know.
pub(super) const WALK: &str = "walk";
pub(super) const READ: &str = "read";

const PYTHON: &str = "/usr/bin/python3";
const PACKAGES: &str = "/usr/lib/python3";

pub(super) const JOBS: &[Job] = &[
    Job {
        name: "numpy",
        title: "`import numpy`",
        words: &["run", PYTHON, "-c", "import numpy"],
        rounds: 6,
    },
    Job {
        name: "scipy",
        title: "`import scipy.stats`, which imports most of SciPy",
        words: &["run", PYTHON, "-c", "import scipy.stats"],
        rounds: 3,
    },
    Job {
        name: "torch",
        title: "`import torch`",
        words: &["run", PYTHON, "-c", "import torch"],
        rounds: 3,
    },
    Job {
        name: WALK,
        title: "A walk through the tree, with the status of everything",
        words: &["walk", "/usr"],
        rounds: 5,
    },
    Job {
        name: READ,
        title: "Every file of Python's packages read",
        words: &["read", PACKAGES],
        rounds: 5,
    },
    Job {
        name: "readers",
        title: "The same by two readers at once",
        words: &["read", PACKAGES, "2"],
        rounds: 3,
    },
];

/// What is in memory when something is done.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing.
    Cold,
    /// The image's file, or the directory; but this container has done nothing yet.
    New,
    /// What the same container has done before.
    Again,
}

/// Each with the word for it in `raw.csv`, and in tables.
pub(super) const STATES: [(State, &str, &str); 3] = [
    (State::Cold, "cold", "cold"),
    (State::New, "new", "a new container"),
    (State::Again, "again", "again in it"),
];

/// What one time took.
pub(super) struct Sample {
    pub(super) round: usize,
    pub(super) state: State,
    pub(super) milliseconds: f64,
}

/// What was measured of an image in a job.
pub(super) struct Lane<'a> {
    pub(super) runtime: &'a Runtime,
    pub(super) samples: Vec<Sample>,
    /// The number of files and bytes it has seen.
    pub(super) seen: Option<(u64, u64)>,
    /// How the last turn that failed did.
    pub(super) trouble: Option<String>,
}

impl<'a> Lane<'a> {
    fn new(runtime: &'a Runtime) -> Self {
        Lane { runtime, samples: Vec::new(), seen: None, trouble: None }
    }

    /// The middle of all times of a state, in milliseconds.
    pub(super) fn time(&self, state: State) -> Option<Spread> {
        let samples = self.samples.iter().filter(|sample| sample.state == state);
        spread(samples.map(|sample| sample.milliseconds).collect())
    }

    fn take_turn(
        &mut self,
        job: &Job,
        round: usize,
        cold: &Cold,
        places: &Places,
    ) -> Result<(), String> {
        cold.make()?;
        let mut states = [State::Cold, State::Again, State::Again].into_iter();
        self.run(job, round, states.by_ref(), places)?;
        self.run(job, round, [State::New].into_iter(), places)
    }

    /// Does it in one container, once for each state.
    fn run(
        &mut self,
        job: &Job,
        round: usize,
        states: impl ExactSizeIterator<Item = State>,
        places: &Places,
    ) -> Result<(), String> {
        let mut command: Command = self.runtime.command(&places.fill("{work}/tree"));
        let printed = output(command.arg(states.len().to_string()).args(job.words))?;
        let mut lines = printed.lines();
        for state in states {
            let line = lines.next().and_then(numbers).ok_or("it printed too few lines")?;
            let [microseconds, files, bytes] = line;
            let milliseconds = microseconds as f64 / 1e3;
            self.samples.push(Sample { round, state, milliseconds });
            self.seen = Some((files, bytes));
        }
        Ok(())
    }
}

fn numbers(line: &str) -> Option<[u64; 3]> {
    let numbers: Option<Vec<u64>> = line.split(' ').map(|word| word.parse().ok()).collect();
    numbers?.try_into().ok()
}

impl Job {
    /// With the least there can be to see that it works.
    fn rounds(&self, is_quick: bool) -> usize {
        if is_quick { 1 } else { self.rounds }
    }

    /// Gives everybody their turns, in an order that changes from round to round.
    ///
    /// # Errors
    ///
    /// Says that caches cannot be made cold, or that not all have seen the same files.
    pub(super) fn measure<'a>(
        &self,
        runtimes: &[&'a Runtime],
        cold: &Cold,
        places: &Places,
        is_quick: bool,
    ) -> Result<Vec<Lane<'a>>, String> {
        let clock = Instant::now();
        let mut lanes: Vec<Lane> = runtimes.iter().map(|runtime| Lane::new(runtime)).collect();
        let mut order: Vec<usize> = (0..lanes.len()).collect();
        let mut dice = Dice::new();
        for round in 0..self.rounds(is_quick) {
            dice.shuffle(&mut order);
            for lane in &order {
                let lane = &mut lanes[*lane];
                if let Err(reason) = lane.take_turn(self, round, cold, places) {
                    lane.trouble = Some(places.hide(&reason));
                }
            }
        }
        eprintln!("measured: {}, in {} s", self.name, whole_seconds(clock.elapsed()));
        let mut seen = lanes.iter().filter_map(|lane| lane.seen);
        let first = seen.next();
        match seen.find(|seen| Some(*seen) != first) {
            None => Ok(lanes),
            Some(other) => Err(format!("{}: files and bytes {first:?}, {other:?}", self.name)),
        }
    }
}

fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs_f64().round() as u64
}

/// Puts the program where every container has it: below the home directory.
pub(super) fn place_program(places: &Places) -> Result<(), String> {
    let [from, to] = ["{programs}/tree", "{work}/tree"].map(|place| places.fill(place));
    fs::copy(&from, to).map(drop).map_err(|error| format!("{}: {error}", places.hide(&from)))
}
