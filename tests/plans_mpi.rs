//! The host's MPI in place of the image's, as decided for clusters of several makers and a real
//! image with real programs.
//!
//! The hosts are those of `tests/clusters.sh`; the wanted plans are in `tests/plans/mpi/`. After a
//! change that is meant to change them: `INSTA_UPDATE=always cargo test --test hrun plans_mpi` and
//! read the difference.

use std::path::{Path, PathBuf};

use runtime::decide;
use runtime::look::host::Host;
use runtime::look::image::Image;
use runtime::look::kernel::Kernel;
use runtime::options;
use runtime::origin::Layer;
use runtime::plan::Plan;
use runtime::request::{Given, Request, Setting};

use super::support::driver::driver;
use super::support::{lacks, real};

/// A node of a cluster, and a command that is linked with MPI.
struct Case {
    host: Host,
    image: PathBuf,
    settings: Vec<Setting>,
    command: &'static str,
}

impl Case {
    /// Alice on a node; the image has Debian's Open MPI and MPICH.
    fn on(cluster: &str, command: &'static str) -> Self {
        let mut host = Host::fake(driver(cluster)).with_variable("HOME", "/home/alice");
        host.cwd = "/home/alice".into();
        Case { host, image: real("mpi"), settings: Vec::new(), command }.option("mpi", "host")
    }

    fn option(mut self, name: &str, value: &str) -> Self {
        let name = options::by_long(name).expect("an option of the table").name;
        let given = Given::Value(value.into());
        self.settings.retain(|setting| setting.name != name);
        self.settings.push(Setting { name, given, layer: Layer::CommandLine });
        self
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.host = self.host.with_variable(name, value);
        self
    }

    fn image(self, name: &str) -> Self {
        Case { image: real(name), ..self }
    }

    fn decide(&self) -> runtime::Result<Plan> {
        let request = Request::new(&self.settings, self.image.clone(), vec![self.command.into()])?;
        let image = Image::look(&request.image, &self.host)?;
        decide::plan(&request, &self.host, &Kernel::fake("6.1.0-18-amd64"), &image)
    }

    /// The lines of the plan that `--mpi` asked for, and what they say.
    fn plan(&self) -> String {
        let mut text = String::new();
        match self.decide() {
            Ok(plan) => {
                for line in plan.to_string().lines().filter(|line| line.contains("--mpi")) {
                    text.push_str(&line.split_whitespace().collect::<Vec<_>>().join(" "));
                    text.push('\n');
                }
                for note in plan.notes.iter().filter(|note| note.text.contains("MPI")) {
                    text.push_str(&format!("note: {}\n", note.text));
                }
            }
            Err(error) => text = format!("hrun: {error}\n"),
        }
        let own = [(self.host.files.root(), ""), (self.image.as_path(), "/IMAGE")];
        own.iter().fold(text, |text, (path, name)| text.replace(&path.display().to_string(), name))
    }
}

const MPICH: &str = "/usr/local/bin/ring.mpich";
const OPEN_MPI: &str = "/usr/local/bin/ring.openmpi";

/// Compares with `tests/plans/mpi/NAME.snap`.
#[track_caller]
fn assert_plan(name: &str, case: Case) {
    let mut settings = insta::Settings::new();
    settings.set_snapshot_path(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plans/mpi"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, case.plan()));
}

/// What Cray's modules set.
fn cray(command: &'static str) -> Case {
    Case::on("cray", command)
        .variable("CRAY_MPICH_DIR", "/opt/cray/pe/mpich/8.1.28/ofi/gnu/12.3")
        .variable("LD_LIBRARY_PATH", "/opt/cray/libfabric/1.15.2.0/lib64")
        .variable("PALS_APID", "a1b2")
        .variable("PALS_SPOOL_DIR", "/var/run/palsd/a1b2")
}

#[test]
fn clusters() {
    if lacks("root") {
        return;
    }
    assert_plan("cray", cray(MPICH));
    let hpcx = Case::on("mofed", OPEN_MPI).variable("PATH", "/opt/hpcx/ompi/bin:/usr/bin");
    assert_plan("mofed", hpcx.variable("OPAL_PREFIX", "/opt/hpcx/ompi"));
    assert_plan("omnipath", Case::on("omnipath", MPICH));
    assert_plan("interpreter", Case::on("omnipath", "/bin/sh"));
}

#[test]
fn what_cannot_be() {
    if lacks("root") {
        return;
    }
    assert_plan("other-family", cray(OPEN_MPI));
    let old = Case::on("omnipath", MPICH).option("mpi-root", "/opt/mpich-3.1");
    assert_plan("lacks-a-function", old);
    assert_plan("nothing-there", Case::on("omnipath", MPICH).option("mpi-root", "/srv"));
    assert_plan("no-glibc", Case::on("omnipath", "/bin/hello").image("musl"));
    let hpcx = Case::on("mofed", MPICH).variable("LD_LIBRARY_PATH", "/opt/hpcx/ompi/lib");
    assert_plan("only-the-other-family", hpcx);
}

#[test]
fn auto_takes_the_hosts_only_where_the_launcher_is_not_understood() {
    if lacks("root") {
        return;
    }
    let auto = |case: Case| case.option("mpi", "auto").plan();
    let pmi = |case: Case| case.variable("PMI_RANK", "1").variable("PMI_SIZE", "4");
    assert_eq!(auto(Case::on("omnipath", MPICH)), "", "no launcher");
    assert_eq!(auto(pmi(Case::on("omnipath", MPICH))), "", "MPICH understands PMI");
    let hpcx = || Case::on("mofed", OPEN_MPI).variable("LD_LIBRARY_PATH", "/opt/hpcx/ompi/lib");
    assert_eq!(auto(hpcx()), "", "no launcher");
    let taken = auto(pmi(hpcx()));
    let note = "note: the command uses the host's MPI: libmpi.so.40.30.5 (Open MPI)\n";
    assert!(taken.ends_with(note), "the image's does not understand PMI: {taken}");
    assert!(taken.contains("bind /opt/hpcx/ompi -> /opt/hpcx/ompi [--mpi=auto]"), "{taken}");
    // Where neither does, nothing is changed.
    let pmix = |case: Case| case.variable("PMIX_NAMESPACE", "a").variable("PMI_SIZE", "4");
    assert_eq!(auto(pmix(Case::on("omnipath", MPICH))), "");
}
