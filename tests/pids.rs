//! A PID namespace of its own (`--pid`): hrun stays, and is to its parent what the command is.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;

use super::support::live::{outcome_in_time, until};
use super::support::run::shell;
use super::support::terminal::Terminal;
use super::support::{Live, as_tester, command, outcome, program, real};

/// hrun with a command of an image that has Python.
pub fn isolated(options: &[&str], words: &[&str]) -> Command {
    let image = real("bookworm");
    let options = options.iter().copied().chain([image.to_str().unwrap()]);
    command(options.chain(words.iter().copied()))
}

/// Counts the signals it gets, and says how many it has when it is asked.
pub const COUNT: &str = "import os, signal, sys\n\
    seen = {}\n\
    def note(number, frame): seen[number] = seen.get(number, 0) + 1\n\
    for number in range(1, 65):\n\
    \x20   if number not in (9, 17, 19, 32, 33): signal.signal(number, note)\n\
    print('ready', flush=True)\n\
    for line in sys.stdin:\n\
    \x20   print(' '.join(f'{number}:{seen[number]}' for number in sorted(seen)), flush=True)\n";

/// Processes of this test's, by what `ps` calls them.
pub fn processes_named(name: &str, of: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_one = |pid: &u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.starts_with(&format!("Name:\t{name}\n"))
            && status.contains(&format!("\nPPid:\t{of}\n"))
            && !status.contains("\nState:\tZ")
    };
    pids.filter(is_one).collect()
}

/// Whether a process is stopped.
pub fn is_stopped(pid: Pid) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.contains("State:\tT")
}

pub fn number(live: &Live) -> u32 {
    live.pid().as_raw().unsigned_abs()
}

#[test]
fn the_command_sees_its_own_processes_and_an_init() {
    let script = "cat /proc/1/comm; readlink /proc/self; echo $$; kill -TERM 1; kill -KILL 1; \
                  ls -d /proc/[0-9]* | wc -l; pwd; cut -d' ' -f4 /proc/$$/stat";
    let seen = outcome_in_time(&mut isolated(&["--pid", "--cd=/usr"], &["sh", "-c", script])).ok();
    let lines: Vec<&str> = seen.lines().collect();
    assert_eq!(lines[0], "hrun-init", "{seen}");
    let [link, shell] = [1, 2].map(|line: usize| lines[line].parse::<u32>().unwrap());
    assert!(link > shell && shell < 10, "{seen}");
    // init, the ear, the shell, and those of the pipe.
    assert!(lines[3].parse::<usize>().unwrap() <= 5, "{seen}");
    assert_eq!(lines[4..], ["/usr", "0"], "its parent is outside");
}

#[test]
fn exits_and_deadly_signals_are_the_commands() {
    for status in [0, 1, 2, 77, 124, 125, 126, 127, 128, 255] {
        let exit = format!("exit {status}");
        let seen = outcome_in_time(&mut isolated(&["--pid"], &["sh", "-c", &exit]));
        assert_eq!((seen.status, seen.signal), (Some(status), None));
    }
    for signal in
        [Signal::SIGSEGV, Signal::SIGABRT, Signal::SIGTERM, Signal::SIGKILL, Signal::SIGHUP]
    {
        let script = format!("kill -{} $$", signal as i32);
        let seen = outcome_in_time(&mut isolated(&["--pid"], &["sh", "-c", &script]));
        assert_eq!((seen.status, seen.signal), (None, Some(signal as i32)));
    }
    let missing = outcome_in_time(&mut isolated(&["--pid"], &["no-such-program"]));
    assert_eq!(missing.status, Some(127));
    assert_eq!(missing.stderr.matches("cannot run no-such-program").count(), 1, "{missing:?}");
    let closed = outcome_in_time(&mut isolated(&["--pid"], &["/etc/passwd"]));
    assert_eq!(closed.status, Some(126));
}

/// How signals come.
#[derive(Clone, Copy, Debug)]
pub enum Sent {
    /// To the process that was started.
    Process,
    /// To its process group, as shells and launchers do it.
    Group,
    /// To each of its processes, as Slurm does it.
    Each,
}

pub const COUNTED: [i32; 12] = [
    Signal::SIGTERM as i32,
    Signal::SIGINT as i32,
    Signal::SIGHUP as i32,
    Signal::SIGQUIT as i32,
    Signal::SIGUSR1 as i32,
    Signal::SIGUSR2 as i32,
    Signal::SIGALRM as i32,
    Signal::SIGWINCH as i32,
    Signal::SIGURG as i32,
    Signal::SIGCONT as i32,
    Signal::SIGXCPU as i32,
    // One of those without a name.
    40,
];

/// How often the command gets signals that are sent once each.
pub fn counted(options: &[&str], sent: Sent) -> BTreeMap<i32, u32> {
    let mut command = isolated(options, &["python3", "-c", COUNT]);
    let mut live = Live::start(command.process_group(0));
    assert_eq!(live.next_line(), "ready");
    for signal in COUNTED {
        send(&live, sent, signal);
    }
    // What is passed on comes a moment later; and what comes twice, a moment after that.
    until("every signal has come", || {
        let seen = seen_by(&mut live);
        COUNTED.iter().all(|signal| seen.contains_key(signal)).then_some(())
    });
    std::thread::sleep(TWICE);
    let seen = seen_by(&mut live);
    live.say("");
    live.wait();
    seen
}

/// Longer than hrun waits for what it hears twice.
pub const TWICE: Duration = Duration::from_millis(150);

pub fn seen_by(live: &mut Live) -> BTreeMap<i32, u32> {
    live.ask("count\n");
    let line = live.next_line();
    let pairs = line.split_whitespace().map(|pair| pair.split_once(':').unwrap());
    pairs.map(|(signal, count)| (signal.parse().unwrap(), count.parse().unwrap())).collect()
}

/// Whom to tell so that a command gets a signal in some way.
pub fn targets(live: &Live, sent: Sent) -> Vec<Pid> {
    let pid = live.pid();
    match sent {
        Sent::Process => vec![pid],
        Sent::Group => vec![Pid::from_raw(-pid.as_raw())],
        Sent::Each => {
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
            let children = children.unwrap_or_default();
            let children = children.split_whitespace().map(|child| child.parse().unwrap());
            [pid].into_iter().chain(children.map(Pid::from_raw)).collect()
        }
    }
}

fn send(live: &Live, sent: Sent, signal: i32) {
    // nix has no number for signals without a name. One program for all: they come one after the
    // other, and not a program's start apart.
    let mut kill = Command::new("/bin/kill");
    kill.arg(format!("-{signal}")).arg("--");
    kill.args(targets(live, sent).iter().map(Pid::to_string));
    assert!(kill.status().unwrap().success());
}

#[test]
fn every_signal_comes_once_however_it_is_sent() {
    let once: BTreeMap<i32, u32> = COUNTED.iter().map(|signal| (*signal, 1)).collect();
    for sent in [Sent::Process, Sent::Group, Sent::Each] {
        for options in [&[][..], &["--pid"]] {
            let mut seen = counted(options, sent);
            // The kernel's own: a parent that was stopped and the like.
            seen.retain(|signal, _| COUNTED.contains(signal));
            assert_eq!(seen, once, "{sent:?} {options:?}");
        }
    }
}

#[test]
fn signals_that_nobody_catches_end_it_and_stop_it() {
    for signal in
        [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGKILL]
    {
        let script = "echo up; exec sleep 100";
        let mut live = Live::start(&mut isolated(&["--pid"], &["sh", "-c", script]));
        assert_eq!(live.next_line(), "up");
        live.send(signal);
        assert_eq!(live.wait(), WaitStatus::Signaled(live.pid(), signal, false));
    }
    for stop in [Signal::SIGTSTP, Signal::SIGSTOP] {
        let mut command = isolated(&["--pid"], &["sh", "-c", "echo up; read line; echo $line"]);
        let mut live = Live::start(command.process_group(0));
        assert_eq!(live.next_line(), "up");
        live.send(stop);
        assert_eq!(live.wait(), WaitStatus::Stopped(live.pid(), stop));
        live.send(Signal::SIGCONT);
        assert_eq!(live.wait(), WaitStatus::Continued(live.pid()));
        live.say("on\n");
        assert_eq!(live.next_line(), "on");
        assert_eq!(live.wait(), WaitStatus::Exited(live.pid(), 0));
    }
}

#[test]
fn whoever_is_killed_takes_all_along() {
    let script = "sleep 98765 & setsid sleep 98765 & echo up; wait";
    let marker = || {
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let commands = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
        commands.filter(|words| words.starts_with(b"sleep\x0098765")).count()
    };
    for victim in ["hrun", "hrun-init", "command"] {
        let mut live = Live::start(&mut isolated(&["--pid"], &["sh", "-c", script]));
        assert_eq!(live.next_line(), "up");
        let pid = match victim {
            "hrun" => number(&live),
            "command" => processes_named("sh", number(&live))[0],
            init => processes_named(init, number(&live))[0],
        };
        kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL).unwrap();
        assert_eq!(
            live.wait(),
            WaitStatus::Signaled(live.pid(), Signal::SIGKILL, false),
            "{victim}"
        );
        until("all are gone", || (marker() == 0).then_some(()));
    }
    // What the command leaves does not outlive it either.
    let leaves = "sleep 98765 & setsid sleep 98765 & exit 3";
    let left = outcome_in_time(&mut isolated(&["--pid"], &["sh", "-c", leaves]));
    assert_eq!((left.status, marker()), (Some(3), 0));
}

#[test]
fn ten_thousand_orphans_leave_no_zombie() {
    let script = "import os\n\
        for _ in range(10000):\n\
        \x20   if os.fork() == 0:\n\
        \x20       if os.fork() == 0: os._exit(0)\n\
        \x20       os._exit(0)\n\
        \x20   os.wait()\n\
        def state(pid):\n\
        \x20   try: return open(f'/proc/{pid}/stat').read().rsplit(')')[1].split()[0]\n\
        \x20   except OSError: return ''\n\
        left = [0]\n\
        while len(left) != 3: left = [pid for pid in os.listdir('/proc') if pid.isdigit()]\n\
        print(sum(state(pid) == 'Z' for pid in left), 'zombies')\n";
    let seen = outcome_in_time(&mut isolated(&["--pid"], &["python3", "-c", script])).ok();
    // All that is left is init, the ear and the command.
    assert_eq!(seen, "0 zombies\n");
}

#[test]
fn readers_of_its_output_come_to_the_end_while_hrun_stays() {
    let mut command = isolated(&["--pid"], &["sh", "-c", "echo out; exec >&-; read line; exit 4"]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut output = String::new();
    // Comes back at the end of the pipe, which the command has closed and nobody else may have.
    child.stdout.take().unwrap().read_to_string(&mut output).unwrap();
    assert_eq!(output, "out\n");
    assert!(child.try_wait().unwrap().is_none(), "the command waits for its input");
    drop(child.stdin.take());
    assert_eq!(child.wait().unwrap().code(), Some(4));
}

#[test]
fn nobody_but_the_command_has_the_descriptors_of_the_job() {
    let mut live = Live::start(&mut isolated(&["--pid"], &["sh", "-c", "echo up; read line"]));
    assert_eq!(live.next_line(), "up");
    let supervisor = number(&live);
    let files = |pid: u32| -> Vec<PathBuf> {
        let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
        entries.filter_map(|entry| fs::read_link(entry.path()).ok()).collect()
    };
    let of_command = files(processes_named("sh", supervisor)[0]);
    assert!(of_command.len() >= 3, "{of_command:?}");
    let others = ["hrun-init", "hrun-ear"]
        .map(|name| until(name, || processes_named(name, supervisor).first().copied()));
    for pid in [supervisor, others[0], others[1]] {
        let kept: Vec<PathBuf> =
            files(pid).into_iter().filter(|file| of_command.contains(file)).collect();
        // Which is not the job's.
        let kept: Vec<PathBuf> =
            kept.into_iter().filter(|file| file != Path::new("/dev/null")).collect();
        assert!(kept.is_empty(), "{pid} keeps {kept:?}");
    }
    live.say("");
    live.wait();
}

#[test]
fn mask_and_dispositions_are_inherited() {
    let show = "grep -E '^Sig(Blk|Ign|Pnd)' /proc/self/status";
    for preparation in ["--ignore-signal=CHLD,PIPE", "--block-signal=USR2,TERM"] {
        let run = |words: &[&str]| {
            let mut command = as_tester(Path::new("/usr/bin/env"));
            outcome(command.arg(preparation).args(words)).ok()
        };
        let bare = run(&["sh", "-c", show]);
        let (hrun, image) = (program("hrun"), real("bookworm"));
        let inside =
            run(&[hrun.to_str().unwrap(), "--pid", image.to_str().unwrap(), "sh", "-c", show]);
        assert_eq!(inside, bare, "{preparation}");
    }
}

#[test]
fn on_a_terminal_keys_jobs_and_sizes_work() {
    let image = real("bookworm");
    let hrun = program("hrun");
    let mut terminal = Terminal::start(Path::new("/bin/bash"), &["--norc", "--noediting", "-i"]);
    let mut type_in = |keys: &str, wanted: &str| {
        terminal.press(keys);
        terminal.wait_for(|line| {
            eprintln!("{line}");
            line.contains(wanted)
        });
    };
    type_in("PS1=; stty -echo; echo rea''dy\n", "ready");
    let start = format!("{} --pid {} ", hrun.display(), image.display());
    // Ctrl-C ends what runs, once.
    type_in(&format!("{start} sh -c 'trap \"echo caught\" INT; echo up; sleep 5'\n"), "up");
    type_in("\u{3}", "caught");
    type_in("echo $?\n", "0");
    // Ctrl-Z stops it, and fg brings it back to the keyboard.
    type_in(&format!("{start} sh -c 'echo up; read line; echo read $line'\n"), "up");
    type_in("\u{1a}", "Stopped");
    type_in("fg\n", "sh -c");
    type_in("typed\n", "read typed");
    type_in("stty rows 33 cols 77; echo set\n", "set");
    let size = format!("{start} python3 -c 'import os; print(*os.get_terminal_size())'\n");
    type_in(&size, "77 33");
    // In a pipe with another program that wants the terminal.
    type_in(&format!("{start} echo piped | cat; echo after\n"), "after");
    terminal.press("exit\n");
}

#[test]
fn a_service_of_systemd_finds_its_sockets() {
    let image = real("bookworm");
    // systemd starts hrun with the number that it has then (sd_listen_fds(3)).
    let script = "export LISTEN_FDS=1; exec sh -c 'LISTEN_PID=$$ exec $hrun $option $image sh -c \
         \"test \\$LISTEN_PID = \\$\\$ && echo \\$LISTEN_FDS\"'";
    for option in ["--pid", "--no-join"] {
        let mut shell = shell(&image, script);
        assert_eq!(outcome(shell.env("option", option)).ok(), "1\n", "{option}");
    }
    // Sockets of another process are none of the command's, whatever it is called inside.
    let other = "LISTEN_PID=7 LISTEN_FDS=1 $hrun --pid $image sh -c 'echo $LISTEN_PID'";
    assert_eq!(outcome(&mut shell(&image, other)).ok(), "7\n");
}
