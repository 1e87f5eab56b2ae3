//! `--pid` passes signals on once: under load, at once, from inside, to who has left the group, and to
//! who is stopped.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::pids::{Sent, TWICE, is_stopped, isolated, number, processes_named, targets};
use super::support::live::until;
use super::support::slurm::cluster;
use super::support::terminal::Terminal;
use super::support::{Image, Live, command, lacks, outcome, program, real};

/// Two programs for each CPU that want all of it.
struct Load(Vec<Child>);

impl Load {
    fn new() -> Self {
        let cpus = std::thread::available_parallelism().unwrap().get();
        let busy = |_| {
            let mut busy = Command::new(program("busybox"));
            busy.args(["sh", "-c", "while :; do :; done"]).stdin(Stdio::null()).spawn().unwrap()
        };
        Load((0..2 * cpus).map(busy).collect())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        for child in &mut self.0 {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

/// Sends a signal to a command many times, each time as soon as it says that the last one has come; and
/// then another one, which must be the next it has.
fn send_under_load(options: &[&str], sent: Sent, count: usize) {
    let image = Image::tiny();
    let mut words: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
    words.extend([image.path().to_str().unwrap(), "/bin/probe", "await"].map(str::to_owned));
    words.extend(vec!["10".to_owned(); count]);
    words.push("12".to_owned());
    let mut live = Live::start(command(words).process_group(0));
    assert!(live.next_line().starts_with("ready "));
    let targets = targets(&live, sent);
    let load = Load::new();
    let send = |signal| {
        for target in &targets {
            assert_eq!(kill(*target, signal), Ok(()), "{sent:?}: it has had one twice, and ended");
        }
    };
    for index in 0..count {
        send(Signal::SIGUSR1);
        assert_eq!(live.next_line(), "SIGUSR1", "{sent:?} {index}");
    }
    drop(load);
    sleep(TWICE);
    send(Signal::SIGUSR2);
    assert_eq!(live.next_line(), "SIGUSR2", "{sent:?}");
    assert_eq!(live.wait(), WaitStatus::Exited(live.pid(), 0));
}

#[test]
fn under_load_signals_come_once() {
    send_under_load(&["--pid"], Sent::Process, 10);
    send_under_load(&["--pid"], Sent::Group, 100);
    // Who sends to each may have to wait longer in between than hrun waits (docs/decisions/0019): that
    // takes a machine with nothing else to do.
}

#[test]
#[ignore = "takes minutes: make test-full"]
fn five_hundred_signals_under_load_come_once() {
    for options in [&["--pid"][..], &[]] {
        for sent in [Sent::Process, Sent::Group, Sent::Each] {
            send_under_load(options, sent, 500);
        }
    }
}

/// As Slurm sends them: to every process of a step, from one program after the other.
#[test]
#[ignore = "takes minutes: make test-full"]
fn signals_of_slurm_under_load_come_once() {
    if lacks("root") {
        return;
    }
    let (image, count) = (Image::tiny(), 60);
    let mut words = vec!["10"; count];
    words.push("12");
    let script = format!(
        "srun --quiet {} --pid {} /bin/probe await {}",
        program("hrun").display(),
        image.path().display(),
        words.join(" ")
    );
    let job = cluster().submit(&["-N1", "-n1", "--output=awaited.%a.out"], &script);
    job.wait_for("ready ");
    let load = Load::new();
    let step = format!("{}.0", job.id);
    let send = |signal: &str| {
        let mut scancel = cluster().command("scancel");
        outcome(scancel.args(["--signal", signal, &step])).ok();
    };
    for index in 1..=count {
        send("USR1");
        until("it comes", || (job.written().matches("SIGUSR1").count() >= index).then_some(()));
    }
    drop(load);
    send("USR2");
    let written = job.output();
    assert_eq!(written.matches("SIGUSR1").count(), count, "{written}");
    assert_eq!(written.matches("SIGUSR2").count(), 1, "{written}");
}

#[test]
fn two_signals_at_once_come_both() {
    let image = Image::tiny();
    for sent in [Sent::Process, Sent::Group, Sent::Each] {
        let words = ["--pid", image.path().to_str().unwrap(), "/bin/probe", "await", "10", "12"];
        let mut live = Live::start(command(words).process_group(0));
        live.next_line();
        let targets = targets(&live, sent);
        for signal in [Signal::SIGUSR1, Signal::SIGUSR2] {
            targets.iter().for_each(|target| kill(*target, signal).unwrap());
        }
        let mut seen = [live.next_line(), live.next_line()];
        seen.sort();
        assert_eq!(seen, ["SIGUSR1", "SIGUSR2"], "{sent:?}");
        assert_eq!(live.wait(), WaitStatus::Exited(live.pid(), 0));
    }
}

/// What the command sends to all that it sees, hrun outside does not get.
#[test]
fn what_was_sent_inside_takes_nothing_from_what_comes_later() {
    let script = "trap 'echo caught' USR1; kill -USR1 -1; echo sent; read line; echo $line; exit 3";
    let mut live = Live::start(&mut isolated(&["--pid"], &["bash", "-c", script]));
    assert_eq!(live.next_line(), "sent", "all but the one who sends");
    // Long after what comes at the same time counts as one.
    sleep(4 * TWICE);
    live.send(Signal::SIGUSR1);
    assert_eq!(live.next_line(), "caught");
    live.say("on\n");
    assert_eq!(live.next_line(), "on");
    assert_eq!(live.wait(), WaitStatus::Exited(live.pid(), 3));
}

#[test]
fn a_command_that_has_left_the_group_has_its_signals() {
    let script = "import os, signal\n\
        os.setpgid(0, 0)\n\
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGUSR2})\n\
        print('ready', flush=True)\n\
        for _ in range(2):\n\
        \x20   print(signal.sigwait({signal.SIGUSR1, signal.SIGUSR2}).name, flush=True)\n";
    let mut command = isolated(&["--pid"], &["python3", "-c", script]);
    let mut live = Live::start(command.process_group(0));
    assert_eq!(live.next_line(), "ready");
    kill(Pid::from_raw(-live.pid().as_raw()), Signal::SIGUSR1).unwrap();
    assert_eq!(live.next_line(), "SIGUSR1");
    live.send(Signal::SIGUSR2);
    assert_eq!(live.next_line(), "SIGUSR2");
    assert_eq!(live.wait(), WaitStatus::Exited(live.pid(), 0));
}

/// The command, the ear, and hrun itself are stopped, and continued one after the other.
#[test]
fn processes_that_are_stopped_go_on_in_any_order() {
    for stop in [Signal::SIGSTOP, Signal::SIGTSTP] {
        for is_backwards in [false, true] {
            let mut command = isolated(&["--pid"], &["sh", "-c", "echo up; read line; exit 6"]);
            let mut live = Live::start(command.process_group(0));
            assert_eq!(live.next_line(), "up");
            let mut targets = targets(&live, Sent::Each);
            if is_backwards {
                targets.reverse();
            }
            targets.iter().for_each(|target| kill(*target, stop).unwrap());
            let shell = processes_named("sh", number(&live))[0];
            let shell = Pid::from_raw(shell.cast_signed());
            until("it is stopped", || (is_stopped(shell) && is_stopped(live.pid())).then_some(()));
            for target in targets {
                kill(target, Signal::SIGCONT).unwrap();
                // A batch system that is slow.
                sleep(Duration::from_millis(10));
            }
            until("it goes on", || (!is_stopped(shell)).then_some(()));
            live.say("\n");
            end_of(&live, 6);
        }
    }
}

/// Waits until a process has ended; it may be told to have been stopped and continued before.
#[track_caller]
fn end_of(live: &Live, status: i32) {
    let end = until("hrun ends with the command", || {
        match waitpid(live.pid(), Some(WaitPidFlag::WNOHANG)).unwrap() {
            WaitStatus::StillAlive => None,
            end => Some(end),
        }
    });
    assert_eq!(end, WaitStatus::Exited(live.pid(), status));
}

#[test]
fn to_continue_hrun_alone_is_enough() {
    for stop in [Signal::SIGSTOP, Signal::SIGTSTP] {
        let mut command = isolated(&["--pid"], &["sh", "-c", "echo up; read line; exit 7"]);
        let mut live = Live::start(command.process_group(0));
        assert_eq!(live.next_line(), "up");
        let shell = Pid::from_raw(processes_named("sh", number(&live))[0].cast_signed());
        kill(Pid::from_raw(-live.pid().as_raw()), stop).unwrap();
        until("it is stopped", || (is_stopped(shell) && is_stopped(live.pid())).then_some(()));
        live.send(Signal::SIGCONT);
        until("it goes on", || (!is_stopped(shell)).then_some(()));
        live.say("\n");
        end_of(&live, 7);
    }
}

/// It is in a process group of its own, to which the shell outside sends nothing.
#[test]
fn a_shell_inside_is_suspended_and_brought_back() {
    let mut terminal = Terminal::start(Path::new("/bin/bash"), &["--norc", "--noediting", "-i"]);
    let mut type_in = |keys: &str, wanted: &str| {
        terminal.press(keys);
        terminal.line_with(wanted);
    };
    type_in("PS1=; stty -echo; echo rea''dy\n", "ready");
    let inner = "bash --norc --noediting -i";
    let start =
        format!("{} --pid {} {inner}", program("hrun").display(), real("bookworm").display());
    type_in(&format!("{start}\necho on $((1 + 1))\n"), "on 2");
    type_in("suspend\n", "Stopped");
    type_in("echo out $((2 + 2))\n", "out 4");
    type_in("fg\n", inner);
    type_in("echo on $((3 + 3))\n", "on 6");
    type_in("exit 7\n", "exit");
    type_in("echo status $?\n", "status 7");
}
