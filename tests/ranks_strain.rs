//! What may go wrong where ranks meet: who is killed, what is planted, what is full, what lasts long.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use super::support::driver::driver;
use super::support::live::until;
use super::support::machine::{cover, make_read_only, with_own_mounts};
use super::support::rank::{Waiting, file, namespaces, rank, step};
use super::support::run::{as_tester, shell};
use super::support::{Outcome, Scratch, lacks, outcome, program, real, tester};

/// A rank of a step that runs under strace(1) with options.
fn traced(test: &str, image: &Path, options: &[&str]) -> Command {
    let mut command = as_tester(Path::new("strace"));
    command.args(options).arg(program("hrun")).arg(image).args(["sh", "-c", "true"]);
    command.envs(step(test));
    command
}

/// The calls of a first rank from where it looks for its step to where it becomes the command: the
/// name of each, and how many of that name there were until then.
fn calls(image: &Path) -> Vec<(String, usize)> {
    let scratch = Scratch::new();
    let log = scratch.join("log");
    outcome(&mut traced("calls", image, &["-o", log.to_str().unwrap()])).ok();
    let log = fs::read_to_string(log).unwrap();
    let mut counts = BTreeMap::new();
    let calls = log.lines().filter_map(|line| {
        let name = line.split_once('(')?.0.to_owned();
        let count = counts.entry(name.clone()).or_insert(0);
        *count += 1;
        Some((name, *count, line))
    });
    let calls: Vec<_> = calls.collect();
    let first = calls.iter().position(|(.., line)| line.contains("/dev/shm/hrun-")).unwrap();
    let last = calls.iter().position(|(name, count, _)| name == "execve" && *count == 2).unwrap();
    calls[first..=last].iter().map(|(name, count, _)| (name.clone(), *count)).collect()
}

#[test]
fn the_first_rank_may_be_killed_at_any_system_call() {
    if lacks("strace") {
        return;
    }
    let (image, scratch) = (real("bookworm"), Scratch::new());
    let calls = calls(&image);
    assert!(calls.len() > 40, "the first rank makes mounts: {calls:?}");
    let mut kills = 0;
    for (index, (name, count)) in calls.into_iter().enumerate() {
        let test = format!("killed-{index}");
        let inject = format!("inject={name}:signal=KILL:when={count}");
        let first = outcome(&mut traced(&test, &image, &["-o", "/dev/null", "-e", &inject]));
        // Which files of other steps it removes, and so how many calls it makes, is not always alike.
        let is_killed = first.signal == Some(9);
        assert!(is_killed || first.status == Some(0), "{inject}: {first:?}");
        kills += u32::from(is_killed);
        // Whoever comes next begins anew, and the one after that finds it.
        let next = Waiting::start(&test, &image, &[], &scratch);
        let other = Waiting::start(&test, &image, &[], &scratch);
        assert_eq!(next.namespaces(), other.namespaces(), "{inject}");
        assert_ne!(next.namespaces(), namespaces(std::process::id()), "{inject}");
        next.end();
        other.end();
    }
    assert!(kills > 40, "{kills} were killed");
}

#[test]
fn who_waits_for_a_first_rank_that_is_killed_takes_its_place() {
    if lacks("strace") {
        return;
    }
    let image = real("bookworm");
    // It makes mounts for so many microseconds, and then is gone.
    let injects = ["inject=pivot_root:delay_enter=300000", "inject=umount2:signal=KILL"];
    let options = ["-o", "/dev/null", "-e", injects[0], "-e", injects[1]];
    let mut first = traced("waited-for", &image, &options).spawn().unwrap();
    until("the first rank holds the file", || file("waited-for").exists().then_some(()));
    let script = "readlink /proc/self/ns/user; sleep 0.3";
    let start = || {
        let mut command = rank("waited-for", &image, &["-q"], script);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let others: Vec<_> = (0..8).map(|_| start()).collect();
    let seen = others.into_iter().map(|it| Outcome::new(it.wait_with_output().unwrap()).ok());
    assert_eq!(seen.collect::<BTreeSet<String>>().len(), 1);
    assert!(!first.wait().unwrap().success());
}

#[test]
fn a_number_that_another_process_has_now_is_no_member() {
    let (image, home) = (real("bookworm"), Scratch::new());
    // Its start, and the numbers of both its namespaces.
    for word in 1..4 {
        let test = format!("reused-{word}");
        let first = Waiting::start(&test, &image, &[], &home);
        let line = fs::read_to_string(file(&test)).unwrap();
        let mut words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        assert_eq!((words.len(), words[0].as_str()), (8, format!("{:x}", first.pid()).as_str()));
        let number = u64::from_str_radix(&words[word], 16).unwrap();
        words[word] = format!("{:x}", number - 1);
        fs::write(file(&test), format!("{:<127}\n", words.join(" "))).unwrap();
        let next = Waiting::start(&test, &image, &[], &home);
        assert_ne!(next.namespaces()[0], first.namespaces()[0], "{line}");
        first.end();
        next.end();
    }
}

#[test]
fn a_file_that_hrun_did_not_write_has_no_members() {
    let (image, home) = (real("bookworm"), Scratch::new());
    // Made by a run, so that it is the tester's.
    outcome(&mut rank("garbage", &image, &[], "true")).ok();
    for garbage in ["1 2 3 4 5 0\n".as_bytes(), b"\0\0\0", &[b'x'; 5000], &[0xff; 640]] {
        fs::write(file("garbage"), garbage).unwrap();
        let first = Waiting::start("garbage", &image, &[], &home);
        let next = Waiting::start("garbage", &image, &[], &home);
        assert_eq!(first.namespaces(), next.namespaces());
        first.end();
        next.end();
    }
}

#[test]
fn a_name_that_somebody_else_has_taken_stops_no_rank() {
    if lacks("root") {
        return;
    }
    let (image, home) = (real("bookworm"), Scratch::new());
    let start = || Waiting::start("hostile", &image, &[], &home);
    let user = tester();
    let place = format!("/dev/shm/hrun-{}", user.uid);
    let (place, next) = (Path::new(&place), format!("{place}.1"));
    // All ranks meet, whatever is there and whenever it goes.
    let meet_elsewhere = |remove: &dyn Fn()| {
        let first = start();
        let second = start();
        remove();
        let third = start();
        assert_eq!(first.namespaces(), second.namespaces());
        assert_eq!(first.namespaces(), third.namespaces());
        [first, second, third].into_iter().for_each(Waiting::end);
        assert_eq!(fs::read_dir(&next).unwrap().count(), 1);
        fs::remove_dir_all(&next).unwrap();
    };
    with_own_mounts(|| {
        cover(Path::new("/dev/shm"), "size=1m");
        fs::create_dir(place).unwrap();
        fs::set_permissions(place, fs::Permissions::from_mode(0o777)).unwrap();
        meet_elsewhere(&|| fs::remove_dir(place).unwrap());
        // Even to a directory of the user's own.
        symlink(&user.home, place).unwrap();
        meet_elsewhere(&|| fs::remove_file(place).unwrap());
        fs::write(place, "").unwrap();
        meet_elsewhere(&|| fs::remove_file(place).unwrap());
        fs::create_dir(place).unwrap();
        chown(place, Some(user.uid), Some(user.gid)).unwrap();
        fs::set_permissions(place, fs::Permissions::from_mode(0o770)).unwrap();
        meet_elsewhere(&|| {});
        fs::set_permissions(place, fs::Permissions::from_mode(0o700)).unwrap();
        // And a link in the user's own place leads nowhere.
        let run = || outcome(&mut rank("hostile", &image, &[], "echo started"));
        symlink(user.home.join("stolen"), file("hostile")).unwrap();
        run().fails(&["cannot meet the other ranks of this step"]);
        assert!(!user.home.join("stolen").exists());
        fs::remove_file(file("hostile")).unwrap();
        // Nor is a list believed that another user has written.
        fs::write(file("hostile"), "").unwrap();
        fs::set_permissions(file("hostile"), fs::Permissions::from_mode(0o666)).unwrap();
        run().fails(&["cannot meet the other ranks of this step", "must be yours alone"]);
        fs::remove_file(file("hostile")).unwrap();
        assert_eq!(run().ok(), "started\n");
    });
    with_own_mounts(|| {
        cover(Path::new("/dev/shm"), "size=1m");
        (0..100).for_each(|number| {
            let name = if number == 0 { String::new() } else { format!(".{number}") };
            fs::write(format!("{}{name}", place.display()), "").unwrap();
        });
        let run = || outcome(&mut rank("hostile", &image, &[], "echo started"));
        run().fails(&["cannot meet the other ranks of this step", "must be yours alone"]);
    });
    with_own_mounts(|| {
        cover(Path::new("/dev/shm"), "size=1m");
        make_read_only(Path::new("/dev/shm"));
        let run = || outcome(&mut rank("hostile", &image, &[], "echo started"));
        run().fails(&["cannot meet the other ranks of this step", "Read-only", "--no-join"]);
    });
}

#[test]
fn where_shared_memory_cannot_be_looked_at_ranks_meet_in_tmp_and_say_so() {
    if lacks("root") {
        return;
    }
    let (image, home) = (real("bookworm"), Scratch::new());
    with_own_mounts(|| {
        cover(Path::new("/tmp"), "size=1m,mode=1777");
        cover(Path::new("/dev"), "size=1m");
        fs::write("/dev/shm", "").unwrap();
        fs::write("/dev/null", "").unwrap();
        fs::set_permissions("/dev/null", fs::Permissions::from_mode(0o666)).unwrap();
        let start = |directory: &str| {
            let variables = [("XDG_RUNTIME_DIR", directory)];
            Waiting::with(&variables, "no-shm", &image, &["-q"], &home)
        };
        // What the environment says of another directory makes no difference between ranks.
        let (first, second) = (start("/run"), start(""));
        assert_eq!(first.namespaces(), second.namespaces());
        first.end();
        second.end();
        let said = outcome(&mut rank("no-shm", &image, &[], "true")).stderr;
        let place = format!("the ranks of this step meet in /tmp/hrun-{}", tester().uid);
        assert!(said.contains("/dev/shm cannot be used") && said.contains(&place), "{said}");
    });
}

#[test]
fn a_shared_memory_that_fills_up_later_is_named() {
    if lacks("root") {
        return;
    }
    let (image, home) = (real("bookworm"), Scratch::new());
    with_own_mounts(|| {
        cover(Path::new("/dev/shm"), "size=8k");
        let first = Waiting::start("fills-up", &image, &[], &home);
        // The page of the list is there; it takes 63 more, and no other page.
        fs::write("/dev/shm/full", [b'x'; 4096]).unwrap();
        let script = "for i in $(seq 80); do $hrun -q $image true || exit 1; done 2>&1";
        let filled = outcome(shell(&image, script).envs(step("fills-up"))).stdout;
        assert!(filled.contains("cannot let other ranks of this step join"), "{filled}");
        assert!(filled.contains("No space left on device"), "{filled}");
        fs::remove_file("/dev/shm/full").unwrap();
        // Who could not be written down is not missed.
        let next = Waiting::start("fills-up", &image, &[], &home);
        assert_eq!(next.namespaces(), first.namespaces());
        next.end();
        first.end();
    });
}

#[test]
fn a_step_of_many_short_commands_has_a_short_list() {
    let (image, home) = (real("bookworm"), Scratch::new());
    let keeper = Waiting::start("long", &image, &[], &home);
    let shared = format!("{}\n", keeper.namespaces()[0]);
    let bind = home.path().display();
    let start = format!("$hrun -q --bind={bind} $image");
    let script = format!(
        "for i in $(seq 600); do {start} true || exit 1; done; \
         {start} readlink /proc/self/ns/user"
    );
    let seen = outcome(shell(&image, &script).envs(step("long")));
    assert_eq!(seen.ok(), shared);
    let lines = fs::read_to_string(file("long")).unwrap().lines().count();
    assert!((2..200).contains(&lines), "{lines} of 602 members are listed");
    keeper.end();
}

#[test]
fn steps_of_a_job_and_jobs_with_the_same_step_are_apart() {
    let (image, home) = (real("bookworm"), Scratch::new());
    let start = |job: &str, number: &str| {
        let job = format!("{}-{job}", std::process::id());
        let variables = [("SLURM_JOB_ID", job.as_str()), ("SLURM_STEP_ID", number)];
        Waiting::with(&variables, "apart", &image, &[], &home)
    };
    let ranks = [start("a", "0"), start("a", "1"), start("b", "0"), start("a", "0")];
    let users: Vec<String> = ranks.iter().map(|rank| rank.namespaces()[0].clone()).collect();
    assert_eq!(users.iter().collect::<BTreeSet<_>>().len(), 3);
    assert_eq!(users[0], users[3]);
    ranks.into_iter().for_each(Waiting::end);
}

#[test]
fn ranks_with_other_gpus_share_everything() {
    if lacks("root") {
        return;
    }
    let (image, home) = (real("gpu"), Scratch::new());
    let tree = format!("--driver-root={}", driver("h100").display());
    let start = |devices: &str| {
        let variables = [("CUDA_VISIBLE_DEVICES", devices)];
        Waiting::with(&variables, "gpus", &image, &["--nv", &tree], &home)
    };
    let ranks = ["0", "1", "0,1,2,3"].map(start);
    let seen: BTreeSet<[String; 2]> = ranks.iter().map(Waiting::namespaces).collect();
    assert_eq!(seen.len(), 1);
    for (rank, devices) in ranks.iter().zip(["0", "1", "0,1,2,3"]) {
        let environment = fs::read(format!("/proc/{}/environ", rank.pid())).unwrap();
        let expected = format!("CUDA_VISIBLE_DEVICES={devices}");
        assert!(environment.split(|byte| *byte == 0).any(|it| it == expected.as_bytes()));
    }
    ranks.into_iter().for_each(Waiting::end);
}
