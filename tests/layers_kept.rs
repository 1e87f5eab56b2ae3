//! `--overlay DIR`: what the command writes is there in the next run, and nowhere else.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;

use super::support::live::until;
use super::support::rank::Waiting;
use super::support::scratch::fingerprint;
use super::support::{
    Image, Live, Scratch, Way, bind, command, hrun, lacks, on_host, outcome, probe, real, tester,
};

fn overlay(layer: &Path) -> String {
    format!("--overlay={}", layer.display())
}

/// What lies below a directory, by relative path, without the kernel's own directory.
fn names_below(directory: &Path) -> Vec<String> {
    let mut names = Vec::new();
    let mut todo = vec![directory.to_path_buf()];
    while let Some(path) = todo.pop() {
        for entry in fs::read_dir(&path).unwrap() {
            let path = entry.unwrap().path();
            names.push(path.strip_prefix(directory).unwrap().display().to_string());
            if path.is_dir() && !path.is_symlink() {
                todo.push(path);
            }
        }
    }
    names.sort();
    names
}

#[test]
fn changes_are_there_in_the_next_run() {
    let (image, layer) = (Image::tiny(), Scratch::new());
    image.file("etc/app.conf", "the image's");
    let before = fingerprint(image.path());
    let option = overlay(&layer.join("layer"));
    let see = |words: &str| probe(image.path(), &[&option], words);
    see("write /etc/app.conf ,one").ok();
    see("write /etc/app.conf ,two").ok();
    see("mkdir /opt/new").ok();
    see("write /opt/new/file x").ok();
    assert_eq!(see("cat /etc/app.conf").ok(), "the image's,one,two");
    assert_eq!(see("cat /opt/new/file").ok(), "x");
    assert_eq!(fingerprint(image.path()), before);
    assert_eq!(probe(image.path(), &[], "cat /etc/app.conf").ok(), "the image's");
}

#[test]
fn deletions_are_there_in_the_next_run() {
    let (image, layer) = (Image::tiny(), Scratch::new());
    for file in ["etc/app.conf", "opt/app/one", "opt/app/two"] {
        image.file(file, "");
    }
    let before = fingerprint(image.path());
    let option = overlay(&layer.join("layer"));
    let run =
        |script: &str| hrun([&option, image.path().to_str().unwrap(), "/bin/sh", "-c", script]);
    run("busybox rm /etc/app.conf").ok();
    run("busybox rm -r /opt/app && busybox mkdir /opt/app && echo x > /opt/app/three").ok();
    let kind = probe(image.path(), &[&option], "kind /etc/app.conf");
    assert_eq!(kind.ok(), "missing\n");
    assert_eq!(probe(image.path(), &[&option], "ls /opt/app").lines(), ["three"]);
    assert_eq!(fingerprint(image.path()), before);
}

#[test]
fn the_directory_is_made_and_may_be_relative() {
    let (image, layer) = (Image::tiny(), Scratch::new());
    let run = |option: &str, words: &str| {
        let mut command = Way(&[]).prober(image.path(), &[option], words);
        outcome(command.current_dir(layer.directory("a")))
    };
    run("--overlay=../layer", "write /opt/note x").ok();
    assert!(layer.join("layer").is_dir());
    assert_eq!(run(&overlay(&layer.join("layer")), "cat /opt/note").ok(), "x");
}

#[test]
fn a_directory_that_cannot_be_made_is_an_error_about_the_layer() {
    let (image, layer) = (Image::tiny(), Scratch::new());
    let missing = layer.join("no/such");
    probe(image.path(), &[&overlay(&missing)], "cwd").fails(&[
        "No such file or directory",
        missing.to_str().unwrap(),
        "from: --overlay ",
    ]);
    let message = probe(image.path(), &["--overlay=/etc/layer"], "cwd")
        .fails(&["cannot make directory /etc/layer: Permission denied", "from: --overlay"]);
    assert!(!message.contains("with --write"), "a hint about another option: {message}");
    let file = layer.file("file", "");
    probe(image.path(), &[&overlay(&file)], "cwd").fails(&["from: --overlay "]);
}

#[test]
fn mount_points_leave_no_trace_in_the_layer() {
    let (image, data) = (Image::bare(), Scratch::new());
    data.file("note", "from the host");
    let layer = data.join("layer");
    let options = [&*overlay(&layer), &bind(data.path(), ":/new/place"), "--contain"];
    for way in [Way(&[]), Way(&["--assume-missing=mount-setattr,pivot-root"])] {
        assert_eq!(way.probe(image.path(), &options, "cat /new/place/note").ok(), "from the host");
        assert_eq!(names_below(&layer.join("upper")), Vec::<String>::new());
    }
    probe(image.path(), &options, "mkdir /mine").ok();
    assert_eq!(names_below(&layer.join("upper")), ["mine"]);
}

#[test]
fn a_layer_on_an_image_of_root_keeps_files() {
    if lacks("root") {
        return;
    }
    let image = real("bookworm");
    let layer = Scratch::new();
    let option = overlay(&layer.join("layer"));
    let run = |script: &str| hrun([&option, image.to_str().unwrap(), "/bin/sh", "-c", script]);
    run("mkdir /data && echo x > /data/x && echo y > /var/y").ok();
    assert_eq!(run("cat /data/x /var/y").ok(), "x\ny\n");
}

#[test]
fn a_layer_may_have_an_odd_name() {
    let (image, layers) = (Image::tiny(), Scratch::new());
    for name in ["a b", "a,b", "a:b", "back\\slash", "new\nline"] {
        let option = overlay(&layers.join(name));
        let words = |rest: &[&str]| {
            let mut words = vec![option.clone(), image.path().display().to_string()];
            words.push("/bin/probe".to_owned());
            words.extend(rest.iter().map(|word| (*word).to_owned()));
            words
        };
        hrun(words(&["write", "/opt/note", name])).ok();
        assert_eq!(hrun(words(&["cat", "/opt/note"])).ok(), name);
        assert!(layers.join(name).join("upper/opt/note").is_file());
    }
}

#[test]
fn the_directory_may_be_a_link() {
    let (image, layers) = (Image::tiny(), Scratch::new());
    let layer = layers.directory("layer");
    symlink(&layer, layers.join("link")).unwrap();
    let option = overlay(&layers.join("link"));
    probe(image.path(), &[&option], "write /opt/note x").ok();
    assert_eq!(fs::read(layer.join("upper/opt/note")).unwrap(), b"x");
}

#[test]
fn a_layer_is_kept_though_its_path_leads_where_hrun_covers() {
    if lacks("root") {
        return;
    }
    let (image, links) = (Image::tiny(), Scratch::new());
    symlink("/srv", links.join("link")).unwrap();
    // The host directory behind /srv, which outlives one run.
    let kept = links.directory("kept");
    let setup = format!("mount --bind {} /srv", kept.display());
    for (name, path) in [("plain", PathBuf::from("/srv/1")), ("link", links.join("link/2"))] {
        let option = overlay(&path);
        let see = |words: &str| on_host(&setup, &Way(&[]).prober(image.path(), &[&option], words));
        see(&format!("write /opt/{name} x")).ok();
        assert_eq!(see(&format!("cat /opt/{name}")).ok(), "x", "{name}");
    }
    assert_eq!(fs::read(kept.join("1/upper/opt/plain")).unwrap(), b"x");
    assert_eq!(fs::read(kept.join("2/upper/opt/link")).unwrap(), b"x");
}

#[test]
fn a_layer_on_a_file_system_that_cannot_hold_it_is_explained() {
    if lacks("root") {
        return;
    }
    let (image, data) = (Image::tiny(), Scratch::new());
    let (path, uid) = (data.path().display(), tester().uid);
    // An overlay cannot hold the layer of another.
    let setup = format!(
        "mount -t tmpfs m /mnt && mkdir /mnt/l /mnt/u /mnt/w && chown {uid} /mnt/u &&
         mount -t overlay -o lowerdir=/mnt/l,upperdir=/mnt/u,workdir=/mnt/w o {path}"
    );
    let command = Way(&[]).prober(image.path(), &[&overlay(&data.join("layer"))], "cwd");
    on_host(&setup, &command).fails(&[
        "mount an overlay",
        "from: --overlay ",
        "hint: the directory of a layer must be on a local file system",
    ]);
}

#[test]
fn a_layer_is_used_by_one_run_at_a_time() {
    let (image, layer) = (real("bookworm"), Scratch::new());
    let option = overlay(&layer.join("layer"));
    let start = |script: &str| {
        let words = [option.as_str(), image.to_str().unwrap(), "sh", "-c", script];
        Live::start(&mut command(words))
    };
    // Also for as long as something lives that the command has left.
    let mut first = start("echo up; read line; sleep 1000 & echo $!");
    assert_eq!(first.next_line(), "up");
    let refused = |parts: &[&str]| {
        hrun([option.as_str(), image.to_str().unwrap(), "true"]).fails(parts);
    };
    let pid = format!("process {} (", first.pid());
    let attempt = "cannot keep other runs from the layer";
    refused(&[attempt, &pid, "uses it", "--overlay-wait"]);
    // A waiting one says so, and goes on.
    let words = [option.as_str(), "--overlay-wait", image.to_str().unwrap(), "echo", "mine"];
    let mut waiting = command(words);
    let mut waiting = waiting.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let errors = waiting.stderr.take().unwrap();
    let mut told = Live::watch(waiting, errors);
    assert!(told.next_line().contains("waiting for the run that uses this layer"));
    first.say("\n");
    let left: i32 = first.next_line().parse().unwrap();
    assert_eq!(first.wait(), WaitStatus::Exited(first.pid(), 0));
    refused(&[attempt, &format!("what process {} has started", first.pid())]);
    kill(Pid::from_raw(left), Signal::SIGKILL).unwrap();
    assert_eq!(told.wait(), WaitStatus::Exited(told.pid(), 0));
    // And nothing is left that would keep it from anybody.
    until("the layer is free", || {
        let words = [option.as_str(), image.to_str().unwrap(), "true"];
        (hrun(words).status == Some(0)).then_some(())
    });
}

#[test]
fn ranks_of_a_step_are_one_run_in_their_layer() {
    let (image, layer, home) = (real("bookworm"), Scratch::new(), Scratch::new());
    let option = overlay(&layer.join("layer"));
    let start = |rank| Waiting::with(&[("SLURM_PROCID", rank)], "layer", &image, &[&option], &home);
    let (first, second) = (start("0"), start("1"));
    assert_eq!(first.namespaces(), second.namespaces());
    // Another image is another run, and so is a run outside of the step.
    hrun([option.as_str(), image.to_str().unwrap(), "true"]).fails(&["uses it"]);
    first.end();
    hrun([option.as_str(), image.to_str().unwrap(), "true"]).fails(&["uses it"]);
    second.end();
}

/// The process that has a file open, and is called so.
fn holder(name: &str, file: &Path) -> Pid {
    let inode = fs::metadata(file).unwrap().ino();
    let has_it = |process: &Path| {
        let mut open = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
        let is_named = fs::read_to_string(process.join("comm")).is_ok_and(|it| it.trim() == name);
        is_named && open.any(|entry| fs::metadata(entry.path()).is_ok_and(|it| it.ino() == inode))
    };
    let mut processes = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    let found = processes.find(|process| has_it(process)).expect("the file is held");
    Pid::from_raw(found.file_name().unwrap().to_str().unwrap().parse().unwrap())
}

#[test]
fn one_run_after_another_is_not_refused() {
    if lacks("root") {
        return;
    }
    let (image, layer) = (real("bookworm"), Scratch::new());
    let option = overlay(&layer.join("layer"));
    let start = |script: &str| {
        let words = [option.as_str(), image.to_str().unwrap(), "sh", "-c", script];
        Live::start(&mut command(words))
    };
    let mut first = start("echo up; read line");
    assert_eq!(first.next_line(), "up");
    // What holds the layer is slow to see that all has ended.
    let keeper = holder("hrun-layer", &layer.join("layer/lock"));
    kill(keeper, Signal::SIGSTOP).unwrap();
    first.say("\n");
    assert_eq!(first.wait(), WaitStatus::Exited(first.pid(), 0));
    let mut second = start("echo up");
    until("the second run waits a little, or was refused", || {
        let look = |name: &str| fs::read_to_string(format!("/proc/{}/{name}", second.pid()));
        let is_over = look("status").unwrap().contains("State:\tZ");
        (is_over || look("wchan").unwrap().contains("nanosleep")).then_some(())
    });
    kill(keeper, Signal::SIGCONT).unwrap();
    assert_eq!(second.next_line(), "up");
    assert_eq!(second.wait(), WaitStatus::Exited(second.pid(), 0));
}
