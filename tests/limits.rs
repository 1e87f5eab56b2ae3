//! `--cpus`, `--cpuset`, `--memory`, `--pids-limit`: what is in force, and what programs see of it.
//!
//! Control groups are of version 1 here; `tests/kernels.rs` has those of version 2.

use std::path::Path;

use super::support::groups::Delegated;
use super::support::run::{Outcome, as_tester, outcome, probe_arguments};
use super::support::{Image, command, hrun, lacks, probe, program, real};

/// What a shell in an image says under some limits.
fn shell(groups: &Delegated, options: &[&str], script: &str) -> Outcome {
    let parent = groups.option();
    let mut words = vec![parent.as_str()];
    words.extend(options);
    let image = real("bookworm");
    words.extend([image.to_str().unwrap(), "sh", "-c", script]);
    hrun(words)
}

/// The number of CPUs of the one who runs the tests.
fn cpus() -> usize {
    std::thread::available_parallelism().unwrap().get()
}

/// A command that becomes hrun on the first CPU alone.
fn on_one_cpu(words: &[&str]) -> Outcome {
    let mut taskset = as_tester(Path::new("taskset"));
    outcome(taskset.args(["-c", "0"]).arg(program("hrun")).args(words))
}

fn spin(groups: &Delegated, seconds: &str) -> f64 {
    let (image, parent) = (Image::tiny(), groups.option());
    let words = format!("spin 4 {seconds}");
    let seen = probe(image.path(), &[&parent, "--cpus=0.5"], &words).ok();
    seen.trim().parse().unwrap()
}

#[test]
fn four_threads_have_no_more_than_half_a_cpu() {
    if lacks("root") || lacks("limit-cgroups") {
        return;
    }
    let share = spin(&Delegated::new(), "1");
    assert!(share < 0.6, "{share} CPUs");
}

#[test]
#[ignore = "takes half a minute: make test-full"]
fn four_threads_have_half_a_cpu() {
    if lacks("root") || lacks("limit-cgroups") {
        return;
    }
    let groups = Delegated::new();
    // Others may take CPUs away for a while.
    let mut shares = [(); 5].map(|()| spin(&groups, "5"));
    shares.sort_by(f64::total_cmp);
    println!("{shares:?} CPUs");
    assert!((0.45..=0.55).contains(&shares[4]), "{shares:?} CPUs");
}

#[test]
fn who_takes_more_memory_is_killed_and_hrun_says_so() {
    if lacks("root") || lacks("limit-cgroups") {
        return;
    }
    let groups = Delegated::new();
    let (parent, image) = (groups.option(), real("bookworm"));
    let take = |option: &str, megabytes: u32| {
        let script = format!("b = bytearray({megabytes} << 20); print(len(b))");
        let words = [option, "--memory=64M", image.to_str().unwrap(), "python3", "-c", &script];
        hrun([parent.as_str()].into_iter().chain(words))
    };
    let killed = take("--verbose", 200);
    assert_eq!((killed.signal, killed.stdout.as_str()), (Some(9), ""));
    let says =
        "hrun: warning: the memory limit of 64M was reached, and the kernel has killed for it\n";
    assert!(killed.stderr.ends_with(says), "{}", killed.stderr);
    let quiet = take("--quiet", 200);
    assert_eq!((quiet.signal, quiet.stderr.as_str()), (Some(9), ""));
    assert_eq!(take("--quiet", 20).ok(), format!("{}\n", 20 << 20));
    groups.are_empty_in_time();
}

#[test]
fn a_fork_bomb_is_stopped() {
    if lacks("root") || lacks("limit-cgroups") {
        return;
    }
    let groups = Delegated::new();
    let bomb = "bomb() { bomb & bomb; }; bomb";
    let stopped = shell(&groups, &["--pids-limit=30"], bomb);
    assert!(stopped.stderr.contains("Cannot fork"), "{stopped:?}");
    let count = "import os, time\nn = 1\ntry:\n    while True:\n        if os.fork() == 0: time.sleep(9)\n\
                 \x20       n += 1\nexcept BlockingIOError: print(n)\nos.kill(0, 9)";
    let image = real("bookworm");
    let parent = groups.option();
    let mut alone = as_tester(Path::new("setsid"));
    let words = ["--pids-limit=30", image.to_str().unwrap(), "python3", "-uc", count];
    let counted = outcome(alone.arg("-w").arg(program("hrun")).arg(parent).args(words));
    assert_eq!(counted.stdout, "30\n", "{counted:?}");
    groups.are_empty_in_time();
}

#[test]
fn programs_see_the_cpus_they_have() {
    let image = real("bookworm");
    let seen =
        "nproc; python3 -c 'import os; print(*os.sched_getaffinity(0))'; echo $OMP_NUM_THREADS";
    let words = ["--cpuset=0", image.to_str().unwrap(), "sh", "-c", seen];
    assert_eq!(hrun(words).ok(), "1\n0\n\n", "by affinity");
    if lacks("root") || lacks("limit-cgroups") {
        return;
    }
    let groups = Delegated::new();
    let both = format!("{seen}; cat /sys/fs/cgroup/cpuset/hrun-test*/hrun-*/cpuset.cpus");
    assert_eq!(shell(&groups, &["--cpuset=0"], &both).ok(), "1\n0\n\n0\n", "by a group as well");
}

#[test]
fn programs_are_told_of_a_quota_unless_somebody_has_told_them() {
    if lacks("root") || lacks("limit-cgroups") {
        return;
    }
    let groups = Delegated::new();
    let told = |options: &[&str]| shell(&groups, options, "echo $OMP_NUM_THREADS").ok();
    let wanted = |count: usize| match count < cpus() {
        true => format!("{count}\n"),
        false => "\n".to_owned(),
    };
    assert_eq!(told(&["--cpus=0.5"]), wanted(1));
    assert_eq!(told(&["--cpus=1.4"]), wanted(1));
    assert_eq!(told(&["--cpus=1.5"]), wanted(2));
    assert_eq!(told(&[&format!("--cpus={}", cpus())]), "\n", "the mask says it");
    assert_eq!(told(&["--cpus=1", "--cpuset=0"]), "\n", "the mask says it");
    assert_eq!(told(&["--cpus=1", "--env=OMP_NUM_THREADS=7"]), "7\n");
    assert_eq!(told(&["--cpus=1", "--unset-env=OMP_*"]), "\n");
    let parent = groups.option();
    let image = Image::tiny();
    let mut by_host =
        command(probe_arguments(image.path(), &[&parent, "--cpus=1"], "env OMP_NUM_THREADS"));
    assert_eq!(outcome(by_host.env("OMP_NUM_THREADS", "5")).ok(), "5\n");
}

#[test]
fn without_a_control_group_cpus_are_kept_by_affinity() {
    let image = Image::tiny();
    let image = image.path();
    let seen = probe(image, &["--cpus=1"], "status Cpus_allowed_list");
    let note = "hrun: warning: limits: 1 CPU by affinity, CPUs 0 (";
    assert!(seen.stderr.starts_with(note), "{}", seen.stderr);
    assert_eq!(seen.stdout, "Cpus_allowed_list:0\n");
    let quiet = probe(image, &["--quiet", "--cpus=0.3"], "status Cpus_allowed_list");
    assert_eq!(quiet.ok(), "Cpus_allowed_list:0\n");
    // Nobody is given more than he had.
    let words = ["--quiet", "--cpus=64", image.to_str().unwrap(), "/bin/probe", "status"];
    let bound = on_one_cpu(&[&words[..], &["Cpus_allowed_list"]].concat());
    assert_eq!(bound.ok(), "Cpus_allowed_list:0\n");
}

#[test]
fn what_cannot_be_had_is_said_or_refused() {
    let image = Image::tiny();
    let image = image.path();
    let said = probe(image, &["--memory=1g", "--pids-limit=99"], "cwd");
    let note = "hrun: warning: limits: not in force: 1G of memory, 99 processes (";
    assert!(said.stderr.starts_with(note), "{}", said.stderr);
    assert_eq!((said.status, said.stderr.lines().count()), (Some(0), 1), "one line");
    for (limit, what) in [
        ("--memory=1g", "1G of memory"),
        ("--cpus=1", "1 CPU"),
        ("--cpuset=0", "the CPUs 0"),
        ("--pids-limit=9", "9 processes"),
    ] {
        let attempt = format!("cannot keep the command to {what}: ");
        probe(image, &["--limits=require", limit], "cwd").fails(&[
            &attempt,
            &format!("from: {}", limit.replace('=', " ")),
            "--cgroup-parent",
        ]);
    }
    let words = ["--cpuset=1", image.to_str().unwrap(), "/bin/probe", "cwd"];
    on_one_cpu(&words).fails(&["this job may use the CPUs 0,", "from: --cpuset 1"]);
    if cpus() > 1 {
        let words = ["--cpuset=0,1", image.to_str().unwrap(), "/bin/probe", "cwd"];
        let some = on_one_cpu(&words).stderr;
        assert!(some.contains("CPUs 1 of --cpuset are not among those of this job, 0\n"), "{some}");
    }
}

#[test]
fn values_that_are_no_limits_are_refused() {
    let image = Image::tiny();
    let image = image.path();
    for option in [
        "--cpus=0",
        "--cpus=x",
        "--cpuset=3-1",
        "--memory=0",
        "--memory=1x",
        "--pids-limit=-1",
        "--limits=often",
    ] {
        let name = option.split('=').next().unwrap();
        probe(image, &[option], "cwd").fails(&[&format!("cannot use option {name}: ")]);
    }
    let taken_away = probe(image, &["--memory=1g", "--memory=none"], "cwd");
    assert_eq!((taken_away.status, taken_away.stderr.as_str()), (Some(0), ""));
}

#[test]
fn a_plan_has_the_limits_and_can_be_carried_out() {
    if lacks("root") || lacks("limit-cgroups") {
        return;
    }
    let groups = Delegated::new();
    let (parent, image) = (groups.option(), Image::tiny());
    let dry = |format: &str| {
        let options = [parent.as_str(), "--cpus=0.5", "--memory=64m", "--pids-limit=50", format];
        probe(image.path(), &options, "cat /proc/self/cgroup").ok()
    };
    let text = dry("--dry-run");
    for part in ["cpu.cfs_quota_us=50000", "memory.limit_in_bytes=67108864", "[--cpus 0.5]"] {
        assert!(text.contains(part), "{text}");
    }
    let oci: serde_json::Value = serde_json::from_str(&dry("--dry-run=oci")).unwrap();
    let resources = &oci["linux"]["resources"];
    assert_eq!(resources["cpu"]["quota"], 50_000);
    assert_eq!(resources["cpu"]["period"], 100_000);
    assert_eq!(resources["memory"]["limit"], 64 << 20);
    assert_eq!(resources["pids"]["limit"], 50);
    let scratch = super::support::Scratch::new();
    let plan = scratch.file("plan.json", dry("--dry-run=json"));
    let groups_of = hrun(["--plan", plan.to_str().unwrap()]).ok();
    assert_eq!(groups_of.matches("/hrun-test-").count(), 3, "{groups_of}");
    groups.are_empty_in_time();
}

#[test]
#[ignore = "wants a large image: make test-full"]
fn torch_has_as_many_threads_as_it_may_use() {
    if lacks("root") || lacks("limit-cgroups") {
        return;
    }
    let groups = Delegated::new();
    let (parent, image) = (groups.option(), real("torch"));
    let threads = |options: &[&str]| {
        let script =
            "import os, torch; print(torch.get_num_threads(), len(os.sched_getaffinity(0)))";
        let mut words: Vec<&str> = options.to_vec();
        words.extend(["--quiet", image.to_str().unwrap(), "python3", "-c", script]);
        hrun(words).ok()
    };
    let all = cpus();
    // Without a limit it takes a thread for each core.
    let free = threads(&[]);
    assert!(free.ends_with(&format!(" {all}\n")), "{free}");
    let two = threads(&["--env=OMP_NUM_THREADS=2"]);
    assert_eq!(two, format!("2 {all}\n"), "the variable is what it goes by");
    assert_eq!(threads(&[&parent, "--cpus=1"]), format!("1 {all}\n"), "a quota");
    assert_eq!(threads(&[&parent, "--cpuset=0"]), "1 1\n", "a group with CPUs");
    assert_eq!(threads(&["--cpus=1"]), "1 1\n", "affinity");
    assert_eq!(threads(&["--cpuset=0"]), "1 1\n", "affinity");
    assert_eq!(threads(&[&parent, "--memory=2g"]), free);
}
