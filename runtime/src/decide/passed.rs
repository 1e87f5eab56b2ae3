//! Which variables of the host the command gets: tables, and one rule for each.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::locale;
use super::tree::Tree;
use crate::request::{Asked, Request};
use crate::sys::glob_matches;

/// Host variables that load files of the host into programs of the image, or name where its parts are.
/// The last three are what shells run by themselves: functions that bash exports, of which systems make
/// `which` and `module`, and scripts for every shell.
const DROPPED: &[&str] = &[
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "LD_AUDIT",
    "PYTHONHOME",
    "PERL5LIB",
    "GCONV_PATH",
    "LOCPATH",
    "BASH_FUNC_*",
    "BASH_ENV",
    "ENV",
];

/// Host variables that `--clean-env` keeps: who the caller is, and the terminal.
const CALLERS: &[&str] = &["HOME", "USER", "LOGNAME", "TERM", "TZ", "LANG", "TMPDIR"];

/// What launchers, resource managers and their prologues hand to a rank: who it is, which devices and
/// processors it has, how it reaches the others, and the way out of the node. `--clean-env` keeps it.
/// A `*` at the end stands for any rest.
const HANDED_OUT: &[&str] = &[
    // Resource managers.
    "SLURM_*",
    "SLURMD_*",
    "PBS_*",
    "LSB_*",
    "LSF_*",
    "LS_SUBCWD",
    "JSM_*",
    "FLUX_*",
    "COBALT_*",
    "JOB_ID",
    "SGE_*",
    "PE_HOSTFILE",
    "NSLOTS",
    // Launchers, and the libraries that hear them.
    "PMI_*",
    "PMI2_*",
    "PMIX_*",
    "PRTE_*",
    "PALS_*",
    "ALPS_*",
    "OMPI_*",
    "OPAL_*",
    "HYDI_*",
    "HYDRA_*",
    "MPI_LOCAL*",
    "MPIEXEC_*",
    "MPICH_*",
    "MPIR_CVAR_*",
    "MV2_*",
    "MVP_*",
    "I_MPI_*",
    "PSM_*",
    "PSM2_*",
    "PSM3_*",
    // The network between ranks.
    "UCX_*",
    "UCC_*",
    "FI_*",
    "HCOLL_*",
    "SHARP_*",
    "NCCL_*",
    "RCCL_*",
    "NVSHMEM_*",
    "GLOO_*",
    // Processors.
    "OMP_*",
    "KMP_*",
    "GOMP_*",
    // Devices.
    "CUDA_VISIBLE_DEVICES",
    "CUDA_DEVICE_ORDER",
    "CUDA_MPS_*",
    "NVIDIA_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "GPU_DEVICE_ORDINAL",
    "GPU_MAX_HW_QUEUES",
    "ZE_*",
    "ONEAPI_DEVICE_SELECTOR",
    "SYCL_DEVICE_FILTER",
    // The way out; in small letters as in large ones.
    "http_proxy",
    "https_proxy",
    "ftp_proxy",
    "all_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "FTP_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
];

/// What the value of a variable names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Names {
    /// A file or directory, by its absolute path.
    Path,
    /// A list of directories, which is of use while one of them is there.
    Paths,
    /// Addresses of D-Bus, of which sockets are files.
    Addresses,
    /// A locale, which is a file of the C library.
    Locale,
}

/// Host variables that are of use only while what they name is there inside. Without them a program
/// looks where its own distribution has it; with them it fails.
const NAMING: &[(&str, Names)] = &[
    ("TMPDIR", Names::Path),
    ("TMP", Names::Path),
    ("TEMP", Names::Path),
    ("TEMPDIR", Names::Path),
    ("SLURM_TMPDIR", Names::Path),
    ("XDG_RUNTIME_DIR", Names::Path),
    ("XAUTHORITY", Names::Path),
    ("SSH_AUTH_SOCK", Names::Path),
    ("DBUS_SESSION_BUS_ADDRESS", Names::Addresses),
    // Certificates.
    ("SSL_CERT_FILE", Names::Path),
    ("SSL_CERT_DIR", Names::Paths),
    ("NIX_SSL_CERT_FILE", Names::Path),
    ("REQUESTS_CA_BUNDLE", Names::Path),
    ("CURL_CA_BUNDLE", Names::Path),
    ("AWS_CA_BUNDLE", Names::Path),
    ("PIP_CERT", Names::Path),
    ("GIT_SSL_CAINFO", Names::Path),
    ("GIT_SSL_CAPATH", Names::Path),
    ("CARGO_HTTP_CAINFO", Names::Path),
    ("NODE_EXTRA_CA_CERTS", Names::Path),
    // Where something is installed: an MPI that a launcher was moved with, whose image's own would look
    // for its parts there, languages and toolkits.
    ("OPAL_PREFIX", Names::Path),
    ("PMIX_PREFIX", Names::Path),
    ("PMIX_INSTALL_PREFIX", Names::Path),
    ("PRTE_PREFIX", Names::Path),
    ("I_MPI_ROOT", Names::Path),
    ("JAVA_HOME", Names::Path),
    ("JDK_HOME", Names::Path),
    ("JRE_HOME", Names::Path),
    ("CUDA_HOME", Names::Path),
    ("CUDA_PATH", Names::Path),
    ("CUDA_ROOT", Names::Path),
    ("ROCM_PATH", Names::Path),
    ("MKLROOT", Names::Path),
    ("GOROOT", Names::Path),
    ("R_HOME", Names::Path),
    ("VIRTUAL_ENV", Names::Path),
    ("CONDA_PREFIX", Names::Path),
    ("CONDA_EXE", Names::Path),
    ("CONDA_PYTHON_EXE", Names::Path),
    ("NODE_PATH", Names::Paths),
    ("PYTHONSTARTUP", Names::Path),
    ("TERMINFO", Names::Path),
    ("FONTCONFIG_FILE", Names::Path),
    ("FONTCONFIG_PATH", Names::Paths),
    // Languages of people.
    ("LANG", Names::Locale),
    ("LC_ALL", Names::Locale),
    ("LC_CTYPE", Names::Locale),
    ("LC_NUMERIC", Names::Locale),
    ("LC_TIME", Names::Locale),
    ("LC_COLLATE", Names::Locale),
    ("LC_MONETARY", Names::Locale),
    ("LC_MESSAGES", Names::Locale),
    ("LC_PAPER", Names::Locale),
    ("LC_NAME", Names::Locale),
    ("LC_ADDRESS", Names::Locale),
    ("LC_TELEPHONE", Names::Locale),
    ("LC_MEASUREMENT", Names::Locale),
    ("LC_IDENTIFICATION", Names::Locale),
];

/// What becomes of a variable that names what is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It stays.
    Stays,
    /// It goes, for the reason.
    Goes(String),
    /// It gets another value, for the reason.
    Becomes(&'static str, String),
}

/// Whether the command gets a variable of the host.
pub(super) fn is_passed(request: &Request, name: &OsStr, value: &OsStr) -> bool {
    // As bash before 4.3 exported functions.
    let is_function = || value.as_bytes().starts_with(b"() {");
    let drops = match &request.drop_env {
        Some(globs) => matches(globs, name),
        None => is_listed(DROPPED, name) || is_function(),
    };
    let cleans =
        request.clean_env.is_some() && !is_listed(CALLERS, name) && !is_listed(HANDED_OUT, name);
    !(drops || cleans) || matches(&request.keep_env, name)
}

/// Judges a variable by what it names; one that was asked for by `--keep-env` stays.
pub(super) fn judge(request: &Request, tree: &Tree, name: &OsStr, value: &OsStr) -> Verdict {
    let Some((_, names)) = NAMING.iter().find(|(known, _)| name == *known) else {
        return Verdict::Stays;
    };
    if value.is_empty() || matches(&request.keep_env, name) {
        return Verdict::Stays;
    }
    let is_missing = |path: &Path| path.is_absolute() && tree.find(path).is_none();
    let gone = match names {
        Names::Path => is_missing(Path::new(value)),
        Names::Paths => std::env::split_paths(value).all(|path| is_missing(&path)),
        Names::Addresses => addresses(value).all(|path| path.is_some_and(is_missing)),
        Names::Locale => return locale::judge(tree, value),
    };
    match gone {
        true => Verdict::Goes(format!("no {} inside", value.display())),
        false => Verdict::Stays,
    }
}

/// The files of a list of D-Bus addresses; nothing for one that is no file.
fn addresses(value: &OsStr) -> impl Iterator<Item = Option<&Path>> {
    value.as_bytes().split(|byte| *byte == b';').filter(|address| !address.is_empty()).map(
        |address| {
            let path = address.strip_prefix(b"unix:path=")?;
            let path = path.split(|byte| *byte == b',').next()?;
            Some(Path::new(OsStr::from_bytes(path)))
        },
    )
}

fn matches(globs: &[Asked<OsString>], name: &OsStr) -> bool {
    globs.iter().any(|glob| glob_matches(&glob.value, name))
}

fn is_listed(table: &[&str], name: &OsStr) -> bool {
    table.iter().any(|known| match known.strip_suffix('*') {
        Some(start) => name.as_bytes().starts_with(start.as_bytes()),
        None => name == *known,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn launchers_variables_are_known() {
        for name in [
            "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE",
            "LSB_JOBID",
            "JSM_NAMESPACE_RANK",
            "MV2_COMM_WORLD_RANK",
            "http_proxy",
            "HTTPS_PROXY",
            "NO_PROXY",
            "ALL_PROXY",
            "ftp_proxy",
        ] {
            assert!(is_listed(HANDED_OUT, OsStr::new(name)), "{name}");
        }
        for name in ["PATH", "PROXY", "SSH_AUTH_SOCK", "FILTER", "NAME_PROXY_X", "JOB_IDS"] {
            assert!(!is_listed(HANDED_OUT, OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn no_launchers_variable_is_judged_by_what_it_names() {
        // But for where an MPI is installed, which the image's own has elsewhere.
        let installed =
            ["OPAL_PREFIX", "PMIX_PREFIX", "PMIX_INSTALL_PREFIX", "PRTE_PREFIX", "I_MPI_ROOT"];
        for (name, _) in NAMING {
            let is_handed_out = is_listed(HANDED_OUT, OsStr::new(name));
            let is_exempt = installed.contains(name) || *name == "SLURM_TMPDIR";
            assert_eq!(is_handed_out, is_exempt, "{name}");
        }
    }

    #[test]
    fn addresses_of_files_are_found() {
        let found: Vec<_> =
            addresses(OsStr::new("unix:path=/run/bus,guid=1;unix:abstract=/x;")).collect();
        assert_eq!(found, [Some(Path::new("/run/bus")), None]);
    }
}
