//! What keeps a packed image from being read is said to those who read it, and nobody waits for ever.

use std::fs::{self, OpenOptions};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;

use nix::sys::signal::{Signal, kill};

use super::packed::{Packed, packed_debian};
use super::packed_life::{keepers, none_is_left, one_server};
use super::support::live::{outcome_in_time, until};
use super::support::run::shell;
use super::support::{Image, Live, Outcome, Scratch, lacks};

/// Runs a script of the tester's whose standard error goes to the end of a file; what that says then.
#[track_caller]
fn with_errors(image: &Path, script: &str) -> (Outcome, String) {
    let scratch = Scratch::new();
    let log = scratch.file("log", "");
    let script = format!("exec 2>> {}\n{script}", log.display());
    let outcome = outcome_in_time(&mut shell(image, &script));
    (outcome, fs::read_to_string(&log).unwrap())
}

#[test]
fn a_damaged_block_is_named_with_its_file() {
    let image = Image::tiny();
    // What compresses to half its size.
    let mut noise = vec![0; 2_000_000];
    fs::File::open("/dev/urandom").unwrap().read_exact(&mut noise).unwrap();
    let data: String = noise.iter().map(|byte| format!("{byte:02x}")).collect();
    image.file("opt/data/table", &data);
    let packed = Packed::new(image.path(), &["-comp", "gzip", "-b", "64K", "-no-duplicates"]);
    let size = fs::metadata(&packed.path).unwrap().len();
    let file = OpenOptions::new().write(true).open(&packed.path).unwrap();
    // Most of the image is that file.
    file.write_all_at(&vec![0xa5; (size / 4) as usize], size / 2).unwrap();
    let script = "$hrun $image cat /opt/data/table > /dev/null";
    let (outcome, errors) = with_errors(&packed.path, script);
    assert_eq!(outcome.status, Some(1), "{errors}");
    let named = format!(
        "hrun: cannot read /opt/data/table in the image {}: its block of a file at byte ",
        packed.path.display()
    );
    assert_eq!(errors.matches(&named).count(), 1, "{errors}");
    assert!(
        errors.contains("cannot be decompressed\n") && errors.contains("sha256sum"),
        "{errors}"
    );
    assert!(
        errors.find(&named) < errors.find("Input/output error"),
        "before the command dies of it: {errors}"
    );
    none_is_left(&packed.path);
}

#[test]
fn an_answer_that_the_kernel_does_not_take_ends_the_mount() {
    if lacks("strace") {
        return;
    }
    let (packed, scratch) = (Packed::debian(), Scratch::new());
    let log = scratch.join("trace");
    let script = format!(
        "exec strace -f -qq -e trace=writev -e inject=writev:error=EIO:when=30 -o {} \
         $hrun $image sh -c 'cat /usr/bin/* /usr/lib/x86_64-linux-gnu/*.so.* | sha256sum; true'",
        log.display()
    );
    // That it ends is what counts: a command waited for ever.
    let (outcome, errors) = with_errors(&packed.path, &script);
    let traced = fs::read_to_string(&log).unwrap();
    assert!(traced.contains("(INJECTED)"), "{traced}");
    assert!(outcome.status != Some(0) || !errors.is_empty(), "{outcome:?}");
    none_is_left(&packed.path);
}

/// The sum of what a packed image holds, under a limit of the shell's.
#[track_caller]
fn under(limit: &str) -> (Outcome, String) {
    let script = format!(
        "ulimit {limit}; exec $hrun $image sh -c 'find /usr -type f -print0 | xargs -0 cat | wc -c'"
    );
    with_errors(&packed_debian(), &script)
}

#[test]
fn limits_of_the_command_are_not_the_servers() {
    let (whole, errors) = under("-S -c 0");
    assert_eq!((whole.status, errors.as_str()), (Some(0), ""));
    assert!(whole.stdout.trim().parse::<u64>().unwrap() > 100_000_000, "{whole:?}");
    for limit in ["-S -v 80000", "-v 80000", "-S -t 1", "-d 60000"] {
        let (outcome, errors) = under(limit);
        assert_eq!((outcome.stdout, errors.as_str()), (whole.stdout.clone(), ""), "{limit}");
    }
}

#[test]
fn a_limit_that_leaves_no_room_for_the_server_is_named() {
    for limit in ["-v 30000", "-d 20000"] {
        let (outcome, errors) = under(limit);
        assert_eq!((outcome.status, outcome.stdout.as_str()), (Some(125), ""), "{limit}: {errors}");
        assert!(errors.starts_with("hrun: cannot serve the image "), "{errors}");
        assert!(
            errors.contains("ulimit -v") && errors.contains("for the command alone"),
            "{errors}"
        );
    }
}

#[test]
fn commands_whose_server_is_killed_are_told_of_its_limits() {
    let (packed, scratch) = (Packed::tiny(), Scratch::new());
    let log = scratch.file("log", "");
    let script = format!(
        "exec 2>> {}; ulimit -t 1000 -v 900000; exec $hrun $image /bin/probe await 28",
        log.display()
    );
    let live = Live::start(&mut shell(&packed.path, &script));
    live.next_line();
    // Under such a limit there is one from the start.
    until("there is a witness", || {
        (keepers(&packed.path, "hrun-witness").len() == 1).then_some(())
    });
    kill(one_server(&packed.path), Signal::SIGKILL).unwrap();
    let told = until("the command is told", || {
        fs::read_to_string(&log).ok().filter(|text| text.contains("COMMAND"))
    });
    assert!(told.contains("ulimit -v 900000 -t 1000\n"), "{told}");
    live.send(Signal::SIGKILL);
    drop(live);
    none_is_left(&packed.path);
}
