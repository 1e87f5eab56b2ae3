//! Images in a squashfs file are run without being unpacked; inside, all is as in a directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MsFlags, mount};

use super::support::machine::with_own_mounts;
use super::support::run::{outcome, shell};
use super::support::{
    Image, Scratch, bind, hrun, in_every_way, lacks, probe, program, real, tester,
};

/// A packed image of a test's own.
pub struct Packed {
    pub path: PathBuf,
    _scratch: Scratch,
}

impl Packed {
    /// Packs a directory.
    pub fn new(tree: &Path, options: &[&str]) -> Self {
        let scratch = Scratch::new();
        let path = scratch.join("image.sqfs");
        let mut command = Command::new("mksquashfs");
        command.arg(tree).arg(&path).args(["-quiet", "-no-progress"]).args(options);
        outcome(&mut command).ok();
        Packed { path, _scratch: scratch }
    }

    /// A packed [`Image::tiny`].
    pub fn tiny() -> Self {
        Packed::new(Image::tiny().path(), &[])
    }

    /// The packed Debian, as a file of a test's own.
    pub fn debian() -> Self {
        let scratch = Scratch::new();
        let path = scratch.join("debian.sqfs");
        // A file of its own: by that it is known who serves it.
        fs::copy(packed_debian(), &path).unwrap();
        Packed { path, _scratch: scratch }
    }
}

/// Made by `tests/images.sh`.
pub fn packed_debian() -> PathBuf {
    let image = real("bookworm").with_extension("sqfs");
    assert!(image.is_file(), "{} is missing: run `make test`", image.display());
    image
}

#[test]
fn every_compressor_runs_in_every_way() {
    let image = Image::tiny();
    for compressor in ["gzip", "xz", "lzo", "lz4", "zstd"] {
        let packed = Packed::new(image.path(), &["-comp", compressor, "-b", "64K"]);
        in_every_way(|way| {
            for words in ["args a b", "cwd", "kind / /bin /bin/sh /nothing", "cat /etc/group"] {
                let seen = way.probe(&packed.path, &[], words).ok();
                assert_eq!(seen, way.probe(image.path(), &[], words).ok(), "{words}");
            }
            way.probe(&packed.path, &[], "write /bin/new x").refused("EROFS");
            assert_eq!(way.probe(&packed.path, &[], "exit 7").status, Some(7));
        });
    }
}

#[test]
fn destinations_are_made_in_every_way() {
    let (packed, data) = (Packed::tiny(), Scratch::new());
    data.file("note", "from the host");
    in_every_way(|way| {
        for place in ["/data", "/etc/new/deep", "/home/new", "/opt"] {
            let option = bind(data.path(), &format!(":{place}"));
            let see = way.probe(&packed.path, &[&option], &format!("cat {place}/note"));
            assert_eq!(see.ok(), "from the host");
        }
    });
}

#[test]
fn programs_say_the_same_as_in_the_directory() {
    let (directory, packed) = (real("bookworm"), packed_debian());
    let scripts = [
        "cat /etc/os-release /etc/debian_version",
        "sha256sum /bin/* /usr/lib/*/libc.so.6 /usr/lib/python3.11/*.py | sort",
        "find /usr /var -xdev \\( -type d ! -perm -o=rx -prune \\) -o -printf '%p %y %m %TY-%Tm-%Td %TH:%TM %l\\n' \
         | sort",
        "find /usr -type f -printf '%p %s\\n' | sort",
        "ls -l /bin/ | wc -l; readlink -f /bin/sh /etc/mtab /usr/bin/awk",
        "python3 -c 'import json, ssl, sqlite3, decimal; print(json.dumps([1, ssl.OPENSSL_VERSION]))'",
        "dpkg-query -W; perl -e 'print \"$]\\n\"'",
        "test -x /bin/sh && test ! -w /bin/sh && test -d /usr && echo yes",
        "tail -c 100000 /usr/bin/python3.11 | sha1sum; head -c 70000 /usr/bin/perl | sha1sum",
        "df / > /dev/null && stat -f -c %l /",
    ];
    for script in scripts {
        let run = |image: &Path| hrun([image, Path::new("sh"), Path::new("-c"), script.as_ref()]);
        let (wanted, seen) = (run(&directory), run(&packed));
        assert_eq!(seen.status, Some(0), "{script}: {}", seen.stderr);
        for (seen, wanted) in seen.stdout.lines().zip(wanted.stdout.lines()) {
            assert_eq!(seen, wanted, "{script}");
        }
        assert_eq!(seen.stdout.len(), wanted.stdout.len(), "{script}");
    }
}

/// Prints all that system calls tell of two directories, but for owners; with a second word,
/// without what each file system has of its own.
pub const WALK: &str = "
import os, sys, hashlib, stat
root = sys.argv[1]
plain = len(sys.argv) > 2
for top in ('/usr', '/var'):
    for path, directories, files in os.walk(root + top):
        for name in ['.'] + files + [d for d in directories if os.path.islink(path + '/' + d)]:
            p = path + '/' + name
            s = os.lstat(p)
            space = [0, 0, 0] if plain and stat.S_ISDIR(s.st_mode) else [
                s.st_size, 0 if plain else s.st_blocks, s.st_nlink]
            facts = [p[len(root):], oct(s.st_mode), s.st_mtime] + space
            if stat.S_ISLNK(s.st_mode):
                facts.append(os.readlink(p))
            elif stat.S_ISREG(s.st_mode):
                facts.append(hashlib.sha1(open(p, 'rb').read()).hexdigest())
            try:
                names = os.listxattr(p, follow_symlinks=False)
            except OSError:
                names = []
            facts += [(x, os.getxattr(p, x, follow_symlinks=False))
                      for x in names]
            print(facts)
        # The host's, or a link to /tmp.
        directories[:] = sorted(d for d in directories if path + '/' + d != root + '/var/tmp')
";

#[test]
fn the_kernels_own_mount_shows_the_same() {
    if lacks("root") {
        return;
    }
    let (packed, scratch) = (packed_debian(), Scratch::new());
    let served = hrun([
        "--no-config".as_ref(),
        packed.as_path(),
        "python3".as_ref(),
        "-c".as_ref(),
        WALK.as_ref(),
        "".as_ref(),
    ]);
    let at = scratch.directory("mounted");
    let mounted = with_own_mounts(|| {
        let script = "mount -t squashfs -o loop,ro \"$1\" \"$2\" && python3 -c \"$3\" \"$2\"";
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]).args([&packed, &at]).arg(WALK);
        outcome(&mut command).ok()
    });
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let (served, mounted) = (sorted(&served.ok()), sorted(&mounted));
    assert!(served.len() > 5000, "{}", served.len());
    for (served, mounted) in served.iter().zip(&mounted) {
        assert_eq!(served, mounted);
    }
    assert_eq!(served.len(), mounted.len());
}

#[test]
fn all_files_are_the_callers() {
    let packed = Packed::new(Image::tiny().path(), &["-all-root"]);
    let owner = |options: &[&str]| probe(&packed.path, options, "owner /bin/probe").ok();
    assert!(owner(&[]).contains(&tester().uid.to_string()));
    assert!(owner(&["--root"]).starts_with("0 "), "{}", owner(&["--root"]));
}

#[test]
fn changes_go_to_a_layer() {
    let (image, layer) = (Image::tiny(), Scratch::new());
    image.file("bin/own", "old\n");
    let packed = Packed::new(image.path(), &[]);
    let run = |options: &[&str], script: &str| {
        let words = [packed.path.to_str().unwrap(), "sh", "-c", script];
        hrun(options.iter().copied().chain(words))
    };
    let change = "echo new >> /bin/own && echo x > /bin/new && cat /bin/own /bin/new";
    assert_eq!(run(&["--write-fake"], change).ok(), "old\nnew\nx\n");
    let overlay = format!("--overlay={}", layer.join("kept").display());
    assert_eq!(run(&[&overlay], change).ok(), "old\nnew\nx\n");
    assert_eq!(run(&[&overlay], "cat /bin/new").ok(), "x\n");
    assert_eq!(run(&[], "cat /bin/own").ok(), "old\n");
    run(&["--write"], "true").fails(&[
        "cannot write to the image: a packed image cannot be changed",
        "from: --write",
        "--write-fake forgets what is written",
    ]);
}

#[test]
fn what_the_image_says_of_itself_counts() {
    let image = Image::tiny();
    image.file("ch/environment", "COLOUR=blue\n");
    image.file("ch/metadata.json", "{\"cwd\": \"/opt\"}");
    let packed = Packed::new(image.path(), &[]);
    let script = "$hrun $image sh -c 'echo $COLOUR'";
    assert_eq!(outcome(&mut shell(&packed.path, script)).ok(), "blue\n");
}

#[test]
fn images_that_cannot_be_read_are_explained() {
    let (image, scratch) = (Image::tiny(), Scratch::new());
    let whole = fs::read(Packed::new(image.path(), &[]).path).unwrap();
    let lzma = [&whole[..20], &[2, 0], &whole[22..]].concat();
    let old = [&whole[..28], &[3, 0], &whole[30..]].concat();
    let zeros = [&whole[..96], &vec![0; whole.len() - 96]].concat();
    for (name, bytes, parts) in [
        (
            "short",
            &whole[..50],
            ["it ends before the end of its superblock", "copy or make it again"],
        ),
        ("cut", &whole[..5000], ["it ends before the end of its", "copy or make it again"]),
        ("lzma", &lzma, ["compressed by lzma; gzip, xz, lzo, lz4 and zstd", "unsquashfs -d "]),
        ("old", &old, ["version 3.0, not 4.0", "unsquashfs -d "]),
        ("zeros", &zeros, ["its inode table", "copy or make it again"]),
    ] {
        let file = scratch.file(name, bytes).display().to_string();
        hrun([file.as_str(), "true"]).fails(&[
            &format!("cannot use {file} as an image: "),
            parts[0],
            parts[1],
        ]);
    }
}

/// A SIF file with an image in the partition of its system.
pub fn sif(image: &[u8], kind: u8) -> Vec<u8> {
    let mut file = vec![0; 4096 + 2 * 585];
    file[..30].copy_from_slice(b"#!/usr/bin/env run-singularity");
    file[32..41].copy_from_slice(b"SIF_MAGIC");
    file[88] = 2;
    file[96..98].copy_from_slice(&4096u16.to_le_bytes());
    let at = 4096 + 585;
    file[at..at + 5].copy_from_slice(&[4, 0x40, 0, 0, 1]);
    file[at + 17..at + 21].copy_from_slice(&40_960u32.to_le_bytes());
    file[at + 201] = kind;
    file[at + 205] = 2;
    file.resize(40_960, 0);
    file.extend_from_slice(image);
    file
}

#[test]
fn a_sif_file_runs_in_every_way() {
    let image = Image::tiny();
    image.file(".singularity.d/labels.json", "{}");
    image.file(".singularity.d/env/90-environment.sh", "export COLOUR=red\n");
    image.program(".singularity.d/runscript", "#!/bin/sh\necho $COLOUR\n");
    let (packed, scratch) = (Packed::new(image.path(), &[]), Scratch::new());
    let bytes = fs::read(&packed.path).unwrap();
    let file = scratch.file("image.sif", sif(&bytes, 1));
    in_every_way(|way| {
        assert_eq!(way.probe(&file, &[], "args x").ok(), "x\0");
        assert_eq!(outcome(&mut way.command([&file])).ok(), "red\n");
    });
    let name = file.display().to_string();
    let plan = hrun(["--dry-run", name.as_str(), "true"]).ok();
    assert!(plan.contains(&format!("{name} from byte 40960")), "{plan}");
    for (kind, what) in [(2, "an ext3 file system"), (5, "an encrypted file system")] {
        let file = scratch.file("other.sif", sif(&bytes, kind)).display().to_string();
        hrun([file.as_str(), "true"]).fails(&[what, "apptainer build --sandbox"]);
    }
    let file = scratch.file("short.sif", &sif(&bytes, 1)[..4500]).display().to_string();
    hrun([file.as_str(), "true"]).fails(&["damaged or not complete", "copy or make it again"]);
}

#[test]
fn a_machine_without_the_device_is_explained() {
    if lacks("root") {
        return;
    }
    let (packed, scratch) = (Packed::tiny(), Scratch::new());
    let image = packed.path.to_str().unwrap();
    let asks = |what: &str| {
        for words in [&[image, "true"][..], &["--dry-run", image, "true"]] {
            hrun(words).fails(&[
                "cannot serve the image",
                what,
                "ask the administrator of this node",
                "--unpack runs a copy",
            ]);
        }
    };
    with_own_mounts(|| {
        let node = scratch.join("fuse");
        let make = "mknod -m 600 \"$1\" c 10 229";
        outcome(Command::new("sh").args(["-c", make, "sh"]).arg(&node)).ok();
        mount(Some(&node), "/dev/fuse", None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
        asks("/dev/fuse is closed to you");
        let place = format!("--unpack={}", scratch.path().display());
        assert_eq!(probe(&packed.path, &["-q", &place], "args x").ok(), "x\0");
    });
    with_own_mounts(|| {
        let make = "mount -t tmpfs tmpfs /dev && mknod -m 666 /dev/null c 1 3";
        outcome(Command::new("sh").args(["-c", make])).ok();
        asks("there is no /dev/fuse");
    });
}

#[test]
fn the_plan_names_the_server() {
    let packed = Packed::tiny();
    let image = packed.path.to_str().unwrap();
    let plan = hrun(["--dry-run", image, "true"]).ok();
    assert!(plan.lines().any(|line| line.starts_with("serve") && line.contains(image)), "{plan}");
    let plan = |options: &[&str]| {
        let words = ["--dry-run=json"].iter().chain(options).copied();
        hrun(words.chain([image, "/bin/probe"])).ok()
    };
    // The command's program is unpacked ahead of time, if it is the image's.
    assert!(plan(&[]).contains("\"first\": [\n        \"/bin/probe\"\n"), "{}", plan(&[]));
    let bind = format!("{}:/bin/probe", program("probe").display());
    assert!(!plan(&["--bind", &bind]).contains("\"first\": ["), "{}", plan(&["--bind", &bind]));
    // A plan that is written and read back does the same.
    let scratch = Scratch::new();
    let json = hrun(["--dry-run=json", image, "/bin/probe", "args", "x"]).ok();
    let file = scratch.file("plan.json", json).display().to_string();
    assert_eq!(hrun(["--plan", &file]).ok(), "x\0");
}
