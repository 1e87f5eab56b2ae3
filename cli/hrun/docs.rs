//! The manual page and the shell completions, made from the table of options.
//!
//! The files are committed; these tests fail when they are not what the table says.
//! `HRUN_UPDATE=1 cargo test --bin hrun docs` writes them.

use std::fs;
use std::path::{Path, PathBuf};

use clap_complete::{Shell, generate};
use clap_mangen::Man;

use crate::help;

/// The sections that are prose: environment files, configuration, images and the like.
const PROSE: &str = include_str!("../../docs/hrun.1.prose");

#[test]
fn the_manual_page_is_current() {
    let command = help::command();
    let man = Man::new(command).section("1").manual("hrun");
    let mut page = Vec::new();
    man.render_title(&mut page).unwrap();
    man.render_name_section(&mut page).unwrap();
    man.render_synopsis_section(&mut page).unwrap();
    man.render_options_section(&mut page).unwrap();
    page.extend_from_slice(PROSE.as_bytes());
    // The lines of the file that a formatter would be the first to complain about.
    let page = String::from_utf8(page).unwrap().replace(" \n", "\n");
    check("docs/hrun.1", page.as_bytes());
}

#[test]
fn the_completions_are_current() {
    for (shell, file) in
        [(Shell::Bash, "hrun.bash"), (Shell::Zsh, "_hrun"), (Shell::Fish, "hrun.fish")]
    {
        let mut script = Vec::new();
        generate(shell, &mut help::command(), "hrun", &mut script);
        check(&format!("docs/completions/{file}"), &script);
    }
}

fn check(file: &str, wanted: &[u8]) {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("HRUN_UPDATE").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, wanted).unwrap();
    }
    let found = fs::read(&path).unwrap_or_default();
    assert!(
        found == wanted,
        "{file} is not what the table of options says; write it anew and read the difference:\n\
         HRUN_UPDATE=1 cargo test --bin hrun docs && git diff {file}"
    );
}
