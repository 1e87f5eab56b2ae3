//! What being a rank of a step costs: to start, and in messages between two of them
//! (`make bench-ranks`).

mod pingpong;
mod processes;
mod record;
mod step;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use self::pingpong::FAMILIES;
use self::step::{MEET, Ranks, start_step};
use crate::cases::{Case, Lane, STEPS};
use crate::machine::Machine;
use crate::runtimes::{APPTAINER, Entry, PLAIN, Runtime};
use crate::work::Places;
use crate::{Missing, find_peers, measure};

/// Everything that was measured.
struct Results<'a> {
    /// The runtimes that ran.
    runtimes: Vec<&'a Runtime>,
    /// Those that could not, with the reason.
    missing: Missing,
    /// Ranks that start together.
    steps: Vec<(Case, Vec<Lane<'a>>)>,
    /// Messages, by the families of MPI libraries.
    messages: Vec<Vec<pingpong::Lane<'a>>>,
    machine: Machine,
}

const BARE: Entry = Entry { name: "bare", line: "{ranks}{command}", note: "no container", ..PLAIN };

const EXEC: Entry = Entry {
    name: "exec",
    line: "{programs}/floor -- {ranks}{command}",
    note: "no container: a static C program that executes the command",
    ..PLAIN
};

const FLOOR: Entry = Entry {
    name: "floor",
    line: "{programs}/floor m {meeting} c {home} -- {command}",
    note: "a C program that makes the system calls of a rank that joins a living one and nothing \
           else: it opens the meeting file, locks, reads and writes it, and enters two namespaces",
    ..PLAIN
};

const HRUN: Entry = Entry {
    name: "hrun",
    line: "{programs}/hrun {ranks} {command}",
    version: "--version",
    ..PLAIN
};

const ALONE: Entry = Entry {
    name: "hrun --no-join",
    line: "{programs}/hrun --no-join {ranks} {command}",
    note: "each rank with namespaces of its own",
    ..PLAIN
};

const PEERS: &[Entry] = &[
    Entry {
        name: CH_RUN,
        package: "charliecloud",
        line: "ch-run --home {ranks} -- {command}",
        version: "--version",
        note: "each rank with namespaces of its own",
        ..PLAIN
    },
    Entry {
        name: CH_RUN_JOINED,
        package: "charliecloud",
        line: "ch-run --join --join-ct={count} --home {ranks} -- {command}",
        note: "has to be told the number of ranks",
        ..PLAIN
    },
    Entry {
        name: "bwrap",
        package: "bubblewrap",
        line: "bwrap --ro-bind {ranks} / --dev-bind /dev /dev --bind /proc /proc --bind /sys /sys \
               --bind /tmp /tmp --bind {home} {home} --chdir {home} {command}",
        version: "--version",
        note: "each rank with namespaces of its own",
        ..PLAIN
    },
    Entry {
        line: "apptainer exec --userns {ranks} {command}",
        note: "each rank with namespaces of its own",
        ..APPTAINER
    },
];

const CH_RUN: &str = "ch-run";
const CH_RUN_JOINED: &str = "ch-run --join";

/// The lane of ranks that find a living one.
const JOINING: &str = "hrun, a step that is there";
/// The lane of ranks the first of which makes the namespaces.
const NEW: &str = "hrun, a new step";

/// How often the lanes without a container, and hrun, send messages.
const ROUNDS: usize = 60;
/// To see that it works.
const QUICK_ROUNDS: usize = 4;

/// Measures everything, writes the record and prints its summary; says if all promises were kept.
pub fn run() -> Result<bool, String> {
    let record = env::var_os("HRUN_BENCH_RECORD").map(PathBuf::from);
    let record = record.ok_or("run `make bench-ranks`")?;
    let is_quick = env::var_os("HRUN_BENCH_QUICK").is_some();
    processes::adopt_orphans()?;
    let machine = Machine::look(&record, is_quick);
    let places = Places::make()?;

    let [bare, exec, hrun, alone] = [&BARE, &EXEC, &HRUN, &ALONE];
    let [bare, exec] = [Runtime::find(bare, &places)?, Runtime::find(exec, &places)?];
    let [hrun, alone] = [Runtime::find(hrun, &places)?, Runtime::find(alone, &places)?];
    let keeper = Keeper::start(&hrun, &places)?;
    let floor = Runtime::find(&FLOOR, &places)?;
    let (peers, missing) = find_peers(PEERS, &places);

    let mut runtimes = vec![&bare, &exec, &floor, &hrun, &alone];
    runtimes.extend(&peers);
    let mut results =
        Results { runtimes, missing, steps: Vec::new(), messages: Vec::new(), machine };
    let peer = |name: &str| peers.iter().find(|peer| peer.entry.name == name);
    for case in STEPS {
        let fresh = |name: &str, runtime| lane(name, runtime, &places, None);
        let mut lanes = vec![
            fresh("bare", &bare),
            fresh("exec", &exec),
            fresh("floor", &floor),
            lane(JOINING, &hrun, &places, Some(KEPT)),
            fresh(NEW, &hrun),
            fresh(ALONE.name, &alone),
        ];
        let peers = [CH_RUN, CH_RUN_JOINED].into_iter().filter_map(peer);
        lanes.extend(peers.map(|peer| fresh(peer.entry.name, peer)));
        results.steps.push(measure(case, lanes, is_quick));
    }
    keeper.0.end()?;
    for family in &FAMILIES {
        let mut lanes = vec![
            pingpong::Lane::new("bare", &bare, false),
            pingpong::Lane::new("bare again", &bare, false),
            pingpong::Lane::new("hrun", &hrun, false),
        ];
        lanes.extend(peers.iter().map(|peer| pingpong::Lane::new(peer.entry.name, peer, true)));
        eprintln!("measuring: messages, {}", family.title);
        let rounds = if is_quick { QUICK_ROUNDS } else { ROUNDS };
        pingpong::measure(family, &mut lanes, rounds, &places)?;
        results.messages.push(lanes);
    }
    results.machine.look_again();
    clean_up(&places);
    let summary = record::write(&results, &record);
    print!("{}", summary.map_err(|error| format!("{}: {error}", record.display()))?);
    Ok(record::keeps_promises(&results))
}

/// Removes what Charliecloud leaves in shared memory where a rank fails.
fn clean_up(places: &Places) {
    let _ = fs::remove_file(&places.meeting);
    for entry in fs::read_dir("/dev/shm").into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().contains(&places.job) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// The step of [`JOINING`].
const KEPT: &str = "kept";

/// Ranks of a step of their own, or of one that is there.
fn lane<'a>(
    name: &str,
    runtime: &'a Runtime,
    places: &'a Places,
    step: Option<&'static str>,
) -> Lane<'a> {
    Lane::with(name.to_owned(), runtime, move |together| {
        /// No two steps have the same name.
        static SERIAL: AtomicUsize = AtomicUsize::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed).to_string();
        let step = step.unwrap_or(&serial);
        let rank = || rank_of_step(runtime, places, step, together);
        start_step(&mut (0..together).map(|_| rank()).collect::<Vec<Command>>())
    })
}

/// One of so many ranks that srun has started, as far as runtimes look for that.
fn rank_of_step(runtime: &Runtime, places: &Places, step: &str, count: usize) -> Command {
    let mut command = runtime.one_of(count, MEET);
    command.env("SLURM_JOB_ID", &places.job);
    command.env("SLURM_STEP_ID", format!("{}-{step}", places.job));
    command
}

/// A rank that keeps a step alive.
struct Keeper(Ranks);

impl Keeper {
    /// Starts it, and makes a copy of its meeting file for the floor, which hrun's ranks shall not
    /// find.
    fn start(hrun: &Runtime, places: &Places) -> Result<Self, String> {
        let ranks = Ranks::start(&mut [rank_of_step(hrun, places, KEPT, 1)])?;
        let meeting = meeting_of(&places.meeting, ranks.first());
        let copied = meeting.and_then(|meeting| fs::copy(meeting, &places.meeting));
        let failed = |error| format!("{}: {error}", places.meeting.display());
        copied.map_err(failed)?;
        Ok(Keeper(ranks))
    }
}

/// The file beside `place` whose first member is the given one.
fn meeting_of(place: &Path, first: u32) -> std::io::Result<PathBuf> {
    let directory = place.parent().unwrap_or(Path::new("/"));
    let start = format!("{first:x} ");
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if fs::read_to_string(&path).is_ok_and(|members| members.starts_with(&start)) {
            return Ok(path);
        }
    }
    Err(std::io::ErrorKind::NotFound.into())
}
