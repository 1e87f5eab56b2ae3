//! Plans: printed without touching anything, and carried out as the run they were made for.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStringExt;

use super::support::machine::without_user_namespaces;
use super::support::oci::{configuration, crun};
use super::support::run::{outcome, shell};
use super::support::scratch::fingerprint;
use super::support::{Image, Outcome, Scratch, WAYS, command, hrun, program, tester};

const FORMATS: [&str; 4] = ["--dry-run", "--dry-run=text", "--dry-run=json", "--dry-run=oci"];

// Printing.

#[test]
fn printing_touches_nothing() {
    let (image, scratch) = (Image::tiny(), Scratch::new());
    let (layer, image) = (scratch.join("layer"), image.path());
    let before = [fingerprint(image), fingerprint(scratch.path())];
    let overlay = format!("--overlay={}", layer.display());
    for format in FORMATS {
        for write in ["--no-home", "--write", "--write-fake", &overlay] {
            let bind = "--bind=/usr/share:/made/for/this";
            hrun([format, write, bind, image.to_str().unwrap(), "true"]).succeeds();
        }
    }
    assert_eq!([fingerprint(image), fingerprint(scratch.path())], before);
}

#[test]
fn printing_needs_no_user_namespace() {
    let image = Image::tiny();
    for way in WAYS {
        for format in FORMATS {
            let mut command = without_user_namespaces(&program("hrun"));
            let text = outcome(command.args(way).arg(format).arg(image.path()).arg("true")).ok();
            assert!(text.contains(image.path().to_str().unwrap()), "{text}");
        }
    }
}

#[test]
fn printing_needs_no_such_command() {
    let image = Image::tiny();
    let text = hrun(["--dry-run", image.path().to_str().unwrap(), "nosuch", "a b"]).ok();
    let last = text.lines().last().unwrap();
    assert!(last.starts_with("run ") && last.contains("nosuch a b"), "{last}");
}

#[test]
fn every_line_says_who_asked_for_it() {
    let image = Image::tiny();
    let bind = "--bind=/usr/share:/opt/made";
    let text = hrun(["--dry-run", bind, image.path().to_str().unwrap(), "true"]).ok();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some(format!("image {}", image.path().display()).as_str()));
    for line in lines {
        assert!(line.ends_with(']') && line.contains("  ["), "{line}");
    }
    let asked: Vec<&str> = text.lines().filter(|line| line.contains("/usr/share")).collect();
    assert!(asked[0].contains("[--bind /usr/share:/opt/made]"), "{asked:?}");
}

// Carrying out.

/// Prints all that a plan decides. Process ids are left out.
const SHOW: &str = "probe cwd; probe id | busybox grep -v pid; probe mounts; probe env; \
    probe fds | busybox grep -v pipe; umask; probe status CapEff CapBnd NoNewPrivs";

struct Setup {
    image: Image,
    scratch: Scratch,
}

impl Setup {
    fn new() -> Self {
        let scratch = Scratch::new();
        scratch.file("host/file", "of the host");
        scratch.file("env", "A=1\nB=\"two words\"\nC=$A:$B:$NONE\n");
        scratch.file("records", "D=line\nline\0");
        scratch.directory("layer");
        Setup { image: Image::tiny(), scratch }
    }

    fn at(&self, name: &str) -> String {
        self.scratch.join(name).display().to_string()
    }

    /// Sets of options that go with every way.
    fn option_sets(&self) -> Vec<Vec<String>> {
        let host = self.at("host");
        let lines = [
            String::new(),
            format!("--bind={host}:/opt/made/directory:ro"),
            format!("--bind={host}/file:/opt/file,{host}:/opt/other --cd=/opt/other"),
            "--contain --private-tmp=16m".to_owned(),
            "--no-home --no-cwd --bind=/usr/share:/usr/share:ro".to_owned(),
            "--uid=0 --gid=0".to_owned(),
            "--root".to_owned(),
            format!("--set-env={} --set-env0={}", self.at("env"), self.at("records")),
            "--clean-env --keep-env=HOME --env=X=$HOME --unset-env=L*".to_owned(),
            "--write --bind=/usr/share:/opt/share".to_owned(),
            "--no-config --uid=1234 --gid=4321 --quiet".to_owned(),
        ];
        let words = |line: &String| line.split_whitespace().map(str::to_owned).collect();
        lines.iter().map(words).collect()
    }

    /// Runs a command line directly and by its plan, and gives back what both printed.
    fn direct_and_by_plan(&self, options: &[String]) -> (String, String) {
        let run = |options: &[&str]| {
            let mut command = command(options);
            outcome(command.arg(self.image.path()).args(["sh", "-c", SHOW]))
        };
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let direct = run(&options).ok();
        let plan = run(&[&options[..], &["--dry-run=json"]].concat()).ok();
        let plan = self.scratch.file("plan", plan);
        (direct, hrun([OsStr::new("--plan"), plan.as_os_str()]).ok())
    }
}

#[test]
fn a_plan_runs_as_the_command_line_it_was_made_of() {
    let setup = Setup::new();
    for way in WAYS {
        for set in setup.option_sets() {
            let way = way.iter().map(|option| (*option).to_owned());
            let options: Vec<String> = way.chain(set).collect();
            let (direct, by_plan) = setup.direct_and_by_plan(&options);
            assert!(direct.contains("HRUN_RUNNING=1"), "{direct}");
            assert_eq!(direct, by_plan, "{options:?}");
        }
    }
}

#[test]
fn a_plan_with_a_layer_runs_as_the_command_line_it_was_made_of() {
    let setup = Setup::new();
    for option in ["--write-fake".to_owned(), format!("--overlay={}", setup.at("layer"))] {
        let (direct, by_plan) = setup.direct_and_by_plan(&[option]);
        assert_eq!(direct, by_plan);
    }
}

#[test]
fn a_plan_keeps_bytes_that_are_no_text() {
    let (image, scratch) = (Image::tiny(), Scratch::new());
    let odd = || OsString::from_vec(b"\xff \"\\\n\x01\xc3\xa4".to_vec());
    fs::create_dir(scratch.join(odd())).unwrap();
    let mut bind = OsString::from("--mount=type=bind,destination=/opt/odd,source=");
    bind.push(scratch.join(odd()));
    let mut variable = OsString::from("--env=ODD=");
    variable.push(odd());
    let run = |more: Option<&str>| {
        let mut command = command(more);
        command.args([&variable, &bind]).arg(image.path()).args(["probe", "args"]).arg(odd());
        outcome(&mut command)
    };
    let direct = run(None);
    assert_eq!(direct.bytes, [odd().into_vec(), vec![0]].concat());
    let plan = scratch.file("plan", run(Some("--dry-run=json")).ok());
    assert_eq!(hrun(["--plan".as_ref(), plan.as_os_str()]).bytes, direct.bytes);
}

#[test]
fn a_plan_may_come_through_a_pipe() {
    let image = Image::tiny();
    let script = "$hrun --dry-run=json $image probe cwd | $hrun --plan=/dev/stdin";
    let seen = outcome(&mut shell(image.path(), script)).ok();
    assert_eq!(seen.trim(), tester().home.to_str().unwrap());
}

#[test]
fn a_plan_has_the_exit_status_of_its_command() {
    let (image, scratch) = (Image::tiny(), Scratch::new());
    for (command, status) in
        [(&["probe", "exit", "42"][..], 42), (&["nosuch"], 127), (&["/etc"], 126)]
    {
        let mut words = vec!["--dry-run=json", image.path().to_str().unwrap()];
        words.extend(command);
        let plan = scratch.file("plan", hrun(words).ok());
        assert_eq!(hrun(["--plan".as_ref(), plan.as_os_str()]).status, Some(status));
    }
}

// Refusing.

fn run_plan(text: &str) -> Outcome {
    let scratch = Scratch::new();
    let plan = scratch.file("plan", text);
    hrun(["--plan".as_ref(), plan.as_os_str()])
}

#[test]
fn a_plan_of_another_format_is_refused() {
    let image = Image::tiny();
    let plan = hrun(["--dry-run=json", image.path().to_str().unwrap(), "true"]).ok();
    assert!(plan.contains("\"format\": 1"), "{plan}");
    let message =
        run_plan(&plan.replace("\"format\": 1", "\"format\": 2")).fails(&["cannot read plan "]);
    assert!(message.contains("it has format 2, this hrun reads format 1"), "{message}");
}

/// What a future format may look like.
#[test]
fn a_plan_of_another_format_is_refused_for_that_reason() {
    let plan = r#"{"format": 2, "rootfs": "/", "steps": [{"do": "teleport"}]}"#;
    run_plan(plan).fails(&["it has format 2, this hrun reads format 1"]);
}

#[test]
fn what_is_no_plan_is_refused() {
    for text in ["", "{", "null", "[]", "{}", "\u{0}", "image /\nrun true\n", "{\"format\": 1}"] {
        run_plan(text).fails(&["cannot read plan "]);
    }
    let step = r#"{"do": "nosuch", "origin": "default"}"#;
    run_plan(&format!(r#"{{"format": 1, "image": "/", "steps": [{step}], "notes": []}}"#))
        .fails(&["cannot read plan ", "nosuch"]);
    hrun(["--plan=/nowhere/plan"]).fails(&["cannot read plan /nowhere/plan: No such file"]);
    hrun(["--plan=/tmp"]).fails(&["cannot read plan /tmp: Is a directory"]);
}

#[test]
fn a_plan_without_a_command_is_refused() {
    run_plan(r#"{"format": 1, "image": "/", "steps": [], "notes": []}"#)
        .fails(&["cannot carry out the plan: it does not end with a command"]);
}

// OCI.

#[test]
fn the_oci_configuration_has_what_the_plan_has() {
    let image = Image::tiny();
    let spec = configuration(&image, &[], &["probe", "exit", "42"]);
    assert_eq!(spec["root"]["path"], image.path().to_str().unwrap());
    assert_eq!(spec["root"]["readonly"], true);
    assert_eq!(spec["process"]["args"], serde_json::json!(["probe", "exit", "42"]));
    assert_eq!(spec["process"]["cwd"], tester().home.to_str().unwrap());
    assert_eq!(spec["process"]["noNewPrivileges"], true);
    assert_eq!(spec["process"]["user"]["uid"], tester().uid);
    assert_eq!(spec["linux"]["uidMappings"][0]["hostID"], tester().uid);
    let mounts = spec["mounts"].as_array().unwrap();
    for target in ["/dev", "/proc", "/sys", "/tmp", tester().home.to_str().unwrap()] {
        assert!(mounts.iter().any(|mount| mount["destination"] == target), "{target}");
    }
}

#[test]
fn the_oci_configuration_has_nothing_the_plan_has_not() {
    let spec = configuration(&Image::tiny(), &[], &["true"]);
    assert!(spec["hostname"].is_null(), "{}", spec["hostname"]);
    for name in ["rlimits", "capabilities"] {
        assert!(spec["process"][name].is_null(), "{}", spec["process"][name]);
    }
    for name in ["maskedPaths", "readonlyPaths", "resources"] {
        assert!(spec["linux"][name].is_null(), "{}", spec["linux"][name]);
    }
}

#[test]
fn the_oci_configuration_of_a_layer_leaves_the_image_read_only() {
    let image = Image::tiny();
    let text =
        hrun(["--dry-run=oci", "--write-fake", image.path().to_str().unwrap(), "true"]).succeeds();
    let spec: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(spec["root"]["readonly"], true);
}

#[test]
fn the_oci_configuration_runs_with_crun() {
    if super::support::lacks("root") || super::support::lacks("crun") {
        return;
    }
    let image = Image::tiny();
    let script = "probe cwd; probe id | busybox grep -v pid; probe kind /etc/passwd; exit 42";
    let spec = configuration(&image, &[], &["sh", "-c", script]);
    let direct = outcome(command([image.path()]).args(["sh", "-c", script]));
    let by_crun = crun(&spec);
    assert_eq!((by_crun.status, by_crun.stderr.as_str()), (Some(42), ""));
    assert_eq!(by_crun.stdout, direct.stdout);
}
