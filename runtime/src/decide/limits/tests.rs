use super::*;
use crate::look::cgroup::Group;
use crate::request::limits::Cpus;
use crate::request::{Asked, asked};

fn ask<T>(value: T) -> Option<Asked<T>> {
    Some(asked(value, &Origin::CommandLine))
}

fn words(words: &str) -> Vec<String> {
    words.split_whitespace().map(str::to_owned).collect()
}

fn group(path: &str, controllers: &str) -> Group {
    let enabled = words(controllers);
    let available = enabled.clone();
    Group { path: path.into(), is_open: true, enabled, available, ..Group::default() }
}

/// A machine with control groups of version 2.
fn v2(groups: Vec<Group>) -> Facts {
    let cpus: CpuList = (0..4).collect();
    Facts {
        hierarchies: vec![Hierarchy {
            is_v2: true,
            controllers: words("cpu cpuset memory pids"),
            groups,
        }],
        allowed: cpus.clone(),
        of_job: cpus,
        ..Facts::default()
    }
}

fn all() -> Limits {
    Limits {
        cpus: ask(Cpus(150_000)),
        cpuset: ask([1, 2, 3].into_iter().collect()),
        memory: ask(64 << 20),
        pids: ask(50),
        ..Limits::default()
    }
}

/// The plan's lines and the notes.
fn read(limits: &Limits, facts: &Facts) -> (Vec<String>, Vec<String>) {
    let decided = choose(limits, facts, false).unwrap();
    let step = |step: &Step| match &step.action {
        Action::Limit { shared, places, .. } => {
            let place = |place: &crate::plan::Place| {
                let set = place.settings.iter().map(|set| format!("{}={}", set.file, set.value));
                let set: Vec<String> = set.collect();
                format!("{} +{}: {}", place.parent, place.enable.join("+"), set.join(" "))
            };
            let places: Vec<String> = places.iter().map(place).collect();
            let whose = shared.as_deref().map(|name| name.rsplit_once('-').unwrap().0);
            format!("{} in {}", whose.unwrap_or("own"), places.join(" and "))
        }
        action => action.describe(),
    };
    let notes = decided.notes.into_iter().map(|note| note.text);
    (decided.steps.iter().map(step).collect(), notes.collect())
}

#[test]
fn everything_is_set_in_one_group_of_version_2() {
    let facts = v2(vec![group("/g/user", "cpu cpuset memory pids")]);
    let (steps, notes) = read(&all(), &facts);
    let group = "own in /g/user +: cpu.max=150000 100000 cpuset.cpus=1-3 memory.max=67108864 \
                 memory.swap.max=0 pids.max=50";
    assert_eq!(steps, [group, "keep to the CPUs 1-3"]);
    assert_eq!(
        notes,
        ["limits: 1.5 CPUs, the CPUs 1-3, 64M of memory, 50 processes by a control group"]
    );
    assert_eq!(threads_of(&all(), &facts).as_deref(), Some("2"));
}

fn threads_of(limits: &Limits, facts: &Facts) -> Option<String> {
    let variable = choose(limits, facts, false).unwrap().variable?;
    Some(variable.value.into_string().unwrap())
}

#[test]
fn controllers_are_enabled_where_that_is_allowed() {
    let mut user = group("/g/user", "memory");
    user.available = words("memory pids");
    let limits = Limits { pids: ask(9), memory: ask(4096), ..Limits::default() };
    let (steps, _) = read(&limits, &v2(vec![user]));
    assert_eq!(steps, ["own in /g/user +pids: memory.max=4096 memory.swap.max=0 pids.max=9"]);
}

#[test]
fn groups_that_are_not_for_this_are_passed_over() {
    let limits = Limits { memory: ask(4096), ..Limits::default() };
    let closed = Group { is_open: false, ..group("/g/closed", "memory") };
    let occupied = Group { is_occupied: true, ..group("/g/occupied", "memory") };
    let managed = Group { is_managed: true, ..group("/g/managed", "memory") };
    let limited = Group { is_above_limits: true, ..group("/g/limited", "memory") };
    let lacking = group("/g/lacking", "pids");
    let unusable = vec![closed, occupied, managed, limited, lacking];
    let (steps, notes) = read(&limits, &v2(unusable.clone()));
    assert_eq!(steps, [""; 0]);
    assert_eq!(notes.len(), 1);
    assert!(notes[0].starts_with("limits: not in force: 4K of memory ("), "{notes:?}");
    let mut groups = unusable.clone();
    groups.push(group("/g/good", "memory"));
    let (steps, _) = read(&limits, &v2(groups));
    assert!(steps[0].starts_with("own in /g/good "), "{steps:?}");
    // What somebody has named is his to know.
    let mut named = unusable;
    named[2].is_named = true;
    let (steps, _) = read(&limits, &v2(named));
    assert!(steps[0].starts_with("own in /g/managed "), "{steps:?}");
}

#[test]
fn the_group_that_holds_most_is_taken() {
    let limits = Limits { memory: ask(4096), pids: ask(9), ..Limits::default() };
    let groups = vec![group("/g/one", "pids"), group("/g/two", "memory pids")];
    let (steps, _) = read(&limits, &v2(groups));
    assert!(steps[0].starts_with("own in /g/two "), "{steps:?}");
}

#[test]
fn every_controller_of_version_1_has_a_tree() {
    let tree = |controller: &str, path: &str| {
        let mut group = group(path, controller);
        group.memory_nodes = "0".to_owned();
        Hierarchy { is_v2: false, controllers: words(controller), groups: vec![group] }
    };
    let mut facts = v2(Vec::new());
    facts.shared = Some("slurm-7.0".to_owned());
    facts.hierarchies = vec![tree("cpu", "/g/cpu/u"), tree("cpuset", "/g/cpuset/u")];
    let limits = Limits { memory: None, pids: None, ..all() };
    let (steps, _) = read(&limits, &facts);
    let group = "slurm-7.0 in /g/cpu/u +: cpu.cfs_period_us=100000 cpu.cfs_quota_us=150000 and \
                 /g/cpuset/u +: cpuset.mems=0 cpuset.cpus=1-3";
    assert_eq!(steps, [group, "keep to the CPUs 1-3"]);
    let (_, notes) = read(&all(), &facts);
    assert_eq!(
        notes,
        ["limits: 1.5 CPUs, the CPUs 1-3 by a control group; not in force: 64M of memory, 50 \
          processes (this machine has no control groups with the controller memory)"]
    );
}

#[test]
fn without_a_group_there_is_affinity_or_an_error() {
    let limits = Limits { memory: None, pids: None, ..all() };
    let (steps, notes) = read(&limits, &v2(Vec::new()));
    assert_eq!(steps, ["keep to the CPUs 1-2"]);
    assert_eq!(
        notes,
        [
            "limits: 1.5 CPUs, the CPUs 1-3 by affinity, CPUs 1-2 (no control group here is yours to \
          make others in)"
        ]
    );
    assert_eq!(threads_of(&limits, &v2(Vec::new())), None, "they count the CPUs they have");
    let required = Limits { require: Some(Origin::CommandLine), ..limits };
    let error = choose(&required, &v2(Vec::new()), false).unwrap_err();
    assert_eq!(error.attempt, "keep the command to 1.5 CPUs");
}

#[test]
fn the_systemd_of_the_user_is_asked_where_it_can_do_everything() {
    let manager = |controllers: &str| {
        let controllers = words(controllers);
        Some(UserManager { program: "/usr/bin/systemd-run".into(), controllers })
    };
    let limits = Limits { cpuset: None, ..all() };
    let facts = Facts { manager: manager("cpu memory pids"), ..v2(Vec::new()) };
    let decided = choose(&limits, &facts, false).unwrap();
    let Action::Scope { properties, .. } = &decided.steps[0].action else { panic!("{decided:?}") };
    let wanted = ["CPUQuota=150%", "MemoryMax=67108864", "MemorySwapMax=0", "TasksMax=50"];
    assert_eq!(properties, &wanted);
    assert_eq!(
        decided.notes[0].text,
        "limits: 1.5 CPUs, 64M of memory, 50 processes by your systemd"
    );
    let facts = Facts { manager: manager("memory pids"), ..v2(Vec::new()) };
    let (steps, _) = read(&limits, &facts);
    assert_eq!(steps, ["keep to the CPUs 0-1"], "it cannot limit CPUs");
}

#[test]
fn ranks_with_the_same_limits_share_a_group() {
    let facts =
        Facts { shared: Some("slurm-7.0".to_owned()), ..v2(vec![group("/g/user", "cpu memory")]) };
    let name = |limits: Limits| match &choose(&limits, &facts, false).unwrap().steps[0].action {
        Action::Limit { shared: Some(name), .. } => name.clone(),
        action => panic!("{action:?}"),
    };
    let small = || Limits { memory: ask(1 << 20), ..Limits::default() };
    assert_eq!(name(small()), name(small()));
    assert_ne!(name(small()), name(Limits { memory: ask(1 << 30), ..Limits::default() }));
}
