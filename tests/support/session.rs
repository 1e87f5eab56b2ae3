//! The surroundings made by `tests/session.sh`, and what a machine lacks.

use std::path::PathBuf;
use std::sync::OnceLock;

/// The ordinary user who runs `hrun`.
#[derive(Debug)]
pub struct User {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups, by number.
    pub groups: Vec<u32>,
    pub home: PathBuf,
    /// Whether the harness is root and becomes this user for every run.
    pub is_other: bool,
}

/// The user who runs `hrun` in every test.
pub fn tester() -> &'static User {
    static USER: OnceLock<User> = OnceLock::new();
    USER.get_or_init(|| {
        let uid = nix::unistd::geteuid().as_raw();
        if uid != 0 {
            return User {
                name: std::env::var("USER").unwrap_or_else(|_| uid.to_string()),
                uid,
                gid: nix::unistd::getegid().as_raw(),
                groups: nix::unistd::getgroups().unwrap().iter().map(|gid| gid.as_raw()).collect(),
                home: PathBuf::from(std::env::var_os("HOME").expect("HOME is set")),
                is_other: false,
            };
        }
        assert!(
            std::env::var_os("HRUN_TEST_SESSION").is_some(),
            "as root, the tests need tests/session.sh around them: run `make test`"
        );
        User {
            name: "tester".to_owned(),
            uid: 20001,
            gid: 20001,
            groups: vec![20101, 20102],
            home: PathBuf::from("/home/tester"),
            is_other: true,
        }
    })
}

/// Whether the machine is declared to lack something a test needs (`HRUN_TEST_LACKS=root,strace`).
///
/// A lack that is not declared makes the test fail where it needs the thing; one that is declared
/// and not true makes `declared_lacks_are_true` fail. So nothing is skipped without a word.
pub fn lacks(what: &str) -> bool {
    let lacking = declared_lacks().iter().any(|lack| lack == what);
    if lacking {
        eprintln!("this machine is declared to lack {what}");
    }
    lacking
}

pub fn declared_lacks() -> Vec<String> {
    let lacks = std::env::var("HRUN_TEST_LACKS").unwrap_or_default();
    lacks.split(',').filter(|lack| !lack.is_empty()).map(str::to_owned).collect()
}

/// Where `tests/images.sh` made the images.
pub fn images() -> PathBuf {
    PathBuf::from(std::env::var_os("HRUN_TEST_IMAGES").expect("run `make test`"))
}

/// Where `tests/drivers.sh` made machines with GPUs.
pub fn drivers() -> PathBuf {
    PathBuf::from(std::env::var_os("HRUN_TEST_DRIVERS").expect("run `make test`"))
}

/// Where everybody can execute the programs under test.
pub fn programs() -> PathBuf {
    PathBuf::from(std::env::var_os("HRUN_TEST_PROGRAMS").expect("run `make test`"))
}
