//! Containers that run already: who is in them, and how one more comes in.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::support::live::until;
use super::support::run::as_tester;
use super::support::terminal::Terminal;
use super::support::{Live, Outcome, Scratch, command, outcome, program, real, tester};

/// A command of hrun without an image.
fn hrun(words: &[&str]) -> Command {
    let mut command = as_tester(&program("hrun"));
    command.args(words);
    command
}

/// A container that stays until its input ends.
fn started(options: &[&str], variables: &[(&str, &str)]) -> Live {
    let image = real("bookworm");
    let mut words: Vec<&OsStr> = options.iter().map(OsStr::new).collect();
    words.extend([image.as_os_str(), "sh".as_ref(), "-c".as_ref(), "echo up; cat".as_ref()]);
    let live = Live::start(command(words).envs(variables.iter().copied()));
    assert_eq!(live.next_line(), "up");
    live
}

fn join(pid: u32, words: &[&str]) -> Outcome {
    let option = format!("--join-pid={pid}");
    outcome(&mut hrun(&[&[option.as_str(), "--"], words].concat()))
}

fn pid(live: &Live) -> u32 {
    live.pid().as_raw().unsigned_abs()
}

#[test]
fn a_shell_joins_with_the_environment_and_directory_of_the_process() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.join("work")).unwrap();
    let bind = format!("--bind={}:/mnt/here", scratch.path().display());
    let first = started(&[&bind, "--cd=/mnt/here/work", "--env=WHO=first"], &[("OF_HOST", "then")]);
    let script = "echo $WHO $OF_HOST $PWD $HRUN_IMAGE; readlink /proc/self/ns/mnt; pwd";
    let seen = join(pid(&first), &["sh", "-c", script]).ok();
    let mounts = fs::read_link(format!("/proc/{}/ns/mnt", pid(&first))).unwrap();
    let image = real("bookworm");
    let work = "/mnt/here/work";
    let expected = format!("first then {work} {}\n{}\n{work}\n", image.display(), mounts.display());
    assert_eq!(seen, expected);
    // What is asked for counts on top.
    let pid_option = format!("--join-pid={}", pid(&first));
    let options = [pid_option.as_str(), "--env=WHO=me", "--cd=/usr", "--", "sh", "-c"];
    let changed = outcome(&mut hrun(&[&options[..], &["echo $WHO $PWD"]].concat()));
    assert_eq!(changed.ok(), "me /usr\n");
    assert_eq!(join(pid(&first), &["no-such-program"]).status, Some(127));
    let missing = hrun(&[&pid_option, "--cd=/no/such", "--", "true"]);
    outcome(&mut { missing }).fails(&["cannot start in /no/such"]);
}

#[test]
fn on_a_terminal_it_is_a_shell_with_job_control() {
    let first = started(&[], &[]);
    let option = format!("--join-pid={}", pid(&first));
    let mut terminal = Terminal::start(&program("hrun"), &[&option]);
    terminal.press(
        "echo in $((40 + 2)); ls -d /proc/$PPID; cat /etc/os-release | grep -c VERSION_ID\n",
    );
    terminal.wait_for(|screen| screen.contains("in 42"));
    terminal.press("sleep 100 & jobs; kill %1; exit 7\n");
    terminal.wait_for(|screen| screen.contains("sleep 100"));
}

#[test]
fn who_is_in_no_container_cannot_be_joined() {
    let gone = {
        let mut brief = as_tester(Path::new("/bin/true")).spawn().unwrap();
        brief.wait().unwrap();
        brief.id()
    };
    join(gone, &["true"]).fails(&["no such process on this node; hrun --ps lists yours"]);
    let mut outside = as_tester(Path::new("/bin/sh"));
    let mut outside = Live::start(outside.args(["-c", "echo up; cat"]));
    assert_eq!(outside.next_line(), "up");
    join(pid(&outside), &["true"]).fails(&["it runs in no container"]);
    outside.say("");
    if tester().is_other {
        join(std::process::id(), &["true"]).fails(&["it is not yours"]);
    }
}

/// The containers of a step, as JSON has them.
fn listed(step: &str) -> Vec<serde_json::Value> {
    let json = outcome(&mut hrun(&["--ps=json"])).ok();
    let all: Vec<serde_json::Value> = serde_json::from_str(&json).unwrap();
    all.into_iter().filter(|found| found["step"] == step).collect()
}

#[test]
fn containers_are_listed_by_what_their_processes_show() {
    let (job, step) = (format!("ps{}", std::process::id()), "0");
    let name = format!("slurm {job}.{step}");
    let variables = [("SLURM_JOB_ID", job.as_str()), ("SLURM_STEP_ID", step)];
    assert!(listed(&name).is_empty());
    let mut ranks = [started(&[], &variables), started(&[], &variables)];
    let found = listed(&name);
    let [container] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(container["ranks"], 2);
    assert_eq!(container["pid"], pid(&ranks[0]));
    assert_eq!(container["image"], real("bookworm").to_str().unwrap());
    let processes = container["processes"].as_array().unwrap();
    assert!(processes.len() >= 2, "shells, and perhaps what they run already: {processes:?}");

    let text = outcome(&mut hrun(&["--ps"])).ok();
    assert!(text.starts_with("     PID RANKS       SINCE STEP                 IMAGE\n"), "{text}");
    let row = text.lines().find(|line| line.contains(&name)).unwrap();
    let words: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(words[0], pid(&ranks[0]).to_string());
    assert_eq!((words[1], &words[2][..6]), ("2", "00:00:"));
    assert_eq!(words.last().copied(), real("bookworm").to_str());

    // Another set of namespaces is another container.
    let mut apart = started(&["--no-join"], &variables);
    assert_eq!(listed(&name).len(), 2);
    for rank in ranks.iter_mut().chain([&mut apart]) {
        rank.say("");
        rank.wait();
    }
    until("what has ended is gone", || listed(&name).is_empty().then_some(()));
}

#[test]
fn programs_that_clear_their_environment_are_listed_as_far_as_they_are_known() {
    let image = real("bookworm");
    let words = ["env", "-i", "sh", "-c", "echo up; cat"].map(OsStr::new);
    let words = [&[image.as_os_str()][..], &words].concat();
    let quiet = Live::start(&mut command(words));
    assert_eq!(quiet.next_line(), "up");
    let json = outcome(&mut hrun(&["--ps=json"])).ok();
    assert!(!json.contains(&format!("\"pid\": {}", pid(&quiet))), "nothing says it is hrun's");
}

#[test]
fn who_comes_to_a_container_under_a_filter_brings_one() {
    let profile = Scratch::new();
    let file = profile.file(
        "profile.json",
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["chmod", "fchmodat"], "action": "SCMP_ACT_ERRNO"}]}"#,
    );
    let option = format!("--seccomp={}", file.display());
    let bind = format!("--bind={}", profile.path().display());
    let first = started(&[&option, &bind], &[]);
    let pid_option = format!("--join-pid={}", pid(&first));
    let image = real("bookworm");
    let hints = ["its system calls are filtered", "--seccomp=PROFILE", "--seccomp=unconfined"];
    join(pid(&first), &["true"]).fails(&hints);
    outcome(&mut hrun(&[&pid_option, image.to_str().unwrap(), "true"])).fails(&hints);
    let script = format!("chmod 600 {} 2> /dev/null; echo $?", file.display());
    for (option, status) in [(option.as_str(), "1\n"), ("--seccomp=unconfined", "0\n")] {
        let words = [pid_option.as_str(), option, "--", "sh", "-c", &script];
        assert_eq!(outcome(&mut hrun(&words)).ok(), status);
    }
}

/// With `--pid`, hrun and an init are in the container as well as the command.
#[test]
fn a_container_with_processes_of_its_own_is_joined_with_them() {
    let first = started(&["--pid", "--env=WHO=first"], &[]);
    let json = outcome(&mut hrun(&["--ps=json"])).ok();
    let all: Vec<serde_json::Value> = serde_json::from_str(&json).unwrap();
    // hrun and the init are closed, and in no list.
    let is_ours = |found: &&serde_json::Value| {
        let parent = fs::read_to_string(format!("/proc/{}/stat", found["pid"])).unwrap_or_default();
        parent.rsplit(')').next().unwrap().split_whitespace().nth(1)
            == Some(&pid(&first).to_string())
    };
    let container = all.iter().find(is_ours).unwrap();
    assert_eq!(container["ranks"], 1);
    let command = u32::try_from(container["pid"].as_u64().unwrap()).unwrap();
    assert_ne!(command, pid(&first), "the command, not what watches over it");
    let script =
        "cat /proc/1/comm; readlink /proc/self/ns/pid; echo $WHO $(cat /proc/$$/comm); exit 9";
    let seen = join(command, &["sh", "-c", script]);
    let namespace = fs::read_link(format!("/proc/{command}/ns/pid")).unwrap();
    assert_eq!(seen.stdout, format!("hrun-init\n{}\nfirst sh\n", namespace.display()));
    assert_eq!((seen.status, seen.stderr.as_str()), (Some(9), ""));
    // With IMAGE, as ch-run has it.
    let (option, image) = (format!("--join-pid={command}"), real("bookworm"));
    let words = [option.as_str(), image.to_str().unwrap(), "cat", "/proc/1/comm"];
    assert_eq!(outcome(&mut hrun(&words)).ok(), "hrun-init\n");
    // What was started is known better than what it watches over.
    let seen = join(pid(&first), &["sh", "-c", "readlink /proc/self/ns/pid; echo $WHO"]).ok();
    assert_eq!(seen, format!("{}\nfirst\n", namespace.display()));
    let option = format!("--join-pid={}", pid(&first));
    let words = [option.as_str(), image.to_str().unwrap(), "cat", "/proc/1/comm"];
    assert_eq!(outcome(&mut hrun(&words)).ok(), "hrun-init\n");
}
