//! The record of a run: tables for people, every sample for everybody else.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use crate::cases::{Case, Lane};
use crate::machine::Machine;
use crate::measure::Calls;
use crate::runtimes::{Entry, GPUS, PLAINLY, Runtime};

/// Everything that was measured.
pub struct Results<'a> {
    /// The runtimes that ran.
    pub runtimes: &'a [&'a Runtime],
    /// Those that could not, with the reason.
    pub missing: &'a [(&'static Entry, String)],
    /// The runtimes against each other.
    pub starts: Vec<(Case, Vec<Lane<'a>>)>,
    /// hrun against itself: the bare start, then each variant followed by its floor.
    pub variants: (Case, Vec<Lane<'a>>),
    /// Each runtime without `--nv`, followed by the same with it.
    pub gpus: (Case, Vec<Lane<'a>>),
    /// Instructions of deciding, by variant.
    pub instructions: Vec<Option<u64>>,
    /// System calls by runtime.
    pub calls: Vec<(&'a str, Result<Calls, String>)>,
    /// Where and how.
    pub machine: Machine,
}

/// Writes `README.md`, `summary.md` and `raw.csv`, and gives back the summary.
///
/// # Errors
///
/// The error of the file that could not be written.
pub fn write(results: &Results, directory: &Path) -> io::Result<String> {
    write_files(directory, summary(results), readme(results), raw(results))
}

/// Writes the files of a record, and gives back the summary.
///
/// # Errors
///
/// As [`write`].
pub fn write_files(
    directory: &Path,
    summary: String,
    readme: String,
    raw: String,
) -> io::Result<String> {
    fs::create_dir_all(directory)?;
    fs::write(directory.join("README.md"), readme)?;
    fs::write(directory.join("raw.csv"), raw)?;
    fs::write(directory.join("summary.md"), &summary)?;
    Ok(summary)
}

/// Whether every promise was kept.
pub fn keeps_promises(results: &Results) -> bool {
    promises(results).iter().all(|promise| promise.kept)
}

/// A promise of docs/SPEC.md and what came of it.
pub struct Promise {
    /// What is promised.
    pub text: String,
    /// What came of it, in words.
    pub measured: String,
    /// Whether that is what was promised.
    pub kept: bool,
}

fn promises(results: &Results) -> Vec<Promise> {
    let mut promises = Vec::new();
    let (_, one) = &results.starts[0];
    let over_bare = |name: &str| Some(wall(one, name)? - wall(one, "bare")?);
    if let (Some(hrun), Some(floor)) = (over_bare("hrun"), over_bare("floor")) {
        promises.push(Promise {
            text: "start to exec at most 1.25 times the floor, both over a bare start".to_owned(),
            measured: format!("{:.2}", hrun / floor),
            kept: hrun <= 1.25 * floor,
        });
    }
    for peer in ["bwrap", "ch-run"] {
        if let (Some(hrun), Some(other)) = (over_bare("hrun"), over_bare(peer)) {
            promises.push(Promise {
                text: format!("start to exec below {peer}"),
                measured: format!("{hrun:.0} µs, {peer} {other:.0} µs"),
                kept: hrun < other,
            });
        }
    }
    let (_, variants) = &results.variants;
    if let (Some(gpus), Some(plain)) = (wall(variants, GPUS), wall(variants, PLAINLY)) {
        promises.push(Promise {
            text: "--nv on a driver of 60 libraries: at most 1 ms more".to_owned(),
            measured: format!("{:.2} ms", (gpus - plain) / 1e3),
            kept: gpus <= plain + 1e3,
        });
    }
    let (_, gpus) = &results.gpus;
    if let (Some(hrun), Some(other)) = (gpu_cost(gpus, "hrun"), gpu_cost(gpus, "apptainer")) {
        promises.push(Promise {
            text: "--nv costs less than Apptainer's".to_owned(),
            measured: format!("{:.2} ms, Apptainer's {:.2} ms", hrun / 1e3, other / 1e3),
            kept: hrun < other,
        });
    }
    let of_hrun = results.calls.iter().find(|(name, _)| *name == "hrun");
    if let Some((_, Ok(calls))) = of_hrun {
        promises.push(Promise {
            text: "under 120 system calls for `hrun IMAGE /bin/true`".to_owned(),
            measured: calls.all.to_string(),
            kept: calls.all < 120,
        });
    }
    promises
}

/// The median in microseconds.
fn wall(lanes: &[Lane], name: &str) -> Option<f64> {
    lanes.iter().find(|lane| lane.name == name)?.wall().map(|wall| wall.median)
}

/// How many microseconds longer a start with `--nv` takes.
fn gpu_cost(lanes: &[Lane], name: &str) -> Option<f64> {
    Some(wall(lanes, &format!("{name} --nv"))? - wall(lanes, name)?)
}

fn summary(results: &Results) -> String {
    let mut text = opening("Start-up", &results.machine, promises(results));
    for (case, lanes) in &results.starts {
        text += &start_table(case, lanes);
    }
    text += &variant_table(results);
    text += &gpu_table(&results.gpus);
    text += &call_table(results);
    text += &missing_list(results.missing);
    text
}

/// The beginning of a summary: what it is of, and what came of the promises.
pub fn opening(subject: &str, machine: &Machine, promises: Vec<Promise>) -> String {
    let mut text = format!("# {subject}: {}\n\n", machine.title);
    if let Some(warning) = &machine.warning {
        text += &format!("**{warning}**\n\n");
    }
    text += "## Promises\n\n";
    text += &head(&["promise", "measured", "kept"], 1);
    for promise in promises {
        let kept = if promise.kept { "yes" } else { "NO" };
        text += &row(&[promise.text, promise.measured, kept.to_owned()]);
    }
    text
}

fn start_table(case: &Case, lanes: &[Lane]) -> String {
    let together = case.together as f64;
    let mut table = format!("\n## {}\n\n", case.title);
    table += &head(
        &[
            "",
            "samples",
            "ms",
            "p95",
            "µs a start",
            "over bare",
            "of floor",
            "processor µs",
            "faults",
        ],
        1,
    );
    let bare = wall(lanes, "bare").unwrap_or_default();
    let floor = wall(lanes, "floor").unwrap_or(f64::NAN) - bare;
    for lane in lanes {
        let (Some(wall), Some(cpu), Some(faults)) = (lane.wall(), lane.cpu(), lane.faults()) else {
            continue;
        };
        let over = wall.median - bare;
        let is_bare = lane.name == "bare";
        table += &row(&[
            lane.name.clone(),
            wall.count.to_string(),
            format!("{:.2}", wall.median / 1e3),
            format!("{:.2}", wall.p95 / 1e3),
            format!("{:.0}", wall.median / together),
            if is_bare { String::new() } else { format!("{:.0}", over / together) },
            if is_bare { String::new() } else { format!("{:.2}", over / floor) },
            format!("{:.0}", cpu.median / together),
            format!("{:.0}", faults.median / together),
        ]);
    }
    table + &net(case, lanes) + &troubles(lanes)
}

/// The comparison without what any program pays for being started: on a virtual machine that is
/// most of the floor, because the C library asks the processor what it is and the hypervisor
/// answers each question.
fn net(case: &Case, lanes: &[Lane]) -> String {
    let (Some(bare), Some(exec)) = (wall(lanes, "bare"), wall(lanes, "exec")) else {
        return String::new();
    };
    let a_start = |all: f64| all / case.together as f64;
    let over_exec = |name| wall(lanes, name).map_or(f64::NAN, |wall| a_start(wall - exec));
    let (hrun, floor) = (over_exec("hrun"), over_exec("floor"));
    format!(
        "\nA start of `exec`, which only executes the command, takes {:.0} µs over a bare one. Over \
         that, the floor takes {floor:.0} µs and hrun {hrun:.0} µs: {:.2} times as long.\n",
        a_start(exec - bare),
        hrun / floor
    )
}

/// Lanes without samples, and with fewer than they should have.
pub fn troubles(lanes: &[Lane]) -> String {
    let mut text = String::new();
    for lane in lanes {
        let Some(trouble) = &lane.trouble else { continue };
        text += &match lane.failed {
            0 => format!("\n- {}: {trouble}", lane.name),
            failed => {
                format!(
                    "\n- {}: {failed} failed, {} did not: {trouble}",
                    lane.name,
                    lane.samples.len()
                )
            }
        };
    }
    if text.is_empty() { text } else { text + "\n" }
}

fn variant_table(results: &Results) -> String {
    let (_, lanes) = &results.variants;
    let Some((bare, pairs)) = lanes.split_first() else { return String::new() };
    let bare = bare.wall().map_or(f64::NAN, |wall| wall.median);
    let mut table = "\n## hrun asked for more, or for the same in another way\n\n\
        One at a time; the floor makes the system calls of the same plan.\n\n"
        .to_owned();
    table += &head(
        &["", "samples", "µs", "p95", "over bare", "its floor over bare", "ratio", "instructions"],
        1,
    );
    for (pair, instructions) in pairs.chunks(2).zip(&results.instructions) {
        let [hrun, floor] = pair else { continue };
        let (Some(wall), floor) = (hrun.wall(), floor.wall()) else { continue };
        let over = wall.median - bare;
        let floor = floor.map(|floor| floor.median - bare);
        table += &row(&[
            hrun.name.clone(),
            wall.count.to_string(),
            format!("{:.0}", wall.median),
            format!("{:.0}", wall.p95),
            format!("{over:.0}"),
            floor.map(|floor| format!("{floor:.0}")).unwrap_or_default(),
            floor.map(|floor| format!("{:.2}", over / floor)).unwrap_or_default(),
            instructions.map(|count| format!("{} k", count / 1000)).unwrap_or_default(),
        ]);
    }
    table += "\nInstructions are those of `hrun --dry-run=json` outside the kernel, counted by \
              valgrind where it is installed: deciding, and printing the plan.\n";
    table + &troubles(lanes)
}

fn gpu_table((case, lanes): &(Case, Vec<Lane>)) -> String {
    if lanes.is_empty() {
        return String::new();
    }
    let mut table = format!(
        "\n## {}\n\nOne at a time, in turns, on a machine with a driver of 60 libraries.\n\n",
        case.title
    );
    table += &head(&["", "samples", "ms", "samples with", "ms with", "ms more"], 1);
    for pair in lanes.chunks(2) {
        let [plain, gpus] = pair else { continue };
        let (Some(without), Some(with)) = (plain.wall(), gpus.wall()) else { continue };
        table += &row(&[
            plain.name.clone(),
            without.count.to_string(),
            format!("{:.2}", without.median / 1e3),
            with.count.to_string(),
            format!("{:.2}", with.median / 1e3),
            format!("{:.2}", (with.median - without.median) / 1e3),
        ]);
    }
    table + &troubles(lanes)
}

fn call_table(results: &Results) -> String {
    let mut table =
        "\n## System calls\n\nOf running Debian's `/bin/true`, to its end; `strace -f -c`.\n\n"
            .to_owned();
    table += &head(&["", "system calls", "failed", "programs executed", "processes made"], 1);
    let mut failed = String::new();
    for (name, calls) in &results.calls {
        match calls {
            Ok(calls) => {
                let numbers = [calls.all, calls.failed, calls.programs, calls.processes];
                let numbers = numbers.map(|number| number.to_string());
                table += &row(&[&[(*name).to_owned()][..], &numbers].concat());
            }
            Err(reason) => failed += &format!("\n- {name}: not counted: {reason}"),
        }
    }
    if failed.is_empty() { table } else { table + &failed + "\n" }
}

/// Runtimes that could not take part.
pub fn missing_list(missing: &[(&Entry, String)]) -> String {
    if missing.is_empty() {
        return String::new();
    }
    let mut text = "\n## Not measured\n".to_owned();
    for (entry, reason) in missing {
        text += &format!("\n- {}: {reason}", entry.name);
    }
    text + "\n"
}

fn readme(results: &Results) -> String {
    let mut text = format!("# {}\n\n{}\n", results.machine.title, results.machine.describe());
    text += "## What was run\n\nCOMMAND is `/bench/exit`, a static C program that ends at once; for \
             the system calls it is Debian's `/bin/true`. IMAGE is an unpacked Debian image that \
             belongs to root, started by an ordinary user from HOME, which the image lacks; COMPLETE \
             is the same lacking nothing. Where `--nv` is measured, the machine looks as if four GPUs \
             and NVIDIA's driver had been installed (`tests/install-gpus.sh`), and the loader's cache \
             lists the driver, because Apptainer looks for it nowhere else: hrun makes the same plan, \
             in as many instructions, without that.\n\n";
    text += &list_runtimes(results.runtimes);
    text += "\nThe variants of hrun:\n\n";
    for lane in results.variants.1.iter().skip(1).step_by(2) {
        let entry = lane.runtime.entry;
        let _ = writeln!(text, "- {}: `{}{}`", entry.name, variables(entry), shown(entry.line));
    }
    if !results.gpus.1.is_empty() {
        text += "\nWith the driver, each beside the same without `--nv`:\n\n";
    }
    for lane in results.gpus.1.iter().skip(1).step_by(2) {
        let entry = lane.runtime.entry;
        let _ = writeln!(text, "- {}: `{}{}`  ", lane.name, variables(entry), shown(entry.line));
        let _ = writeln!(text, "  {}", entry.note);
    }
    text += METHOD;
    text
}

/// Who took part, and how each is started.
pub fn list_runtimes(runtimes: &[&Runtime]) -> String {
    let mut text = String::new();
    for runtime in runtimes {
        let entry = runtime.entry;
        let version = if runtime.version.is_empty() { "" } else { ", " };
        let _ = writeln!(text, "- **{}**{version}{}  ", entry.name, runtime.version);
        let _ = write!(text, "  `{}{}`", variables(entry), shown(entry.line));
        text += &if entry.note.is_empty() {
            "\n".to_owned()
        } else {
            format!("  \n  {}\n", entry.note)
        };
    }
    text
}

/// A command line with capital letters in place of braces.
fn shown(line: &str) -> String {
    let words = line.replace("{programs}/", "");
    let mut shown = String::new();
    for (index, part) in words.split(['{', '}']).enumerate() {
        shown += &if index % 2 == 1 { part.to_uppercase() } else { part.to_owned() };
    }
    shown
}

fn variables(entry: &Entry) -> String {
    let variables = entry.variables.iter();
    variables.map(|(name, value)| format!("{name}={} ", shown(value))).collect()
}

const METHOD: &str = "
## How

Every runtime has one turn a round, in an order that changes from round to round and is the same in
every run. A turn is ten starts one after the other, as an array job makes them; or one start, right
after another runtime's; or 16, 64 or 256 starts at once. A start is a posix_spawn(3) and ends when
the process has been waited for; starts at once are one sample. Tables give medians; 95 of 100 samples
are below `p95`. *Over bare* is the median less that of the bare start; *of floor* is that divided by
the floor's, a C program that makes the system calls of hrun's plan and nothing else. Processor time
and page faults are those of all processes that were waited for. A slow runtime has fewer turns, or
none where three of them would take too long; those that take several times as long as the others
have none in the first table.

`raw.csv` has every sample. To repeat it: `make bench`, or `make bench QUICK=1` for a look.
";

/// A line a turn.
fn raw(results: &Results) -> String {
    let (variants, lanes) = &results.variants;
    let (gpus, gpu_lanes) = &results.gpus;
    let cases = results.starts.iter().map(|(case, lanes)| (case, lanes));
    raw_cases(cases.chain([(variants, lanes), (gpus, gpu_lanes)]))
}

/// The samples of cases, a line each.
pub fn raw_cases<'a>(cases: impl Iterator<Item = (&'a Case, &'a Vec<Lane<'a>>)>) -> String {
    let mut text = "case,round,runtime,wall_us,cpu_us,faults\n".to_owned();
    for (case, lanes) in cases {
        for lane in lanes {
            for (round, sample) in &lane.samples {
                let (wall, cpu) = (sample.wall.as_micros(), sample.cpu.as_micros());
                let (case, name, faults) = (case.name, &lane.name, sample.faults);
                // Writing to a string cannot fail.
                let _ = writeln!(text, "{case},{round},\"{name}\",{wall},{cpu},{faults}");
            }
        }
    }
    text
}

/// The first rows of a table, numbers to the right.
pub fn head(titles: &[&str], words: usize) -> String {
    let rules = (0..titles.len()).map(|column| if column < words { "---" } else { "--:" });
    let rules: Vec<String> = rules.map(str::to_owned).collect();
    let titles: Vec<String> = titles.iter().map(|title| (*title).to_owned()).collect();
    row(&titles) + &row(&rules)
}

/// A row of a table.
pub fn row(cells: &[String]) -> String {
    format!("| {} |\n", cells.join(" | "))
}
