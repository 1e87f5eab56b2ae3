//! The cases: who is started, how many at once, how often, always in turns.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::measure::{Sample, Spread, spread, start_together};
use crate::runtimes::{EXIT, Runtime};

/// One way to measure a set of runtimes.
#[derive(Clone, Copy)]
pub struct Case {
    /// What `raw.csv` calls it.
    pub name: &'static str,
    /// What its table says.
    pub title: &'static str,
    /// How many are started at once.
    pub together: usize,
    /// Runtimes that are many times slower take part.
    pub has_heavy: bool,
    /// How many starts, one after the other, make a turn.
    in_a_row: usize,
    /// How often each runtime has its turn.
    rounds: usize,
    /// How long one runtime may take in all; a slow one has fewer turns.
    limit: Duration,
}

/// The runtimes against each other; promises are about the first.
pub const STARTS: &[Case] = &[
    Case { rounds: 150, limit: Duration::from_secs(40), ..ONE },
    Case {
        name: "1 among all",
        title: "One at a time, each after another runtime's: caches are cold",
        has_heavy: true,
        in_a_row: 1,
        rounds: 500,
        limit: Duration::from_secs(20),
        ..ONE
    },
    Case { name: "16", title: "16 at once", together: 16, rounds: 100, ..SEVERAL },
    Case { name: "64", title: "64 at once", together: 64, rounds: 40, ..SEVERAL },
    Case { name: "256", title: "256 at once", together: 256, rounds: 20, ..SEVERAL },
];

/// Ranks of a step, which all live until the last has come.
pub const STEPS: &[Case] = &[
    Case { name: "1 rank", title: "One rank", in_a_row: 1, rounds: 100, ..ONE },
    Case { name: "16 ranks", title: "16 ranks at once", together: 16, rounds: 60, ..SEVERAL },
    Case { name: "64 ranks", title: "64 ranks at once", together: 64, rounds: 30, ..SEVERAL },
    Case { name: "256 ranks", title: "256 ranks at once", together: 256, rounds: 20, ..SEVERAL },
];

/// Starts of packed images: in a row, and with nothing in memory.
pub const PACKED: [&Case; 2] = [
    &Case { name: "start", title: "Start to exec, ten in a row", rounds: 60, ..ONE },
    &Case {
        name: "cold start",
        title: "Start to exec, cold",
        in_a_row: 1,
        rounds: 12,
        limit: Duration::from_secs(15),
        ..ONE
    },
];

/// hrun against itself.
pub const VARIANTS: Case = Case { name: "variants", title: "", ..ONE };

/// Each runtime with `--nv` and without.
pub const GPUS: Case =
    Case { name: "--nv", title: "What `--nv` costs", limit: Duration::from_secs(60), ..ONE };

const ONE: Case = Case {
    name: "1",
    title: "One at a time",
    together: 1,
    has_heavy: false,
    in_a_row: 10,
    rounds: 100,
    limit: Duration::from_secs(30),
};

const SEVERAL: Case = Case { has_heavy: true, in_a_row: 1, limit: Duration::from_secs(25), ..ONE };

/// Fewer turns say nothing.
const FEWEST: usize = 3;

/// Starts so many ranks or runs at once, and says what it took.
type Start<'a> = Box<dyn FnMut(usize) -> Result<Sample, String> + 'a>;

/// What was measured of one runtime in a case.
pub struct Lane<'a> {
    /// The runtime.
    pub runtime: &'a Runtime,
    /// What `raw.csv` calls it.
    pub name: String,
    /// Starts so many at once.
    start: Start<'a>,
    /// Each with the number of its round.
    pub samples: Vec<(usize, Sample)>,
    /// How many turns it should have had.
    pub turns: usize,
    /// How many starts failed.
    pub failed: usize,
    /// Why there are none, or why the last one failed.
    pub trouble: Option<String>,
}

impl<'a> Lane<'a> {
    /// Makes a lane without samples, of starts that have nothing to do with each other.
    pub fn new(name: String, runtime: &'a Runtime) -> Self {
        Lane::with(name, runtime, |together| {
            let mut commands: Vec<_> = (0..together).map(|_| runtime.command(EXIT)).collect();
            start_together(&mut commands)
        })
    }

    /// Makes a lane without samples that is started in a way of its own.
    pub fn with(
        name: String,
        runtime: &'a Runtime,
        start: impl FnMut(usize) -> Result<Sample, String> + 'a,
    ) -> Self {
        let start = Box::new(start);
        Lane { runtime, name, start, samples: Vec::new(), turns: 0, failed: 0, trouble: None }
    }

    /// Microseconds from the first spawn to the last wait.
    pub fn wall(&self) -> Option<Spread> {
        self.spread(|sample| sample.wall.as_secs_f64() * 1e6)
    }

    /// Microseconds of processor time.
    pub fn cpu(&self) -> Option<Spread> {
        self.spread(|sample| sample.cpu.as_secs_f64() * 1e6)
    }

    /// Page faults.
    pub fn faults(&self) -> Option<Spread> {
        self.spread(|sample| sample.faults as f64)
    }

    fn spread(&self, value: impl Fn(&Sample) -> f64) -> Option<Spread> {
        spread(self.samples.iter().map(|(_, sample)| value(sample)).collect())
    }

    fn take_turn(&mut self, case: &Case, round: usize) {
        for _ in 0..case.in_a_row {
            self.start(case, round);
        }
    }

    fn start(&mut self, case: &Case, round: usize) {
        match (self.start)(case.together) {
            Ok(sample) => self.samples.push((round, sample)),
            Err(reason) => {
                self.failed += 1;
                self.trouble = Some(reason);
            }
        }
        sleep(self.runtime.entry.settle);
    }

    /// Starts a few, and decides how many turns there is time for.
    fn plan_turns(&mut self, case: &Case) {
        let settle = self.runtime.entry.settle;
        let mut one = Duration::ZERO;
        for _ in 0..FEWEST {
            let clock = Instant::now();
            // A failure will show in its turns.
            let _ = (self.start)(1);
            one += clock.elapsed() / FEWEST as u32;
            sleep(settle);
        }
        // Processes started together share the processors; this errs on the long side.
        let all = one * (case.in_a_row * case.together.div_ceil(2)) as u32;
        let time_for = (case.limit.as_secs_f64() / (all + settle).as_secs_f64()) as usize;
        self.turns = time_for.min(case.rounds);
        if self.turns < FEWEST {
            self.turns = 0;
            let (one, all) = (one.as_millis(), all.as_secs_f64().ceil());
            self.trouble = Some(format!(
                "left out: one start takes {one} ms, {} about {all} s",
                case.together
            ));
        }
    }

    /// Spreads the turns of a slow runtime evenly over the rounds.
    fn has_turn(&self, case: &Case, round: usize) -> bool {
        (round + 1) * self.turns / case.rounds > round * self.turns / case.rounds
    }
}

impl Case {
    /// The same with a tenth of the turns, to see that it works.
    pub fn quick(&self) -> Case {
        let rounds = (self.rounds / 10).max(FEWEST);
        Case { rounds, limit: self.limit / 10, ..*self }
    }

    /// Gives every lane its turns: in an order that changes from round
    /// to round, so that what else the machine does hits all of them alike.
    pub fn measure(&self, lanes: &mut [Lane]) {
        for lane in &mut *lanes {
            lane.plan_turns(self);
        }
        let mut order: Vec<usize> = (0..lanes.len()).collect();
        let mut dice = Dice::new();
        for round in 0..self.rounds {
            dice.shuffle(&mut order);
            for lane in &order {
                if lanes[*lane].has_turn(self, round) {
                    lanes[*lane].take_turn(self, round);
                }
            }
        }
    }
}

/// The same order of turns in every run (xorshift64, Marsaglia 2003).
pub struct Dice(u64);

impl Dice {
    /// Dice that fall alike in every run.
    pub fn new() -> Self {
        Dice(0x5eed)
    }

    /// A number below `sides`.
    pub fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides as u64) as usize
    }

    /// Puts them into another order.
    pub fn shuffle(&mut self, items: &mut [usize]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.roll(last + 1));
        }
    }
}
