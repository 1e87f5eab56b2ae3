//! What injectors of devices want, as decided for hosts with GPUs and images of all kinds.
//!
//! The hosts are those of `tests/drivers.sh`, the images those of `tests/images.sh`; the wanted
//! plans are in `tests/plans/gpu/`. After a change that is meant to change them:
//! `INSTA_UPDATE=always cargo test --test hrun plans_gpu` and read the difference.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use runtime::decide;
use runtime::look::host::Host;
use runtime::look::image::Image;
use runtime::look::kernel::Kernel;
use runtime::options;
use runtime::origin::Layer;
use runtime::plan::Plan;
use runtime::request::{Given, Request, Setting};

use super::support::driver::{driver, uuid};
use super::support::tree::FakeTree;
use super::support::{lacks, real};

/// A machine with GPUs and an image, changed by each test where it matters.
struct Case {
    tree: FakeTree,
    image: PathBuf,
    options: Vec<(&'static str, String)>,
    variables: Vec<(&'static str, String)>,
    closed: Vec<&'static str>,
}

impl Case {
    /// A workstation with what a tree has, and an image of Debian 12.
    fn on(machine: &str) -> Self {
        let tree = FakeTree::new("workstation");
        if machine != "bare" {
            let copied = Command::new("cp")
                .arg("-a")
                .arg(driver(machine).join("."))
                .arg(tree.path())
                .status();
            assert!(copied.unwrap().success());
        }
        let (options, variables, closed) = (Vec::new(), Vec::new(), Vec::new());
        Case { tree, image: real("bookworm"), options, variables, closed }
    }

    fn image(self, image: PathBuf) -> Self {
        Case { image, ..self }
    }

    fn option(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.options.push((name, value.into()));
        self
    }

    fn variable(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.variables.push((name, value.into()));
        self
    }

    fn file(self, path: &str, text: &str) -> Self {
        let path = self.tree.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn closed(mut self, nodes: &[&'static str]) -> Self {
        self.closed.extend(nodes);
        self
    }

    fn decide(&self) -> runtime::Result<Plan> {
        let setting = |(name, value): &(&str, String)| {
            let row = options::by_long(name).expect("an option of the table");
            let given = if value.is_empty() { Given::On } else { Given::Value(value.into()) };
            Setting { name: row.name, given, layer: Layer::CommandLine }
        };
        let settings: Vec<Setting> = self.options.iter().map(setting).collect();
        let request = Request::new(&settings, self.image.clone(), vec!["true".into()])?;
        let mut host = Host::fake(self.tree.path());
        for (name, value) in &self.variables {
            host = host.with_variable(name, value.as_str());
        }
        host.closed = self.closed.iter().map(PathBuf::from).collect();
        let kernel = Kernel::fake("6.1.0-18-amd64");
        let image = Image::look(&request.image, &host)?;
        decide::plan(&request, &host, &kernel, &image)
    }

    /// The lines of the plan that injectors of devices asked for, what they say, and whether the
    /// plan needed anything more.
    fn plan(self) -> String {
        let plan = match self.decide() {
            Ok(plan) => plan,
            Err(error) => return format!("hrun: {error}\n"),
        };
        let mut text = String::new();
        for line in plan.to_string().lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let line = words.join(" ");
            let choices = ["_VISIBLE_DEVICES=", "CUDA_DEVICE_ORDER=", "PATH="];
            let names_devices = choices.iter().any(|name| line.contains(name));
            let asked = ["nvidia]", "amd]", "intel]", "cdi]"];
            if names_devices || asked.iter().any(|injector| line.ends_with(injector)) {
                text.push_str(&line);
                text.push('\n');
            }
        }
        for note in &plan.notes {
            let kind = if note.warning { "warning" } else { "note" };
            if !note.text.starts_with("no /") && !note.text.contains("home directory") {
                text.push_str(&format!("{kind}: {}\n", note.text));
            }
        }
        let own = [(self.tree.path(), ""), (self.image.as_path(), "/IMAGE")];
        let text = own
            .iter()
            .fold(text, |text, (path, name)| text.replace(&path.display().to_string(), name));
        text.lines().map(|line| without_size(line) + "\n").collect()
    }
}

/// A line without the size of a file: images are as Debian has them today, and so are the files
/// that are made from theirs.
fn without_size(line: &str) -> String {
    match (line.find('('), line.find(" bytes)")) {
        (Some(start), Some(end)) => format!("{}({}", &line[..start], &line[end + 1..]),
        _ => line.to_owned(),
    }
}

/// Compares with `tests/plans/gpu/NAME.snap`.
#[track_caller]
fn assert_plan(name: &str, case: Case) {
    if lacks("root") {
        return;
    }
    let mut settings = insta::Settings::new();
    settings.set_snapshot_path(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plans/gpu"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, case.plan()));
}

#[test]
fn hosts() {
    let on = |machine: &str| Case::on(machine).option("nv", "");
    assert_plan("host-bare", on("bare"));
    assert_plan("host-bare-granted", on("bare").variable("SLURM_JOB_GPUS", "0"));
    assert_plan("host-h100", on("h100"));
    let denied = ["/dev/nvidia0", "/dev/nvidia1", "/dev/nvidia3", "/dev/nvidia4"];
    let job = on("a100").closed(&denied).variable("CUDA_VISIBLE_DEVICES", "0,1,2");
    assert_plan("host-a100-slurm", job);
    assert_plan("host-mig", on("mig").variable("CUDA_VISIBLE_DEVICES", "MIG-5a3c"));
    assert_plan("host-gds", on("gds"));
    assert_plan("host-local", on("local"));
    assert_plan("host-alternatives", on("alternatives"));
    assert_plan("host-rhel", on("rhel"));
    assert_plan("host-nocache", on("nocache"));
    assert_plan("host-two", on("two"));
    assert_plan("host-mismatch", on("mismatch"));
    let old = on("rhel").file("proc/sys/kernel/osrelease", "4.18.0-553.el8_10.x86_64\n");
    assert_plan("host-rhel-8", old);
    let choice = ("ROCR_VISIBLE_DEVICES", "1");
    assert_plan("host-rocm", Case::on("rocm").option("rocm", "").variable(choice.0, choice.1));
    assert_plan("host-intel", Case::on("intel").option("intel", ""));
}

#[test]
fn images() {
    let on = |image: PathBuf| Case::on("h100").option("nv", "").image(image);
    for name in ["bullseye", "trixie", "musl", "cuda", "leftovers"] {
        assert_plan(&format!("image-{name}"), on(real(name)));
    }
    let distroless = FakeTree::new("image-distroless");
    assert_plan("image-distroless", on(distroless.path().to_path_buf()));
    let empty = FakeTree::new("image-empty");
    assert_plan("image-empty", on(empty.path().to_path_buf()));
}

#[test]
fn selections() {
    let on = || Case::on("h100");
    assert_plan("select-number", on().option("gpus", "1"));
    assert_plan("select-uuid", on().option("gpus", uuid(2)).variable("CUDA_VISIBLE_DEVICES", "2"));
    assert_plan("select-none", on().option("gpus", "none"));
    let variable = on().option("nv", "").variable("NVIDIA_VISIBLE_DEVICES", "0,3");
    assert_plan("select-variable", variable.variable("CUDA_VISIBLE_DEVICES", "3,0"));
    let part = format!("MIG-{}/1/0", uuid(0));
    assert_plan("select-part", Case::on("mig").option("gpus", part));
    assert_plan("select-unknown", on().option("gpus", "7"));
    let utility = on().option("nv", "").variable("NVIDIA_DRIVER_CAPABILITIES", "utility");
    assert_plan("select-utility", utility);
}
