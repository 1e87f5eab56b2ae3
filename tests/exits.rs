//! Exit status: the command's own, and 125, 126 and 127 with a cause and a remedy.

use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;

use super::support::run::{outcome, shell};
use super::support::scratch::{Scratch, chmod};
use super::support::{Image, Outcome, WAYS, hrun, lacks, probe, real};

/// Runs a command in an image with options before it.
fn run(image: &Image, options: &[&str], command: &str) -> Outcome {
    let image = image.path().to_str().unwrap();
    hrun(options.iter().copied().chain([image, "--", command]))
}

/// An ELF file of 64 bytes that is whole enough for the kernel to see which machine it is for.
fn elf_for_machine(machine: u16) -> Vec<u8> {
    let mut header = b"\x7fELF\x02\x01\x01".to_vec();
    header.resize(64, 0);
    header[16] = 2;
    header[18..20].copy_from_slice(&machine.to_le_bytes());
    header[20] = 1;
    header[52] = 64;
    header[54] = 56;
    header
}

#[test]
fn every_status_is_passed_on() {
    let image = Image::tiny();
    for status in 0..=255 {
        let outcome = probe(image.path(), &[], &format!("exit {status}"));
        assert_eq!((outcome.status, outcome.stderr.as_str()), (Some(status), ""));
    }
}

#[test]
fn death_by_a_signal_is_seen_as_that_signal() {
    let image = Image::tiny();
    use Signal::{SIGABRT, SIGHUP, SIGINT, SIGKILL, SIGSEGV, SIGTERM, SIGUSR1};
    for signal in [SIGTERM, SIGKILL, SIGSEGV, SIGABRT, SIGHUP, SIGINT, SIGUSR1] {
        for way in WAYS {
            let script = format!("kill -{} $$", signal as i32);
            let image = image.path().to_str().unwrap();
            let outcome = hrun(way.iter().copied().chain([image, "sh", "-c", &script]));
            assert_eq!((outcome.status, outcome.signal), (None, Some(signal as i32)), "{signal}");
            assert_eq!(outcome.stderr, "");
        }
    }
}

#[test]
fn a_shell_reports_what_it_reports_for_the_bare_command() {
    let image = Image::tiny();
    let mut shell = shell(image.path(), "$hrun $image probe raise 15; echo $?");
    assert_eq!(outcome(&mut shell).stdout, "143\n");
}

#[test]
fn a_command_that_is_nowhere_is_127() {
    let image = Image::tiny();
    for command in ["nosuch", "/bin/nosuch", "./nosuch", "nosuch/program"] {
        let attempt = format!("cannot run {command}: No such file or directory");
        let message = run(&image, &[], command).fails_with(127, &[&attempt]);
        assert!(message.contains("no such program inside"), "{message}");
        assert!(message.contains("--bind"), "{message}");
    }
}

#[test]
fn an_empty_command_is_127() {
    let image = Image::tiny();
    run(&image, &[], "").fails_with(127, &["No such file or directory"]);
}

#[test]
fn a_path_that_cannot_be_walked_is_126() {
    let image = Image::tiny();
    image.link("bin/loop", "loop");
    image.file("file", "");
    for command in ["/bin/loop", "loop", "/file/program"] {
        let message = run(&image, &[], command).fails_with(126, &["cannot run "]);
        assert!(message.contains("hint:"), "{message}");
    }
}

#[test]
fn a_dangling_link_is_127() {
    let image = Image::tiny();
    image.link("bin/dangling", "/nowhere");
    run(&image, &[], "dangling").fails_with(127, &["cannot run dangling: "]);
    run(&image, &[], "/bin/dangling").fails_with(127, &["cannot run /bin/dangling: "]);
}

#[test]
fn a_directory_is_126() {
    let image = Image::tiny();
    image.directory("bin/directory");
    run(&image, &[], "/bin").fails_with(126, &["cannot run /bin: ", "it is a directory"]);
    run(&image, &[], "directory")
        .fails_with(126, &["cannot run /bin/directory: ", "it is a directory"]);
}

#[test]
fn a_file_without_execute_bit_is_126() {
    let image = Image::tiny();
    image.file("bin/plain", "#!/bin/sh\n");
    for command in ["/bin/plain", "plain"] {
        run(&image, &[], command)
            .fails_with(126, &["cannot run /bin/plain: Permission denied", "chmod +x"]);
    }
}

#[test]
fn a_closed_directory_is_126() {
    if lacks("root") {
        return;
    }
    let image = Image::tiny();
    image.program("closed/program", "#!/bin/sh\n");
    let image = image.closed();
    chmod(&image.join("closed"), 0o700);
    let message = run(&image, &[], "/closed/program")
        .fails_with(126, &["cannot run /closed/program: Permission denied"]);
    assert!(message.contains("hint:"), "{message}");
}

#[test]
fn an_image_on_a_noexec_mount_is_126() {
    for way in &WAYS[1..] {
        an_image_on_a_noexec_mount_is_126_with(way);
    }
}

#[test]
fn an_image_on_a_noexec_mount_is_126_with_overlay() {
    for options in ["--bind=/usr/share:/made", "--write-fake"] {
        an_image_on_a_noexec_mount_is_126_with(&[options]);
    }
}

fn an_image_on_a_noexec_mount_is_126_with(options: &[&str]) {
    if lacks("root") {
        return;
    }
    let image = Image::tiny_in(Scratch::below(Path::new("/home/noexec")));
    let message = run(&image, options, "/bin/probe")
        .fails_with(126, &["cannot run /bin/probe: Permission denied", "(noexec)"]);
    assert!(message.contains("keep the image or program elsewhere"), "{message}");
}

#[test]
fn a_program_of_a_noexec_bind_is_126() {
    if lacks("root") {
        return;
    }
    let elsewhere = Scratch::below(Path::new("/home/noexec"));
    chmod(&elsewhere.file("program", "#!/bin/sh\n"), 0o755);
    let image = Image::tiny();
    let bind = format!("--bind={}:/opt", elsewhere.path().display());
    for way in WAYS {
        let options: Vec<&str> = way.iter().copied().chain([bind.as_str()]).collect();
        run(&image, &options, "/opt/program").fails_with(126, &["(noexec)"]);
    }
}

#[test]
fn a_program_for_another_machine_is_126() {
    let image = Image::tiny();
    let (machine, name) =
        if cfg!(target_arch = "aarch64") { (62, "x86_64") } else { (183, "aarch64") };
    image.program("bin/foreign", elf_for_machine(machine));
    for command in ["/bin/foreign", "foreign"] {
        let message = run(&image, &[], command)
            .fails_with(126, &["cannot run /bin/foreign: Exec format error"]);
        let cause =
            format!("the program is for {name}, this machine is {}", std::env::consts::ARCH);
        assert!(message.contains(&cause), "{message}");
        assert!(message.contains("get the image for this architecture"), "{message}");
    }
}

#[test]
fn a_program_without_its_loader_is_126() {
    let image = Image::tiny();
    image.program("bin/dynamic", std::fs::read(real("bookworm").join("bin/true")).unwrap());
    for command in ["/bin/dynamic", "dynamic"] {
        let message = run(&image, &[], command)
            .fails_with(126, &["cannot run /bin/dynamic: No such file or directory"]);
        assert!(message.contains("the loader /lib"), "{message}");
        assert!(message.contains("another distribution or C library"), "{message}");
    }
}

#[test]
fn a_script_without_its_interpreter_is_126() {
    let image = Image::tiny();
    image.program("bin/script", "#!/usr/bin/python9 -u\nprint(1)\n");
    for command in ["/bin/script", "script"] {
        let message = run(&image, &[], command)
            .fails_with(126, &["cannot run /bin/script: No such file or directory"]);
        assert!(message.contains("the interpreter /usr/bin/python9, "), "{message}");
        assert!(message.contains("install it in the image"), "{message}");
    }
}

#[test]
fn a_script_whose_interpreter_may_not_be_executed_is_126() {
    let image = Image::tiny();
    image.file("bin/interpreter", "");
    image.program("bin/script", "#!/bin/interpreter\n");
    let message = run(&image, &[], "script").fails_with(126, &["cannot run /bin/script: "]);
    assert!(message.contains("/bin/interpreter"), "{message}");
}

#[test]
fn a_script_with_windows_line_ends_is_126() {
    let image = Image::tiny();
    image.program("bin/script", "#!/bin/sh\r\necho never\r\n");
    for command in ["/bin/script", "script"] {
        let message = run(&image, &[], command).fails_with(126, &["cannot run /bin/script: "]);
        assert!(message.contains("Windows line ends"), "{message}");
        assert!(message.contains(r"sed -i 's/\r$//'"), "{message}");
    }
}

#[test]
fn a_text_file_without_first_line_is_126() {
    let image = Image::tiny();
    image.program("bin/text", "echo never\n");
    image.program("bin/empty", "");
    for command in ["/bin/text", "text", "/bin/empty"] {
        run(&image, &[], command).fails_with(126, &["Exec format error", "#!/bin/sh"]);
    }
}

#[test]
fn an_environment_that_is_too_long_is_126() {
    let image = Image::tiny();
    let scratch = Scratch::new();
    let file = scratch.file("env", format!("LONG={}\n", "x".repeat(200_000)));
    run(&image, &[&format!("--set-env={}", file.display())], "true")
        .fails_with(126, &["Argument list too long", "--clean-env"]);
}

/// Three directories on PATH, each with a program `it` that says where it is.
fn image_with_three() -> (Image, PathBuf) {
    let image = Image::tiny();
    for directory in ["one", "two", "three"] {
        image.program(&format!("{directory}/it"), format!("#!/bin/sh\necho {directory}\n"));
    }
    let first = image.join("one/it");
    (image, first)
}

const THREE: &str = "--env=PATH=/one:/two:/three";

#[test]
fn the_first_directory_of_path_wins() {
    let (image, _) = image_with_three();
    assert_eq!(run(&image, &[THREE], "it").ok(), "one\n");
    assert_eq!(run(&image, &["--env=PATH=/three:/one"], "it").ok(), "three\n");
}

#[test]
fn path_passes_over_what_cannot_be_executed() {
    let (image, first) = image_with_three();
    chmod(&first, 0o644);
    assert_eq!(run(&image, &[THREE], "it").ok(), "two\n");
    assert_eq!(run(&image, &["--env=PATH=/nowhere:/etc/passwd:/two"], "it").ok(), "two\n");
    chmod(&image.join("one"), 0);
    assert_eq!(run(&image, &[THREE], "it").ok(), "two\n");
}

#[test]
fn path_reports_the_first_that_cannot_be_executed_if_nothing_else_is_there() {
    let (image, _) = image_with_three();
    for directory in ["one", "two", "three"] {
        chmod(&image.join(directory).join("it"), 0o644);
    }
    run(&image, &[THREE], "it").fails_with(126, &["cannot run /one/it: Permission denied"]);
    run(&image, &["--env=PATH=/nowhere:/two"], "it")
        .fails_with(126, &["cannot run /two/it: Permission denied"]);
}

#[test]
fn path_goes_on_behind_a_script_without_its_interpreter() {
    let (image, _) = image_with_three();
    image.program("one/it", "#!/nowhere\n");
    assert_eq!(run(&image, &[THREE], "it").ok(), "two\n");
}

#[test]
fn relative_entries_of_path_start_in_the_start_directory_and_empty_ones_are_none() {
    let (image, _) = image_with_three();
    assert_eq!(run(&image, &["--env=PATH=:/one", "--cd=/two"], "it").ok(), "one\n");
    assert_eq!(run(&image, &["--env=PATH=.:/one", "--cd=/two"], "it").ok(), "two\n");
    assert_eq!(run(&image, &["--env=PATH=../three", "--cd=/two"], "it").ok(), "three\n");
}

#[test]
fn failures_of_hrun_itself_are_125() {
    let image = Image::tiny();
    run(&image, &["--nosuch"], "true").fails(&["--nosuch", "no such option"]);
    run(&image, &["--bind=/nowhere"], "true").fails(&["cannot bind /nowhere: ", "from: --bind"]);
    run(&image, &["--cd=/nowhere"], "true").fails(&["cannot start in /nowhere: ", "from: --cd"]);
    run(&image, &["--uid=me"], "true").fails(&["cannot use option --uid: ", "'me'"]);
    hrun(["/nowhere", "true"]).fails(&["cannot use /nowhere as an image: ", "hint: "]);
    hrun([] as [&str; 0]).fails(&["IMAGE is missing", "hrun --help"]);
}

#[test]
fn the_commands_own_125_to_127_are_passed_on_without_a_word() {
    let image = Image::tiny();
    for status in 125..=127 {
        let outcome = probe(image.path(), &[], &format!("exit {status}"));
        assert_eq!((outcome.status, outcome.stderr.as_str()), (Some(status), ""));
    }
}
