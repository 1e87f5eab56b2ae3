//! Plans as decided for fake hosts, kernels and images; nothing is run.
//!
//! The wanted plans are in `tests/plans/`. After a change that is meant to change them:
//! `INSTA_UPDATE=always cargo test --test hrun plans` and read the difference.

use std::ffi::OsString;
use std::path::Path;

use runtime::decide;
use runtime::look::filesystem::Filesystem;
use runtime::look::host::Host;
use runtime::look::image::Image;
use runtime::look::kernel::Kernel;
use runtime::options;
use runtime::origin::Layer;
use runtime::plan::Plan;
use runtime::request::{Given, Request, Setting};

use super::support::tree::FakeTree;

/// A machine, an image and a request, changed by each test where it matters.
pub(super) struct Case {
    pub(super) host: Host,
    kernel: Kernel,
    image: FakeTree,
    filesystem: Option<Filesystem>,
    settings: Vec<Setting>,
    command: Vec<OsString>,
    _tree: FakeTree,
}

impl Case {
    /// Alice on a machine, in her home directory, running `true`.
    pub(super) fn new(host: &str, image: &str) -> Self {
        let tree = FakeTree::new(host);
        let mut fake = Host::fake(tree.path()).with_variable("HOME", "/home/alice");
        fake.cwd = "/home/alice".into();
        Case {
            host: fake.with_variable("SHELL", "/bin/bash").with_variable("USER", "alice"),
            kernel: Kernel::fake("6.1.0-18-amd64"),
            image: FakeTree::new(image),
            filesystem: None,
            settings: Vec::new(),
            command: vec!["true".into()],
            _tree: tree,
        }
    }

    pub(super) fn option(mut self, name: &str, value: &str) -> Self {
        let row = options::by_long(name).expect("an option of the table");
        let given = if value.is_empty() { Given::On } else { Given::Value(value.into()) };
        self.settings.push(Setting { name: row.name, given, layer: Layer::CommandLine });
        self
    }

    pub(super) fn variable(mut self, name: &str, value: &str) -> Self {
        self.host = self.host.with_variable(name, value);
        self
    }

    fn cwd(mut self, directory: &str) -> Self {
        self.host.cwd = directory.into();
        self
    }

    fn kernel(mut self, release: &str) -> Self {
        self.kernel = Kernel::fake(release);
        self
    }

    pub(super) fn decide(self) -> runtime::Result<Plan> {
        let request = Request::new(&self.settings, self.image.path().into(), self.command)?;
        let mut kernel = self.kernel;
        kernel.assume_missing.extend(&request.assume_missing);
        let mut image = Image::look(&request.image, &self.host)?;
        if let Some(filesystem) = self.filesystem {
            image = image.on_filesystem(filesystem);
        }
        decide::plan(&request, &self.host, &kernel, &image)
    }

    /// The plan as text, with /IMAGE for the image's own path.
    #[track_caller]
    fn plan(self) -> String {
        let image = self.image.path().display().to_string();
        let plan = self.decide().unwrap_or_else(|error| panic!("{error}"));
        let json = serde_json::to_string(&plan).unwrap().replace(&image, "/IMAGE");
        serde_json::from_str::<Plan>(&json).unwrap().to_string()
    }
}

/// Compares with `tests/plans/NAME.snap`.
#[track_caller]
fn assert_plan(name: &str, plan: String) {
    let mut settings = insta::Settings::new();
    settings.set_snapshot_path(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plans"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, plan));
}

#[test]
fn the_plain_run() {
    assert_plan("plain", Case::new("workstation", "image-debian").plan());
}

#[test]
fn an_image_that_lacks_nothing_gets_no_overlay() {
    let case = Case::new("workstation", "image-charliecloud").option("no-home", "");
    let plan = case.cwd("/tmp").variable("PYTHONPATH", "/mine").plan();
    assert!(!plan.contains("overlay"), "{plan}");
    assert_plan("nothing-missing", plan);
}

#[test]
fn an_image_of_one_file() {
    assert_plan("one-file", Case::new("workstation", "image-empty").plan());
}

#[test]
fn a_kernel_without_overlay() {
    let case = Case::new("workstation", "image-debian").kernel("5.10.0-28-amd64");
    assert_plan("linux-5.10", case.plan());
}

#[test]
fn a_kernel_of_red_hat_8() {
    let case = Case::new("workstation", "image-empty").kernel("4.18.0-305.el8.x86_64");
    assert_plan("red-hat-8", case.plan());
}

#[test]
fn an_image_on_a_parallel_file_system_gets_no_overlay() {
    for magic in [0x0bd0_0bd0, 0x4750_4653, 0x1983_0326, 0x6573_5546] {
        let mut case = Case::new("workstation", "image-debian").option("bind", "/tmp:/new");
        case.filesystem = Some(Filesystem { kind: magic, no_exec: false });
        let plan = case.plan();
        assert!(!plan.contains("overlay"), "{magic:x}: {plan}");
    }
    let mut case = Case::new("workstation", "image-debian").option("write-fake", "");
    case.filesystem = Some(Filesystem { kind: 0x4750_4653, no_exec: false });
    let error = case.decide().unwrap_err().to_string();
    assert!(error.contains("overlay is not known to work over the image's file system"), "{error}");
}

#[test]
fn a_slurm_job_on_a_cluster() {
    let case = Case::new("cluster", "image-debian")
        .cwd("/scratch/alice/job")
        .variable("SLURM_JOB_ID", "17")
        .variable("SLURM_STEP_ID", "0")
        .variable("PMIX_SERVER_TMPDIR", "/var/spool/slurmd/pmix.17.0")
        .variable("TMPDIR", "/local/17")
        .variable("LD_LIBRARY_PATH", "/opt/mpi/lib");
    assert_plan("slurm-job", case.plan());
}

#[test]
fn a_private_tmp_keeps_the_launchers_directories() {
    let case = Case::new("cluster", "image-debian")
        .option("contain", "")
        .option("bind", "/scratch/alice:/tmp/data:ro")
        .variable("SLURM_JOB_ID", "17")
        .variable("PMIX_SERVER_TMPDIR", "/var/spool/slurmd/pmix.17.0")
        .variable("TMPDIR", "/tmp/job17");
    assert_plan("contained-job", case.plan());
}

#[test]
fn binds_of_every_kind() {
    let case = Case::new("cluster", "image-debian")
        .option("bind", "/scratch:/data/deep/in:ro,/scratch/alice:/data/deep/in/alice")
        .option("bind", "/etc/slurm/slurm.conf:/etc/slurm.conf")
        .option("bind", "/nowhere:/x:optional")
        .option("mount", "type=bind,src=/users,dst=/bin/users")
        .option("bind", "/:/host");
    assert_plan("binds", case.plan());
}

#[test]
fn layers() {
    let case = || Case::new("workstation", "image-debian").option("bind", "/etc/hosts:/new/hosts");
    assert_plan("write", case().option("write", "").plan());
    assert_plan("write-fake", case().option("write-fake", "64m").plan());
    assert_plan("overlay", case().option("overlay", "layer").plan());
}

#[test]
fn root_inside() {
    let case = Case::new("workstation", "image-debian").option("root", "");
    assert_plan("root", case.plan());
}

#[test]
fn rights_that_were_asked_for() {
    let case = Case::new("workstation", "image-debian").option("root", "");
    let case = case.option("cap-keep", "chown,setuid,sys_admin").option("cap-drop", "sys_admin");
    assert_plan("rights", case.option("seccomp", "fakeroot").plan());
}

#[test]
fn variables() {
    let case = Case::new("workstation", "image-charliecloud")
        .option("set-env", "PYTHONPATH=$HOME/lib:$PYTHONPATH")
        .option("unset-env", "LANG*")
        .option("env", "COST=5$")
        .variable("PATH", "/home/alice/project:/nowhere:/usr/bin")
        .variable("LANGUAGE", "de")
        .variable("LD_PRELOAD", "/opt/xalt.so");
    assert_plan("variables", case.plan());
}

#[test]
fn the_home_of_a_daemon_is_not_shown() {
    let mut case = Case::new("workstation", "image-debian").cwd("/");
    case.host.variables.retain(|(name, _)| name != "HOME");
    let plan = case.variable("HOME", "/usr/sbin").plan();
    assert!(!plan.contains("/usr/sbin ->"), "{plan}");
}

#[test]
fn every_plan_survives_json() {
    let plan = Case::new("cluster", "image-debian").option("write-fake", "").decide().unwrap();
    let json = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<Plan>(&json).unwrap(), plan);
}

#[test]
fn a_mount_point_missing_in_the_users_own_directory_is_refused() {
    let case = Case::new("cluster", "image-debian").option("bind", "/scratch:/home/alice/data");
    let error = case.decide().unwrap_err().to_string();
    assert!(error.contains("mkdir -p /users/alice/data"), "{error}");
    assert!(error.contains("from: --bind /scratch:/home/alice/data"), "{error}");
}
