//! Measures hrun side by side with its peers, and writes a record: starts (`make bench`), what being
//! a rank of a step costs (`make bench-ranks`), or packed images (`make bench-packed`).
#![allow(clippy::disallowed_methods, reason = "the benchmark looks, starts programs and writes")]

mod cases;
mod floor;
mod machine;
mod measure;
mod packed;
mod ranks;
mod record;
mod runtimes;
mod work;

use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use cases::{Case, Lane};
use machine::Machine;
use measure::{count_calls, count_instructions};
use record::Results;
use runtimes::{BARE, EXEC, Entry, GPU_PEERS, GPUS, HRUN, PEERS, PLAINLY, Runtime, TRUE, VARIANTS};
use work::Places;

fn main() -> ExitCode {
    let asked = |wanted: &str| env::args().any(|word| word == wanted);
    let result = match (asked("ranks"), asked("packed")) {
        (true, _) => ranks::run(),
        (_, true) => packed::run(),
        _ => run(),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("bench: a promise was not kept");
            ExitCode::FAILURE
        }
        Err(reason) => {
            eprintln!("bench: {reason}");
            ExitCode::FAILURE
        }
    }
}

/// Measures everything, writes the record and prints its summary; says if all promises were kept.
fn run() -> Result<bool, String> {
    let record = env::var_os("HRUN_BENCH_RECORD").map(PathBuf::from).ok_or("run `make bench`")?;
    let is_quick = env::var_os("HRUN_BENCH_QUICK").is_some();
    let machine = Machine::look(&record, is_quick);
    let places = Places::make()?;

    let bare = Runtime::find(&BARE, &places)?;
    let exec = Runtime::find(&EXEC, &places)?;
    let hrun = Runtime::find(&HRUN, &places)?;
    let floor = Runtime::floor_of(&hrun, &places)?;
    let (variants, mut missing) = find_variants(&places)?;
    // From here on there is something to clean up, and nothing fails.
    let (peers, missing_peers) = find_peers(PEERS, &places);
    let (gpu_peers, missing_gpu_peers) = find_peers(GPU_PEERS, &places);
    missing.extend(missing_peers.into_iter().chain(missing_gpu_peers));
    let runtimes: Vec<&Runtime> = [&bare, &exec, &floor, &hrun].into_iter().chain(&peers).collect();

    let instructions = variants.iter().map(|(hrun, _)| count_instructions(&hrun.dry_run()).ok());
    let mut results = Results {
        runtimes: &runtimes,
        missing: &missing,
        starts: Vec::new(),
        variants: measure(&cases::VARIANTS, variant_lanes(&bare, &variants), is_quick),
        gpus: measure(&cases::GPUS, gpu_lanes(&variants, &peers, &gpu_peers), is_quick),
        instructions: instructions.collect(),
        calls: Vec::new(),
        machine,
    };
    for case in cases::STARTS {
        let takes_part = |runtime: &&&Runtime| case.has_heavy || !runtime.entry.is_heavy;
        let lanes = runtimes.iter().filter(takes_part);
        let lanes = lanes.map(|runtime| Lane::new(runtime.entry.name.to_owned(), runtime));
        results.starts.push(measure(case, lanes.collect(), is_quick));
    }
    for runtime in &runtimes {
        let calls = count_calls(&runtime.command(TRUE), &places.work.join("strace"));
        results.calls.push((runtime.entry.name, calls.map_err(|reason| places.hide(&reason))));
    }
    results.machine.look_again();
    peers.iter().for_each(|peer| peer.clean_up(&places));

    let summary = record::write(&results, &record);
    print!("{}", summary.map_err(|error| format!("{}: {error}", record.display()))?);
    Ok(record::keeps_promises(&results))
}

type Missing = Vec<(&'static Entry, String)>;

fn find_peers(entries: &'static [Entry], places: &Places) -> (Vec<Runtime>, Missing) {
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for entry in entries {
        match lack(entry).map_or_else(|| Runtime::find(entry, places), Err) {
            Ok(runtime) => found.push(runtime),
            Err(reason) => missing.push((entry, places.hide(&reason))),
        }
    }
    (found, missing)
}

/// The variants of hrun, each with its floor, and those this machine has nothing for.
fn find_variants(places: &Places) -> Result<(Vec<(Runtime, Runtime)>, Missing), String> {
    let (mut variants, mut missing) = (Vec::new(), Missing::new());
    for entry in VARIANTS {
        if let Some(lack) = lack(entry) {
            missing.push((entry, lack));
            continue;
        }
        let hrun = Runtime::find(entry, places)?;
        let floor = Runtime::floor_of(&hrun, places)?;
        variants.push((hrun, floor));
    }
    Ok((variants, missing))
}

/// Why there is nothing to measure here.
fn lack(entry: &Entry) -> Option<String> {
    (!Path::new(entry.needs).exists()).then(|| format!("{} is not there", entry.needs))
}

fn variant_lanes<'a>(bare: &'a Runtime, variants: &'a [(Runtime, Runtime)]) -> Vec<Lane<'a>> {
    let mut lanes = vec![Lane::new("bare".to_owned(), bare)];
    for (hrun, floor) in variants {
        let name = hrun.entry.name;
        lanes.push(Lane::new(name.to_owned(), hrun));
        lanes.push(Lane::new(format!("floor: {name}"), floor));
    }
    lanes
}

/// Each runtime without `--nv` followed by the same with it.
fn gpu_lanes<'a>(
    variants: &'a [(Runtime, Runtime)],
    peers: &'a [Runtime],
    gpu_peers: &'a [Runtime],
) -> Vec<Lane<'a>> {
    let all = || variants.iter().map(|(hrun, _)| hrun).chain(peers).chain(gpu_peers);
    let lane = |name: &str, entry: &str| {
        let runtime = all().find(|runtime| runtime.entry.name == entry)?;
        Some(Lane::new(name.to_owned(), runtime))
    };
    let hrun = lane("hrun", PLAINLY).zip(lane("hrun --nv", GPUS));
    let peers = gpu_peers.iter().filter_map(|peer| {
        let plain = peer.entry.name.trim_end_matches(" --nv");
        lane(plain, plain).zip(lane(peer.entry.name, peer.entry.name))
    });
    hrun.into_iter().chain(peers).flat_map(|(plain, gpus)| [plain, gpus]).collect()
}

fn measure<'a>(case: &Case, mut lanes: Vec<Lane<'a>>, is_quick: bool) -> (Case, Vec<Lane<'a>>) {
    let case = if is_quick { case.quick() } else { *case };
    eprintln!("measuring: {}", case.name);
    case.measure(&mut lanes);
    (case, lanes)
}
