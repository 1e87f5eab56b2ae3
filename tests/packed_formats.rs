//! Packed images as older and other programs write them: they run, or an error says what to type.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::packed::{Packed, sif};
use super::support::archive::himage;
use super::support::{Image, Scratch, hrun, in_every_way, outcome};

/// The line by which a shell starts Singularity's images.
const LAUNCH: &[u8] = b"#!/usr/bin/env run-singularity\n";

#[test]
fn images_of_singularity_2_run_behind_their_line() {
    let image = Image::tiny();
    image.file(".singularity.d/env/90-environment.sh", "export COLOUR=red\n");
    let (packed, scratch) = (Packed::new(image.path(), &[]), Scratch::new());
    let bytes = [LAUNCH, &fs::read(&packed.path).unwrap()].concat();
    let file = scratch.file("image.simg", bytes);
    in_every_way(|way| assert_eq!(way.probe(&file, &[], "args x").ok(), "x\0"));
    assert_eq!(
        hrun([file.as_os_str(), "sh".as_ref(), "-c".as_ref(), "echo $COLOUR".as_ref()]).ok(),
        "red\n"
    );
    let made = scratch.join("made");
    himage([Path::new("convert"), &file, &made]).ok();
    assert!(made.join("bin/probe").is_file());
    himage([Path::new("inspect"), &file]).ok();
}

#[test]
fn an_image_that_is_compressed_by_lzo_runs_alone_and_in_a_sif_file() {
    let image = Image::tiny();
    image.file("text", "some text, ".repeat(50_000));
    let (packed, scratch) = (Packed::new(image.path(), &["-comp", "lzo"]), Scratch::new());
    let file = scratch.file("lzo.sif", sif(&fs::read(&packed.path).unwrap(), 1));
    for file in [&packed.path, &file] {
        assert_eq!(hrun([file.as_os_str(), "cat".as_ref(), "/text".as_ref()]).ok().len(), 550_000);
        let made = scratch.join("made");
        himage([Path::new("convert"), file, &made]).ok();
        assert_eq!(fs::read(made.join("text")).unwrap().len(), 550_000);
        fs::remove_dir_all(made).unwrap();
    }
}

/// Runs the part of a hint that unpacks an image, as a user would.
#[track_caller]
fn follow(hint: &str, scratch: &Scratch) {
    let mut shell = Command::new("sh");
    let done = outcome(shell.args(["-ec", hint]).current_dir(scratch.path()));
    assert_eq!(done.status, Some(0), "{hint}: {done:?}");
}

#[test]
fn an_ext3_image_is_named_with_the_way_to_unpack_it() {
    let (image, scratch) = (Image::tiny(), Scratch::new());
    let file = scratch.join("old.img");
    let mut make = Command::new("mkfs.ext3");
    make.args(["-q", "-d"]).arg(image.path()).arg(&file).arg("16M");
    outcome(&mut make).ok();
    let whole = fs::read(&file).unwrap();
    for (name, bytes) in [("old.img", whole.clone()), ("line.img", [LAUNCH, &whole].concat())] {
        let file = scratch.file(name, bytes);
        let said = hrun([file.as_os_str(), "true".as_ref()]);
        said.clone().fails(&[
            "it holds an ext3 file system",
            "debugfs -R",
            "apptainer build --sandbox",
        ]);
        let dest = scratch.join("dest");
        let converted = himage([Path::new("convert"), &file, &dest]);
        let imported =
            himage([Path::new("--store"), &scratch.join("store"), Path::new("import"), &file]);
        for outcome in [converted, imported] {
            assert!(outcome.stderr.contains("ext3 file system"), "{}", outcome.stderr);
        }
        let hint = said.stderr.split("unpack it: ").nth(1).unwrap().lines().next().unwrap();
        follow(hint.split("; hrun").next().unwrap(), &scratch);
        let unpacked = format!("{}.d", file.display());
        assert!(Path::new(&unpacked).join("bin/probe").is_file());
        assert!(file.is_file(), "the only copy is still there");
    }
}

/// A SIF file with another object, of a type, and a use if it is a partition.
fn with_another(image: &[u8], kind: u16, purpose: u8) -> Vec<u8> {
    let mut file = sif(image, 1);
    let at = 4096;
    file[at..at + 2].copy_from_slice(&kind.to_le_bytes());
    file[at + 4] = 1;
    let offset = file.len() as u32;
    file[at + 17..at + 21].copy_from_slice(&offset.to_le_bytes());
    file[at + 25] = 200;
    file[at + 201] = 2;
    file[at + 205] = purpose;
    let size = (image.len() as u64).to_le_bytes();
    file[4096 + 585 + 25..4096 + 585 + 33].copy_from_slice(&size);
    file.extend_from_slice(&[7; 200]);
    file
}

#[test]
fn nothing_of_a_sif_file_is_left_out_in_silence() {
    let (packed, scratch) = (Packed::tiny(), Scratch::new());
    let bytes = fs::read(&packed.path).unwrap();
    let overlay = scratch.file("overlay.sif", with_another(&bytes, 0x4004, 4));
    let oci = scratch.file("oci.sif", {
        let mut file = with_another(&bytes, 0x400a, 0);
        file[4096 + 585 + 4] = 0;
        file
    });
    let dest = scratch.join("dest");
    for (file, parts) in [
        (&overlay, ["has an overlay partition", "tail -c +40961 "]),
        (&oci, ["it is an OCI-SIF file", "Apptainer does not run it either"]),
    ] {
        hrun([file.as_os_str(), "true".as_ref()]).fails(&parts);
        let converted = himage([Path::new("convert"), file, &dest]);
        parts
            .iter()
            .for_each(|part| assert!(converted.stderr.contains(part), "{}", converted.stderr));
        assert!(!dest.exists());
    }
    // What the hint says is the image without what was written to it.
    let said = hrun([overlay.as_os_str(), "true".as_ref()]).stderr;
    let hint = said.split("without: ").nth(1).unwrap().split("; hrun").next().unwrap();
    follow(hint, &scratch);
    let part = scratch.join("overlay.sif.sqfs");
    assert_eq!(fs::read(&part).unwrap(), bytes);
    // A partition of data alone takes nothing away.
    let data = scratch.file("data.sif", with_another(&bytes, 0x4004, 3));
    hrun([data.as_os_str(), "true".as_ref()]).ok();
}

#[test]
fn a_sif_file_for_another_machine_is_named() {
    let (packed, scratch) = (Packed::tiny(), Scratch::new());
    let mut bytes = sif(&fs::read(&packed.path).unwrap(), 1);
    bytes[45..47].copy_from_slice(b"11");
    let file = scratch.file("s390x.sif", &bytes);
    hrun([file.as_os_str(), "true".as_ref()])
        .fails(&["it is for s390x, this machine is ", "get the image for this architecture"]);
    bytes[45..47].copy_from_slice(if cfg!(target_arch = "x86_64") { b"02" } else { b"00" });
    hrun([scratch.file("own.sif", &bytes).as_os_str(), "true".as_ref()]).ok();
}
