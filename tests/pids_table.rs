//! docs/signals.md: what commands and their parents see of signals, written by what is seen.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;

use super::pids::{COUNT, COUNTED, Sent, TWICE, counted, is_stopped, isolated};
use super::support::live::until;
use super::support::run::shell;
use super::support::terminal::{Terminal, Window};
use super::support::{Live, Scratch, program, real};

const BOTH: [&[&str]; 2] = [&[], &["--pid"]];

const ABOUT: &str = "\
# Signals

What commands and their parents see of signals, plain and with `--pid`; written by a test (`tests/pids_table.rs`).

## How often a signal comes that is sent once

*Process* is the one that was started, *group* its process group, as terminals, shells and launchers send to it, *each*
every process of it, as Slurm does. *Terminal* is a job of an interactive shell, whose group is sent to; *background* a
command that a script has started with `&`, and sends to.

| signal | plain: process | group | each | terminal | background | `--pid`: process | group | each | terminal | background |
|---|---|---|---|---|---|---|---|---|---|---|
";

const ABOUT_ENDS: &str = "
## What a parent sees of a command that does not catch it

A program sees how the command ends, shells a status. What a shell starts in the background of a script ignores SIGINT and SIGQUIT, and
so does the command.

| signal | plain: program | terminal | background | `--pid`: program | terminal | background |
|---|---|---|---|---|---|---|
";

const ABOUT_EVENTS: &str = "
## What a terminal does

The signals that a command gets, which is a job of an interactive shell, and what the shell says of it.

| event | plain: command | shell | `--pid`: command | shell |
|---|---|---|---|---|
";

const NOTES: &str = "
With `--pid`, SIGSTOP and SIGKILL to hrun alone cannot be passed on: the first stops hrun and not the command, the second ends both.
Signals of one number that come within 50 ms of each other, once to the group and once to hrun alone, may count as one.
";

#[test]
fn the_table_of_signals_is_what_is_seen() {
    let mut table = String::from(ABOUT);
    let counts = BOTH.map(|options| {
        let direct = [Sent::Process, Sent::Group, Sent::Each].map(|sent| counted(options, sent));
        let [process, group, each] = direct;
        [process, group, each, counted_on_terminal(options), counted_in_background(options)]
    });
    let named = || COUNTED.into_iter().filter_map(|number| Signal::try_from(number).ok());
    for signal in named() {
        let cell = |seen: &BTreeMap<i32, u32>| {
            format!("{} |", seen.get(&(signal as i32)).copied().unwrap_or(0))
        };
        let cells: Vec<String> = counts.iter().flatten().map(cell).collect();
        writeln!(table, "| {} | {}", signal.as_str(), cells.join(" ")).unwrap();
    }
    table += ABOUT_ENDS;
    for signal in named() {
        let cells = BOTH.map(|options| {
            let ends = [end_by(options, signal), end_on_terminal(options, signal)];
            format!("{} | {} | {} |", ends[0], ends[1], end_in_background(options, signal))
        });
        writeln!(table, "| {} | {}", signal.as_str(), cells.join(" ")).unwrap();
    }
    table += ABOUT_EVENTS;
    for (event, see) in EVENTS {
        let cells = BOTH.map(|options| {
            let (got, said) = see(options);
            format!("{got} | {said} |")
        });
        writeln!(table, "| {event} | {}", cells.join(" ")).unwrap();
    }
    table += NOTES;
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/signals.md");
    if std::env::var_os("HRUN_UPDATE").is_some() {
        fs::write(&document, &table).unwrap();
    }
    assert_eq!(fs::read_to_string(&document).unwrap(), table, "HRUN_UPDATE=1 writes it anew");
}

/// What one does at a terminal, and what comes of it: signals, and what the shell says.
type Event = (&'static str, fn(&[&str]) -> (String, String));

const EVENTS: [Event; 11] = [
    ("Ctrl-C, caught", |options| caught(options, "\u{3}", "SIGINT")),
    ("Ctrl-C", |options| uncaught(options, "\u{3}")),
    ("Ctrl-\\, caught", |options| caught(options, "\u{1c}", "SIGQUIT")),
    ("Ctrl-\\", |options| uncaught(options, "\u{1c}")),
    ("Ctrl-Z, then `fg`", stopped_and_continued),
    ("another size", resized),
    ("its window is closed", closed),
    ("its window is closed, and hrun leads the session, as under `srun --pty`", closed_on_leader),
    ("reading, from the background; then `fg`", reading_from_the_background),
    ("writing, from the background, where `stty tostop` forbids it", writing_from_the_background),
    ("Ctrl-C and then `kill %1`, while it is in the background", background_job),
];

/// How a command without handlers takes a signal, as its parent sees it.
fn end_by(options: &[&str], signal: Signal) -> String {
    let mut command = isolated(options, &["sh", "-c", "echo up; read line; exit 5"]);
    let mut live = Live::start(command.process_group(0));
    assert_eq!(live.next_line(), "up");
    live.send(signal);
    if IGNORED.contains(&signal) {
        live.say("\n");
    }
    match live.wait() {
        WaitStatus::Exited(_, status) => format!("goes on ({status})"),
        WaitStatus::Signaled(_, by, _) => format!("ended by {}", by.as_str()),
        other => format!("{other:?}"),
    }
}

/// Signals that do nothing to who does not catch them, and does not wait for them.
const IGNORED: [Signal; 3] = [Signal::SIGWINCH, Signal::SIGURG, Signal::SIGCONT];

/// An interactive shell on a terminal, with files for what commands of it write down.
struct Desk {
    terminal: Terminal,
    scratch: Scratch,
    start: String,
}

/// Writes down the signals it gets in a file; ends at the end of a line, and by SIGTERM or SIGHUP. At the
/// end of its input it waits for them.
const NOTE: &str = "import os, signal, sys, time\n\
    log = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)\n\
    def note(number, frame):\n\
    \x20   os.write(log, (signal.Signals(number).name + ' ').encode())\n\
    \x20   if number in (signal.SIGTERM, signal.SIGHUP): os._exit(0)\n\
    for name in 'HUP INT QUIT TERM CONT WINCH'.split():\n\
    \x20   signal.signal(getattr(signal, 'SIG' + name), note)\n\
    os.write(log, b'ready ')\n\
    try: print('note ready', flush=True)\n\
    except OSError: pass\n\
    while True:\n\
    \x20   try: line = os.read(0, 100)\n\
    \x20   except OSError: line = b''\n\
    \x20   if line == b'size\\n': print('size', *os.get_terminal_size(), flush=True)\n\
    \x20   elif line: sys.exit(0)\n\
    \x20   else: time.sleep(0.01)\n";

impl Desk {
    fn new(options: &[&str]) -> Self {
        let scratch = Scratch::new();
        let words = ["--norc", "--noediting", "-i"];
        let mut desk = Desk {
            terminal: Terminal::start(Path::new("/bin/bash"), &words),
            start: start(options, &scratch),
            scratch,
        };
        desk.type_in("PS1=; stty -echo; echo rea''dy\n", "ready");
        desk
    }

    fn type_in(&mut self, keys: &str, wanted: &str) {
        self.terminal.press(keys);
        self.terminal.line_with(wanted);
    }

    /// Starts what writes its signals down.
    fn note(&mut self, rest: &str) {
        let command = noting(&self.start, &self.scratch);
        self.type_in(&format!("{command} {rest}\n"), "note ready");
    }

    /// The process of the one job, which leads a group.
    fn job(&self) -> Option<Pid> {
        let shell = self.terminal.leader.pid();
        let children = fs::read_to_string(format!("/proc/{shell}/task/{shell}/children")).unwrap();
        Some(Pid::from_raw(children.trim().parse().ok()?))
    }

    /// Its process group, as kill(2) takes it.
    fn group(&self) -> Pid {
        Pid::from_raw(-self.job().expect("a job").as_raw())
    }

    /// What was written down until now.
    fn noted(&self) -> String {
        noted(&self.scratch)
    }

    /// What was written down, some time after it was this.
    fn noted_after(&self, signal: &str) -> String {
        until(signal, || self.noted().contains(signal).then_some(()));
        sleep(TWICE);
        self.noted()
    }

    /// What the shell has of the last command, which has ended or is stopped.
    fn status(&mut self) -> String {
        until("the shell goes on", || match self.job() {
            Some(job) => is_stopped(job).then_some(()),
            None => Some(()),
        });
        self.terminal.press("echo status $?\n");
        self.terminal.line_with("status ")
    }

    /// What the shell says of its jobs, once it says this.
    fn jobs(&mut self, wanted: &str) -> String {
        let line = until(wanted, || {
            self.terminal.press("jobs; echo liste''d\n");
            let mut found = None;
            loop {
                let line = self.terminal.leader.next_line();
                if line.contains("listed") {
                    return found;
                }
                found = found.or_else(|| line.contains(wanted).then_some(line));
            }
        });
        let said = line.split_once("  ").unwrap().1.trim_start();
        said.split("  ").next().unwrap().to_owned()
    }
}

/// How hrun is typed, up to the command.
fn start(options: &[&str], scratch: &Scratch) -> String {
    scratch.file("note.py", NOTE);
    scratch.file("count.py", COUNT);
    let (hrun, image) = (program("hrun"), real("bookworm"));
    format!("{} {} {}", hrun.display(), options.join(" "), image.display())
}

fn log(scratch: &Scratch) -> PathBuf {
    scratch.join("log")
}

fn noting(start: &str, scratch: &Scratch) -> String {
    let file = scratch.join("note.py");
    format!("{start} python3 {} {}", file.display(), log(scratch).display())
}

/// The signals that were written down.
fn noted(scratch: &Scratch) -> String {
    let log = fs::read_to_string(log(scratch)).unwrap_or_default();
    log.strip_prefix("ready ").unwrap_or_default().trim_end().to_owned()
}

/// What a program that counts signals has counted, in time; it is asked by a line.
fn settled(mut ask: impl FnMut() -> String) -> BTreeMap<i32, u32> {
    let mut seen = || -> BTreeMap<i32, u32> {
        let line = ask();
        let pairs = line.split_whitespace().filter_map(|pair| pair.split_once(':'));
        pairs.map(|(signal, count)| (signal.parse().unwrap(), count.parse().unwrap())).collect()
    };
    until("every signal has come", || {
        let seen = seen();
        COUNTED.iter().all(|signal| seen.contains_key(signal)).then_some(())
    });
    sleep(TWICE);
    seen()
}

/// Sends every signal by kill(1), which knows those without a name, too.
fn send_all(target: Pid) {
    for signal in COUNTED {
        let mut kill = std::process::Command::new("/bin/kill");
        kill.args([&format!("-{signal}"), "--", &target.to_string()]);
        assert!(kill.status().unwrap().success());
    }
}

fn counted_on_terminal(options: &[&str]) -> BTreeMap<i32, u32> {
    let mut desk = Desk::new(options);
    let file = desk.scratch.join("count.py");
    desk.type_in(&format!("{} python3 {}\n", desk.start, file.display()), "ready");
    send_all(desk.group());
    settled(|| {
        desk.terminal.press("count\n");
        desk.terminal.leader.next_line()
    })
}

/// A command that a script has started with `&`, and which has said so; the script tells its status.
fn in_background(options: &[&str], scratch: &Scratch, command: &str) -> (Live, Pid) {
    let script = format!(
        "exec 3<&0; {} {command} <&3 & echo $!; wait $!; echo status $?",
        start(options, scratch)
    );
    let mut shell = shell(&real("bookworm"), &script);
    let live = Live::start(shell.process_group(0));
    // The command and the script print a line each.
    let lines = [live.next_line(), live.next_line()];
    let pid = lines.iter().find_map(|line| line.parse().ok()).unwrap();
    (live, Pid::from_raw(pid))
}

fn counted_in_background(options: &[&str]) -> BTreeMap<i32, u32> {
    let scratch = Scratch::new();
    let file = scratch.join("count.py");
    let (mut live, pid) = in_background(options, &scratch, &format!("python3 {}", file.display()));
    send_all(pid);
    let seen = settled(|| {
        live.ask("count\n");
        live.next_line()
    });
    live.say("");
    assert_eq!(live.next_line(), "status 0");
    seen
}

const UNCAUGHT: &str = "sh -c 'echo up; read line; exit 5'";

fn end_on_terminal(options: &[&str], signal: Signal) -> String {
    let mut desk = Desk::new(options);
    desk.type_in(&format!("{} {UNCAUGHT}\n", desk.start), "up");
    kill(desk.group(), signal).unwrap();
    if IGNORED.contains(&signal) {
        desk.terminal.press("\n");
    }
    desk.status()
}

fn end_in_background(options: &[&str], signal: Signal) -> String {
    let scratch = Scratch::new();
    let (mut live, pid) = in_background(options, &scratch, UNCAUGHT);
    kill(pid, signal).unwrap();
    if IGNORED.contains(&signal) || [Signal::SIGINT, Signal::SIGQUIT].contains(&signal) {
        live.say("\n");
    }
    live.next_line()
}

fn caught(options: &[&str], key: &str, signal: &str) -> (String, String) {
    let mut desk = Desk::new(options);
    desk.note("");
    desk.terminal.press(key);
    let noted = desk.noted_after(signal);
    desk.terminal.press("end\n");
    (noted, desk.status())
}

fn uncaught(options: &[&str], key: &str) -> (String, String) {
    let mut desk = Desk::new(options);
    desk.type_in(&format!("{} sh -c 'echo up; exec sleep 100'\n", desk.start), "up");
    desk.terminal.press(key);
    (String::new(), desk.status())
}

fn stopped_and_continued(options: &[&str]) -> (String, String) {
    let mut desk = Desk::new(options);
    desk.note("");
    desk.type_in("\u{1a}", "Stopped");
    let stopped = desk.status();
    desk.type_in("fg\n", "note.py");
    let noted = desk.noted_after("SIGCONT");
    desk.terminal.press("end\n");
    (noted, format!("{stopped}, {}", desk.status()))
}

fn resized(options: &[&str]) -> (String, String) {
    let mut desk = Desk::new(options);
    desk.note("");
    desk.terminal.resize(33);
    let noted = desk.noted_after("SIGWINCH");
    desk.type_in("size\n", "size 0 33");
    desk.terminal.press("end\n");
    (noted, desk.status())
}

fn closed(options: &[&str]) -> (String, String) {
    let scratch = Scratch::new();
    let mut window = Window::open(Path::new("/bin/bash"), &["--norc", "--noediting", "-i"]);
    window.press(&format!("{}\n", noting(&start(options, &scratch), &scratch)));
    closed_in_time(window, &scratch)
}

fn closed_on_leader(options: &[&str]) -> (String, String) {
    let scratch = Scratch::new();
    let command = noting(&start(options, &scratch), &scratch);
    let words: Vec<&str> = command.split_whitespace().collect();
    closed_in_time(Window::open(Path::new(words[0]), &words[1..]), &scratch)
}

/// What becomes of what a window shows; nobody is left who could say more.
fn closed_in_time(window: Window, scratch: &Scratch) -> (String, String) {
    let log = || fs::read_to_string(log(scratch)).unwrap_or_default();
    until("the command has started", || log().contains("ready").then_some(()));
    let mut leader = window.close();
    until("SIGHUP", || noted(scratch).contains("SIGHUP").then_some(()));
    leader.wait();
    (noted(scratch), String::new())
}

fn reading_from_the_background(options: &[&str]) -> (String, String) {
    let mut desk = Desk::new(options);
    desk.note("&");
    let stopped = desk.jobs("Stopped");
    desk.type_in("fg\n", "note.py");
    let noted = desk.noted_after("SIGCONT");
    desk.terminal.press("end\n");
    (noted, format!("{stopped}, {}", desk.status()))
}

fn writing_from_the_background(options: &[&str]) -> (String, String) {
    let mut desk = Desk::new(options);
    desk.type_in("stty tostop; echo se''t\n", "set");
    desk.terminal.press(&format!("{} sh -c 'echo writ''ten; exit 4' &\n", desk.start));
    let stopped = desk.jobs("Stopped");
    desk.type_in("fg\n", "written");
    (String::new(), format!("{stopped}, {}", desk.status()))
}

fn background_job(options: &[&str]) -> (String, String) {
    let mut desk = Desk::new(options);
    desk.note("< /dev/null &");
    desk.terminal.press("\u{3}");
    // The shell begins another line, and forgets what was typed until then.
    desk.terminal.wait_for(str::is_empty);
    desk.type_in("echo st''ill\n", "still");
    sleep(TWICE);
    desk.type_in("kill %1; wait $!; echo status $?\n", "status 0");
    (desk.noted(), "status 0".to_owned())
}
