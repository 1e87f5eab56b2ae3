//! The manual page and the shell completions, made from the clap command.
//!
//! The files are committed; these tests fail when they are not what the command says.
//! `HRUN_UPDATE=1 cargo test --bin himage docs` writes them.

use std::fs;
use std::path::Path;

use clap_complete::{Shell, generate};
use clap_mangen::Man;

use crate::usage;

/// The sections that are prose.
const PROSE: &str = include_str!("../../docs/himage.1.prose");

#[test]
fn the_manual_page_is_current() {
    // Not built: options for all commands and --help would be in each command's part.
    let command = usage::command();
    let man = Man::new(command.clone()).section("1").manual("himage");
    let mut page = Vec::new();
    man.render_title(&mut page).unwrap();
    man.render_name_section(&mut page).unwrap();
    man.render_synopsis_section(&mut page).unwrap();
    man.render_options_section(&mut page).unwrap();
    page.extend_from_slice(b".SH COMMANDS\n");
    for command in command.get_subcommands() {
        let name = format!("himage-{}", command.get_name());
        let man = Man::new(command.clone().display_name(name.clone()).bin_name(name));
        let mut part = Vec::new();
        let command = &command.clone().disable_help_flag(true);
        page.extend_from_slice(format!(".SS \"{}\"\n", usage_line(command)).as_bytes());
        man.render_description_section(&mut part).unwrap();
        man.render_options_section(&mut part).unwrap();
        page.extend_from_slice(&without_headings(&part));
    }
    page.extend_from_slice(PROSE.as_bytes());
    let page = String::from_utf8(page).unwrap().replace(" \n", "\n");
    check("docs/himage.1", page.as_bytes());
}

/// How a command is written: `himage list [OPTIONS]`.
fn usage_line(command: &clap::Command) -> String {
    let usage = command.clone().render_usage().to_string();
    usage.replace("Usage:", "himage").replace('-', "\\-")
}

/// A command's part of the page has no sections of its own.
fn without_headings(part: &[u8]) -> Vec<u8> {
    let text = String::from_utf8(part.to_vec()).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with(".SH"));
    lines.map(|line| format!("{line}\n")).collect::<String>().into_bytes()
}

#[test]
fn the_completions_are_current() {
    for (shell, file) in
        [(Shell::Bash, "himage.bash"), (Shell::Zsh, "_himage"), (Shell::Fish, "himage.fish")]
    {
        let mut script = Vec::new();
        generate(shell, &mut usage::command(), "himage", &mut script);
        check(&format!("docs/completions/{file}"), &script);
    }
}

fn check(file: &str, wanted: &[u8]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("HRUN_UPDATE").is_some() {
        fs::write(&path, wanted).unwrap();
    }
    let found = fs::read(&path).unwrap_or_default();
    assert!(
        found == wanted,
        "{file} is not what the command says; write it anew and read the difference:\n\
         HRUN_UPDATE=1 cargo test --bin himage docs && git diff {file}"
    );
}
