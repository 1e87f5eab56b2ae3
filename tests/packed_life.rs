//! The process that serves a packed image: it lives as long as anything inside, and is no part of
//! the job.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;

use super::packed::Packed;
use super::support::live::{outcome_in_time, until};
use super::support::run::{outcome, shell};
use super::support::slurm::cluster;
use super::support::{Image, Live, Scratch, as_tester, bind, command, lacks, program};

/// What is sent to jobs.
pub const SIGNALS: [Signal; 6] = [
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGINT,
    Signal::SIGHUP,
];

/// The servers of an image.
pub fn servers(image: &Path) -> Vec<Pid> {
    keepers(image, "hrun-image")
}

/// The processes of a name that stay behind for an image: they have it open.
pub fn keepers(image: &Path, name: &str) -> Vec<Pid> {
    let file = |path: &Path| fs::metadata(path).map(|it| (it.dev(), it.ino())).ok();
    let image = file(image);
    let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let pid: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let is_it = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim_end() == name;
        let mut open = fs::read_dir(format!("/proc/{pid}/fd")).ok().filter(|_| is_it)?.flatten();
        open.any(|entry| file(&entry.path()) == image).then(|| Pid::from_raw(pid))
    });
    pids.collect()
}

#[track_caller]
pub fn one_server(image: &Path) -> Pid {
    let servers = servers(image);
    assert_eq!(servers.len(), 1, "{servers:?}");
    servers[0]
}

#[track_caller]
pub fn none_is_left(image: &Path) {
    until("the server ends", || servers(image).is_empty().then_some(()));
    until("its witness ends", || keepers(image, "hrun-witness").is_empty().then_some(()));
    let image = image.to_str().unwrap();
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    assert!(!mounts.contains("fuse.squashfs") && !mounts.contains(image), "{mounts}");
}

/// Waits until a process has ended; whoever has to may not have looked after it yet.
#[track_caller]
pub fn has_ended(pid: Pid) {
    let is_there = || {
        let status = fs::read_to_string(format!("/proc/{pid}/status"));
        status.is_ok_and(|status| !status.contains("State:\tZ"))
    };
    until("the server has ended", || (!is_there()).then_some(()));
}

/// A command in a packed image that waits for its standard input to end.
fn waiting(image: &Path) -> Live {
    let mut command = command([image.to_str().unwrap(), "/bin/probe", "await", "28"]);
    let child = Live::start(command.process_group(0));
    assert_eq!(child.next_line(), format!("ready {}", child.pid()));
    child
}

fn field(pid: Pid, name: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_start_matches(':').trim().to_owned()
}

#[test]
fn the_server_is_no_part_of_the_job() {
    let packed = Packed::tiny();
    let child = waiting(&packed.path);
    let server = one_server(&packed.path);
    let link = |pid: Pid, name: &str| fs::read_link(format!("/proc/{pid}/{name}")).unwrap();
    assert_ne!(field(server, "PPid"), child.pid().to_string());
    assert_ne!(field(server, "PPid"), std::process::id().to_string());
    let session = |pid: Pid| nix::unistd::getsid(Some(pid)).unwrap();
    assert_ne!(session(server), session(child.pid()));
    assert_ne!(link(server, "ns/mnt"), link(child.pid(), "ns/mnt"));
    assert_eq!(link(server, "ns/user"), link(child.pid(), "ns/user"));
    assert_eq!((link(server, "cwd"), link(server, "root")), ("/proc".into(), "/proc".into()));
    assert_eq!(
        (field(server, "NoNewPrivs"), field(server, "CapEff")),
        ("1".into(), "0".repeat(16))
    );

    let open = fs::read_dir(format!("/proc/{server}/fd")).unwrap();
    let name = |path: PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    let open: BTreeSet<String> = open
        .map(|entry| name(fs::read_link(entry.unwrap().path()).unwrap()))
        .filter(|name| !name.starts_with("pipe:"))
        .collect();
    assert_eq!(open, BTreeSet::from(["fuse", "image.sqfs", "null"].map(str::to_owned)));
    child.send(Signal::SIGKILL);
    drop(child);
    none_is_left(&packed.path);
}

#[test]
fn the_server_takes_little_memory() {
    let packed = Packed::tiny();
    let child = waiting(&packed.path);
    let memory = field(one_server(&packed.path), "RssAnon");
    let kilobytes: u64 = memory.trim_end_matches(" kB").parse().unwrap();
    assert!(kilobytes < 4 << 10, "{memory}");
    child.send(Signal::SIGKILL);
    drop(child);
    none_is_left(&packed.path);
}

#[test]
fn descriptors_of_the_job_are_not_kept() {
    // The other end of a pipe sees its end when the command ends, not when the server does.
    let packed = Packed::tiny();
    let script = "exec 9>&1; $hrun $image /bin/probe args $(: a word) | cat >/dev/null; echo over";
    assert_eq!(outcome(&mut shell(&packed.path, script)).ok(), "over\n");
    none_is_left(&packed.path);
    // A background process inside keeps the server, but not the pipes it was started with.
    let script = "$hrun $image busybox sh -c 'sleep 60 >/dev/null 2>&1 <&- & echo $!' | cat";
    let pid = outcome(&mut shell(&packed.path, script)).ok();
    let server = one_server(&packed.path);
    kill(Pid::from_raw(pid.trim().parse().unwrap()), Signal::SIGKILL).unwrap();
    none_is_left(&packed.path);
    has_ended(server);
}

#[test]
fn signals_mean_the_command() {
    let packed = Packed::tiny();
    for signal in SIGNALS {
        let mut child = waiting(&packed.path);
        child.send(signal);
        assert_eq!(child.wait(), WaitStatus::Signaled(child.pid(), signal, false));
        let mut child = waiting(&packed.path);
        killpg(child.pid(), signal).unwrap();
        assert_eq!(child.wait(), WaitStatus::Signaled(child.pid(), signal, false));
        none_is_left(&packed.path);
    }
}

#[test]
fn no_signal_for_the_job_ends_the_server() {
    let packed = Packed::tiny();
    let words = [packed.path.to_str().unwrap(), "sh", "-c", "echo; cat - /etc/group; exit 3"];
    let mut child = Live::start(&mut command(words));
    child.next_line();
    let server = one_server(&packed.path);
    for signal in SIGNALS.into_iter().chain([Signal::SIGQUIT, Signal::SIGTSTP, Signal::SIGPIPE]) {
        kill(server, signal).unwrap();
    }
    child.say("read\n");
    assert_eq!((child.next_line(), child.next_line()), ("read".to_owned(), "root:x:0:".to_owned()));
    while !matches!(child.wait(), WaitStatus::Exited(_, 3)) {}
    none_is_left(&packed.path);
}

#[test]
fn a_command_without_its_server_fails_and_does_not_hang() {
    let packed = Packed::tiny();
    let words = [packed.path.to_str().unwrap(), "sh", "-c", "echo; read x; exec cat /etc/new"];
    let mut child = Live::start(&mut command(words));
    child.next_line();
    kill(one_server(&packed.path), Signal::SIGKILL).unwrap();
    until("the server ends", || servers(&packed.path).is_empty().then_some(()));
    child.say_if_it_listens("go\n");
    // What is not in memory yet cannot be read (ENOTCONN), or not be paged in (SIGBUS).
    assert_ne!(child.wait(), WaitStatus::Exited(child.pid(), 0));
}

#[test]
fn a_background_child_keeps_the_image() {
    let (packed, home) = (Packed::debian(), Scratch::new());
    let go = home.join("go");
    outcome(Command::new("mkfifo").args(["-m", "666"]).arg(&go)).ok();
    let script = format!(
        "(cat {0}/go; cat /usr/lib/os-release > {0}/seen.part; \
          python3 -c 'import this' > /dev/null && mv {0}/seen.part {0}/seen) \
         > /dev/null 2>&1 < /dev/null &",
        home.path().display()
    );
    let option = bind(home.path(), "");
    let words = [option.as_str(), packed.path.to_str().unwrap(), "sh", "-c", &script];
    outcome(&mut command(words)).ok();
    let server = one_server(&packed.path);
    fs::write(&go, "now").unwrap();
    until("the child has read", || home.join("seen").exists().then_some(()));
    assert!(fs::read_to_string(home.join("seen")).unwrap().contains("bookworm"));
    none_is_left(&packed.path);
    has_ended(server);
}

/// The ranks of a step of a test's own, in order of their start; each prints a line when it runs,
/// and reads a file of the image when it is told to.
pub fn ranks(image: &Path, test: &str, count: usize, file: &str) -> Vec<Live> {
    let step = format!("{}-{test}", std::process::id());
    let script = format!("echo ready; read x; cat {file} > /dev/null && echo read; read x");
    let start = |_| {
        let mut command = command([image.to_str().unwrap(), "sh", "-c", &script]);
        command.env("SLURM_JOB_ID", &step).env("SLURM_STEP_ID", "0");
        Live::start(command.stderr(Stdio::inherit()).process_group(0))
    };
    let ranks: Vec<Live> = (0..count).map(start).collect();
    for rank in &ranks {
        assert_eq!(rank.next_line(), "ready");
    }
    ranks
}

#[test]
fn ranks_share_one_server() {
    let packed = Packed::debian();
    let mut ranks = ranks(&packed.path, "share", 4, "/usr/bin/perl");
    let server = one_server(&packed.path);
    // The one that started the server may be any of them: one is killed, one ends early.
    let killed = ranks.remove(0);
    killed.send(Signal::SIGKILL);
    drop(killed);
    let mut early = ranks.remove(0);
    early.say("read\n");
    assert_eq!(early.next_line(), "read");
    early.wait();
    for rank in &mut ranks {
        rank.say("read\n");
        assert_eq!(rank.next_line(), "read");
        rank.wait();
    }
    none_is_left(&packed.path);
    has_ended(server);
}

#[test]
fn what_ranks_read_is_in_memory_once() {
    const SIZE: u64 = 64 << 20;
    if lacks("root") {
        return;
    }
    let image = Image::tiny();
    let data = fs::File::create(image.path().join("data"));
    let random = fs::File::open("/dev/urandom").unwrap();
    io::copy(&mut random.take(SIZE), &mut data.unwrap()).unwrap();
    let packed = Packed::new(image.path(), &["-noD"]);

    let mut ranks = ranks(&packed.path, "once", 16, "/data");
    let server = one_server(&packed.path);
    let before = given(server);
    ranks.iter_mut().for_each(|rank| rank.ask("read\n"));
    for rank in &ranks {
        assert_eq!(rank.next_line(), "read");
    }
    // Pages come from nowhere else: the kernel holds no more than it was given.
    let given = given(server) - before;
    assert!((SIZE..SIZE + SIZE / 50).contains(&given), "{given} bytes for {SIZE}");
    for rank in &mut ranks {
        rank.say("end\n");
        rank.wait();
    }
    none_is_left(&packed.path);
}

/// The bytes that a server has answered with.
fn given(server: Pid) -> u64 {
    let io = fs::read_to_string(format!("/proc/{server}/io")).unwrap();
    let line = io.lines().find_map(|line| line.strip_prefix("wchar: "));
    line.unwrap().parse().unwrap()
}

#[test]
fn a_step_of_slurm_has_one_server_and_ends() {
    if lacks("root") {
        return;
    }
    let packed = Packed::debian();
    let script = "readlink /proc/self/ns/mnt; sha256sum /usr/bin/perl";
    let (hrun, image) = (program("hrun"), packed.path.to_str().unwrap());
    let words = ["--overcommit", "-N1", "-n8", hrun.to_str().unwrap(), image, "sh", "-c", script];
    let outcome = cluster().srun(&words);
    assert_eq!((outcome.status, outcome.stderr.as_str()), (Some(0), ""));
    let starting = |start: &str| {
        let lines = outcome.stdout.lines().filter(|line| line.starts_with(start));
        (lines.clone().count(), lines.collect::<BTreeSet<_>>().len())
    };
    assert_eq!(starting("mnt:"), (8, 1), "{}", outcome.stdout);
    assert_eq!(outcome.stdout.lines().filter(|line| line.ends_with("/usr/bin/perl")).count(), 8);
    none_is_left(&packed.path);
}

#[test]
fn launchers_that_wait_for_descriptors_end() {
    let packed = Packed::debian();
    for launcher in ["mpiexec.hydra", "mpirun.openmpi"] {
        let mut command = as_tester(Path::new("/usr/bin").join(launcher).as_path());
        let options: &[&str] =
            if launcher == "mpirun.openmpi" { &["--oversubscribe"] } else { &[] };
        command.args(options).args(["-n", "4"]).arg(program("hrun")).arg(&packed.path);
        let outcome = outcome_in_time(command.args(["cat", "/usr/lib/os-release"]));
        assert_eq!(outcome.status, Some(0), "{outcome:?}");
        assert_eq!(outcome.stdout.matches("VERSION_CODENAME=bookworm").count(), 4, "{launcher}");
        none_is_left(&packed.path);
    }
}

#[test]
fn a_container_of_a_packed_image_is_joined() {
    let packed = Packed::tiny();
    let child = waiting(&packed.path);
    let join = format!("--join-pid={}", child.pid());
    let words = [&join, packed.path.to_str().unwrap(), "/bin/probe", "cat", "/etc/group"];
    assert!(outcome(&mut command(words)).ok().starts_with("root:x:0:"));
    one_server(&packed.path);
    child.send(Signal::SIGKILL);
    drop(child);
    none_is_left(&packed.path);
}
