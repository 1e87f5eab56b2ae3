//! `himage pull NAME DEST`: interrupted, begun anew, and several at once.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::channel;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::himage_pull_lies::Shelf;
use super::support::live::{Live, outcome_in_time, until};
use super::support::registry::{Himage, Layout, Registry, noise};
use super::support::run::{as_tester, program};
use super::support::session::tester;
use super::support::web::{Asked, Said, Web};
use super::support::{Outcome, Scratch, command};

/// An image with a layer of more than 2 MiB, in a registry that says what it was asked.
struct Served {
    web: Web,
    name: String,
    contents: Vec<u8>,
    _registry: Registry,
}

impl Served {
    /// `lie` may answer in the registry's place, given the blob that is asked for.
    fn start(lie: impl Fn(&Asked, &[u8]) -> Option<Said> + Send + Sync + 'static) -> Self {
        let registry = Registry::start();
        let contents = noise(2 << 20);
        let (layout, _) = Layout::of(&[("data", &contents)]);
        registry.push(&layout, "app", "app", &[]);
        let (port, blobs) = (registry.port, layout.blobs.clone());
        let web = Web::start(move |asked| {
            let blob = asked.path.rsplit('/').next().and_then(|digest| blobs.get(digest));
            blob.and_then(|blob| lie(asked, blob)).unwrap_or(Said::Forward(port))
        });
        let name = format!("127.0.0.1:{}/app", web.port);
        Served { web, name, contents, _registry: registry }
    }

    /// How often the layer was asked for, and how often a part of it.
    fn layers(&self) -> (usize, usize) {
        let asked = self.web.asked();
        let blobs = asked.iter().filter(|asked| asked.path.contains("/blobs/"));
        // The configuration is the other one.
        let parts = blobs.clone().filter(|asked| asked.header("range").is_some()).count();
        (blobs.count(), parts)
    }
}

/// All that is in a directory, hidden or not.
fn inside(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap().flatten();
    let mut names: Vec<_> = entries.map(|it| it.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[track_caller]
fn holds(dest: &Path, contents: &[u8]) {
    let mut hrun = command([dest.to_str().unwrap(), "--", "sh", "-c", "cat /data | sha256sum"]);
    let digest = outcome_in_time(&mut hrun).ok();
    let wanted = images::digest::Digest::of(contents).to_string();
    assert_eq!(digest.split_whitespace().next(), wanted.strip_prefix("sha256:"));
}

#[test]
fn what_was_interrupted_goes_on_and_leaves_nothing_beside() {
    for (signal, dest) in [(Signal::SIGINT, "image.sqfs"), (Signal::SIGTERM, "image")] {
        let (sender, receiver) = channel();
        let sender = Mutex::new(sender);
        let served = Served::start(move |asked, blob| {
            let is_first = blob.len() > 1 << 20 && asked.header("range").is_none();
            is_first.then(|| {
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", blob.len());
                let part = [head.as_bytes(), &blob[..1 << 20]].concat();
                let _ = sender.lock().unwrap().send(());
                Said::Stuck(part)
            })
        });
        let (himage, scratch) = (Himage::new(), Scratch::new());
        let dest = scratch.join(dest);
        let words = ["pull", &served.name, dest.to_str().unwrap()];
        let child = himage.command(&words).stderr(Stdio::piped()).spawn().unwrap();
        receiver.recv().unwrap();
        until("most of the part is in the store", || {
            let unfinished = fs::read_dir(himage.store().join("tmp")).ok()?;
            let sizes = unfinished.flatten().map(|entry| entry.metadata().map_or(0, |it| it.len()));
            (sizes.max()? >= 1 << 19).then_some(())
        });
        assert_ne!(inside(scratch.path()), [""; 0], "it is at work beside the place");
        kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
        let ended = child.wait_with_output().unwrap();
        assert_eq!(ended.status.signal(), Some(signal as i32));
        assert_eq!(String::from_utf8(ended.stderr).unwrap(), "");
        assert_eq!(inside(scratch.path()), [""; 0]);
        served.web.forget();
        himage.run(&words).succeeds();
        assert_eq!(served.layers(), (1, 1), "{:?}", served.web.asked());
        holds(&dest, &served.contents);
        assert_eq!(inside(scratch.path()).len(), 1);
        assert_eq!(inside(&himage.store().join("blobs/sha256")), [""; 0]);
        assert_eq!(inside(&himage.store().join("tmp")), [""; 0]);
    }
}

#[test]
fn what_the_store_has_is_not_fetched_again() {
    let served = Served::start(|_, _| None);
    let (himage, scratch) = (Himage::new(), Scratch::new());
    himage.run(&["pull", &served.name]).succeeds();
    served.web.forget();
    for dest in ["image.sqfs", "image"].map(|name| scratch.join(name)) {
        himage.run(&["pull", &served.name, dest.to_str().unwrap()]).succeeds();
        holds(&dest, &served.contents);
    }
    assert_eq!(served.layers(), (0, 0), "{:?}", served.web.asked());
    // It is still there, whole.
    himage.run(&["verify"]).succeeds();
    let mut hrun = command([&served.name, "--", "sh", "-c", "echo in the store"]);
    assert_eq!(outcome_in_time(hrun.env("HRUN_STORE", himage.store())).ok(), "in the store\n");
}

#[test]
fn several_for_one_place_make_it_once() {
    let served = Served::start(|_, _| None);
    for dest in ["image.sqfs", "image"] {
        served.web.forget();
        let (himage, scratch) = (Himage::new(), Scratch::new());
        let dest = scratch.join(dest);
        let start = || {
            let mut pull = himage.command(&["pull", &served.name, dest.to_str().unwrap()]);
            pull.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        };
        let all: Vec<_> = (0..5).map(|_| start()).collect();
        let outcomes: Vec<_> =
            all.into_iter().map(|child| Outcome::new(child.wait_with_output().unwrap())).collect();
        let mut said = Vec::new();
        for outcome in outcomes {
            assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
            said.push(outcome.stdout);
        }
        said.dedup();
        assert_eq!(said.len(), 1, "all say the same: {said:?}");
        // The configuration and the layer, once.
        assert_eq!(served.layers(), (2, 0), "{:?}", served.web.asked());
        holds(&dest, &served.contents);
        assert_eq!(inside(scratch.path()).len(), 1);
    }
}

#[test]
fn what_is_in_the_place_is_compared_and_never_removed() {
    let served = Served::start(|_, _| None);
    let other = Shelf::new().serve(|_, _| None);
    let (himage, scratch) = (Himage::new(), Scratch::new());
    for dest in ["image.sqfs", "image"].map(|name| scratch.join(name)) {
        let dest = dest.to_str().unwrap();
        let first = himage.run(&["pull", &served.name, dest]).succeeds();
        let again = himage.run(&["pull", &served.name, dest]);
        assert!(again.stderr.contains("is there already"), "{}", again.stderr);
        assert_eq!(again.succeeds(), first);
        let name = format!("127.0.0.1:{}/app", other.port);
        let pull = &mut himage.command(&["pull", &name, dest]);
        himage.refuses(pull, &["another image is there already", "mv "]);
    }
    scratch.file("project/thesis.tex", "two years");
    let empty = scratch.directory("empty");
    himage.run(&["pull", &served.name, empty.to_str().unwrap()]).succeeds();
    holds(&empty, &served.contents);
    scratch.file("notes.sqfs", "text");
    served.web.forget();
    for dest in ["project", "notes.sqfs"] {
        let dest = scratch.join(dest);
        let pull = &mut himage.command(&["pull", &served.name, dest.to_str().unwrap()]);
        let words = himage.refuses(pull, &["something is there already"]);
        assert!(!words.contains("rm ") && !words.contains("--force"), "{words}");
    }
    assert!(served.web.asked().is_empty(), "it is seen before anything is asked");
    assert_eq!(fs::read(scratch.join("project/thesis.tex")).unwrap(), b"two years");
}

#[test]
fn without_a_store_it_is_said_and_done() {
    let served = Served::start(|_, _| None);
    let scratch = Scratch::new();
    let file = scratch.file("file", "no directory");
    let dest = scratch.join("image");
    let mut pull = as_tester(&program("himage"));
    pull.args(["pull", &served.name]).arg(&dest).current_dir(&tester().home);
    let outcome = outcome_in_time(pull.env("HRUN_STORE", file.join("store")));
    assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("the store cannot be used"), "{}", outcome.stderr);
    holds(&dest, &served.contents);
    assert_eq!(inside(scratch.path()), ["file", "image"]);
}

/// The same for what comes from this machine, and for other forms.
#[test]
fn nothing_is_left_of_an_import_that_was_ended() {
    let scratch = Scratch::new();
    let himage = Himage::new();
    let dest = scratch.join("image.sqfs");
    let mut import: Command = himage.command(&["import", "-", dest.to_str().unwrap()]);
    let mut child = Live::start(&mut import);
    until("it is at work", || (!inside(scratch.path()).is_empty()).then_some(()));
    child.send(Signal::SIGHUP);
    child.wait();
    assert_eq!(inside(scratch.path()), [""; 0]);
}
