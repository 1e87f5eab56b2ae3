//! Machines with GPUs, made beforehand by `tests/drivers.sh`, and programs that use GPUs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::run::{Outcome, hrun};
use super::scratch::Scratch;
use super::session;

/// The version of the driver in every tree, unless its name says otherwise.
pub const VERSION: &str = "580.159.04";

/// The version of the second driver in the tree `two`; its kernel module is of this one.
pub const OLDER_VERSION: &str = "570.133.20";

/// The minors of the GPUs in the tree `a100`, in the order of the bus.
pub const A100_MINORS: [u8; 8] = [2, 3, 0, 1, 7, 8, 5, 6];

/// Debian's directory of libraries.
pub const MULTIARCH: &str = "usr/lib/x86_64-linux-gnu";

/// The variable that makes Python find the clients in the image `gpu` and those made of it.
pub const CLIENTS: &str = "--set-env=PYTHONPATH=/opt/gpu-clients";

/// A tree that stands for `/` where drivers are looked for; the names are in `tests/drivers.sh`.
pub fn driver(name: &str) -> PathBuf {
    let tree = session::drivers().join(name);
    assert!(tree.is_dir(), "{} is missing: run `make test`", tree.display());
    tree
}

/// A tree of a test's own, which it may change.
pub fn own_driver(name: &str, scratch: &Scratch) -> PathBuf {
    let tree = scratch.join(name);
    let copied = Command::new("cp").arg("-a").arg("--").args([&driver(name), &tree]).status();
    assert!(copied.unwrap().success());
    tree
}

/// A library of the driver: a row of a table in `tests/fakes`.
#[derive(Debug)]
pub struct Library {
    /// The file, below the directory of libraries.
    pub file: String,
    pub soname: String,
}

/// All libraries of a version of the driver.
pub fn libraries(version: &str) -> Vec<Library> {
    rows("libraries.txt", version)
}

/// The libraries that only the tree `local` has besides.
pub fn older_libraries(version: &str) -> Vec<Library> {
    rows("older.txt", version)
}

fn rows(table: &str, version: &str) -> Vec<Library> {
    let table = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fakes").join(table);
    let text = fs::read_to_string(table).unwrap();
    let row = |line: &str| {
        let with_version = |word: &str| match word.strip_suffix(".so.V") {
            Some(stem) => format!("{stem}.so.{version}"),
            None => word.to_owned(),
        };
        let mut words = line.split_whitespace().map(with_version);
        Library { file: words.next().unwrap(), soname: words.next().unwrap() }
    };
    text.lines().filter(|line| !line.starts_with('#')).map(row).collect()
}

/// The UUID by which both NVML and CUDA know the GPU of a minor.
pub fn uuid(minor: u8) -> String {
    format!("GPU-{minor:02x}5f3a7c-91d2-4b6e-8c04-6a1e2d9b7f30")
}

/// Programs of NVIDIA that use GPUs, unpacked in the image `gpu` and those made of it.
#[derive(Clone, Copy, Debug)]
pub enum Client {
    /// nvidia-ml-py: prints the driver's version, then each GPU's UUID.
    Nvml,
    /// cuda-bindings: prints CUDA's version, then each visible GPU's UUID.
    Cuda,
    /// libcudart: prints `cudaDriverGetVersion CODE VERSION` and `cudaGetDeviceCount CODE`.
    Runtime,
}

impl Client {
    /// What Python runs.
    pub fn script(self) -> &'static str {
        match self {
            Client::Nvml => {
                "import pynvml as n\n\
                 n.nvmlInit()\n\
                 print(n.nvmlSystemGetDriverVersion())\n\
                 for i in range(n.nvmlDeviceGetCount()):\n\
                 \x20   print(n.nvmlDeviceGetUUID(n.nvmlDeviceGetHandleByIndex(i)))\n"
            }
            Client::Cuda => {
                "import uuid\n\
                 from cuda.bindings import driver as d\n\
                 def ok(result):\n\
                 \x20   if result[0]: raise SystemExit(result[0].name)\n\
                 \x20   return result[-1]\n\
                 ok(d.cuInit(0))\n\
                 print(ok(d.cuDriverGetVersion()))\n\
                 for i in range(ok(d.cuDeviceGetCount())):\n\
                 \x20   print(f'GPU-{uuid.UUID(bytes=ok(d.cuDeviceGetUuid(i)).bytes)}')\n"
            }
            Client::Runtime => {
                "import ctypes, nvidia.cuda_runtime\n\
                 root = list(nvidia.cuda_runtime.__path__)[0]\n\
                 library = ctypes.CDLL(f'{root}/lib/libcudart.so.12')\n\
                 number = ctypes.c_int()\n\
                 code = library.cudaDriverGetVersion(ctypes.byref(number))\n\
                 print('cudaDriverGetVersion', code, number.value)\n\
                 print('cudaGetDeviceCount', library.cudaGetDeviceCount(ctypes.byref(number)))\n"
            }
        }
    }

    /// Runs the client in an image, with options before it.
    #[track_caller]
    pub fn run(self, image: &Path, options: &[&str]) -> Outcome {
        let mut words = options.to_vec();
        words.push(CLIENTS);
        words.extend([image.to_str().unwrap(), "python3", "-c", self.script()]);
        hrun(words)
    }
}
