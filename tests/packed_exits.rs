//! Exits and signals on a packed image, for one process and for ranks that share it.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;

use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::WaitStatus;

use super::packed::Packed;
use super::packed_life::{SIGNALS, has_ended, keepers, none_is_left, one_server, ranks, servers};
use super::support::live::until;
use super::support::run::outcome;
use super::support::{Image, Live, Scratch, command, hrun};

#[test]
fn every_end_is_as_in_the_directory() {
    let image = Image::tiny();
    image.file("etc/plain", "text\n");
    image.link("etc/loop", "loop");
    image.program("bin/lost", "#!/bin/nothing\n");
    image.program("bin/windows", "#!/bin/sh\r\ntrue\r\n");
    image.program("bin/text", "just words\n");
    let packed = Packed::new(image.path(), &[]);
    let statuses = (0..=255).step_by(5).chain([1, 7, 126, 127]);
    let exits =
        statuses.map(|status| vec!["/bin/probe".to_owned(), "exit".into(), status.to_string()]);
    let deaths = [1, 2, 6, 9, 10, 11, 13, 14, 15]
        .map(|signal| vec!["sh".to_owned(), "-c".into(), format!("kill -{signal} $$")]);
    let refused = [
        "nosuch",
        "/bin/nosuch",
        "/etc",
        "/etc/plain",
        "/etc/loop",
        "/etc/plain/x",
        "lost",
        "windows",
        "text",
        "",
    ];
    let refused = refused.map(|name| vec![name.to_owned()]);
    for words in exits.chain(deaths).chain(refused) {
        let run = |image: &Path| {
            let words = words.iter().map(String::as_str);
            let outcome = hrun([image.to_str().unwrap(), "--"].into_iter().chain(words));
            (outcome.status, outcome.signal, outcome.stdout, outcome.stderr)
        };
        assert_eq!(run(&packed.path), run(image.path()), "{words:?}");
    }
    none_is_left(&packed.path);
}

#[test]
fn signals_mean_one_of_four_ranks() {
    let packed = Packed::debian();
    for signal in SIGNALS {
        let mut ranks = ranks(&packed.path, &format!("to-{signal}"), 4, "/usr/bin/perl");
        let server = one_server(&packed.path);
        // One of them is killed, one gets a signal, and one with its group, first to last.
        let mut one = ranks.remove(0);
        one.send(signal);
        assert_eq!(one.wait(), WaitStatus::Signaled(one.pid(), signal, false));
        let mut group = ranks.remove(0);
        killpg(group.pid(), signal).unwrap();
        assert_eq!(group.wait(), WaitStatus::Signaled(group.pid(), signal, false));
        ranks.remove(0).send(Signal::SIGKILL);
        assert_eq!(servers(&packed.path), [server]);
        let last = &mut ranks[0];
        last.say("read\n");
        assert_eq!(last.next_line(), "read");
        assert!(matches!(last.wait(), WaitStatus::Exited(..)));
        none_is_left(&packed.path);
        has_ended(server);
    }
}

#[test]
fn a_child_of_a_rank_that_has_ended_reads_on() {
    let packed = Packed::debian();
    let step = format!("{}-child", std::process::id());
    let rank = |script: &str| {
        let mut rank = command([packed.path.to_str().unwrap(), "sh", "-c", script]);
        rank.env("SLURM_JOB_ID", &step).env("SLURM_STEP_ID", "0").process_group(0);
        Live::start(&mut rank)
    };
    let sum = "sha256sum /usr/bin/perl | wc -c";
    let script = format!("exec 3<&0; (echo child; read x; {sum}) <&3 & read y; exit 3");
    let mut parent = rank(&script);
    assert_eq!(parent.next_line(), "child");
    let mut other = rank("echo ready; read x");
    assert_eq!(other.next_line(), "ready");
    let server = one_server(&packed.path);
    // Both read from one pipe, a line each; whichever is first, the shell ends after its own.
    parent.ask("a\nb\n");
    assert_eq!(parent.next_line().trim(), "80");
    while !matches!(parent.wait(), WaitStatus::Exited(_, 3)) {}
    other.say("end\n");
    other.wait();
    none_is_left(&packed.path);
    has_ended(server);
}

#[test]
fn who_comes_when_the_server_was_killed_is_told() {
    let packed = Packed::tiny();
    let image = packed.path.to_str().unwrap();
    let step = format!("{}-killed", std::process::id());
    let rank = |words: &[&str]| {
        let mut rank = command([image].iter().chain(words));
        rank.env("SLURM_JOB_ID", &step).env("SLURM_STEP_ID", "0");
        rank
    };
    let first = Live::start(&mut rank(&["/bin/probe", "await", "28"]));
    first.next_line();
    kill(one_server(&packed.path), Signal::SIGKILL).unwrap();
    until("the server ends", || servers(&packed.path).is_empty().then_some(()));
    let parts = ["cannot run /bin/other: ", "hrun-image, is gone", "start the step again"];
    // What nobody has asked for is not in memory.
    outcome(&mut rank(&["/bin/other"])).fails_with(126, &parts);
    let join = format!("--join-pid={}", first.pid());
    outcome(&mut command([&join, image, "/bin/other"])).fails_with(126, &parts);
    // Another step has a server of its own.
    assert_eq!(hrun([image, "/bin/probe", "args", "x"]).ok(), "x\0");
    first.send(Signal::SIGKILL);
    drop(first);
    none_is_left(&packed.path);
}

/// What runs when the server is killed is told why it comes to nothing; each standard error once.
#[test]
fn whoever_runs_when_the_server_is_killed_is_told() {
    let (packed, scratch) = (Packed::tiny(), Scratch::new());
    let image = packed.path.to_str().unwrap();
    let step = format!("{}-witness", std::process::id());
    let files = ["shared", "alone"].map(|name| scratch.file(name, "before\n"));
    let rank = |file: &Path| {
        let mut rank = command([image, "/bin/probe", "await", "28"]);
        rank.env("SLURM_JOB_ID", &step).env("SLURM_STEP_ID", "0");
        rank.stderr(fs::File::options().append(true).open(file).unwrap());
        let rank = Live::start(&mut rank);
        rank.next_line();
        rank
    };
    let ranks = [rank(&files[0]), rank(&files[0]), rank(&files[1])];
    let server = one_server(&packed.path);
    until("it has a witness", || (keepers(&packed.path, "hrun-witness").len() == 1).then_some(()));
    kill(server, Signal::SIGKILL).unwrap();
    let wanted = [
        format!(
            "before\nhrun: cannot read the image {image} any more: the process that served it, "
        ),
        format!("hrun-image ({server}), was killed or has crashed\n  hint: "),
    ]
    .concat();
    for file in &files {
        until("the witness speaks", || {
            let text = fs::read_to_string(file).unwrap();
            (text.lines().count() == 3 && text.starts_with(&wanted)).then_some(())
        });
    }
    for rank in &ranks {
        rank.send(Signal::SIGKILL);
    }
    drop(ranks);
    none_is_left(&packed.path);
    let said = files.map(|file| fs::read_to_string(file).unwrap().lines().count());
    assert_eq!(said, [3, 3]);
}
