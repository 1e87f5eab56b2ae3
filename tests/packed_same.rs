//! Programs print the same, and files are the same, wherever an image is: in a directory, in a
//! squashfs file of any kind, in a SIF file, unpacked again, or mounted by the kernel itself.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::packed::{Packed, WALK, packed_debian, sif};
use super::support::machine::with_own_mounts;
use super::support::run::outcome;
use super::support::{Scratch, command, lacks, real};

/// What people run, by what they run it with.
const COMMANDS: [&str; 32] = [
    "python3 -c 'import json, ssl, sqlite3, decimal; print(json.dumps([ssl.OPENSSL_VERSION, 1]))'",
    "python3 -c 'import glob, hashlib; print([hashlib.md5(open(f, \"rb\").read()).hexdigest() \
     for f in sorted(glob.glob(\"/usr/lib/python3.11/**/*.py\", recursive=True))])'",
    "python3 -c 'import os; print(sorted((n, os.path.getsize(\"/usr/bin/\" + n)) \
     for n in os.listdir(\"/usr/bin\")))'",
    "python3 -c 'import mmap; f = open(\"/usr/bin/perl\", \"rb\"); m = mmap.mmap(f.fileno(), 0, \
     prot=mmap.PROT_READ); print(len(m), m.find(b\"ELF\"), m[-20:], sum(m[::4096]))'",
    "python3 -m tabnanny -v /usr/lib/python3.11/json | sort",
    "perl -MPOSIX -e 'print \"$^V \", POSIX::floor(2.5), \"\\n\"; \
     for (sort(glob(\"/usr/share/perl5/*/*\"))) { print \"$_\\n\" if m(pm\\z) }'",
    "awk '{ words += NF } END { print NR, words }' /usr/share/common-licenses/GPL-3",
    "grep -r -l Copyright /usr/share/doc | sort | sha256sum",
    "grep -c -i license /usr/share/common-licenses/*",
    "find /usr -type l -printf '%p %l\\n' | sort | sha256sum",
    "find /usr /bin /lib -type f -size +64k -printf '%p %s %m %TY-%Tm-%Td\\n' | sort",
    "find /usr -type d -empty | sort",
    "tar -C /usr/share --sort=name --owner=0 --group=0 --format=gnu -cf - perl5 zoneinfo | sha256sum",
    "locale -a",
    "ldd /usr/bin/python3 /bin/bash /usr/bin/apt | sed 's/ (0x.*//'",
    "/sbin/ldconfig -p | sort",
    "apt-cache pkgnames | sort",
    "apt-cache show bash",
    "dpkg -V coreutils perl-base bash libc6",
    "dpkg-query -W -f '${Package} ${Version} ${Status}\\n'",
    "dpkg -S /usr/bin/perl /usr/bin/find",
    "cd / && md5sum -c --quiet var/lib/dpkg/info/coreutils.md5sums && echo all",
    "sha256sum /usr/bin/* /usr/lib/*/libc.so.6",
    "cksum /usr/bin/p* | sort",
    "sort /var/lib/dpkg/status | uniq -c | sort -n | tail -40",
    "od -A d -t x1 /usr/bin/perl | tail -3; head -c 70000 /usr/bin/perl | sha1sum; tail -c 70001 /usr/bin/perl | sha1sum",
    "cmp /usr/bin/perl /usr/bin/perl5.3?.0 && diff -r /usr/share/doc /usr/share/doc && echo same",
    "ls -R /usr/lib /etc/apt | sha256sum; ls -d /usr/lib/*/*.so* | wc -l",
    "stat -c '%n %A %s %Y' /usr/bin/[a-c]* /etc/alternatives/*",
    "readlink -f /bin/sh /etc/mtab /usr/bin/awk /etc/alternatives/*",
    "update-alternatives --display awk; iconv -l | wc -l; date -u -r /usr/bin/perl",
    "zcat /usr/share/doc/*/changelog*.gz | wc; base64 /usr/bin/dircolors | tr -d A | cksum",
];

/// All of them at once, each with its exit status.
fn script() -> String {
    let lines = COMMANDS.iter().enumerate();
    let lines = lines.map(|(number, line)| {
        format!("echo '=== {number}'; ( {line} ) 2>&1 < /dev/null; echo \"= $?\"\n")
    });
    lines.collect()
}

/// What the programs print in an image.
fn run(options: &[&str], image: &Path) -> Vec<String> {
    let mut hrun = command(options);
    hrun.arg("-q").arg(image).args(["sh", "-c", &script()]).env("LC_ALL", "C.UTF-8");
    let outcome = outcome(&mut hrun);
    assert_eq!((outcome.status, outcome.stderr.as_str()), (Some(0), ""), "{}", image.display());
    let parts: Vec<String> = outcome.stdout.split("=== ").map(str::to_owned).collect();
    assert_eq!(parts.len(), COMMANDS.len() + 1);
    parts
}

#[track_caller]
fn same(what: &str, seen: &[String], wanted: &[String]) {
    for (number, (seen, wanted)) in seen.iter().zip(wanted).enumerate().skip(1) {
        assert!(seen == wanted, "{what}: {}\n{seen}\nnot\n{wanted}", COMMANDS[number - 1]);
    }
}

/// What all forms are compared with; most commands succeed.
fn wanted(directory: &Path) -> Vec<String> {
    let wanted = run(&[], directory);
    let failed: Vec<_> = wanted.iter().skip(1).filter(|part| !part.ends_with("= 0\n")).collect();
    assert!(failed.is_empty(), "{failed:?}");
    wanted
}

#[test]
fn thirty_programs_print_the_same() {
    let (directory, packed, scratch) = (real("bookworm"), packed_debian(), Scratch::new());
    let wanted = wanted(&directory);
    same("squashfs", &run(&[], &packed), &wanted);
    let place = format!("--unpack={}", scratch.path().display());
    same("unpacked again", &run(&[&place], &packed), &wanted);
}

#[test]
#[ignore = "packs an image ten times"]
fn thirty_programs_print_the_same_from_every_form() {
    let (directory, scratch) = (real("bookworm"), Scratch::new());
    let wanted = wanted(&directory);
    for (compressor, size) in [
        ("gzip", "4K"),
        ("gzip", "128K"),
        ("gzip", "1M"),
        ("zstd", "4K"),
        ("zstd", "128K"),
        ("zstd", "1M"),
        ("xz", "128K"),
        ("lz4", "4K"),
        ("lz4", "1M"),
    ] {
        let what = format!("{compressor}, {size}");
        let packed = Packed::new(&directory, &["-comp", compressor, "-b", size]);
        same(&what, &run(&[], &packed.path), &wanted);
        let place = format!("--unpack={}", scratch.path().display());
        same(&format!("{what}, unpacked again"), &run(&[&place], &packed.path), &wanted);
        let file = scratch.file("image.sif", sif(&fs::read(&packed.path).unwrap(), 1));
        same(&format!("{what}, SIF"), &run(&[], &file), &wanted);
        if lacks("root") {
            continue;
        }
        let at = scratch.directory("mounted");
        with_own_mounts(|| {
            let mut mount = Command::new("mount");
            mount.args(["-t", "squashfs", "-o", "loop,ro"]).arg(&packed.path).arg(&at);
            outcome(&mut mount).ok();
            same(&format!("{what}, the kernel's mount"), &run(&[], &at), &wanted);
        });
    }
}

#[test]
fn files_are_as_unsquashfs_has_them() {
    let (packed, scratch) = (packed_debian(), Scratch::new());
    let tree = scratch.join("tree");
    let mut unsquashfs = Command::new("unsquashfs");
    unsquashfs.args(["-no-progress", "-quiet", "-d"]).arg(&tree).arg(&packed);
    outcome(&mut unsquashfs).ok();
    let place = format!("--unpack={}", scratch.directory("copy").display());
    let walk = |options: &[&str]| {
        let mut hrun = command(options);
        sorted(
            &outcome(hrun.arg("-q").arg(&packed).args(["python3", "-c", WALK, "", "plain"])).ok(),
        )
    };
    for options in [&[][..], &[place.as_str()]] {
        if !options.is_empty() {
            // Files on a node are their owner's to write only.
            outcome(Command::new("chmod").args(["-R", "go-w"]).arg(&tree)).ok();
        }
        let mut python = Command::new("python3");
        python.args(["-c", WALK]).arg(&tree).arg("plain");
        let wanted = sorted(&outcome(&mut python).ok());
        assert!(wanted.len() > 5000, "{}", wanted.len());
        let seen = walk(options);
        for (seen, wanted) in seen.iter().zip(&wanted) {
            assert_eq!(seen, wanted, "{options:?}");
        }
        assert_eq!(seen.len(), wanted.len(), "{options:?}");
    }
}

fn sorted(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}
