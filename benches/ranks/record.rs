//! The record of a run with ranks.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use super::pingpong::{self, FAMILIES, Family, PATIENCE, Verdict};
use super::processes::End;
use super::{CH_RUN, CH_RUN_JOINED, JOINING, Results};
use crate::cases::{Case, Lane};
use crate::measure::spread;
use crate::record::{
    Promise, head, list_runtimes, missing_list, opening, raw_cases, row, troubles, write_files,
};

/// Writes `README.md`, `summary.md` and `raw.csv`, and gives back the summary.
///
/// # Errors
///
/// The error of the file that could not be written.
pub(super) fn write(results: &Results, directory: &Path) -> io::Result<String> {
    write_files(directory, summary(results), readme(results), raw(results))
}

/// Whether every promise was kept.
pub(super) fn keeps_promises(results: &Results) -> bool {
    promises(results).iter().all(|promise| promise.kept)
}

/// Joining, beside the floor: both over a bare rank.
const OVER_FLOOR: f64 = 1.5;

fn promises(results: &Results) -> Vec<Promise> {
    let mut promises = Vec::new();
    if let Some((case, lanes)) = results.steps.last() {
        let over_bare =
            |name: &str| Some(a_rank(case, lanes, name)? - a_rank(case, lanes, "bare")?);
        if let (Some(hrun), Some(floor)) = (over_bare(JOINING), over_bare("floor")) {
            promises.push(Promise {
                text: format!(
                    "{}, a step that is there: at most {OVER_FLOOR} times the floor, both over a \
                     bare rank",
                    case.title
                ),
                measured: format!("{:.2}", hrun / floor),
                kept: hrun <= OVER_FLOOR * floor,
            });
        }
        for peer in [CH_RUN, CH_RUN_JOINED] {
            if let (Some(hrun), Some(other)) = (over_bare(super::NEW), over_bare(peer)) {
                promises.push(Promise {
                    text: format!("{}, a new step: less than {peer}", case.title),
                    measured: format!("{hrun:.0} µs over bare, {peer} {other:.0} µs"),
                    kept: hrun < other,
                });
            }
        }
    }
    for (family, lanes) in FAMILIES.iter().zip(&results.messages) {
        let verdicts: Vec<(u64, Verdict)> = verdicts(lanes, "hrun");
        let slower: Vec<String> = verdicts
            .iter()
            .filter(|(_, verdict)| !verdict.is_equal())
            .map(|(size, verdict)| format!("{} {:.3}", bytes(*size), verdict.ratio))
            .collect();
        promises.push(Promise {
            text: format!("messages of {}: equal to bare at every size", family.title),
            measured: match slower.as_slice() {
                [] => format!("at all {} sizes", verdicts.len()),
                _ => slower.join(", "),
            },
            kept: slower.is_empty() && !verdicts.is_empty(),
        });
    }
    promises
}

/// The median of a rank in microseconds.
fn a_rank(case: &Case, lanes: &[Lane], name: &str) -> Option<f64> {
    let lane = lanes.iter().find(|lane| lane.name == name)?;
    Some(lane.wall()?.median / case.together as f64)
}

/// How a lane's times compare with those of both bare lanes, by size.
fn verdicts(lanes: &[pingpong::Lane], name: &str) -> Vec<(u64, Verdict)> {
    let Some(lane) = lanes.iter().find(|lane| lane.name == name) else { return Vec::new() };
    let verdict = |size| Some((size, Verdict::new(&lane.times(size), &pooled(lanes, size))?));
    sizes(lanes).into_iter().filter_map(verdict).collect()
}

/// The times of all runs without a container.
fn pooled(lanes: &[pingpong::Lane], size: u64) -> Vec<f64> {
    let bare = lanes.iter().filter(|lane| lane.name.starts_with("bare"));
    bare.flat_map(|lane| lane.times(size)).collect()
}

fn sizes(lanes: &[pingpong::Lane]) -> Vec<u64> {
    let runs = lanes.iter().flat_map(|lane| &lane.runs);
    let mut sizes: Vec<u64> = runs.flat_map(|(_, run)| run.keys().copied()).collect();
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

fn summary(results: &Results) -> String {
    let mut text = opening("Ranks of a step", &results.machine, promises(results));
    for (case, lanes) in &results.steps {
        text += &step_table(case, lanes);
    }
    for (family, lanes) in FAMILIES.iter().zip(&results.messages) {
        text += &message_table(family, lanes);
        text += &peer_table(lanes);
    }
    text + &missing_list(&results.missing)
}

fn step_table(case: &Case, lanes: &[Lane]) -> String {
    let together = case.together as f64;
    let mut table = format!("\n## {}\n\n", case.title);
    table += &head(
        &[
            "",
            "samples",
            "ms until all run",
            "p95",
            "µs a rank",
            "of bare",
            "over bare",
            "of floor",
            "processor µs",
            "faults",
        ],
        1,
    );
    let rank = |name: &str| a_rank(case, lanes, name).unwrap_or(f64::NAN);
    let (bare, floor) = (rank("bare"), rank("floor") - rank("bare"));
    for lane in lanes {
        let (Some(wall), Some(cpu), Some(faults)) = (lane.wall(), lane.cpu(), lane.faults()) else {
            continue;
        };
        let of_a_rank = wall.median / together;
        let unless_bare = |text: String| if lane.name == "bare" { String::new() } else { text };
        table += &row(&[
            lane.name.clone(),
            wall.count.to_string(),
            format!("{:.2}", wall.median / 1e3),
            format!("{:.2}", wall.p95 / 1e3),
            format!("{of_a_rank:.0}"),
            format!("{:.2}", of_a_rank / bare),
            unless_bare(format!("{:.0}", of_a_rank - bare)),
            unless_bare(format!("{:.2}", (of_a_rank - bare) / floor)),
            format!("{:.0}", cpu.median / together),
            format!("{:.0}", faults.median / together),
        ]);
    }
    table + &troubles(lanes)
}

fn message_table(family: &Family, lanes: &[pingpong::Lane]) -> String {
    let mut table = format!("\n## Messages: {}\n\n", family.title);
    table += &head(
        &[
            "bytes",
            "bare µs",
            "quarters",
            "bare again",
            "hrun µs",
            "quarters",
            "hrun of bare",
            "noise",
            "equal",
            "bare GB/s",
            "hrun GB/s",
        ],
        1,
    );
    let times = |name: &str, size| {
        let lane = lanes.iter().find(|lane| lane.name == name)?;
        spread(lane.times(size))
    };
    for (size, verdict) in verdicts(lanes, "hrun") {
        let (Some(bare), Some(again), Some(hrun)) =
            (times("bare", size), times("bare again", size), times("hrun", size))
        else {
            continue;
        };
        let rate = |median: f64| format!("{:.2}", size as f64 / median / 1e3);
        table += &row(&[
            bytes(size),
            format!("{:.3}", bare.median),
            format!("{:.3} to {:.3}", bare.low, bare.high),
            format!("{:.3}", again.median),
            format!("{:.3}", hrun.median),
            format!("{:.3} to {:.3}", hrun.low, hrun.high),
            format!("{:.3}", verdict.ratio),
            format!("{:.3} to {:.3}", verdict.noise.0, verdict.noise.1),
            if verdict.is_equal() { "yes" } else { "NO" }.to_owned(),
            rate(bare.median),
            rate(hrun.median),
        ]);
    }
    table
}

/// How far everybody came.
fn peer_table(lanes: &[pingpong::Lane]) -> String {
    let mut table = "\n".to_owned();
    table += &head(&["", "turns", "done", "largest message", "time of bare's", "what happens"], 1);
    for lane in lanes {
        let Some((slowest, size)) = slowest(lanes, lane) else {
            table += &row(&[
                lane.name.to_owned(),
                lane.ends.len().to_string(),
                lane.done().to_string(),
                "none".to_owned(),
                String::new(),
                what_happens(lane),
            ]);
            continue;
        };
        let largest = sizes(std::slice::from_ref(lane)).last().map(|size| bytes(*size));
        table += &row(&[
            lane.name.to_owned(),
            lane.ends.len().to_string(),
            lane.done().to_string(),
            largest.unwrap_or_default(),
            format!("at most {slowest:.2}, with {}", bytes(size)),
            what_happens(lane),
        ]);
    }
    table
}

/// The largest ratio to bare runs, and with which size.
fn slowest(lanes: &[pingpong::Lane], lane: &pingpong::Lane) -> Option<(f64, u64)> {
    let ratio = |size| {
        let verdict = Verdict::new(&lane.times(size), &pooled(lanes, size))?;
        Some((verdict.ratio, size))
    };
    let ratios = sizes(lanes).into_iter().filter_map(ratio);
    ratios.max_by(|(one, _), (other, _)| one.total_cmp(other))
}

fn what_happens(lane: &pingpong::Lane) -> String {
    let hung = lane.ends.iter().filter(|end| **end == End::Hung).count();
    let failed = lane.ends.iter().filter_map(|end| match end {
        End::Failed(reason) => Some(reason),
        _ => None,
    });
    let failed: Vec<&String> = failed.collect();
    let mut words = Vec::new();
    if hung > 0 {
        words.push(format!("{hung} hung: killed after {} s", PATIENCE.as_secs()));
    }
    if let Some(reason) = failed.first() {
        let reason = reason.replace('|', "/");
        words.push(format!("{} failed: {reason}", failed.len()));
    }
    words.join("; ")
}

/// A size as people say it.
fn bytes(size: u64) -> String {
    match size {
        0..1024 => format!("{size} B"),
        1024..0x10_0000 => format!("{} KiB", size >> 10),
        _ => format!("{} MiB", size >> 20),
    }
}

fn readme(results: &Results) -> String {
    let mut text = format!("# {}\n\n{}\n", results.machine.title, results.machine.describe());
    text += "## What was run\n\nRANKS is a Debian 12 image with its Open MPI 4.1 and MPICH 4.0 that \
             belongs to root, started by an ordinary user from HOME. COMMAND is `/bench/meet` where \
             ranks are started (`benches/meet.c`, static), and `/bench/pingpong.openmpi` or \
             `/bench/pingpong.mpich` where they send messages (`benches/pingpong.c`, the same file \
             inside and outside; outside it finds this machine's own libraries, of the same \
             release).\n\n";
    text += &list_runtimes(&results.runtimes);
    text += "\nMessages are sent under ";
    let launchers = FAMILIES.map(|family| format!("`{}`", family.launcher));
    text += &launchers.join(" and ");
    text += ".\n";
    text += METHOD;
    text
}

const METHOD: &str = "
## How

Every runtime has one turn a round, in an order that changes from round to round and is the same in
every run. A turn starts all ranks of a step, which have the variables of a Slurm step. Each tells the
time at which it began to run and lives until all others do, as ranks of MPI programs do. The time is
that from the first spawn until the last rank began to run; processor time and page faults are those of
all ranks, to their ends. *A new step* has no rank yet, so the first makes the namespaces and the others
join; in *a step that is there* all of them join. *Over bare* is the median of a rank less that of a bare
one, *of floor* is that divided by the floor's.

A turn with messages is one run of two ranks that send each other messages of all sizes, whose bytes are
compared; the time of a size is the median of some dozen to some hundred trips to and fro, halved. Bare
runs have two lanes, so that it can be seen how far the same differs from itself: *noise* is where 999 of
1,000 ratios of medians lie, of as many runs, that are drawn with replacement from all bare runs. *Equal*
is who is not slower than that. Peers have a turn in every fourth round, those that never come to their
end three in all.

`raw.csv` has every sample. To repeat it: `make bench-ranks`, or `make bench-ranks QUICK=1` for a look.
";

/// A line a turn; of messages a line a size.
fn raw(results: &Results) -> String {
    let mut text = raw_cases(results.steps.iter().map(|(case, lanes)| (case, lanes)));
    text += "\nfamily,round,runtime,bytes,us\n";
    for (family, lanes) in FAMILIES.iter().zip(&results.messages) {
        for lane in lanes {
            for (round, run) in &lane.runs {
                for (size, time) in run {
                    // Writing to a string cannot fail.
                    let _ =
                        writeln!(text, "{},{round},\"{}\",{size},{time}", family.name, lane.name);
                }
            }
        }
    }
    text
}
