//! Limits as they are decided for machines with other control groups than this one has.

use runtime::plan::{Action, Plan};

use super::plans::Case;

/// Alice on a machine, where some groups are root's.
fn case(machine: &str, closed: &[&str]) -> Case {
    let mut case = Case::new(machine, "image-debian");
    case.host.closed = closed.iter().map(Into::into).collect();
    case
}

/// The lines of a plan about limits, without who asked for them, and its first note.
fn limits(plan: &Plan) -> (Vec<String>, String) {
    let text = plan.to_string();
    let verbs = ["limit ", "affinity ", "scope "];
    let lines = text.lines().filter(|line| verbs.iter().any(|verb| line.starts_with(verb)));
    let lines = lines.map(|line| {
        let line = line.split("  [").next().unwrap();
        line.split_whitespace().collect::<Vec<&str>>().join(" ")
    });
    (lines.collect(), plan.notes[0].text.clone())
}

/// What root has kept for itself on the node with version 2.
const ROOTS: [&str; 6] = [
    "/sys/fs/cgroup",
    "/sys/fs/cgroup/cgroup.procs",
    "/sys/fs/cgroup/cgroup.subtree_control",
    "/sys/fs/cgroup/batch",
    "/sys/fs/cgroup/batch/cgroup.subtree_control",
    "/sys/fs/cgroup/batch/cgroup.procs",
];

#[test]
fn the_group_handed_over_is_found_above_ones_own() {
    let case = case("limits-v2", &ROOTS).option("cpus", "2.5").option("memory", "2g");
    let plan = case.decide().unwrap();
    let (lines, note) = limits(&plan);
    let wanted = "limit group in /sys/fs/cgroup/batch/alice: cpu.max=250000 100000, \
                  memory.max=2147483648, memory.swap.max=0";
    assert_eq!(lines, [wanted]);
    assert_eq!(note, "limits: 2.5 CPUs, 2G of memory by a control group");
    let Action::Limit { places, .. } = &plan.steps[0].action else { panic!("{plan}") };
    assert_eq!(places[0].enable, ["cpu"], "memory is there already");
    let Some(Action::Execute { environment, .. }) = plan.execute() else { panic!("{plan}") };
    let told = environment.iter().find(|set| set.name.as_bytes() == b"OMP_NUM_THREADS").unwrap();
    assert_eq!(
        (told.value.as_bytes(), told.origin.to_string().as_str()),
        (&b"3"[..], "--cpus 2.5")
    );
}

#[test]
fn a_group_of_ones_own_that_is_limited_is_not_left() {
    let all = ["/sys/fs/cgroup/batch/alice/cgroup.subtree_control"];
    let case = case("limits-v2", &[&ROOTS[..4], &all].concat());
    // Neither what is occupied, nor what would take the process out of a limit of its job.
    let plan = case.option("cpus", "2").option("quiet", "").decide().unwrap();
    let (lines, note) = limits(&plan);
    assert_eq!(lines, ["affinity CPUs 0,8"], "a whole core");
    assert!(note.starts_with("limits: 2 CPUs by affinity, CPUs 0,8 ("), "{note}");
}

#[test]
fn a_step_of_slurm_is_left_to_slurm() {
    let closed = ["/sys/fs/cgroup/cpu,cpuacct"];
    let slurm = case("limits-v1", &closed)
        .variable("SLURM_JOB_ID", "7")
        .variable("SLURM_STEP_ID", "0")
        .variable("SLURM_LOCALID", "1")
        .option("cpus", "1")
        .option("memory", "1g");
    let (lines, note) = limits(&slurm.decide().unwrap());
    // The launcher has bound this rank, so it does not step aside for others.
    assert_eq!(lines, ["affinity CPUs 4"]);
    assert!(note.contains("not in force: 1G of memory (control group"), "{note}");
    assert!(note.ends_with("step_0 is yours, and is left to who looks after it)"), "{note}");
}

#[test]
fn a_group_the_site_names_is_used_where_there_is_one() {
    let closed = ["/sys/fs/cgroup/cpu,cpuacct"];
    let slurm = case("limits-v1", &closed)
        .variable("SLURM_JOB_ID", "7")
        .variable("SLURM_STEP_ID", "0")
        .option("cgroup-parent", "/hrun")
        .option("cpus", "1");
    let (lines, _) = limits(&slurm.decide().unwrap());
    let parts = [
        "limit group in /sys/fs/cgroup/cpu,cpuacct/hrun shared by slurm-7.0-",
        ": cpu.cfs_period_us=100000, cpu.cfs_quota_us=100000",
    ];
    assert!(lines[0].starts_with(parts[0]) && lines[0].ends_with(parts[1]), "{lines:?}");
    assert_eq!(lines.len(), 1);
}
