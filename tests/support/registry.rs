//! Registries on loopback: Debian's docker-registry, and images that skopeo pushes there.

use std::collections::BTreeMap;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use images::digest::Digest;
use serde_json::{Value, json};

use super::live::{outcome_in_time, until};
use super::run::{Outcome, as_tester, program};
use super::scratch::{Scratch, own};
use super::session::tester;

/// The name and the password that a registry with a password knows.
pub const USER: (&str, &str) = ("tester", "secret");

/// `tester` and a hash of `secret`, as htpasswd(1) writes it.
const HTPASSWD: &str = "tester:$2b$04$csS0mZe1R4FLp10cXUoJJuCNpOpJIklmk5kmcMldF5kQrFJqu9m2S\n";

/// A docker-registry that runs as the tester; it is ended with the test.
pub struct Registry {
    pub port: u16,
    child: Child,
    pub scratch: Scratch,
}

/// What of a registry's configuration differs from test to test, in YAML.
#[derive(Default)]
pub struct Kind {
    pub http: String,
    pub auth: String,
}

impl Registry {
    pub fn start() -> Self {
        Registry::of(|_| Kind::default())
    }

    /// One that wants a name and a password.
    pub fn with_password() -> Self {
        Registry::of(|scratch| {
            let file = scratch.file("htpasswd", HTPASSWD);
            let auth = format!("{{ htpasswd: {{ realm: tests, path: {} }} }}", file.display());
            Kind { auth, ..Kind::default() }
        })
    }

    /// One that is asked with encryption.
    pub fn with_tls(certificate: &Path, key: &Path) -> Self {
        let (certificate, key) = (certificate.display(), key.display());
        let http = format!(", tls: {{ certificate: {certificate}, key: {key} }}");
        Registry::of(|_| Kind { http, ..Kind::default() })
    }

    /// One of another kind.
    pub fn of(kind: impl FnOnce(&Scratch) -> Kind) -> Self {
        let scratch = Scratch::new();
        let kind = kind(&scratch);
        let storage = scratch.directory("storage");
        let port = free_port();
        let auth =
            if kind.auth.is_empty() { String::new() } else { format!("auth: {}\n", kind.auth) };
        let text = format!(
            "version: 0.1\nlog: {{ level: error, accesslog: {{ disabled: true }} }}\n\
             storage: {{ filesystem: {{ rootdirectory: {} }} }}\n{auth}\
             http: {{ addr: '127.0.0.1:{port}', secret: tests{} }}\n",
            storage.display(),
            kind.http
        );
        let config = scratch.file("config.yml", text);
        let log = fs::File::create(scratch.join("log")).unwrap();
        let child = as_tester(Path::new("/usr/bin/docker-registry"))
            .arg("serve")
            .arg(config)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("docker-registry is installed: make packages");
        let mut registry = Registry { port, child, scratch };
        until("the registry listens", || {
            let log = registry.scratch.join("log");
            let ended = registry.child.try_wait().unwrap();
            assert!(ended.is_none(), "{}", fs::read_to_string(log).unwrap());
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
        registry
    }

    /// The name of an image in it.
    pub fn name(&self, image: &str) -> String {
        format!("127.0.0.1:{}/{image}", self.port)
    }

    /// Has skopeo push an image of a layout, with more options.
    #[track_caller]
    pub fn push(&self, layout: &Layout, tag: &str, name: &str, options: &[&str]) {
        let mut skopeo = as_tester(Path::new("/usr/bin/skopeo"));
        skopeo
            .args(["--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"])
            .args(options)
            .arg(format!("oci:{}:{tag}", layout.path().display()))
            .arg(format!("docker://{}", self.name(name)));
        let outcome = outcome_in_time(&mut skopeo);
        assert_eq!((outcome.status, outcome.stderr.as_str()), (Some(0), ""));
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that nobody listens at.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// An OCI layout, made by hand.
pub struct Layout {
    scratch: Scratch,
    /// All blobs, by their digests.
    pub blobs: BTreeMap<String, Vec<u8>>,
}

/// The type of a manifest of one image.
pub const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
/// The type of a list of images.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";

impl Layout {
    pub fn new() -> Self {
        let scratch = Scratch::new();
        scratch.file("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);
        let layout = Layout { scratch, blobs: BTreeMap::new() };
        layout.write_index(&[]);
        layout
    }

    pub fn path(&self) -> &Path {
        self.scratch.path()
    }

    /// Keeps bytes, and gives back their descriptor.
    pub fn blob(&mut self, kind: &str, bytes: &[u8]) -> Value {
        let digest = Digest::of(bytes).to_string();
        self.scratch.file(&format!("blobs/{}", digest.replace(':', "/")), bytes);
        self.blobs.insert(digest.clone(), bytes.to_vec());
        json!({ "mediaType": kind, "digest": digest, "size": bytes.len() })
    }

    /// An image for an architecture: busybox, and files; gives back the descriptor of its manifest.
    pub fn image(&mut self, architecture: &str, files: &[(&str, &[u8])]) -> Value {
        let tree = Scratch::new();
        let shell = tree.directory("bin").join("sh");
        fs::copy(program("busybox"), &shell).unwrap();
        own(&shell);
        for (name, contents) in files {
            tree.file(name, contents);
        }
        let tar = tar(tree.path(), &[]);
        let packed = tar_gz(tree.path());
        let config = json!({
            "architecture": architecture,
            "os": "linux",
            "config": { "Env": ["PATH=/bin", "FLAVOUR=pulled"] },
            "rootfs": { "type": "layers", "diff_ids": [Digest::of(&tar).to_string()] },
        });
        let config =
            self.blob("application/vnd.oci.image.config.v1+json", config.to_string().as_bytes());
        let layer = self.blob("application/vnd.oci.image.layer.v1.tar+gzip", &packed);
        let manifest = json!({
            "schemaVersion": 2, "mediaType": IMAGE, "config": config, "layers": [layer],
        });
        let mut descriptor = self.blob(IMAGE, manifest.to_string().as_bytes());
        descriptor["platform"] = json!({ "os": "linux", "architecture": architecture });
        descriptor
    }

    /// A list of images.
    pub fn index(&mut self, images: &[Value]) -> Value {
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": images });
        self.blob(INDEX, index.to_string().as_bytes())
    }

    /// Says which tags the layout has.
    pub fn write_index(&self, tags: &[(&str, &Value)]) {
        let named = tags.iter().map(|(tag, descriptor)| {
            let mut named = (*descriptor).clone();
            named["annotations"] = json!({ "org.opencontainers.image.ref.name": tag });
            named
        });
        let named: Vec<Value> = named.collect();
        let index = json!({ "schemaVersion": 2, "manifests": named });
        self.scratch.file("index.json", index.to_string());
    }

    /// A layout of one image of this machine's architecture, of the tag `app`.
    pub fn of(files: &[(&str, &[u8])]) -> (Self, Value) {
        let mut layout = Layout::new();
        let image = layout.image("amd64", files);
        layout.write_index(&[("app", &image)]);
        (layout, image)
    }
}

fn tar(tree: &Path, options: &[&str]) -> Vec<u8> {
    let mut tar = Command::new("tar");
    tar.args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--mtime=@0"]);
    let output = tar.args(options).arg("-C").arg(tree).args(["-cf", "-", "."]).output().unwrap();
    assert!(output.status.success());
    output.stdout
}

fn tar_gz(tree: &Path) -> Vec<u8> {
    tar(tree, &["--use-compress-program=gzip -n1"])
}

/// Bytes that do not get smaller, the same in every run.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..length.div_ceil(8)).flat_map(|_| next()).take(length).collect()
}

/// An authority of the test's own, and certificates it has signed.
pub struct Authority(Scratch);

impl Authority {
    pub fn new() -> Self {
        let authority = Authority(Scratch::new());
        authority.openssl(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=tests \
             -addext basicConstraints=critical,CA:TRUE -keyout ca.key -out ca.pem",
        );
        authority
    }

    /// The file to believe.
    pub fn file(&self) -> PathBuf {
        self.0.join("ca.pem")
    }

    /// A certificate for names, as openssl writes them (`DNS:localhost,IP:127.0.0.1`), and its key.
    pub fn sign(&self, names: &str) -> (PathBuf, PathBuf) {
        self.openssl(
            "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=server \
             -keyout server.key -out server.csr",
        );
        self.0.file("names", format!("subjectAltName={names}\n"));
        self.openssl(
            "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
             -extfile names -out server.pem",
        );
        let files = (self.0.join("server.pem"), self.0.join("server.key"));
        own(&files.1);
        files
    }

    pub fn openssl(&self, words: &str) -> Vec<u8> {
        let words = words.split_whitespace();
        let output =
            Command::new("openssl").args(words).current_dir(self.0.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    pub fn scratch(&self) -> &Scratch {
        &self.0
    }
}

/// `himage` as the tester, with a store of its own.
pub struct Himage {
    pub store: Scratch,
}

impl Himage {
    pub fn new() -> Self {
        Himage { store: Scratch::new() }
    }

    /// A command; the store is empty and in a directory of its own.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut himage = as_tester(&program("himage"));
        himage.args(words).arg("--store").arg(self.store());
        himage.current_dir(&tester().home);
        himage
    }

    pub fn store(&self) -> PathBuf {
        self.store.join("store")
    }

    #[track_caller]
    pub fn run(&self, words: &[&str]) -> Outcome {
        outcome_in_time(&mut self.command(words))
    }

    /// Asserts that a command is refused, in one message with these parts, and that the store has no image.
    #[track_caller]
    pub fn refuses(&self, command: &mut Command, parts: &[&str]) -> String {
        let outcome = outcome_in_time(command);
        assert_eq!(outcome.status, Some(125), "{}{}", outcome.stdout, outcome.stderr);
        assert_eq!(outcome.stdout, "");
        assert!(outcome.stderr.starts_with("himage: cannot "), "{}", outcome.stderr);
        assert_eq!(outcome.stderr.matches("himage: cannot ").count(), 1, "{}", outcome.stderr);
        for part in parts {
            assert!(outcome.stderr.contains(part), "no '{part}' in:\n{}", outcome.stderr);
        }
        for part in ["names", "trees"] {
            let inside = fs::read_dir(self.store().join(part));
            let count = inside.map_or(0, |entries| entries.count());
            assert_eq!(count, 0, "there is something in {part}");
        }
        outcome.stderr
    }
}
