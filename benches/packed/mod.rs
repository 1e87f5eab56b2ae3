//! A packed image beside the directory it was made of, the kernel's own mount of it, and others
//! that serve it (`make bench-packed`).

mod cold;
mod jobs;
mod record;

use std::env;
use std::fs;
use std::path::PathBuf;

use self::cold::Cold;
use self::jobs::{JOBS, Job};
use crate::cases::{Case, Lane, PACKED};
use crate::machine::Machine;
use crate::measure::start_together;
use crate::runtimes::{EXIT, Entry, PLAIN, Runtime};
use crate::work::Places;
use crate::{Missing, find_peers, measure};

/// Everything that was measured.
struct Results<'a> {
    runtimes: Vec<&'a Runtime>,
    missing: Missing,
    /// Starts: in a row, and cold.
    starts: Vec<(Case, Vec<Lane<'a>>)>,
    jobs: Vec<(&'static Job, Vec<jobs::Lane<'a>>)>,
    machine: Machine,
}

const DIRECTORY: &str = "directory";
const KERNEL: &str = "kernel";
const HRUN: &str = "hrun";

/// Where benches/as-tester.sh mounts the images.
const MOUNTED: &str = "/home/kernel/zstd";
const MOUNTED_GZIP: &str = "/home/kernel/gzip";

const ENTRIES: &[Entry] = &[
    Entry {
        name: DIRECTORY,
        line: "{programs}/hrun {python} {command}",
        version: "--version",
        note: "the tree the images were made of",
        ..PLAIN
    },
    Entry {
        name: KERNEL,
        line: "{programs}/hrun /home/kernel/zstd {command}",
        needs: MOUNTED,
        note: "the image as root has mounted it, once for all turns: a directory for hrun",
        ..PLAIN
    },
    Entry { name: HRUN, line: "{programs}/hrun {python}.sqfs {command}", ..PLAIN },
    Entry {
        name: "squashfuse_ll",
        package: "squashfuse",
        line: "sh {work}/squashfuse.sh {python}.sqfs {work}/mount {programs}/hrun {work}/mount \
               {command}",
        note: "the image as squashfuse_ll 0.1.105 has mounted it, for the run: a directory for hrun; \
               a start has a shell and two programs more",
        ..PLAIN
    },
    Entry {
        name: "ch-run",
        package: "charliecloud",
        line: "ch-run --home {python}.sqfs -- {command}",
        version: "--version",
        note: "with the same squashfuse, as a library",
        ..PLAIN
    },
    Entry {
        name: "kernel, gzip",
        line: "{programs}/hrun /home/kernel/gzip {command}",
        needs: MOUNTED_GZIP,
        ..PLAIN
    },
    Entry { name: "hrun, gzip", line: "{programs}/hrun {python}.gzip.sqfs {command}", ..PLAIN },
];

/// Measures everything, writes the record and prints its summary; says if all promises were kept.
pub fn run() -> Result<bool, String> {
    let record = env::var_os("HRUN_BENCH_RECORD").map(PathBuf::from);
    let record = record.ok_or("run `make bench-packed`")?;
    let is_quick = env::var_os("HRUN_BENCH_QUICK").is_some();
    let cold = Cold::find()?;
    let machine = Machine::look(&record, is_quick);
    let places = Places::make()?;
    jobs::place_program(&places)?;
    place_squashfuse(&places).map_err(|error| format!("squashfuse.sh: {error}"))?;

    let (runtimes, missing) = find_peers(ENTRIES, &places);
    let runtimes: Vec<&Runtime> = runtimes.iter().collect();
    let mut results = Results { runtimes, missing, starts: Vec::new(), jobs: Vec::new(), machine };
    let all = results.runtimes.iter().copied();
    let lanes = all.clone().map(|runtime| Lane::new(runtime.entry.name.to_owned(), runtime));
    let lanes: [Vec<Lane>; 2] =
        [lanes.collect(), all.map(|runtime| cold_start(runtime, &cold)).collect()];
    for (case, lanes) in PACKED.into_iter().zip(lanes) {
        results.starts.push(measure(case, lanes, is_quick));
    }
    for job in JOBS {
        let lanes = job.measure(&results.runtimes, &cold, &places, is_quick)?;
        results.jobs.push((job, lanes));
    }
    results.machine.look_again();
    let summary = record::write(&results, &record);
    print!("{}", summary.map_err(|error| format!("{}: {error}", record.display()))?);
    Ok(record::keeps_promises(&results))
}

fn cold_start<'a>(runtime: &'a Runtime, cold: &'a Cold) -> Lane<'a> {
    Lane::with(runtime.entry.name.to_owned(), runtime, move |_| {
        cold.make()?;
        start_together(&mut [runtime.command(EXIT)])
    })
}

/// What squashfuse_ll is started with, and where it mounts.
fn place_squashfuse(places: &Places) -> std::io::Result<()> {
    fs::create_dir(places.work.join("mount"))?;
    fs::write(places.work.join("squashfuse.sh"), include_str!("squashfuse.sh"))
}
