//! Kernel features that are missing change nothing of what a user sees.

use super::support::way::Way;
use super::support::{Image, Scratch, bind};

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
