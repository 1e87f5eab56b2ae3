//! What a user is told about mistakes on the command line: one message, status 125.

use super::support::{Image, hrun, tester};

/// Asserts that words before an image are refused, with all parts in one message.
#[track_caller]
fn refused(words: &[&str], parts: &[&str]) -> String {
    let image = Image::tiny();
    let image = image.path().to_str().unwrap();
    let message = hrun([words, &[image, "/bin/touch", "started"]].concat()).fails(parts);
    assert!(!tester().home.join("started").exists());
    message
}

#[test]
fn an_unknown_option_brings_the_nearest_one_to_mind() {
    for (written, meant) in [
        ("--bnd", "--bind"),
        ("--bind-mount", "--bind"),
        ("--enviroment", "--env"),
        ("--setenv", "--set-env"),
        ("--set_env=A=1", "--set-env"),
        ("--unsetenv=A", "--unset-env"),
        ("--write-tmpfs", "--writable-tmpfs"),
        ("--no-hom", "--no-home"),
        ("--privat-tmp", "--private-tmp"),
        ("--verbos", "--verbose"),
        ("--cleanenv-", "--cleanenv"),
        ("--dryrun", "--dry-run"),
    ] {
        let name = written.split('=').next().unwrap();
        let attempt = format!("cannot use option {name}: there is no such option");
        refused(&[written], &[&attempt, &format!("hint: did you mean {meant}?")]);
    }
}

#[test]
fn an_option_like_no_other_leads_to_the_help() {
    for written in ["--xyzzy", "-x", "-é", "--"] {
        if written != "--" {
            refused(
                &[written],
                &["there is no such option", "hint: hrun --help lists all options"],
            );
        }
    }
}

#[test]
fn the_faulty_one_of_several_short_options_is_named() {
    refused(&["-wxv"], &["cannot use option -x: there is no such option"]);
}

#[test]
fn a_missing_value_is_named() {
    for words in [&["--bind"][..], &["-b"], &["--bind", "--"], &["--bind", "-v"]] {
        let outcome = hrun(words);
        outcome.fails(&["cannot use option --bind", "its value is missing"]);
    }
    refused(&["--cd", "--root"], &["cannot use option --cd", "its value is missing"]);
}

#[test]
fn a_value_for_a_flag_is_refused() {
    for flag in ["--root=yes", "--write=", "--clean-env=no"] {
        let name = flag.split('=').next().unwrap();
        refused(&[flag], &[&format!("cannot use option {name}"), "it takes no value"]);
    }
}

#[test]
fn a_flag_is_named_as_it_was_written() {
    refused(&["--root=yes"], &["cannot use option --root: it takes no value"]);
}

#[test]
fn the_mistake_is_named_and_not_what_comes_before_it() {
    refused(&["--bind=/etc", "-e", "A=1", "--root", "--bnd=/x"], &["option --bnd"]);
    // Options behind the image are the command's, and no mistakes.
    let image = Image::tiny();
    let words = [image.path().to_str().unwrap(), "/bin/echo", "--bnd", "-x"];
    assert_eq!(hrun(words).ok(), "--bnd -x\n");
}

#[test]
fn a_word_behind_an_option_whose_value_is_attached_is_the_image() {
    hrun(["--set-env", "A=1", "img", "true"]).fails(&["cannot use A=1 as an image"]);
    hrun(["--private-tmp", "1g", "img", "true"]).fails(&["cannot use 1g as an image"]);
}

#[test]
fn a_word_taken_for_the_image_brings_the_equals_sign_to_mind() {
    hrun(["--set-env", "A=1", "img", "true"]).fails(&["hint", "--set-env=A=1"]);
    hrun(["--set-env", "config.env", "img", "true"]).fails(&["hint", "--set-env=config.env"]);
}

#[test]
fn a_missing_image_leads_to_the_usage() {
    for words in [&[][..], &["-v"], &[""], &["", "true"], &["--"], &["--bind", "/etc"]] {
        hrun(words).fails(&[
            "cannot start: IMAGE is missing",
            "hint: hrun [OPTION]... IMAGE [COMMAND [ARG]...]; hrun --help says more",
        ]);
    }
}

#[test]
fn values_that_do_not_fit_are_shown_with_their_option() {
    for (word, reason) in [
        ("--cd=home", "'home' is not an absolute path"),
        ("--uid=me", "'me' is not a number of an id"),
        ("--gid=-1", "'-1' is not a number of an id"),
        ("--uid=4294967295", "'4294967295' is not a number of an id"),
        ("--private-tmp=big", "'big' is not a size such as 512m, 2g or 10%"),
        ("--write-fake=0", "'0' is not a size"),
        ("--set-env=", "it needs a file or NAME=VALUE"),
        ("--set-env==x", "the name before '=' is empty"),
        ("--env=", "the name is empty"),
        ("--env==x", "the name is empty"),
        ("--bind=", "it names no source"),
        ("--bind=/etc:etc", "destination 'etc' is not an absolute path"),
        ("--bind=/etc:/x:rx", "'rx' is not one of ro, rw, optional, norec"),
        ("--mount=type=tmpfs,dst=/x", "only type=bind is supported"),
        ("--mount=dst=/x", "src= is missing"),
        ("--dry-run=xml", "'xml' is not a format it knows"),
        ("--doctor=oci", "'oci' is not a format it knows"),
        ("--assume-missing=luck", "'luck' is not one of overlay, mount-setattr, pivot-root"),
    ] {
        let name = word.split('=').next().unwrap();
        refused(
            &[word],
            &[&format!("cannot use option {name}: "), reason, &format!("from: {name}")],
        );
    }
}

#[test]
fn options_that_contradict_name_each_other() {
    refused(
        &["--write", "--write-fake"],
        &[
            "cannot use --write-fake: it contradicts --write",
            "hint: give one of --write, --write-fake and --overlay",
        ],
    );
}

#[test]
fn sizes_no_machine_has_are_refused() {
    let image = Image::tiny();
    let image = image.path().to_str().unwrap();
    for size in ["18446744073709551616", "18446744073709551617k", "200%", "101%", "0", "1t"] {
        for option in ["--private-tmp", "--write-fake"] {
            let option = format!("{option}={size}");
            hrun([&option, image, "true"]).fails(&["is not a size such as", "from: "]);
        }
    }
    hrun(["--private-tmp=100%", image, "true"]).ok();
}

#[test]
fn a_variable_without_a_name_cannot_be_taken_away() {
    let image = Image::tiny();
    hrun(["--unset-env=", image.path().to_str().unwrap(), "true"])
        .fails(&["it names no variable", "from: --unset-env"]);
}
