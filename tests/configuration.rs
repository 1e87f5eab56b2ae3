//! Where options come from: command line, `HRUN_*` variables, the user's file, the site's file.

use std::path::Path;
use std::process::Command;

use super::support::variables::{command_with, hrun_with};
use super::support::{Image, Outcome, Scratch, lacks, tester};

/// A user's configuration directory, with the file in it.
struct Configuration(Scratch);

impl Configuration {
    fn new(text: &str) -> Self {
        let scratch = Scratch::new();
        scratch.file("hrun/config.toml", text);
        Configuration(scratch)
    }

    /// The variable that leads hrun to it.
    fn variable(&self) -> String {
        format!("XDG_CONFIG_HOME={}", self.0.path().display())
    }

    /// The file's path, as messages show it.
    fn file(&self) -> String {
        self.0.join("hrun/config.toml").display().to_string()
    }

    /// Runs hrun with it, and more variables.
    #[track_caller]
    fn run(&self, variables: &[&str], words: &[&str]) -> Outcome {
        let all = variables.iter().map(|variable| (*variable).to_owned());
        hrun_with(all.chain([self.variable()]), words)
    }

    /// What the probe sees of a variable in an image.
    #[track_caller]
    fn value(&self, image: &Image, variables: &[&str], options: &[&str], name: &str) -> String {
        let image = image.path().to_str().unwrap();
        let words = [options, &[image, "/bin/probe", "env", name]].concat();
        self.run(variables, &words).ok().trim_end().to_owned()
    }
}

/// What is at a path inside: `kind`, in the words of the probe.
#[track_caller]
fn kind(configuration: &Configuration, image: &Image, variables: &[&str], path: &str) -> String {
    let words = [image.path().to_str().unwrap(), "/bin/probe", "kind", path];
    configuration.run(variables, &words).ok().trim_end().to_owned()
}

#[test]
fn the_command_line_is_stronger_than_variables_and_these_than_the_file() {
    let image = Image::tiny();
    let configuration = Configuration::new("cd = \"/opt\"\n");
    let cwd = |variables: &[&str], options: &[&str]| {
        let image = image.path().to_str().unwrap();
        let words = [options, &[image, "/bin/probe", "cwd"]].concat();
        configuration.run(variables, &words).ok().trim_end().to_owned()
    };
    assert_eq!(cwd(&[], &[]), "/opt");
    assert_eq!(cwd(&["HRUN_CD=/etc"], &[]), "/etc");
    assert_eq!(cwd(&["HRUN_CD=/etc"], &["--cd=/bin"]), "/bin");
    assert_eq!(cwd(&["HRUN_CD="], &[]), "/opt");
}

#[test]
fn the_sites_file_is_the_weakest() {
    if lacks("root") {
        return;
    }
    let image = Image::tiny();
    let site = Scratch::new();
    site.file("hrun/config.toml", "env = [\"A=site\", \"B=site\", \"S=1\"]\ncd = \"/opt\"\n");
    let user = Configuration::new("env = [\"A=user\"]\n");
    let words = ["--env=C=option", image.path().to_str().unwrap(), "/bin/probe", "env"];
    let run = |variables: &[&str]| {
        let all = variables.iter().map(|variable| (*variable).to_owned());
        let hrun = command_with(all.chain([user.variable()]), words);
        Outcome::new(with_site_files(site.path(), &hrun).output().unwrap()).items()
    };
    let seen = run(&["HRUN_ENV=B=variable"]);
    for expected in ["A=user", "B=variable", "C=option", "S=1", "PWD=/opt"] {
        assert!(seen.iter().any(|item| item == expected), "no {expected} in {seen:?}");
    }
    let seen = run(&["HRUN_CD=/etc"]);
    assert!(seen.iter().any(|item| item == "PWD=/etc"), "{seen:?}");

    site.file("hrun/config.toml", "cd = \"/opt\"\nbnd = \"/x\"\n");
    let hrun = command_with([user.variable()], words);
    Outcome::new(with_site_files(site.path(), &hrun).output().unwrap())
        .fails(&["key 'bnd' of config /etc/hrun/config.toml:2: no such key"]);
}

/// A command with files laid over `/etc`, in a mount namespace of its own.
fn with_site_files(files: &Path, command: &Command) -> Command {
    let mount = "mount -t overlay none -o \"lowerdir=$0:/etc\" /etc && exec \"$@\"";
    let mut private = Command::new("unshare");
    private.args(["--mount", "--propagation=private", "sh", "-c", mount]).arg(files);
    private.arg(command.get_program()).args(command.get_args());
    private.env_clear().current_dir(command.get_current_dir().unwrap());
    private.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    private
}

#[test]
fn without_xdg_config_home_the_file_is_below_home() {
    let image = Image::tiny();
    let home = Scratch::new();
    home.file(".config/hrun/config.toml", "env = \"A=home\"\n");
    let home = format!("HOME={}", home.path().display());
    let words = [image.path().to_str().unwrap(), "/bin/probe", "env", "A"];
    assert_eq!(hrun_with([home.as_str()], words).ok(), "home\n");
    let other = hrun_with([home.as_str(), "XDG_CONFIG_HOME=/no/such"], words);
    assert_eq!(other.status, Some(1), "A is set");
}

#[test]
fn flags_are_switched_on_and_off_by_every_layer() {
    let image = Image::tiny();
    let home = tester().home.to_str().unwrap();
    // The home directory is also the current one.
    let shown = |text: &str, variables: &[&str]| {
        let configuration = Configuration::new(&format!("no-cwd = true\n{text}"));
        kind(&configuration, &image, variables, home)
    };
    assert_eq!(shown("", &[]), "directory");
    assert_eq!(shown("no-home = true\n", &[]), "missing");
    assert_eq!(shown("no-home = false\n", &[]), "directory");
    assert_eq!(shown("home = false\n", &[]), "missing");
    for on in ["1", "true", "yes", "on"] {
        assert_eq!(shown("", &[&format!("HRUN_NO_HOME={on}")]), "missing", "{on}");
    }
    for off in ["0", "false", "no", "off"] {
        let variable = format!("HRUN_NO_HOME={off}");
        assert_eq!(shown("no-home = true\n", &[&variable]), "directory", "{off}");
    }
    assert_eq!(shown("no-home = true\n", &["HRUN_HOME=1"]), "directory");
}

#[test]
fn an_option_with_a_value_left_out_is_a_flag_too() {
    let image = Image::tiny();
    let tmp = Scratch::below(Path::new("/tmp"));
    let tmp = tmp.path().to_str().unwrap();
    let shown =
        |text: &str, variables: &[&str]| kind(&Configuration::new(text), &image, variables, tmp);
    assert_eq!(shown("", &[]), "directory");
    assert_eq!(shown("private-tmp = true\n", &[]), "missing");
    assert_eq!(shown("private-tmp = \"10m\"\n", &[]), "missing");
    assert_eq!(shown("private-tmp = false\n", &[]), "directory");
    assert_eq!(shown("", &["HRUN_PRIVATE_TMP=1"]), "missing");
    assert_eq!(shown("", &["HRUN_PRIVATE_TMP=10m"]), "missing");
    assert_eq!(shown("private-tmp = true\n", &["HRUN_PRIVATE_TMP=0"]), "directory");
}

#[test]
fn binds_of_all_layers_add_up() {
    let image = Image::tiny();
    let data = Scratch::new();
    for name in ["one", "two", "three", "four", "five"] {
        data.file(name, "");
    }
    let data = data.path().display();
    let text = format!("bind = [\"{data}/one:/m/one\", \"{data}/two:/m/two:ro\"]\n");
    let configuration = Configuration::new(&text);
    let variable = format!("HRUN_BIND={data}/three:/m/three,{data}/four:/m/four:ro,optional");
    let option = format!("--bind={data}/five:/m/five");
    let image = image.path().to_str().unwrap();
    let words = [option.as_str(), image, "/bin/probe", "ls", "/m"];
    let seen = configuration.run(&[&variable], &words).lines();
    assert_eq!(seen, ["five", "four", "one", "three", "two"]);
}

#[test]
fn hrun_bind_takes_commas_and_lines() {
    let image = Image::tiny();
    let data = Scratch::new();
    let data = data.path().display();
    let image = image.path().to_str().unwrap();
    for between in [",", "\n", "\n\n"] {
        let variable = format!("HRUN_BIND={data}:/m/a{between}{data}:/m/b:ro{between}{data}:/m/c");
        let seen = hrun_with([variable.as_str()], [image, "/bin/probe", "ls", "/m"]).lines();
        assert_eq!(seen, ["a", "b", "c"], "{between:?}");
    }
}

#[test]
fn hrun_bind_may_be_added_to_when_it_was_not_set() {
    let image = Image::tiny();
    let data = Scratch::new();
    let variable = format!("HRUN_BIND=,{}:/m", data.path().display());
    let words = [image.path().to_str().unwrap(), "/bin/probe", "kind", "/m"];
    assert_eq!(hrun_with([variable.as_str()], words).ok(), "directory\n");
}

#[test]
fn environment_options_of_a_file_count_in_their_order() {
    let image = Image::tiny();
    let configuration = Configuration::new("unset-env = [\"A\"]\nset-env = [\"A=1\"]\n");
    assert_eq!(configuration.value(&image, &["A=host"], &[], "A"), "1");
}

#[test]
fn the_order_of_variables_does_not_count() {
    let image = Image::tiny();
    let configuration = Configuration::new("");
    let words = [image.path().to_str().unwrap(), "/bin/probe", "env", "A"];
    let status = |variables: [&str; 2]| configuration.run(&variables, &words).status;
    let (set, unset) = ("HRUN_SET_ENV=A=1", "HRUN_UNSET_ENV=A");
    assert_eq!(status([set, unset]), status([unset, set]));
}

#[test]
fn repeatable_options_take_one_value_or_a_list() {
    let image = Image::tiny();
    let value =
        |text: &str, name: &str| Configuration::new(text).value(&image, &["X=1", "Y=2"], &[], name);
    assert_eq!(value("env = \"A=one\"\n", "A"), "one");
    assert_eq!(value("env = [\"A=one\", \"B=$HOME\"]\n", "B"), "$HOME");
    assert_eq!(value("set-env = [\"A=$X\", \"B=$A$Y\"]\n", "B"), "12");
    assert_eq!(value("unset-env = []\n", "X"), "1");
}

#[test]
fn a_list_of_dropped_variables_is_replaced_by_the_next_layer() {
    let image = Image::tiny();
    let configuration = Configuration::new("drop-env = [\"SECRET\", \"TOKEN\"]\n");
    let host = ["SECRET=s", "TOKEN=t", "LD_LIBRARY_PATH=/l"];
    let image = image.path().to_str().unwrap();
    let seen = |variables: &[&str], options: &[&str]| {
        let words = [options, &[image, "/bin/probe", "env"]].concat();
        let items = configuration.run(&[&host, variables].concat(), &words).items();
        let mine = items.into_iter().filter(|item| host.contains(&item.as_str()));
        mine.collect::<Vec<_>>()
    };
    assert_eq!(seen(&[], &[]), ["LD_LIBRARY_PATH=/l"]);
    assert_eq!(seen(&["HRUN_DROP_ENV=TOKEN"], &[]), ["LD_LIBRARY_PATH=/l", "SECRET=s"]);
    assert_eq!(seen(&["HRUN_DROP_ENV=TOKEN\nSECRET"], &[]), ["LD_LIBRARY_PATH=/l"]);
    let options = ["--drop-env=LD_*"];
    assert_eq!(seen(&["HRUN_DROP_ENV=TOKEN"], &options), ["SECRET=s", "TOKEN=t"]);
}

#[test]
fn paths_in_a_file_may_hold_variables_of_the_host() {
    let image = Image::tiny();
    let scratch = Scratch::new();
    scratch.file("data/me/file", "mine\n");
    let configuration = Configuration::new("bind = \"$SCRATCH/data/${USER}:/data\"\n");
    let host = [format!("SCRATCH={}", scratch.path().display()), "USER=me".to_owned()];
    let host = [host[0].as_str(), &host[1]];
    let words = [image.path().to_str().unwrap(), "cat", "/data/file"];
    assert_eq!(configuration.run(&host, &words).ok(), "mine\n");

    Configuration::new("cd = \"/${X\"\n").run(&[], &words).fails(&["key 'cd'", "'${' without '}'"]);
}

#[test]
fn a_variable_that_is_not_set_is_an_error_in_a_file() {
    let image = Image::tiny();
    let words = [image.path().to_str().unwrap(), "true"];
    for text in ["bind = \"$NO_SUCH:/data\"\n", "bind = \"/etc/$NO_SUCH:/data\"\n"] {
        Configuration::new(text).run(&[], &words).fails(&["NO_SUCH", ":1"]);
    }
}

#[test]
fn no_config_reads_neither_files_nor_variables() {
    let image = Image::tiny();
    let configuration = Configuration::new("cd = \"/opt\"\n");
    let words = ["--no-config", image.path().to_str().unwrap(), "/bin/probe", "cwd"];
    let home = tester().home.display().to_string() + "\n";
    assert_eq!(configuration.run(&["HRUN_CD=/etc"], &words).ok(), home);
    // Not even a broken one.
    let configuration = Configuration::new("nonsense");
    assert_eq!(configuration.run(&["HRUN_ROOT=perhaps"], &words).ok(), home);
}

#[test]
fn mistakes_in_a_file_are_named_by_its_line() {
    let image = Image::tiny();
    let words = [image.path().to_str().unwrap(), "true"];
    for (text, line, reason) in [
        ("# site\ncd = \"/\"\nbnd = \"/x\"\n", 3, "cannot use key 'bnd'"),
        ("\nhelp = true\n", 2, "cannot use key 'help'"),
        ("cd = true\n", 1, "boolean does not fit it"),
        ("\n\ncd = 1.5\n", 3, "float does not fit it"),
        ("no-home = \"yes\"\n", 1, "string does not fit it"),
        ("cd = [\"/\"]\n", 1, "array does not fit it"),
        ("bind = [\"/etc\", 7.5]\n", 1, "float does not fit it"),
        ("[bind]\na = 1\n", 1, "table does not fit it"),
        ("cd = \"/\"\ncd = \"/opt\"\n", 2, "duplicate key"),
        ("cd = \"/\"\nbind = [\n", 2, "cannot read configuration file"),
        ("cd\n", 1, "cannot read configuration file"),
        // The value is looked at later; the message still says where it stands.
        ("\nuid = \"me\"\n", 2, "cannot use option --uid: 'me' is not a number"),
        ("cd = \"opt\"\n", 1, "cannot use option --cd: 'opt' is not an absolute path"),
        ("bind = [\"/etc:etc\"]\n", 1, "destination 'etc' is not an absolute path"),
    ] {
        let configuration = Configuration::new(text);
        let place = format!("{}:{line}", configuration.file());
        configuration.run(&[], &words).fails(&[&place, reason]);
    }
}

#[test]
fn an_item_of_a_list_is_named_by_its_own_line() {
    let image = Image::tiny();
    let words = [image.path().to_str().unwrap(), "true"];
    for item in ["7.5", "\"/etc:etc\"", "\"/no/such/source\""] {
        let configuration =
            Configuration::new(&format!("bind = [\n  \"/etc:/e\",\n  {item},\n]\n"));
        configuration.run(&[], &words).fails(&[&format!("{}:3", configuration.file())]);
    }
}

#[test]
fn a_file_that_is_no_text_is_refused() {
    let image = Image::tiny();
    let configuration = Configuration::new("");
    configuration.0.file("hrun/config.toml", b"cd = \"/\xff\"\n");
    let words = [image.path().to_str().unwrap(), "true"];
    configuration.run(&[], &words).fails(&[&configuration.file(), "it is not UTF-8"]);
}

#[test]
fn mistakes_in_variables_are_named() {
    let image = Image::tiny();
    let words = [image.path().to_str().unwrap(), "true"];
    for (variable, reasons) in [
        ("HRUN_ROOT=perhaps", ["cannot use variable HRUN_ROOT", "'perhaps' is neither 1 nor 0"]),
        ("HRUN_UID=me", ["cannot use option --uid", "from: --uid me (variable HRUN_UID)"]),
        ("HRUN_PRIVATE_TMP=big", ["'big' is not a size", "(variable HRUN_PRIVATE_TMP)"]),
        ("HRUN_BIND=/no/such", ["cannot bind /no/such", "(variable HRUN_BIND)"]),
        ("HRUN_SET_ENV=no.env", ["environment file no.env", "(variable HRUN_SET_ENV)"]),
    ] {
        hrun_with([variable], words).fails(&reasons);
    }
}

#[test]
fn variables_that_are_no_options_are_left_alone() {
    let image = Image::tiny();
    let words = [image.path().to_str().unwrap(), "/bin/probe", "env", "HRUN_NONSENSE"];
    assert_eq!(hrun_with(["HRUN_NONSENSE=1", "HRUN_HELP=1", "HRUN_DRY_RUN=1"], words).ok(), "1\n");
}

#[test]
fn the_options_of_one_layer_may_not_contradict_but_a_stronger_layer_may() {
    let image = Image::tiny();
    let image = image.path().to_str().unwrap();
    let writes = |text: &str, options: &[&str]| {
        let words = [options, &[image, "touch", "/opt/written"]].concat();
        Configuration::new(text).run(&[], &words)
    };
    writes("write-fake = true\n", &[]).ok();
    writes("write = true\nwrite-fake = true\n", &[]).fails(&["contradicts", "config.toml:"]);
    // The stronger layer's choice counts: nothing reaches the image.
    writes("write = true\n", &["--write-fake"]).ok();
    assert!(!Path::new(image).join("opt/written").exists());
}
