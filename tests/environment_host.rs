//! Which of the host's variables the command gets, and which are of no use inside.

use std::path::Path;

use super::support::scratch::chmod;
use super::support::variables::{hrun_with, variables};
use super::support::{Image, Scratch, hrun_in, real};

#[test]
fn functions_and_start_files_of_the_hosts_shells_stay_outside() {
    let image = Image::tiny();
    let host = [
        "BASH_FUNC_which%%=() { echo host; }",
        "BASH_FUNC_module()=() { echo host; }",
        "old=() { echo host; }",
        "BASH_ENV=/host/start",
        "ENV=/host/start",
        "BASH_FUN=1",
    ];
    let names = ["BASH_FUNC_which%%", "BASH_FUNC_module()", "old", "BASH_ENV", "ENV", "BASH_FUN"];
    let seen = |options: &[&str]| variables(image.path(), &names, &host, options);
    assert_eq!(seen(&[])[..5], names[..5]);
    assert_eq!(seen(&[])[5], "BASH_FUN=1");
    assert_eq!(seen(&["--keep-env=BASH_FUNC_which*"])[0], host[0]);
    assert_eq!(seen(&["--keep-env=BASH_ENV"])[3], host[3]);
    // bash of a real image is not told of the host's functions.
    let image = real("bookworm");
    let words = [image.to_str().unwrap(), "bash", "-c", "echo; type -t ls"];
    assert_eq!(hrun_with(["BASH_FUNC_ls%%=() { echo host; }"], words).ok(), "\nfile\n");
}

#[test]
fn what_names_a_file_that_is_not_inside_goes() {
    let image = Image::tiny();
    image.file("opt/there/cert.pem", "");
    let files = [
        "XDG_RUNTIME_DIR",
        "SLURM_TMPDIR",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
        "GIT_SSL_CAINFO",
        "NODE_EXTRA_CA_CERTS",
        "XAUTHORITY",
        "JAVA_HOME",
    ];
    let seen = |value: &str, options: &[&str]| {
        let host: Vec<String> = files.iter().map(|name| format!("{name}={value}")).collect();
        let host: Vec<&str> = host.iter().map(String::as_str).collect();
        variables(image.path(), &files, &host, options)
    };
    assert_eq!(seen("/no/such", &[]), files);
    let with = |value: &str| files.map(|name| format!("{name}={value}"));
    assert_eq!(seen("/opt/there/cert.pem", &[]), with("/opt/there/cert.pem"));
    assert_eq!(seen("relative", &[]), with("relative"));
    assert_eq!(seen("/no/such", &["--keep-env=*"]), with("/no/such"));
    let outcome =
        hrun_with(["JAVA_HOME=/no/such"], [Path::new("-v"), image.path(), Path::new("/bin/true")]);
    let note = "hrun: note: JAVA_HOME is dropped: no /no/such inside\n";
    assert!(outcome.stderr.contains(note), "{}", outcome.stderr);
    // One of several is enough, a socket counts, and what is no file may be anywhere.
    let names = ["SSL_CERT_DIR", "DBUS_SESSION_BUS_ADDRESS"];
    let seen = |host: [&str; 2]| variables(image.path(), &names, &host, &[]);
    let kept = ["SSL_CERT_DIR=/no/such:/opt/there", "DBUS_SESSION_BUS_ADDRESS=unix:abstract=/x"];
    assert_eq!(seen(kept), kept);
    let gone =
        ["SSL_CERT_DIR=/no/such:/nor/this", "DBUS_SESSION_BUS_ADDRESS=unix:path=/no/bus,guid=1"];
    assert_eq!(seen(gone), names);
}

#[test]
fn what_a_launcher_handed_out_stays_wherever_it_leads() {
    let image = Image::tiny();
    let host =
        ["CUDA_MPS_PIPE_DIRECTORY=/no/such", "PMIX_SERVER_TMPDIR=/no/such", "SLURM_CONF=/no/such"];
    let names = ["CUDA_MPS_PIPE_DIRECTORY", "PMIX_SERVER_TMPDIR", "SLURM_CONF"];
    assert_eq!(variables(image.path(), &names, &host, &[]), host);
}

#[test]
fn slurms_directory_for_temporary_files_is_shown() {
    let image = Image::tiny();
    let job = Scratch::new();
    let directory = job.directory("job");
    let host = format!("SLURM_TMPDIR={}", directory.display());
    let words = ["--no-home", "--no-cwd", image.path().to_str().unwrap(), "touch"];
    let file = directory.join("made");
    let words = words.into_iter().chain([file.to_str().unwrap()]);
    assert_eq!(hrun_with([host], words).ok(), "");
    assert!(file.exists());
}

#[test]
fn a_locale_the_image_lacks_is_replaced() {
    let image = real("bookworm");
    let shown = |host: &[&str]| {
        let words = [image.to_str().unwrap(), "sh", "-c", "echo $LANG,$LC_ALL,$LC_TIME; perl -e 1"];
        hrun_with(host, words).ok()
    };
    assert_eq!(shown(&["LANG=de_DE.UTF-8", "LC_ALL=de_DE.utf8"]), "C.UTF-8,C.UTF-8,\n");
    assert_eq!(shown(&["LANG=C.UTF-8", "LC_TIME=de_DE"]), "C.UTF-8,,\n");
    assert_eq!(shown(&["LANG=C.utf8", "LC_ALL=POSIX", "LC_TIME=C"]), "C.utf8,POSIX,C\n");
    let words = ["-v", image.to_str().unwrap(), "true"];
    let outcome = hrun_with(["LC_ALL=de_DE.UTF-8"], words);
    let note = "hrun: note: LC_ALL becomes C.UTF-8: the image has no locale de_DE.UTF-8\n";
    assert!(outcome.stderr.contains(note), "{}", outcome.stderr);
    // One that it has stays, in a directory or in the archive.
    let image = Image::tiny();
    image.directory("usr/lib/locale/de_DE.utf8");
    let mut archive = Vec::new();
    for word in [0xde02_0109_u32, 0, 0, 0, 0, 28, 22] {
        archive.extend(word.to_ne_bytes());
    }
    archive.extend(b"en_US.utf8\0fr_FR.utf8\0");
    image.file("usr/lib/locale/locale-archive", archive);
    let host = ["LC_TIME=de_DE.UTF-8", "LC_ALL=en_US.UTF-8", "LANG=fr_FR.UTF-8", "LC_PAPER=it_IT"];
    let seen = variables(image.path(), &["LC_TIME", "LC_ALL", "LANG", "LC_PAPER"], &host, &[]);
    assert_eq!(seen, [host[0], host[1], host[2], "LC_PAPER"]);
}

#[test]
fn clean_env_keeps_what_launchers_hand_out() {
    let image = Image::tiny();
    let names = [
        "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE",
        "CUDA_MPS_PIPE_DIRECTORY",
        "ONEAPI_DEVICE_SELECTOR",
        "JSM_NAMESPACE_RANK",
        "LSB_JOBID",
        "PBS_NODEFILE",
        "MV2_COMM_WORLD_RANK",
        "UCX_TLS",
        "NCCL_DEBUG",
        "FI_PROVIDER",
        "I_MPI_PIN",
        "KMP_AFFINITY",
        "http_proxy",
        "https_proxy",
        "NO_PROXY",
        "no_proxy",
        "ZE_AFFINITY_MASK",
        "PALS_RANKID",
        "FLUX_JOB_ID",
        "SLURM_PROCID",
        "GPU_DEVICE_ORDINAL",
    ];
    let host = names.map(|name| format!("{name}=1"));
    let host: Vec<&str> = host.iter().map(String::as_str).collect();
    assert_eq!(variables(image.path(), &names, &host, &["--clean-env"]), host);
}

#[test]
fn without_a_path_the_usual_directories_are_searched() {
    let image = Image::tiny();
    let path = image.path().to_str().unwrap();
    let seen = hrun_with(["A=1"], ["--unset-env=*", path, "--", "env"]).lines();
    assert!(!seen.iter().any(|line| line.starts_with("PATH=") || line == "A=1"), "{seen:?}");
    // Never in the current directory, though a program of that name is there.
    let home = Scratch::new();
    home.file("only-here", "#!/bin/sh\necho here\n");
    chmod(&home.join("only-here"), 0o755);
    for option in ["--unset-env=PATH", "--set-env=PATH="] {
        let outcome = hrun_in(home.path(), [option, path, "only-here"]);
        outcome.fails_with(127, &["cannot run only-here", "no such program inside"]);
        assert_eq!(hrun_in(home.path(), [option, path, "echo", "x"]).ok(), "x\n");
    }
}
