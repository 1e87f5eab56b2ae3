//! The probe: the one program of a minimal image. It reports what it sees, a line a fact, so that
//! tests assert what a user would see from inside.
#![allow(clippy::disallowed_methods, reason = "it looks around for a living")]
#![allow(clippy::unwrap_used, reason = "a probe that fails fails its test")]

use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::process::exit;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal, kill, raise};
use nix::unistd::{Pid, getegid, geteuid, getgroups, getpid, getppid};

const USAGE: &str = "\
probe args ARG...        the arguments, NUL-separated
probe env [NAME]         the environment, NUL-separated, or one value
probe cwd                the current directory
probe id                 uid, gid, groups, pid, ppid
probe kind PATH...       directory, file, link TARGET, device, other or missing
probe owner PATH         uid gid mode
probe cat PATH           the contents
probe ls PATH            the names, sorted
probe write PATH TEXT    appends; prints the error, if any
probe mkdir PATH         prints the error, if any
probe unlink PATH        prints the error, if any
probe fds                the open descriptors and where they lead
probe status FIELD...    fields of /proc/self/status
probe mounts             mount points and their options
probe state PATH...      all that restricts this process, and what can be written below each PATH
probe exit STATUS        ends with a status
probe raise SIGNAL       ends by a signal, by number
probe await SIGNAL...    prints 'ready', then the name of each signal as it arrives; ends at the last
probe sleep SECONDS
probe spin THREADS SECONDS  computes, and prints how many CPUs it had
probe stdin              copies standard input to standard output";

fn main() {
    let mut words = std::env::args_os().skip(1);
    let verb = words.next().unwrap_or_default();
    let words: Vec<OsString> = words.collect();
    let first = || Path::new(words.first().expect(USAGE));
    match verb.to_str().unwrap_or_default() {
        "args" => print_nul(words.into_iter()),
        "env" => env(words.first()),
        "cwd" => print(std::env::current_dir().unwrap().as_os_str().as_bytes()),
        "id" => id(),
        "kind" => words.iter().for_each(|path| println!("{}", kind(Path::new(path)))),
        "owner" => {
            let metadata = fs::symlink_metadata(first()).unwrap();
            println!("{} {} {:o}", metadata.uid(), metadata.gid(), metadata.mode() & 0o7777);
        }
        "cat" => match fs::read(first()) {
            Ok(bytes) => std::io::stdout().write_all(&bytes).unwrap(),
            Err(error) => fail(&error),
        },
        "ls" => ls(first()),
        "write" => report(
            fs::OpenOptions::new()
                .append(true)
                .create(true)
                .open(first())
                .and_then(|mut file| file.write_all(words[1].as_bytes())),
        ),
        "mkdir" => report(fs::create_dir(first())),
        "unlink" => report(fs::remove_file(first())),
        "fds" => fds(),
        "status" => status(&words),
        "mounts" => mounts(),
        "state" => state(&words),
        "exit" => exit(words[0].to_str().unwrap().parse().unwrap()),
        "raise" => raise(signal(&words[0])).unwrap(),
        "await" => await_signals(&words),
        "sleep" => {
            std::thread::sleep(Duration::from_secs_f64(words[0].to_str().unwrap().parse().unwrap()))
        }
        "spin" => spin(&words),
        "stdin" => {
            let mut bytes = Vec::new();
            std::io::stdin().read_to_end(&mut bytes).unwrap();
            std::io::stdout().write_all(&bytes).unwrap();
        }
        _ => {
            eprintln!("{USAGE}");
            exit(2);
        }
    }
}

fn print(bytes: &[u8]) {
    let mut output = std::io::stdout().lock();
    output.write_all(bytes).unwrap();
    output.write_all(b"\n").unwrap();
}

fn print_nul(items: impl Iterator<Item = OsString>) {
    let mut output = std::io::stdout().lock();
    for item in items {
        output.write_all(&item.into_vec()).unwrap();
        output.write_all(b"\0").unwrap();
    }
}

fn report(result: std::io::Result<()>) {
    match result {
        Ok(()) => println!("ok"),
        Err(error) => fail(&error),
    }
}

/// Prints the name of an error and ends with status 1.
fn fail(error: &std::io::Error) {
    let errno = nix::errno::Errno::from_raw(error.raw_os_error().unwrap_or(0));
    println!("{errno:?}");
    exit(1);
}

fn env(name: Option<&OsString>) {
    match name {
        Some(name) => match std::env::var_os(name) {
            Some(value) => print(value.as_bytes()),
            None => exit(1),
        },
        None => print_nul(std::env::vars_os().map(|(mut name, value)| {
            name.push("=");
            name.push(value);
            name
        })),
    }
}

fn id() {
    let groups: Vec<String> = getgroups().unwrap().iter().map(ToString::to_string).collect();
    println!("uid {}", geteuid());
    println!("gid {}", getegid());
    println!("groups {}", groups.join(" "));
    println!("pid {}", getpid());
    println!("ppid {}", getppid());
}

fn kind(path: &Path) -> String {
    let Ok(metadata) = fs::symlink_metadata(path) else { return "missing".to_owned() };
    let file_type = metadata.file_type();
    if file_type.is_symlink() {
        return format!("link {}", fs::read_link(path).unwrap().display());
    }
    let kind = match () {
        () if file_type.is_dir() => "directory",
        () if file_type.is_file() => "file",
        () if file_type.is_char_device() || file_type.is_block_device() => "device",
        () => "other",
    };
    kind.to_owned()
}

fn ls(path: &Path) {
    match fs::read_dir(path) {
        Ok(entries) => {
            let mut names: Vec<OsString> =
                entries.map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names.iter().for_each(|name| print(name.as_bytes()));
        }
        Err(error) => fail(&error),
    }
}

/// The descriptors of this process but the one that lists them, which is closed by then.
fn fds() {
    let entries = fs::read_dir("/proc/self/fd").unwrap();
    let paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    for path in paths {
        if let Ok(target) = fs::read_link(&path) {
            println!("{} {}", path.file_name().unwrap().display(), target.display());
        }
    }
}

fn status(fields: &[OsString]) {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    for line in text.lines() {
        let name = line.split(':').next().unwrap();
        if fields.iter().any(|field| field == name) {
            println!("{}", line.replace('\t', ""));
        }
    }
}

fn mounts() {
    let text = fs::read("/proc/self/mountinfo").unwrap();
    for line in String::from_utf8_lossy(&text).lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        println!("{} {}", fields[4], fields[5]);
    }
}

/// What a container gives and forbids, in lines that are the same for the same container.
fn state(paths: &[OsString]) {
    let fields = ["NoNewPrivs", "Seccomp", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "Uid"];
    status(&fields.map(OsString::from));
    for file in ["uid_map", "gid_map", "setgroups"] {
        print!("{file} {}", fs::read_to_string(format!("/proc/self/{file}")).unwrap());
    }
    println!("in {}", std::env::current_dir().unwrap().display());
    println!("isolated {}", getppid().as_raw() == 0 || getpid().as_raw() < 10);
    for path in paths {
        let name = Path::new(path).join(".probe");
        let errno =
            |error: std::io::Error| nix::errno::Errno::from_raw(error.raw_os_error().unwrap_or(0));
        let written = fs::write(&name, "").map_err(errno);
        let _ = fs::remove_file(&name);
        // Where others can write too there are other names each time.
        let read = fs::read_dir(path).map_err(errno);
        let names = read.map(|entries| {
            let names = entries.map(|entry| entry.unwrap().file_name());
            names.filter(|_| written.is_err()).collect::<std::collections::BTreeSet<OsString>>()
        });
        println!("{} {written:?} {names:?}", path.display());
    }
    let descriptors = fs::read_dir("/proc/self/fd").unwrap();
    let numbers: std::collections::BTreeSet<OsString> =
        descriptors.map(|entry| entry.unwrap().file_name()).collect();
    println!("descriptors {numbers:?}");
    mounts();
    let variables: std::collections::BTreeMap<OsString, OsString> = std::env::vars_os().collect();
    variables.iter().for_each(|(name, value)| println!("{}={}", name.display(), value.display()));
}

fn signal(word: &OsString) -> Signal {
    Signal::try_from(word.to_str().unwrap().parse::<i32>().unwrap()).unwrap()
}

/// Blocks the signals, says so, and prints them as they come.
fn await_signals(words: &[OsString]) {
    let signals: Vec<Signal> = words.iter().map(signal).collect();
    let set: SigSet = signals.iter().copied().collect();
    set.thread_block().unwrap();
    println!("ready {}", getpid());
    std::io::stdout().flush().unwrap();
    for _ in &signals {
        println!("{}", set.wait().unwrap());
        std::io::stdout().flush().unwrap();
    }
    // The parent may want to see that this process still exists.
    kill(Pid::this(), None).unwrap();
}

/// Keeps threads busy for a while, and prints their CPU time over that of the clock on the wall.
fn spin(words: &[OsString]) {
    let number = |word: &OsString| word.to_str().unwrap().parse::<f64>().unwrap();
    let (threads, length) = (number(&words[0]), Duration::from_secs_f64(number(&words[1])));
    let (started, before) = (Instant::now(), cpu_time());
    std::thread::scope(|scope| {
        for _ in 0..threads as usize {
            scope.spawn(|| while started.elapsed() < length {});
        }
    });
    println!("{:.3}", (cpu_time() - before) / started.elapsed().as_secs_f64());
}

/// The CPU time of this process in seconds, that of the programs it was before included.
fn cpu_time() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat[stat.rfind(')').unwrap()..].split(' ').collect();
    let ticks: f64 = [fields[12], fields[13]].iter().map(|n| n.parse::<f64>().unwrap()).sum();
    // A hundred ticks a second, wherever Linux runs (times(2)).
    ticks / 100.0
}
