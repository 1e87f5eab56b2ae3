//! Messages between two ranks of one node: bare, in hrun and in its peers, in turns.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use super::processes::{End, run};
use crate::cases::Dice;
use crate::measure::Spread;
use crate::runtimes::Runtime;
use crate::work::Places;

/// A run takes half a second; one that takes so long does not come to an end.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Turns of a runtime that does not come to an end: enough to see whether it ever does.
const FEW: usize = 3;

/// How often the noise of bare runs is drawn.
const DRAWS: usize = 4000;

/// An MPI library and its launcher.
pub struct Family {
    /// What `raw.csv` and the program in the image call it.
    pub name: &'static str,
    /// What tables call it.
    pub title: &'static str,
    /// The command line before that of a rank.
    pub launcher: &'static str,
}

/// Those of Debian 12.
pub const FAMILIES: [Family; 2] = [
    Family {
        name: "openmpi",
        title: "Open MPI 4.1",
        // One node, no ssh.
        launcher: "mpirun.openmpi --mca plm isolated -np 2",
    },
    Family { name: "mpich", title: "MPICH 4.0", launcher: "mpiexec.hydra -np 2" },
];

/// What was measured of a runtime with a family.
pub struct Lane<'a> {
    /// Where the ranks run.
    pub runtime: &'a Runtime,
    /// What `raw.csv` calls it.
    pub name: &'static str,
    /// Whether it has a turn in every round, or in a few.
    pub is_peer: bool,
    /// Microseconds by size, each run with the number of its round.
    pub runs: Vec<(usize, BTreeMap<u64, f64>)>,
    /// How each run ended.
    pub ends: Vec<End>,
}

impl<'a> Lane<'a> {
    /// Makes a lane without runs.
    pub fn new(name: &'static str, runtime: &'a Runtime, is_peer: bool) -> Self {
        Lane { runtime, name, is_peer, runs: Vec::new(), ends: Vec::new() }
    }

    /// The times of messages of a size, of all runs that came so far.
    pub fn times(&self, size: u64) -> Vec<f64> {
        self.runs.iter().filter_map(|(_, run)| run.get(&size).copied()).collect()
    }

    /// How many runs came to their end.
    pub fn done(&self) -> usize {
        self.ends.iter().filter(|end| **end == End::Done).count()
    }

    /// A peer that has never come to its end need not go on.
    fn has_turn(&self, round: usize, rounds: usize) -> bool {
        let is_lost = self.ends.len() >= FEW && self.done() == 0;
        !self.is_peer || (!is_lost && (round.is_multiple_of(4) || rounds < 4 * FEW))
    }

    fn take_turn(&mut self, family: &Family, round: usize, places: &Places) -> Result<(), String> {
        let rank = self.runtime.one_of(2, &format!("/bench/pingpong.{}", family.name));
        let mut launcher = family.launcher.split(' ');
        let mut command = Command::new(launcher.next().unwrap_or_default());
        command.args(launcher).arg(rank.get_program()).args(rank.get_args());
        command.envs(rank.get_envs().filter_map(|(name, value)| Some((name, value?))));
        // Where Open MPI has its session directories: all of it is removed with the rest.
        command.env("TMPDIR", places.work.join("tmp"));
        let (printed, end) = run(&mut command, PATIENCE, &places.work)?;
        self.runs.push((round, printed.lines().filter_map(line).collect()));
        self.ends.push(match end {
            End::Failed(reason) => End::Failed(places.hide(&reason)),
            end => end,
        });
        Ok(())
    }
}

/// A size and its microseconds.
fn line(line: &str) -> Option<(u64, f64)> {
    let (size, time) = line.split_once(' ')?;
    Some((size.parse().ok()?, time.parse().ok()?))
}

/// Gives every lane its turns, in an order that changes from round to round.
///
/// # Errors
///
/// Says what could not be started.
pub fn measure(
    family: &Family,
    lanes: &mut [Lane],
    rounds: usize,
    places: &Places,
) -> Result<(), String> {
    let mut order: Vec<usize> = (0..lanes.len()).collect();
    let mut dice = Dice::new();
    for round in 0..rounds {
        dice.shuffle(&mut order);
        for lane in &order {
            if lanes[*lane].has_turn(round, rounds) {
                lanes[*lane].take_turn(family, round, places)?;
            }
        }
    }
    Ok(())
}

/// How a time compares with that of bare runs.
pub struct Verdict {
    /// The ratio of the medians.
    pub ratio: f64,
    /// Between these, 999 of 1,000 such ratios lie that are drawn from bare runs alone.
    pub noise: (f64, f64),
}

impl Verdict {
    /// Compares runs with bare ones.
    ///
    /// The noise is that of a ratio of medians of as many runs, both drawn, with replacement, from
    /// the bare runs: what would be seen if there were no difference.
    pub fn new(times: &[f64], bare: &[f64]) -> Option<Self> {
        let ratio = median(times.to_vec())? / median(bare.to_vec())?;
        let mut dice = Dice::new();
        let mut draw = |count: usize| {
            median((0..count).map(|_| bare[dice.roll(bare.len())]).collect()).unwrap_or(f64::NAN)
        };
        let ratios = (0..DRAWS).map(|_| draw(times.len()) / draw(bare.len()));
        let mut ratios: Vec<f64> = ratios.collect();
        ratios.sort_by(f64::total_cmp);
        let edge = DRAWS / 2000;
        Some(Verdict { ratio, noise: (ratios[edge], ratios[DRAWS - 1 - edge]) })
    }

    /// Not slower than bare runs are among themselves.
    pub fn is_equal(&self) -> bool {
        self.ratio <= self.noise.1
    }
}

fn median(values: Vec<f64>) -> Option<f64> {
    crate::measure::spread(values).map(|Spread { median, .. }| median)
}
