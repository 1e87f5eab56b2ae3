//! The record of a run with packed images.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use super::jobs::{self, Job, READ, STATES, State, WALK};
use super::{DIRECTORY, HRUN, KERNEL, Results};
use crate::cases::{Case, Lane};
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

fn promises(results: &Results) -> Vec<Promise> {
    let starts = results
        .starts
        .first()
        .and_then(|(_, lanes)| Some(start(lanes, HRUN)? - start(lanes, DIRECTORY)?));
    let ratio = |name: &str, state| {
        let (_, lanes) = results.jobs.iter().find(|(job, _)| job.name == name)?;
        Some(median(lanes, HRUN, state)? / median(lanes, KERNEL, state)?)
    };
    // What could not be measured is not kept.
    let promise = |text: &str, measured: Option<f64>, unit: &str, most: f64| Promise {
        text: text.to_owned(),
        measured: measured.map_or("nothing".to_owned(), |value| format!("{value:.2}{unit}")),
        kept: measured.is_some_and(|value| value <= most),
    };
    vec![
        promise("start to exec at most 3 ms over a directory image", starts, " ms", 3.0),
        promise(
            "a Python tree read, cold: at most 1.3 times the kernel's squashfs",
            ratio(READ, State::Cold),
            "",
            1.3,
        ),
        promise(
            "a walk with stat, warm: at most 1.1 times the kernel's squashfs",
            ratio(WALK, State::Again),
            "",
            1.1,
        ),
    ]
}

/// The median of a start in milliseconds.
fn start(lanes: &[Lane], name: &str) -> Option<f64> {
    let lane = lanes.iter().find(|lane| lane.name == name)?;
    Some(lane.wall()?.median / 1e3)
}

/// The median of a job in milliseconds.
fn median(lanes: &[jobs::Lane], name: &str, state: State) -> Option<f64> {
    let lane = lanes.iter().find(|lane| lane.runtime.entry.name == name)?;
    Some(lane.time(state)?.median)
}

fn summary(results: &Results) -> String {
    let mut text = opening("Packed images", &results.machine, promises(results));
    for (case, lanes) in &results.starts {
        text += &start_table(case, lanes);
    }
    for (job, lanes) in &results.jobs {
        text += &job_table(job, lanes);
    }
    text + &missing_list(&results.missing)
}

fn start_table(case: &Case, lanes: &[Lane]) -> String {
    let mut table = format!("\n## {}\n\n", case.title);
    table += &head(&["", "samples", "ms", "p95", "over the directory"], 1);
    let directory = start(lanes, DIRECTORY).unwrap_or(f64::NAN);
    for lane in lanes {
        let Some(wall) = lane.wall() else { continue };
        let median = wall.median / 1e3;
        table += &row(&[
            lane.name.clone(),
            wall.count.to_string(),
            format!("{median:.2}"),
            format!("{:.2}", wall.p95 / 1e3),
            format!("{:.2}", median - directory),
        ]);
    }
    table + &troubles(lanes)
}

fn job_table(job: &Job, lanes: &[jobs::Lane]) -> String {
    let mut table = format!("\n## {}\n\n", job.title);
    if let Some((files, bytes)) = lanes.iter().find_map(|lane| lane.seen)
        && files > 0
    {
        table += &format!("{files} files of {} MiB in all.\n\n", bytes >> 20);
    }
    let mut titles = vec!["", "samples"];
    for (_, _, title) in STATES {
        titles.extend([title, "of the kernel's"]);
    }
    table += &head(&titles, 1);
    for lane in lanes {
        let Some(cold) = lane.time(State::Cold) else { continue };
        let mut cells = vec![lane.runtime.entry.name.to_owned(), cold.count.to_string()];
        for (state, ..) in STATES {
            let time = lane.time(state).map(|time| time.median);
            let kernel = median(lanes, KERNEL, state);
            let ratio = time.zip(kernel).map(|(time, kernel)| format!("{:.2}", time / kernel));
            cells.push(time.map(|time| format!("{time:.1} ms")).unwrap_or_default());
            cells.push(ratio.unwrap_or_default());
        }
        table += &row(&cells);
    }
    for lane in lanes {
        let Some(trouble) = &lane.trouble else { continue };
        table += &format!("\n- {}: {trouble}\n", lane.runtime.entry.name);
    }
    table
}

fn readme(results: &Results) -> String {
    let mut text = format!("# {}\n\n{}\n", results.machine.title, results.machine.describe());
    text += "## What was run\n\nPYTHON is a Debian 12 image with Python and some of its packages, \
             among them numpy, scipy and torch, that belongs to root (`tests/images.sh`); PYTHON.sqfs \
             was made of it by mksquashfs, with zstd and blocks of 128 KiB, PYTHON.gzip.sqfs with \
             gzip. COMMAND is `/bench/exit` where starts are measured, a static C program that ends \
             at once, and `benches/tree.c` otherwise.\n\n";
    text += &list_runtimes(&results.runtimes);
    text += METHOD;
    text
}

const METHOD: &str = "
## How

Everybody has one turn a round, in an order that changes from round to round and is the same in every
run. Tables give medians. A start is a posix_spawn(3) and ends when the process has been waited for; a
turn is ten starts one after the other, or one after the kernel was made to forget all it had read
(`/proc/sys/vm/drop_caches`).

A turn with files begins cold in the same way; then one container does the job three times: *cold*, and
twice *again in it*. A second container, whose image is in memory as a file by then, does it once: *a new
container*. Times are taken inside the container, without its start. Everybody has seen the same number
of files and bytes, or there is no record.

`raw.csv` has every sample. To repeat it: `make bench-packed`, or `make bench-packed QUICK=1` for a look.
";

/// A line a start; of jobs a line a time.
fn raw(results: &Results) -> String {
    let mut text = raw_cases(results.starts.iter().map(|(case, lanes)| (case, lanes)));
    text += "\njob,round,runtime,state,ms\n";
    for (job, lanes) in &results.jobs {
        for lane in lanes {
            for jobs::Sample { round, state, milliseconds } in &lane.samples {
                let name = lane.runtime.entry.name;
                let word = STATES.iter().find(|(other, ..)| other == state);
                let word = word.map(|(_, word, _)| *word).unwrap_or_default();
                // Writing to a string cannot fail.
                let _ = writeln!(text, "{},{round},\"{name}\",{word},{milliseconds:.3}", job.name);
            }
        }
    }
    text
}
