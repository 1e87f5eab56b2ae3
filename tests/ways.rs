//! Kernel features that are missing change nothing of what a user sees.

use super::support::run::{as_tester, outcome, probe_arguments};
use super::support::way::Way;
use super::support::{Image, Scratch, bind, program};

#[test]
fn the_calls_of_red_hat_8_make_every_destination() {
    let (image, data) = (Image::tiny(), Scratch::new());
    data.file("note", "from the host");
    // One of the ways of all tests; here on its own, because so many sites have it.
    let red_hat_8 = Way(&["--assume-missing=overlay,mount-setattr"]);
    let see =
        |rest: &str, words: &str| red_hat_8.probe(image.path(), &[&bind(data.path(), rest)], words);
    for place in [":/data", ":/etc/new", ":/home/new"] {
        let path = &place[1..];
        assert_eq!(see(place, &format!("cat {path}/note")).ok(), "from the host");
        assert_eq!(see(place, &format!("write {path}/new x")).ok(), "ok\n");
        let read_only = format!("{place}:ro");
        see(&read_only, &format!("write {path}/new x")).refused("EROFS");
    }
    see(":/data", "write /bin/new x").refused("EROFS");
}

/// A filter around hrun, a batch system's or a container's, may be older than the kernel.
#[test]
fn what_a_filter_denies_is_done_without() {
    let (image, data) = (Image::tiny(), Scratch::new());
    data.file("note", "from the host");
    let see = |words: &str| {
        let option = bind(data.path(), ":/data/new:ro");
        let mut command = as_tester(&program("old"));
        command.arg(program("hrun")).args(probe_arguments(image.path(), &[&option], words));
        outcome(&mut command)
    };
    assert_eq!(see("cat /data/new/note").ok(), "from the host");
    see("write /data/new/note x").refused("EROFS");
    let doctor = outcome(as_tester(&program("old")).arg(program("hrun")).arg("--doctor")).ok();
    assert!(doctor.ends_with("\nhrun works here\n"), "{doctor}");
    let line = "warning  mount_setattr           does not work: Function not implemented\n";
    assert!(doctor.contains(line), "{doctor}");
}

#[test]
fn features_have_names() {
    let image = Image::tiny();
    for features in ["", "overlay", "pivot-root, mount-setattr", "overlay,overlay"] {
        let option = format!("--assume-missing={features}");
        Way(&[]).probe(image.path(), &[&option, "--dry-run"], "cwd").ok();
    }
    Way(&[]).probe(image.path(), &["--assume-missing=magic"], "cwd").fails(&[
        "'magic' is not one of overlay, mount-setattr, pivot-root",
        "from: --assume-missing magic",
    ]);
}
