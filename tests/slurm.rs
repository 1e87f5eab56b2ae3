//! hrun in the steps of a real Slurm: a rank in it is to Slurm what a rank without it is.

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::Path;

use nix::sys::wait::WaitStatus;

use super::support::live::{PATIENCE, until};
use super::support::slurm::{Cluster, Tracking, cluster, tracked};
use super::support::terminal::Terminal;
use super::support::{Scratch, lacks, program, real};

/// What a batch script or srun starts a command in an image with.
fn in_image(image: &str) -> String {
    format!("{} {}", program("hrun").display(), real(image).display())
}

/// Lines to be compared: without the numbers of jobs and nodes and the times in Slurm's own, and with
/// everything that the job itself has written.
fn comparable(text: &str) -> String {
    let is_slurms = |line: &str| line.starts_with("slurmstepd-");
    let line = |line: &str| -> String {
        let keeps = |letter: &char| !is_slurms(line) || !letter.is_ascii_digit();
        line.chars().filter(keeps).chain(['\n']).collect()
    };
    let compared: String = text.lines().map(line).collect();
    ["n1: task", "n2: task", "n3: task"]
        .iter()
        .fold(compared, |text, node| text.replace(node, "n: task"))
}

/// Runs the ring of MPI over nodes of a cluster; gives back the user namespaces its ranks were in.
#[track_caller]
fn ring(cluster: &Cluster, family: &str, plugin: &str, shape: [&str; 2]) -> BTreeSet<String> {
    let mut words = vec![shape[0], shape[1], "--overcommit"];
    let plugin = format!("--mpi={plugin}");
    words.push(&plugin);
    let (hrun, image) = (program("hrun"), real("mpi"));
    let ring = format!("/usr/local/bin/ring.{family}");
    words.extend([hrun.to_str().unwrap(), image.to_str().unwrap(), &ring]);
    let outcome = cluster.srun(&words);
    assert_eq!(outcome.status, Some(0), "{family}: {outcome:?}");
    let count = format!("{} ranks", shape[1].trim_start_matches("-n"));
    assert!(outcome.stdout.lines().any(|line| line == count), "{family}: {outcome:?}");
    let namespaces = outcome.stdout.lines().filter_map(|line| line.strip_prefix("in "));
    namespaces.map(str::to_owned).collect()
}

#[test]
fn every_task_of_an_array_has_its_number() {
    if lacks("root") {
        return;
    }
    let job = cluster().submit(
        &["--array=1-8", "--job-name=search"],
        &format!(
            "{} sh -c 'echo $SLURM_ARRAY_TASK_ID of $SLURM_JOB_NAME in $PWD'",
            in_image("bookworm")
        ),
    );
    let output = job.output();
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines.len(), 8, "{output}");
    for (line, number) in lines.iter().zip(1..) {
        assert!(
            line.starts_with(&format!("{number} of search in /home/tester/scratch-")),
            "{line}"
        );
    }
}

#[test]
fn mpi_runs_over_three_nodes() {
    if lacks("root") {
        return;
    }
    let namespaces = ring(cluster(), "openmpi", "pmix", ["-N3", "-n12"]);
    assert_eq!(namespaces.len(), 3, "one set of namespaces on each node");
    // MPICH 4.0 of Debian 12 hangs in MPI_Finalize over two nodes without hrun as well.
    assert_eq!(ring(cluster(), "mpich", "pmi2", ["-N1", "-n4"]).len(), 1);
}

/// Sends 4 MiB around the ring of ranks, and adds up their numbers.
const RING: &str = "from mpi4py import MPI\n\
    world, size = MPI.COMM_WORLD, 4 << 20\n\
    came, before = bytearray(size), (world.rank - 1) % world.size\n\
    world.Sendrecv(bytearray([world.rank]) * size, (world.rank + 1) % world.size,\n\
                   recvbuf=came, source=before)\n\
    assert came == bytes([before]) * size\n\
    print(world.size, world.allreduce(world.rank))\n";

#[test]
fn python_speaks_mpi() {
    if lacks("root") {
        return;
    }
    let (hrun, image) = (program("hrun"), real("mpi4py"));
    // Ranks that wait use all of a processor: no more than there are.
    let runs = [("-N2", "--mpi=pmix", "openmpi"), ("-N1", "--mpi=pmi2", "mpich")];
    for (nodes, plugin, library) in runs {
        let library = format!("--set-env=MPI4PY_MPIABI={library}");
        let mut words = vec![nodes, "-n2", "--overcommit", plugin];
        words.extend([hrun.to_str().unwrap(), &library, image.to_str().unwrap()]);
        words.extend(["python3", "-c", RING]);
        assert_eq!(cluster().srun(&words).ok(), "2 1\n".repeat(2), "{library}");
    }
}

/// Adds up a tensor over all ranks, which find each other by the first one's address.
const ALL_REDUCE: &str = "import os, torch, torch.distributed as dist\n\
    rank, size = int(os.environ['SLURM_PROCID']), int(os.environ['SLURM_NTASKS'])\n\
    where = 'tcp://127.0.0.1:17699'\n\
    dist.init_process_group('gloo', init_method=where, rank=rank, world_size=size)\n\
    tensor = torch.full((1000,), rank + 1.0)\n\
    dist.all_reduce(tensor)\n\
    print(os.uname().nodename, dist.get_world_size(), set(tensor.tolist()))\n";

#[test]
#[ignore = "its image takes a gigabyte: make test-full"]
fn torch_adds_up_over_two_nodes() {
    if lacks("root") {
        return;
    }
    let (hrun, image) = (program("hrun"), real("torch"));
    let words = ["-N2", "-n2", hrun.to_str().unwrap(), image.to_str().unwrap()];
    let words = [&words[..], &["python3", "-c", ALL_REDUCE]].concat();
    let mut lines = cluster().srun(&words).ok().lines().map(str::to_owned).collect::<Vec<_>>();
    lines.sort();
    assert_eq!(lines, ["n1 2 {3.0}", "n2 2 {3.0}"]);
}

#[test]
fn ranks_that_would_not_hear_their_launcher_are_warned() {
    if lacks("root") {
        return;
    }
    let (hrun, image) = (program("hrun"), real("mpi"));
    let said = |plugin: &str, family: &str| {
        let ring = format!("/usr/local/bin/ring.{family}");
        let words = ["-n2", plugin, hrun.to_str().unwrap(), image.to_str().unwrap(), &ring];
        let said = cluster().srun(&words).stderr;
        assert!(said.matches("will be rank 0 of 1").count() < 2, "one speaks for all: {said}");
        said
    };
    let silent = said("--mpi=none", "mpich");
    assert!(silent.contains("srun was not told to speak any PMI"), "{silent}");
    assert!(silent.contains("srun --mpi=pmi2"), "{silent}");
    assert!(said("--mpi=pmi2", "openmpi").contains("srun --mpi=pmix"));
    assert!(said("--mpi=pmix", "mpich").contains("speaks PMIx"));
    assert_eq!(said("--mpi=pmi2", "mpich"), "");
    assert_eq!(said("--mpi=pmix", "openmpi"), "");
}

#[test]
fn ranks_of_pmix_keep_their_user() {
    if lacks("root") {
        return;
    }
    let (hrun, image) = (program("hrun"), real("bookworm"));
    let contained = [hrun.to_str().unwrap(), "--root", image.to_str().unwrap(), "true"];
    let refused = cluster().srun(&[&["-n1", "--mpi=pmix"], &contained[..]].concat());
    assert_eq!(refused.status, Some(125));
    for part in ["MPI would hang", "--root", "srun --mpi=none"] {
        assert!(refused.stderr.contains(part), "no '{part}' in {}", refused.stderr);
    }
    cluster().srun(&[&["-n1", "--mpi=pmi2"], &contained[..]].concat()).ok();
}

#[test]
fn steps_that_slurm_tracks_by_control_groups_end_with_nothing_left() {
    if lacks("root") || lacks("devices-cgroup") {
        return;
    }
    let cluster = tracked(Tracking::Groups);
    assert_eq!(ring(cluster, "openmpi", "pmix", ["-N1", "-n4"]).len(), 1);
    let script = format!("srun -n2 {} sh -c 'echo up; sleep 1000'", in_image("bookworm"));
    let job = cluster.submit(&["-n2"], &script);
    job.wait_for("up\nup\n");
    let groups = Path::new("/sys/fs/cgroup/freezer/slurm_c1/uid_20001");
    assert!(groups.exists(), "Slurm has made control groups");
    job.cancel(&[]);
    job.output();
    until("the job's control groups are gone", || (!groups.exists()).then_some(()));
}

#[test]
fn a_shell_has_its_terminal() {
    if lacks("root") {
        return;
    }
    let configuration = cluster().configuration();
    let (hrun, image) = (program("hrun"), real("bookworm"));
    let words = [&configuration, "srun", "--pty", hrun.to_str().unwrap(), image.to_str().unwrap()];
    let words = [&words[..], &["bash", "--norc", "--noediting"]].concat();
    let mut terminal = Terminal::start(Path::new("/usr/bin/env"), &words);
    terminal.press("stty -echo; tty; echo here $((6 * 7))\n");
    terminal.wait_for(|line| line.contains("/dev/pts/"));
    terminal.wait_for(|line| line.ends_with("here 42"));
    terminal.press(
        "sh -c 'trap \"echo caught; exit\" INT; echo asleep; while :; do sleep 0.1; done'\n",
    );
    terminal.wait_for(|line| line.ends_with("asleep"));
    // The terminal forgets what was typed before; the next comes when it is through with this.
    terminal.press("\u{3}");
    terminal.wait_for(|line| line.ends_with("caught"));
    terminal.press("echo back $((6 * 7)); exit 7\n");
    terminal.wait_for(|line| line.ends_with("back 42"));
    let end = terminal.leader.wait();
    assert!(matches!(end, WaitStatus::Exited(_, 7)), "{end:?}");
}

/// What a job says whose step is sent a signal, bare or in an image.
#[track_caller]
fn signalled(prefix: &str, options: &[&str]) -> String {
    let step = "trap \"echo USR1\" USR1; trap \"echo TERM; exit 5\" TERM; echo up; \
                while :; do sleep 0.05; done";
    let script = format!("srun -n1 {prefix} bash -c '{step}' 2>&1; echo status $?");
    let job = cluster().submit(&["-n1"], &script);
    job.wait_for("up\n");
    job.cancel(options);
    if options == ["--signal=USR1"] {
        job.wait_for("USR1");
        job.cancel(&["--signal=TERM"]);
    }
    comparable(&job.output())
}

#[test]
fn signals_reach_a_step_as_they_reach_a_bare_one() {
    if lacks("root") {
        return;
    }
    for signal in ["--signal=TERM", "--signal=USR1", "--signal=KILL"] {
        let bare = signalled("", &[signal]);
        let contained = signalled(&in_image("bookworm"), &[signal]);
        // The sleep that a signal ends may or may not be mentioned by the shell.
        let is_of_sleep = |line: &&str| line.starts_with("User defined") || *line == "Terminated";
        let said = |text: &str| -> BTreeSet<String> {
            text.lines().filter(|line| !is_of_sleep(line)).map(str::to_owned).collect()
        };
        assert_eq!(said(&bare), said(&contained), "{signal}");
    }
}

/// A program that saves its work when the time is nearly up.
const SAVER: &str = "import signal, sys, time\n\
    def save(*_):\n    print(\"saved\", flush=True)\n    sys.exit(0)\n\
    signal.signal(signal.SIGUSR1, save)\nprint(\"up\", flush=True)\n\
    while True: time.sleep(1)\n";

#[test]
fn a_batch_script_that_becomes_hrun_hears_its_signals() {
    if lacks("root") {
        return;
    }
    let script = format!("exec {} python3 -c '{SAVER}'", in_image("bookworm"));
    let job = cluster().submit(&[], &script);
    job.wait_for("up\n");
    job.cancel(&["--batch", "--signal=USR1"]);
    assert_eq!(job.output(), "up\nsaved\n");
    assert_eq!(job.end(), "COMPLETED 0:0");
}

#[test]
#[ignore = "waits for Slurm's clock, up to two minutes: make test-full"]
fn time_limits_are_announced_and_kept() {
    if lacks("root") {
        return;
    }
    let prefix = in_image("bookworm");
    let warned = cluster().submit(
        &["--time=2", "--signal=B:USR1@60"],
        &format!("exec {prefix} python3 -c '{SAVER}'"),
    );
    let stopped = cluster().submit(&["--time=1"], &format!("srun {prefix} sleep 1000"));
    for (job, wanted) in [(&warned, "COMPLETED 0:0"), (&stopped, "TIMEOUT")] {
        for _ in 0..180 / PATIENCE.as_secs() {
            if !job.is_running_after(PATIENCE) {
                break;
            }
        }
        assert!(job.end().starts_with(wanted), "{}: {}", job.end(), job.written());
    }
    assert_eq!(warned.written(), "up\nsaved\n");
}

#[test]
fn a_suspended_job_stops_and_goes_on() {
    if lacks("root") {
        return;
    }
    let step = "i=0; while :; do i=$((i + 1)); echo $i; sleep 0.05; done";
    let script = format!("srun -n1 {} sh -c '{step}'", in_image("bookworm"));
    let job = cluster().submit(&["-n1"], &script);
    job.wait_for("\n3\n");
    cluster().administer(&["suspend", &job.id]);
    let stands = || {
        let before = job.written();
        std::thread::sleep(std::time::Duration::from_millis(400));
        job.written() == before
    };
    until("the job stands still", || stands().then_some(()));
    cluster().administer(&["resume", &job.id]);
    until("the job goes on", || (!stands()).then_some(()));
    job.cancel(&[]);
    job.output();
}

#[test]
fn a_rank_that_fails_ends_its_step_as_a_bare_one_does() {
    if lacks("root") {
        return;
    }
    let (hrun, image) = (program("hrun"), real("bookworm"));
    // What the step's end does to the other ranks is a race, without hrun as well.
    let run = |prefix: &[&str], rank: &str| {
        let step = ["sh", "-c", rank];
        let words = [&["-n4", "--overcommit", "--kill-on-bad-exit=1"], prefix, &step].concat();
        let outcome = cluster().srun(&words);
        assert!(outcome.stdout.is_empty() && outcome.status != Some(0), "{outcome:?}");
        // Which node it was is Slurm's choice.
        let mut said = outcome.stderr.lines().filter_map(|line| line.split_once("task 1: "));
        said.next().unwrap_or_default().1.to_owned()
    };
    let contained = [hrun.to_str().unwrap(), image.to_str().unwrap()];
    for (end, said) in [("exit 3", "Exited with exit code 3"), ("kill -SEGV $$", "Segmentation")] {
        let rank = format!("[ $SLURM_PROCID != 1 ] || {end}; sleep 1000");
        let seen = run(&contained, &rank);
        assert!(seen.contains(said), "{seen}");
        assert_eq!(seen, run(&[], &rank));
    }
}

#[test]
fn gpus_that_slurm_handed_out_are_known_inside() {
    if lacks("root") {
        return;
    }
    let (hrun, image) = (program("hrun"), real("bookworm"));
    let see = |options: &[&str]| {
        let command = [
            hrun.to_str().unwrap(),
            image.to_str().unwrap(),
            "sh",
            "-c",
            "echo $SLURM_PROCID ${CUDA_VISIBLE_DEVICES-none}",
        ];
        let mut lines = cluster().srun(&[options, &command].concat()).lines();
        lines.sort();
        lines.join(", ")
    };
    assert_eq!(see(&["-n1"]), "0 none");
    assert_eq!(see(&["-n1", "--gres=gpu:1"]), "0 0");
    assert_eq!(see(&["-n2", "-N1", "--gres=gpu:2"]), "0 0,1, 1 0,1");
    assert_eq!(see(&["-n2", "-N1", "--gpus-per-task=1"]), "0 0, 1 1");
}

#[test]
fn slurms_own_option_for_containers_runs_hrun() {
    if lacks("root") {
        return;
    }
    let bundle = Scratch::new();
    symlink(real("bookworm"), bundle.join("rootfs")).unwrap();
    bundle.file(
        "config.json",
        r#"{"ociVersion": "1.0.0", "root": {"path": "rootfs"}, "mounts": [], "process": {
            "cwd": "/usr/lib", "args": ["true"], "env": ["FROM_BUNDLE=1"],
            "user": {"uid": 0, "gid": 0}}}"#,
    );
    let option = format!("--container={}", bundle.path().display());
    let run = |script: &str| cluster().srun(&[&option, "sh", "-c", script]);
    let seen = run("pwd; echo $FROM_BUNDLE $SLURM_JOB_ID");
    let lines = seen.stdout.lines().collect::<Vec<_>>();
    assert_eq!(lines.first(), Some(&"/usr/lib"), "{seen:?}");
    assert!(lines[1].starts_with("1 "), "{seen:?}");
    assert_eq!(run("exit 7").status, Some(7));
}
