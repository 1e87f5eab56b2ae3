//! Signals that end the program: what it has begun to make beside a place goes first.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use images::{own, pack};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use runtime::sys::process;
use signal_hook::iterator::Signals;

/// The signals by which people and schedulers end programs.
const ENDS: [Signal; 4] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];

/// Set before anything is removed: what fails then fails because of that.
static IS_ENDING: AtomicBool = AtomicBool::new(false);

/// Waits for signals beside the work.
///
/// By handlers, not by a mask: programs that are started would inherit that, and not end. If there can be no
/// thread a signal ends himage at once, and the next command for the same place cleans up.
pub fn watch() {
    let (sender, receiver) = sync_channel(1);
    let listening = thread::Builder::new().name("signals".into()).spawn(move || {
        let heard = ENDS.into_iter().filter(|signal| !is_ignored(*signal));
        let signals = Signals::new(heard.map(|signal| signal as i32));
        let _ = sender.send(());
        let Ok(mut signals) = signals else { return };
        for signal in signals.forever().filter_map(|number| Signal::try_from(number).ok()) {
            end(signal);
        }
    });
    if listening.is_ok() {
        // Until the handlers are there.
        let _ = receiver.recv();
    }
}

/// Does not come back if a signal is about to end the program.
pub fn give_way() {
    while IS_ENDING.load(Ordering::Acquire) {
        thread::sleep(Duration::from_secs(1));
    }
}

fn end(signal: Signal) {
    IS_ENDING.store(true, Ordering::Release);
    // A signal to this process alone does not reach those that work for it: mksquashfs.
    for child in children() {
        let _ = kill(child, Signal::SIGTERM);
    }
    pack::abandon();
    process::die_of(signal);
}

/// Those that started this one may have it ignore a signal: nohup.
fn is_ignored(signal: Signal) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok());
    ignored.is_some_and(|set| set >> (signal as u32 - 1) & 1 == 1)
}

fn children() -> Vec<Pid> {
    let mut found = Vec::new();
    let tasks = Path::new("/proc/self/task");
    for task in own::names(tasks).unwrap_or_default() {
        let list = fs::read_to_string(tasks.join(task).join("children")).unwrap_or_default();
        found.extend(
            list.split_whitespace().filter_map(|word| word.parse().ok()).map(Pid::from_raw),
        );
    }
    found
}
