//! Files of zeros take no room: not as holes in directories, in layers, or in squashfs files.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::Command;

use super::support::archive::{filtered, header, himage};
use super::support::keep::Store;
use super::support::scratch::{Scratch, own};
use super::support::{Image, outcome};

/// More than any image may become that is small.
const SIZE: u64 = (4 << 30) + (64 << 20);

/// Asserts that a file is as large as it should be and takes next to nothing.
#[track_caller]
fn is_a_hole(file: &Path) {
    let found = file.metadata().unwrap();
    assert_eq!(found.len(), SIZE);
    assert!(found.blocks() * 512 < 1 << 20, "{} blocks", found.blocks());
}

/// An image with a file of zeros but for its end, as `useradd` makes /var/log/lastlog.
fn sparse() -> Image {
    let image = Image::tiny();
    image.directory("var/log");
    let file = fs::File::create(image.join("var/log/lastlog")).unwrap();
    file.set_len(SIZE).unwrap();
    file.write_all_at(b"the end", SIZE - 7).unwrap();
    own(&image.join("var/log/lastlog"));
    image
}

#[track_caller]
fn ends_well(file: &Path) {
    is_a_hole(file);
    let mut end = [0; 7];
    fs::File::open(file).unwrap().read_exact_at(&mut end, SIZE - 7).unwrap();
    assert_eq!(&end, b"the end");
}

#[test]
fn a_directory_with_a_large_hole_becomes_an_archive_a_layout_and_a_squashfs_file() {
    let (image, scratch) = (sparse(), Scratch::new());
    let to = |name: &str| scratch.join(name);
    let convert = |from: &Path, to: &Path| himage([Path::new("convert"), from, to]).ok();
    convert(image.path(), &to("image.tar"));
    convert(image.path(), &to("image.oci"));
    convert(image.path(), &to("image.sqfs"));
    assert!(to("image.tar").metadata().unwrap().len() < 64 << 20);
    for (from, root) in [("image.tar", "1"), ("image.oci", "2/rootfs"), ("image.sqfs", "3")] {
        let made = to(root.split('/').next().unwrap());
        convert(&to(from), &made);
        ends_well(&to(root).join("var/log/lastlog"));
    }
    // Another reader of archives sees the same.
    fs::create_dir(to("tar")).unwrap();
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(to("tar")).arg("-xf").arg(to("image.tar")).arg("var/log/lastlog");
    assert_eq!(outcome(&mut tar).status, Some(0));
    ends_well(&to("tar/var/log/lastlog"));
}

#[test]
fn a_layer_with_a_large_file_of_zeros_is_unpacked() {
    let scratch = Scratch::new();
    let head = header(b'0', b"lastlog", b"", 0o644, SIZE);
    let head: String = head.iter().map(|byte| format!("\\{byte:03o}")).collect();
    let script =
        format!("{{ {{ printf '{head}'; head -c {} /dev/zero; }} | zstd -q -1 -c; }}", SIZE + 1024);
    let file = scratch.file("root.tar.zst", filtered(&script, b""));
    assert!(file.metadata().unwrap().len() < 2 << 20);
    himage([Path::new("convert"), &file, &scratch.join("made")]).ok();
    is_a_hole(&scratch.join("made/lastlog"));
}

#[test]
fn a_directory_with_a_hole_is_imported() {
    let (image, store) = (sparse(), Store::new());
    store.himage(["import".as_ref(), image.path().as_os_str(), "sparse".as_ref()]).ok();
    let tree = store.path().join("names/docker.io/library/sparse:latest/rootfs");
    ends_well(&tree.join("var/log/lastlog"));
}
