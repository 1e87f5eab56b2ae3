//! Ranks of one step on one node share their namespaces, whoever comes first and ends first.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::support::live::until;
use super::support::machine::{cover, with_own_mounts, writes_core_files};
use super::support::rank::{Waiting, file, namespaces, rank, step};
use super::support::run::{as_tester, shell};
use super::support::{
    Image, Live, Outcome, Scratch, command, lacks, outcome, program, real, tester,
};

#[test]
fn ranks_share_their_namespaces_in_any_order() {
    let (image, home) = (real("bookworm"), Scratch::new());
    let start = || Waiting::start("order", &image, &[], &home);
    let first = start();
    let second = start();
    assert_eq!(first.namespaces(), second.namespaces());
    assert_ne!(first.namespaces(), namespaces(std::process::id()));
    let shared = second.namespaces();
    // The first may end, or be killed: whoever lives lets the next in.
    first.end();
    let third = start();
    assert_eq!(third.namespaces(), shared);
    second.kill();
    let fourth = start();
    assert_eq!(fourth.namespaces(), shared);
    third.kill();
    fourth.kill();
    let last = start();
    assert_ne!(last.namespaces(), shared, "nobody was left");
    last.end();
}

#[test]
fn ranks_read_each_others_memory() {
    let (image, home) = (real("bookworm"), Scratch::new());
    let bind = format!("--bind={}", home.path().display());
    let place = home.join("place");
    let writer = format!(
        "import ctypes, os, sys, time\n\
         b = ctypes.create_string_buffer(b'message')\n\
         open('{0}.part', 'w').write(f'{{os.getpid()}} {{ctypes.addressof(b)}}')\n\
         os.rename('{0}.part', '{0}')\n\
         sys.stdin.read()",
        place.display()
    );
    let reader = format!(
        "import ctypes\n\
         pid, address = map(int, open('{}').read().split())\n\
         class V(ctypes.Structure): _fields_ = [('p', ctypes.c_void_p), ('n', ctypes.c_size_t)]\n\
         b = ctypes.create_string_buffer(7)\n\
         l, r = V(ctypes.addressof(b), 7), V(address, 7)\n\
         c = ctypes.CDLL(None, use_errno=True)\n\
         n = c.process_vm_readv(pid, ctypes.byref(l), 1, ctypes.byref(r), 1, 0)\n\
         print(b.value.decode() if n == 7 else ctypes.get_errno())",
        place.display()
    );
    let python = |options: &[&str], script: &str| {
        let mut command = command(options.iter().copied());
        command.arg(&image).args(["python3", "-c", script]).envs(step("memory"));
        command
    };
    for (option, expected) in [("--join", "message\n"), ("--no-join", "1\n")] {
        let _ = fs::remove_file(&place);
        let mut writing = python(&[option, &bind], &writer).stdin(Stdio::piped()).spawn().unwrap();
        let start = Instant::now();
        while !place.exists() {
            assert!(start.elapsed() < Duration::from_secs(20), "the writer does not start");
            sleep(Duration::from_millis(2));
        }
        assert_eq!(outcome(&mut python(&[option, &bind], &reader)).ok(), expected, "{option}");
        drop(writing.stdin.take());
        assert!(writing.wait().unwrap().success());
    }
}

#[test]
fn ranks_with_other_mounts_share_the_user_namespace_only() {
    let (image, home) = (real("bookworm"), Scratch::new());
    let first = Waiting::start("mounts", &image, &[], &home);
    let other_image = Waiting::start("mounts", &real("trixie"), &[], &home);
    let other_binds = Waiting::start("mounts", &image, &["--private-tmp"], &home);
    let same = Waiting::start("mounts", &image, &["--private-tmp"], &home);
    let user = |rank: &Waiting| rank.namespaces()[0].clone();
    let mounts = |rank: &Waiting| rank.namespaces()[1].clone();
    let users: BTreeSet<String> = [&first, &other_image, &other_binds, &same].map(user).into();
    assert_eq!(users.len(), 1);
    assert_eq!(mounts(&other_binds), mounts(&same));
    let all: BTreeSet<String> = [&first, &other_image, &same].map(mounts).into();
    assert_eq!(all.len(), 3);
    for rank in [first, other_image, other_binds, same] {
        rank.end();
    }
}

#[test]
fn a_rank_that_joins_is_what_it_would_be_alone() {
    let (image, home) = (real("bookworm"), Scratch::new());
    let first = Waiting::start("alike", &image, &[], &home);
    let script = "pwd; id -u; id -g; id -G; cat /proc/self/uid_map; \
         grep -E 'Cap(Inh|Prm|Eff|Amb)|NoNewPrivs' /proc/self/status; ls /proc/self/fd; \
         readlink /proc/self/root; echo $RANK; ls / | tr '\\n' ' '";
    let bind = format!("--bind={}", home.path().display());
    let see = |options: &[&str], directory: &Path| {
        let mut command = rank("alike", &image, &[options, &[&bind]].concat(), script);
        outcome(command.env("RANK", "3").current_dir(directory)).ok()
    };
    for directory in [tester().home.as_path(), Path::new("/tmp")] {
        assert_eq!(see(&[], directory), see(&["--no-join"], directory));
    }
    first.end();
}

#[test]
fn a_run_inside_a_rank_is_not_met_by_others() {
    let (image, home) = (real("bookworm"), Scratch::new());
    let first = Waiting::start("nested", &image, &[], &home);
    let shared = first.namespaces();
    let hrun = program("hrun");
    let directories = [hrun.parent().unwrap(), image.parent().unwrap()];
    let options = directories.map(|directory| format!("--bind={}", directory.display()));
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let script = format!("{} -q {} readlink /proc/self/ns/user", hrun.display(), image.display());
    let nested = outcome(&mut rank("nested", &image, &options, &script)).ok();
    assert_ne!(nested.trim_end(), shared[0]);
    let next = Waiting::start("nested", &image, &[], &home);
    assert_eq!(next.namespaces(), shared);
    first.end();
    next.end();
}

#[test]
fn many_ranks_at_once_meet_however_they_die() {
    let image = real("bookworm");
    let start = |index: u64| {
        let script = "readlink /proc/self/ns/user /proc/self/ns/mnt | tr '\\n' ' '; sleep 2";
        let mut command = rank("many", &image, &["-q"], script);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        if index % 4 != 3 {
            return Some(child);
        }
        // At any moment of its start, at the meeting or on the way there.
        sleep(Duration::from_micros(150 * index));
        child.kill().unwrap();
        child.wait().unwrap();
        None
    };
    let mut keeper = rank("many", &image, &["-q"], "sleep 6").spawn().unwrap();
    let mut seen = BTreeSet::new();
    for child in (0..48).map(start).collect::<Vec<_>>().into_iter().flatten() {
        let seen_here = Outcome::new(child.wait_with_output().unwrap()).ok();
        assert!(!seen_here.is_empty());
        seen.insert(seen_here);
    }
    assert!(keeper.wait().unwrap().success());
    assert_eq!(seen.len(), 1, "{seen:?}");
}

#[test]
fn steps_are_apart_and_leave_a_file_that_the_next_removes() {
    let (image, home) = (real("bookworm"), Scratch::new());
    let first = Waiting::start("apart-1", &image, &[], &home);
    let second = Waiting::start("apart-2", &image, &[], &home);
    assert_ne!(first.namespaces()[0], second.namespaces()[0]);
    let (one, two) = (file("apart-1"), file("apart-2"));
    assert_eq!(fs::metadata(&one).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(fs::metadata(&one).unwrap().len() < 200, "128 bytes a rank");
    first.end();
    second.end();
    // Each new step looks at some of what is there.
    let mut later = 0;
    until("the files of dead steps are swept", || {
        later += 1;
        Waiting::start(&format!("later-{later}"), &image, &[], &home).end();
        (!one.exists() && !two.exists()).then_some(())
    });
}

#[test]
fn tags_and_parents_bring_ranks_together_without_a_launcher() {
    let image = Image::tiny();
    let words = |option: &str| {
        let script = "readlink /proc/self/ns/user";
        let pair = format!(
            "$hrun {option} $image sh -c '{script}; sleep 1' & sleep 0.3; \
             $hrun {option} $image sh -c '{script}'; wait"
        );
        outcome(&mut shell(image.path(), &pair)).lines()
    };
    for option in ["--join-tag=hrun-test", "--join", "--join --join-ct=2"] {
        let seen = words(option);
        assert_eq!((seen.len(), &seen[0]), (2, &seen[1]), "{option}");
    }
    let alone = words("-q");
    assert_ne!(alone[0], alone[1]);
    let failed = outcome(&mut rank("tags", image.path(), &["--join-tag=a/b"], "true"));
    failed.fails(&["is not made of letters"]);
}

#[test]
fn without_others_mpi_is_told_not_to_read_their_memory() {
    let image = Image::tiny();
    let script = "echo $MPIR_CVAR_CH4_CMA_ENABLE $UCX_TLS";
    let see = |options: &[&str]| {
        let mut command = rank("alone", image.path(), options, script);
        outcome(command.env("UCX_TLS", "tcp")).ok()
    };
    assert_eq!(see(&["--no-join"]), "0 tcp\n");
    assert_eq!(see(&[]), "tcp\n");
}

#[test]
fn a_meeting_place_that_is_somebody_elses_is_passed_over_and_a_full_one_named() {
    if lacks("root") {
        return;
    }
    let image = Image::tiny();
    let run = |options: &[&str]| outcome(&mut rank("place", image.path(), options, "echo started"));
    with_own_mounts(|| {
        cover(Path::new("/dev/shm"), "size=1m");
        fs::create_dir(format!("/dev/shm/hrun-{}", tester().uid)).unwrap();
        assert_eq!(run(&[]).ok(), "started\n");
        assert_eq!(run(&["--no-join"]).ok(), "started\n");
    });
    with_own_mounts(|| {
        cover(Path::new("/dev/shm"), "size=4k,nr_inodes=2");
        fs::write("/dev/shm/full", [0; 4096]).unwrap();
        run(&[]).fails(&["cannot meet the other ranks of this step", "No space left", "--no-join"]);
    });
}

#[test]
fn a_plan_says_where_ranks_meet() {
    let image = Image::tiny();
    let mut command = command(["--dry-run"]);
    command.arg(image.path()).arg("true").envs(step("plan"));
    let plan = outcome(&mut command).ok();
    let lines: Vec<&str> = plan.lines().map(str::trim).collect();
    assert!(lines[1].starts_with("meet ") && lines[1].contains("/dev/shm/hrun-"), "{plan}");
    assert!(lines.iter().any(|line| line.starts_with("admit ")), "{plan}");
    assert!(!file("plan").exists(), "a plan touches nothing");
}

/// What a debugger and a tracer see of a process.
fn attached(pid: u32) -> String {
    let strace = "timeout --signal=INT 0.5 strace -p";
    format!("gdb --nx --batch -ex 'info inferiors' -p {pid} 2>&1; {strace} {pid} 2>&1; true")
}

#[test]
fn debuggers_and_tracers_look_into_a_rank() {
    let (image, home) = (real("mpi4py"), Scratch::new());
    let looked_at = Waiting::start("debugged", &image, &[], &home);
    let pid = looked_at.pid();
    let script = attached(pid);
    let seen = [
        // From the host, and from a rank of the same step.
        outcome(as_tester(Path::new("/bin/sh")).args(["-c", &script])).stdout,
        outcome(&mut rank("debugged", &image, &["-q"], &script)).stdout,
    ];
    for seen in seen {
        assert!(seen.contains(&format!("process {pid}")), "{seen}");
        assert!(seen.contains(&format!("Process {pid} attached")), "{seen}");
    }
    looked_at.end();
    // And what a rank leaves when it crashes.
    let dump = format!("cd {} && ulimit -c unlimited && kill -SEGV $$", home.path().display());
    let bind = format!("--bind={}", home.path().display());
    let crashed = outcome(&mut rank("crashed", &image, &[&bind], &dump));
    assert_eq!(crashed.signal, Some(11), "{crashed:?}");
    if lacks("core-files") {
        return;
    }
    assert!(writes_core_files(), "core files go somewhere else here");
    let files = fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().path());
    let is_core = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        name.starts_with("core") && path.metadata().unwrap().len() > 4096
    };
    assert_eq!(files.filter(is_core).count(), 1);
}

#[test]
fn a_command_joins_the_container_of_a_process() {
    let (image, scratch) = (real("bookworm"), Scratch::new());
    scratch.file("shown", "");
    let bind = format!("--bind={}:/mnt/here", scratch.path().display());
    let words: [&OsStr; 5] =
        [bind.as_ref(), image.as_ref(), "sh".as_ref(), "-c".as_ref(), "echo up; cat".as_ref()];
    let first = Live::start(&mut command(words));
    assert_eq!(first.next_line(), "up");
    let join = |pid: u32, script: &str| {
        let pid = format!("--join-pid={pid}");
        let words: [&OsStr; 5] =
            [pid.as_ref(), image.as_ref(), "sh".as_ref(), "-c".as_ref(), script.as_ref()];
        outcome(&mut command(words))
    };
    let pid = first.pid().as_raw().unsigned_abs();
    let seen = join(pid, "readlink /proc/self/ns/user /proc/self/ns/mnt; ls /mnt/here; pwd");
    let [user, mounts] = namespaces(pid);
    let home = tester().home.display();
    assert_eq!(seen.ok(), format!("{user}\n{mounts}\nshown\n{home}\n"));
    drop(first);
    join(pid, "true").fails(&["join the container of process", "no such process"]);
    join(std::process::id(), "true").fails(&["join the container of process"]);
}
