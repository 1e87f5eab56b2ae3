//! The order of the files; the rest is seen from outside, in `tests/configuration.rs`.

use std::path::PathBuf;

use runtime::look::host::Host;

fn files(variables: &[(&str, &str)]) -> Vec<PathBuf> {
    let host = variables
        .iter()
        .fold(Host::fake("/no/such"), |host, (name, value)| host.with_variable(name, *value));
    super::files(&host)
}

#[test]
fn the_users_file_comes_after_the_sites() {
    let site = "/etc/hrun/config.toml";
    let home = ("HOME", "/home/u");
    for (variables, expected) in [
        (&[][..], &[site][..]),
        (&[home], &[site, "/home/u/.config/hrun/config.toml"]),
        (&[home, ("XDG_CONFIG_HOME", "/x")], &[site, "/x/hrun/config.toml"]),
        // Neither an empty one nor a relative one counts (XDG Base Directory Specification).
        (&[home, ("XDG_CONFIG_HOME", "")], &[site, "/home/u/.config/hrun/config.toml"]),
        (&[home, ("XDG_CONFIG_HOME", "x")], &[site, "/home/u/.config/hrun/config.toml"]),
    ] {
        let expected: Vec<PathBuf> = expected.iter().map(PathBuf::from).collect();
        assert_eq!(files(variables), expected, "{variables:?}");
    }
}
