//! hrun becomes the command: one process, with the signals and everything else the caller gave it.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;

use super::support::run::{outcome, shell};
use super::support::terminal::Terminal;
use super::support::{
    Image, Live, Outcome, Scratch, WAYS, as_tester, command, hrun, program, real,
};

/// A command that becomes `hrun`, and then the probe.
fn live_probe(image: &Image, options: &[&str], words: &str) -> Command {
    let mut command = command(options);
    command.arg(image.path()).arg("/bin/probe").args(words.split(' '));
    command
}

/// Runs words as the tester from a shell that was prepared by a script, without another process.
fn after(preparation: &str, words: &[PathBuf]) -> Outcome {
    let mut shell = as_tester(Path::new("/bin/bash"));
    let script = format!("{preparation} \"$@\"");
    shell.args(["-c", &script, "bash"]).args(words);
    outcome(&mut shell)
}

/// What busybox prints in a prepared process: bare, and in an image.
fn bare_and_inside(preparation: &str, options: &[&str], words: &[&str]) -> (String, String) {
    let image = Image::tiny();
    let words = || words.iter().map(PathBuf::from);
    let bare: Vec<_> = [program("busybox")].into_iter().chain(words()).collect();
    let start = [program("hrun")].into_iter().chain(options.iter().map(PathBuf::from));
    let inside: Vec<_> =
        start.chain([image.path().to_owned(), PathBuf::from("busybox")]).chain(words()).collect();
    (after(preparation, &bare).ok(), after(preparation, &inside).ok())
}

#[test]
fn hrun_is_the_process_of_the_command() {
    let image = Image::tiny();
    for way in WAYS {
        let mut child = Live::start(&mut live_probe(&image, way, "id"));
        let id: Vec<String> = (0..5).map(|_| child.next_line()).collect();
        assert_eq!(id[3], format!("pid {}", child.pid()));
        assert_eq!(id[4], format!("ppid {}", std::process::id()));
        assert_eq!(child.wait(), WaitStatus::Exited(child.pid(), 0));
    }
}

#[test]
fn signals_to_hrun_reach_the_command() {
    let image = Image::tiny();
    use Signal::{SIGALRM, SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH};
    for signal in [SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM, SIGWINCH, SIGCONT] {
        let mut child =
            Live::start(&mut live_probe(&image, &[], &format!("await {}", signal as i32)));
        assert_eq!(child.next_line(), format!("ready {}", child.pid()));
        child.send(signal);
        assert_eq!(child.next_line(), signal.as_str());
        assert_eq!(child.wait(), WaitStatus::Exited(child.pid(), 0));
    }
}

#[test]
fn deadly_signals_to_hrun_kill_the_command() {
    let image = Image::tiny();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGKILL] {
        let mut child = Live::start(&mut live_probe(&image, &[], "await 12"));
        child.next_line();
        child.send(signal);
        assert_eq!(child.wait(), WaitStatus::Signaled(child.pid(), signal, false));
    }
}

#[test]
fn the_command_stops_and_continues() {
    let image = Image::tiny();
    for stop in [Signal::SIGTSTP, Signal::SIGSTOP] {
        let mut command = live_probe(&image, &[], "await 10");
        // A process in the caller's group might be an orphan, which SIGTSTP does not stop.
        let mut child = Live::start(command.process_group(0));
        child.next_line();
        child.send(stop);
        assert_eq!(child.wait(), WaitStatus::Stopped(child.pid(), stop));
        child.send(Signal::SIGCONT);
        assert_eq!(child.wait(), WaitStatus::Continued(child.pid()));
        child.send(Signal::SIGUSR1);
        assert_eq!(child.next_line(), "SIGUSR1");
        assert_eq!(child.wait(), WaitStatus::Exited(child.pid(), 0));
    }
}

#[test]
fn dispositions_and_mask_are_inherited() {
    let show = ["grep", "-E", "^(Sig|Shd)(Blk|Ign|Cgt|Pnd)", "/proc/self/status"];
    for preparation in [
        "exec",
        "exec env --default-signal",
        "exec env --ignore-signal=HUP",
        "exec env --ignore-signal=PIPE,INT,USR1,CHLD",
        "exec env --block-signal=TERM,USR2,WINCH,PIPE --ignore-signal=HUP",
        "exec nohup",
        "trap '' QUIT TERM; exec",
    ] {
        for way in WAYS {
            let (bare, inside) = bare_and_inside(preparation, way, &show);
            assert_eq!(bare, inside, "{preparation}");
            assert_eq!(bare.lines().count(), 5, "{bare}");
        }
    }
}

#[test]
fn a_closed_pipe_ends_the_command() {
    let image = Image::tiny();
    let script = "$hrun $image busybox yes | head -n 1; echo ${PIPESTATUS[0]}";
    assert_eq!(outcome(&mut shell(image.path(), script)).ok(), "y\n141\n");
}

#[test]
fn pending_signals_arrive_in_the_command() {
    let image = Image::tiny();
    let hrun = [program("hrun"), image.path().to_owned()];
    let words = ["busybox", "grep", "ShdPnd", "/proc/self/status"].map(PathBuf::from);
    let preparation = "env --block-signal=USR1 bash -c 'kill -USR1 $$; exec \"$@\"' bash";
    let seen = after(preparation, &[hrun.as_slice(), words.as_slice()].concat());
    assert_eq!(seen.ok(), "ShdPnd:\t0000000000000200\n");
}

/// The fields of proc_pid_stat(5) that tell where a process belongs and how it is scheduled; its
/// own id reads `self`.
fn placement(stat: &str) -> Vec<(usize, &str)> {
    let fields: Vec<&str> = stat.trim().split(' ').collect();
    let (parent, terminal_group) = (4, 8);
    let scheduling = [18, 19, 20, 40, 41];
    let wanted = (parent..=terminal_group).chain(scheduling);
    let value = |number: usize| Some(fields[number - 1]).filter(|field| *field != fields[0]);
    wanted.map(|number| (number, value(number).unwrap_or("self"))).collect()
}

#[test]
fn parent_group_session_terminal_and_scheduling_stay() {
    for preparation in
        ["exec", "exec nice -n 7", "exec setsid", "exec chrt --batch 0", "exec chrt --idle 0"]
    {
        let show = ["cat", "/proc/self/stat"];
        let (bare, inside) = bare_and_inside(preparation, &[], &show);
        assert_eq!(placement(&bare), placement(&inside), "{preparation}");
    }
}

#[test]
fn limits_umask_and_affinity_stay() {
    let preparations = [
        "exec",
        "ulimit -n 200 -c 0 -s 4096 -u 500 -l 64; exec",
        "umask 027; exec",
        "umask 077; exec",
        "exec taskset --cpu-list 0",
        "exec choom -n 500 --",
        "exec setarch --addr-no-randomize --",
    ];
    let files = ["limits", "cgroup", "oom_score_adj", "personality", "coredump_filter"];
    let files = files.map(|name| format!("/proc/self/{name}"));
    let files: Vec<&str> = ["cat"].into_iter().chain(files.iter().map(String::as_str)).collect();
    let status = ["grep", "-E", "^(Umask|Cpus_allowed|Mems_allowed|THP)", "/proc/self/status"];
    for preparation in preparations {
        for show in [&files[..], &status[..]] {
            let (bare, inside) = bare_and_inside(preparation, &[], show);
            assert_eq!(bare, inside, "{preparation}");
        }
    }
}

#[test]
fn mount_points_can_be_entered_whatever_the_umask() {
    let scratch = Scratch::new();
    let bind = PathBuf::from(format!("--bind={}:/opt/made/for/this", scratch.path().display()));
    for way in WAYS {
        let start =
            [program("hrun"), bind.clone()].into_iter().chain(way.iter().map(PathBuf::from));
        let words = [real("bookworm"), "ls".into(), "/opt/made/for".into()];
        let words: Vec<_> = start.chain(words).collect();
        assert_eq!(after("umask 077; exec", &words).ok(), "this\n");
    }
}

#[test]
fn the_callers_directory_and_root_stay() {
    let (image, scratch) = (Image::tiny(), Scratch::new());
    let script = "$hrun --cd=/etc $image probe cwd && pwd && readlink /proc/self/root";
    let seen = outcome(shell(image.path(), script).current_dir(scratch.path())).ok();
    assert_eq!(seen, format!("/etc\n{}\n/\n", scratch.path().display()));
}

#[test]
fn standard_input_passes_through() {
    let image = Image::tiny();
    for way in WAYS {
        let mut child = Live::start(&mut live_probe(&image, way, "stdin"));
        child.say("first\nsecond\n");
        assert_eq!([child.next_line(), child.next_line()], ["first", "second"]);
        assert_eq!(child.wait(), WaitStatus::Exited(child.pid(), 0));
    }
}

#[test]
fn the_three_standard_streams_are_kept_apart() {
    let image = Image::tiny();
    let image = image.path().to_str().unwrap();
    let outcome = hrun([image, "sh", "-c", "echo out; echo error >&2; exit 3"]);
    assert_eq!(outcome.status, Some(3));
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("out\n", "error\n"));
}

#[test]
fn background_processes_of_the_command_live_on() {
    let image = Image::tiny();
    let words = [image.path().to_str().unwrap(), "sh", "-c", "probe await 10 & exit 5"];
    let mut child = Live::start(&mut command(words));
    let ready = child.next_line();
    assert_eq!(child.wait(), WaitStatus::Exited(child.pid(), 5));
    let left = ready.strip_prefix("ready ").unwrap().parse().unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(left), Signal::SIGUSR1).unwrap();
    assert_eq!(child.next_line(), "SIGUSR1");
}

fn terminal_with(words: &[&str]) -> Terminal {
    Terminal::start(&program("hrun"), words)
}

#[test]
fn a_shell_works_on_a_terminal() {
    let image = Image::tiny();
    let mut terminal = terminal_with(&[image.path().to_str().unwrap(), "sh", "-i"]);
    terminal.press("test -t 0 && test -t 1 && echo on a ter''minal\n");
    terminal.wait_for(|line| line.ends_with("on a terminal"));
    terminal.press("echo to the screen > /dev/tty\n");
    terminal.wait_for(|line| line.ends_with("to the screen"));
    terminal.press("exit 7\n");
    assert_eq!(terminal.leader.wait(), WaitStatus::Exited(terminal.leader.pid(), 7));
}

#[test]
fn job_control_works_on_a_terminal() {
    let image = Image::tiny();
    let mut terminal = terminal_with(&[image.path().to_str().unwrap(), "sh", "-i"]);
    terminal.press("probe await 10\n");
    terminal.wait_for(|line| line.starts_with("ready "));
    terminal.press("\u{1a}");
    terminal.press("jobs | busybox grep -c Stopped | busybox tr 1 x\n");
    terminal.wait_for(|line| line.ends_with("x"));
    terminal.press("kill -USR1 %1; fg\n");
    terminal.wait_for(|line| line.ends_with("SIGUSR1"));
    terminal.press("exit 0\n");
    assert_eq!(terminal.leader.wait(), WaitStatus::Exited(terminal.leader.pid(), 0));
}

#[test]
fn keys_of_a_terminal_reach_the_command() {
    let image = Image::tiny();
    let image = image.path().to_str().unwrap();
    for (key, signal) in [("\u{3}", Signal::SIGINT), ("\u{1c}", Signal::SIGQUIT)] {
        let number = (signal as i32).to_string();
        let mut terminal = terminal_with(&[image, "probe", "await", &number]);
        terminal.wait_for(|line| line.starts_with("ready "));
        terminal.press(key);
        terminal.wait_for(|line| line.ends_with(signal.as_str()));
        assert_eq!(terminal.leader.wait(), WaitStatus::Exited(terminal.leader.pid(), 0));
    }
}
