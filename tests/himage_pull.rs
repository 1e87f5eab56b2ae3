//! `himage pull`: what comes from Debian's docker-registry, where skopeo has pushed it.

use std::fs;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::Value;

use super::himage_kill::{Killer, seed};
use super::support::live::{outcome_in_time, outcome_within};
use super::support::registry::{Authority, Himage, Layout, Registry, free_port, noise};
use super::support::web::{Cutter, Said, Web, proxy, socks};
use super::support::{Outcome, Scratch, command};

/// The digest of an image that was made.
fn digest(image: &Value) -> &str {
    image["digest"].as_str().unwrap()
}

/// Asserts that the image came, as its digest says, with what is in it.
#[track_caller]
fn came(himage: &Himage, outcome: Outcome, image: &Value, contents: &[u8]) {
    let output = outcome.succeeds();
    assert!(output.contains(digest(image)), "{output}");
    let hex = digest(image).strip_prefix("sha256:").unwrap();
    let tree = himage.store().join("trees").join(hex).join("rootfs");
    assert!(fs::read(tree.join("data")).unwrap() == contents, "other contents in {tree:?}");
    assert!(tree.join("bin/sh").exists());
}

#[test]
fn an_image_comes_by_its_tag_and_by_its_digest() {
    let registry = Registry::start();
    let (layout, image) = Layout::of(&[("data", b"by name")]);
    registry.push(&layout, "app", "group/app:1", &[]);
    let by_digest = registry.name(&format!("group/app@{}", digest(&image)));
    for name in [registry.name("group/app:1"), by_digest] {
        let himage = Himage::new();
        came(&himage, himage.run(&["pull", &name]), &image, b"by name");
    }
}

#[test]
fn images_in_the_older_format_come_as_well() {
    let registry = Registry::start();
    let (layout, _) = Layout::of(&[("data", b"of 2016")]);
    registry.push(&layout, "app", "app", &["--format", "v2s2"]);
    let himage = Himage::new();
    let output = himage.run(&["pull", &registry.name("app")]).succeeds();
    assert!(output.contains("sha256:"), "{output}");
    let trees: Vec<_> = fs::read_dir(himage.store().join("trees")).unwrap().collect();
    let tree = trees.into_iter().next().unwrap().unwrap().path();
    assert_eq!(fs::read(tree.join("rootfs/data")).unwrap(), b"of 2016");
}

#[test]
fn what_is_pulled_runs_by_its_name() {
    let registry = Registry::start();
    let (layout, _) = Layout::of(&[("data", b"inside\n")]);
    registry.push(&layout, "app", "app", &[]);
    let himage = Himage::new();
    let name = registry.name("app");
    let outcome = himage.run(&["pull", &name]);
    let mut hrun = command([&name, "--", "sh", "-c", "cat /data; echo $FLAVOUR"]);
    let ran = outcome_in_time(hrun.env("HRUN_STORE", himage.store())).ok();
    assert_eq!(ran, "inside\npulled\n");
    assert!(outcome.stderr.contains(&format!("hrun {name}:latest -- ")), "{outcome:?}");
}

#[test]
fn an_image_may_be_unpacked_elsewhere() {
    let registry = Registry::start();
    let (layout, image) = Layout::of(&[("data", b"elsewhere\n")]);
    registry.push(&layout, "app", "app", &[]);
    let (himage, scratch) = (Himage::new(), Scratch::new());
    for dest in ["image", "image.sqfs"].map(|name| scratch.join(name)) {
        let dest = dest.to_str().unwrap();
        let words = ["pull", &registry.name("app"), dest, "-q"];
        let output = himage.run(&words).ok();
        assert!(output.contains(digest(&image)), "{output}");
        assert_eq!(
            outcome_in_time(&mut command([dest, "--", "sh", "-c", "cat /data"])).ok(),
            "elsewhere\n"
        );
    }
    let left = fs::read_dir(himage.store().join("blobs/sha256")).unwrap().count();
    assert_eq!(left, 0, "what came for another place does not stay in the store");
}

#[test]
fn of_several_platforms_the_one_that_was_asked_for_comes() {
    let registry = Registry::start();
    let mut layout = Layout::new();
    let here = layout.image("amd64", &[("data", b"x86")]);
    let there = layout.image("arm64", &[("data", b"arm")]);
    let index = layout.index(&[there.clone(), here.clone()]);
    layout.write_index(&[("app", &index)]);
    registry.push(&layout, "app", "app", &["--all"]);
    let name = registry.name("app");
    let himage = Himage::new();
    came(&himage, himage.run(&["pull", &name]), &here, b"x86");
    let asked = himage.run(&["pull", &name, "--platform", "linux/aarch64"]);
    came(&himage, asked, &there, b"arm");
    let himage = Himage::new();
    let s390x = &mut himage.command(&["pull", &name, "--platform", "linux/s390x"]);
    himage.refuses(s390x, &["no image for linux/s390x", "linux/arm64, linux/amd64"]);
    let wrong = &mut himage.command(&["pull", &name, "--platform", "linux"]);
    himage.refuses(wrong, &["--platform linux", "linux/arm64"]);
}

#[test]
fn an_image_alone_is_asked_for_its_platform_too() {
    let registry = Registry::start();
    let mut layout = Layout::new();
    let there = layout.image("arm64", &[("data", b"arm")]);
    layout.write_index(&[("app", &there)]);
    registry.push(&layout, "app", "app", &[]);
    let name = registry.name("app");
    let himage = Himage::new();
    let parts = ["the image is for linux/arm64", "--platform linux/arm64"];
    himage.refuses(&mut himage.command(&["pull", &name]), &parts);
    let asked = himage.run(&["pull", &name, "--platform", "linux/arm64"]);
    came(&himage, asked, &there, b"arm");
}

#[test]
fn what_is_there_already_costs_one_request() {
    let registry = Registry::start();
    let mut layout = Layout::new();
    let image = layout.image("amd64", &[("data", b"once")]);
    let index = layout.index(std::slice::from_ref(&image));
    layout.write_index(&[("alone", &image), ("listed", &index)]);
    registry.push(&layout, "alone", "alone", &[]);
    registry.push(&layout, "listed", "listed", &["--all"]);
    let port = registry.port;
    let web = Web::start(move |_| Said::Forward(port));
    for name in ["alone", "listed"] {
        let himage = Himage::new();
        let name = format!("127.0.0.1:{}/{name}", web.port);
        came(&himage, himage.run(&["pull", &name]), &image, b"once");
        web.forget();
        came(&himage, himage.run(&["pull", &name]), &image, b"once");
        let asked = web.asked();
        assert_eq!(asked.len(), 1, "{asked:?}");
        assert!(asked[0].path.contains("/manifests/latest"), "{asked:?}");
    }
}

#[test]
fn two_pulls_of_one_image_at_once_both_succeed() {
    let registry = Registry::start();
    let contents = noise(3 << 20);
    let (layout, image) = Layout::of(&[("data", &contents)]);
    registry.push(&layout, "app", "app", &[]);
    let himage = Himage::new();
    let name = registry.name("app");
    let start = || {
        let mut command = himage.command(&["pull", &name]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let both = [start(), start()];
    for child in both {
        let outcome = Outcome::new(child.wait_with_output().unwrap());
        assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
    }
    came(&himage, himage.run(&["pull", &name]), &image, &contents);
}

/// A connection that is cut is taken up where it was cut, wherever that was.
#[test]
fn cut_connections_are_taken_up_again() {
    let registry = Registry::start();
    let contents = noise(3 << 20);
    let (layout, image) = Layout::of(&[("data", &contents)]);
    registry.push(&layout, "app", "app", &[]);
    // In the head of the manifest, in the manifest, in the configuration, in the layer.
    let mut random = 0x9e37_79b9_u64;
    let mut limits = vec![0, 1, 300, 700];
    limits.extend((0..9).map(|_| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) % 600_000
    }));
    let cuts = limits.len();
    let cutter = Cutter::start(registry.port, limits);
    let himage = Himage::new();
    let name = format!("127.0.0.1:{}/app", cutter.port);
    let outcome = himage.run(&["pull", &name]);
    came(&himage, outcome, &image, &contents);
    let passed = cutter.passed.lock().unwrap();
    assert!(passed.len() >= cuts, "{passed:?}");
    // Nothing was asked for twice, but for what was under way when it was cut.
    let layer = layout.blobs.values().map(Vec::len).max().unwrap() as u64;
    let sum: u64 = passed.iter().sum();
    assert!(sum < layer + layer / 3, "{sum} bytes for a layer of {layer}");
}

#[test]
fn a_pull_that_was_killed_is_taken_up_by_the_next_one() {
    let registry = Registry::start();
    let contents = noise(2 << 20);
    let (layout, image) = Layout::of(&[("data", &contents)]);
    registry.push(&layout, "app", "app", &[]);
    // The second answer of the layer never ends: there is time to be killed in.
    let port = registry.port;
    let (sender, receiver) = std::sync::mpsc::channel();
    let (sender, stuck) = (std::sync::Mutex::new(sender), layout.blobs.clone());
    let web = Web::start(move |asked| {
        let blob = asked.path.rsplit('/').next().and_then(|digest| stuck.get(digest));
        match blob.filter(|blob| blob.len() > 1 << 20 && asked.header("range").is_none()) {
            None => Said::Forward(port),
            Some(blob) => {
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", blob.len());
                let part = [head.as_bytes(), &blob[..1 << 20]].concat();
                let _ = sender.lock().unwrap().send(());
                Said::Stuck(part)
            }
        }
    });
    let himage = Himage::new();
    let name = format!("127.0.0.1:{}/app", web.port);
    let mut child = himage.command(&["pull", &name]).stderr(Stdio::null()).spawn().unwrap();
    receiver.recv().unwrap();
    super::support::live::until("most of the part is in the store", || {
        let unfinished = fs::read_dir(himage.store().join("tmp")).ok()?;
        let sizes = unfinished.flatten().map(|entry| entry.metadata().map_or(0, |it| it.len()));
        (sizes.max()? >= 1 << 19).then_some(())
    });
    child.kill().unwrap();
    child.wait().unwrap();
    web.forget();
    came(&himage, himage.run(&["pull", &name]), &image, &contents);
    let ranges: Vec<_> =
        web.asked().iter().filter_map(|it| it.header("range").map(str::to_owned)).collect();
    assert_eq!(ranges.len(), 1, "{ranges:?}");
}

/// Kills pulls so many times, into new stores and into those that have parts of the image.
fn kill_pulls(times: usize) {
    let registry = Registry::start();
    let contents = noise(4 << 20);
    let (layout, image) = Layout::of(&[("data", &contents)]);
    registry.push(&layout, "app", "app", &[]);
    let name = registry.name("app");
    let (words, mut himage) = (["pull", &name], Himage::new());
    let started = Instant::now();
    came(&himage, himage.run(&words), &image, &contents);
    let seed = seed();
    let mut killer = Killer::new(seed, started.elapsed(), times);
    himage = Himage::new();
    let mut number = 0;
    while killer.goes_on() {
        number += 1;
        let was_at_work = killer.kill(&mut himage.command(&words));
        let verified = himage.run(&["verify"]);
        assert_eq!(verified.status, Some(0), "seed {seed}, number {number}: {}", verified.stderr);
        if !was_at_work || number % 3 == 0 {
            came(&himage, himage.run(&words), &image, &contents);
            himage = Himage::new();
        }
    }
}

#[test]
fn killed_pulls_leave_nothing_that_looks_finished() {
    kill_pulls(6);
}

#[test]
#[ignore = "takes longer than its short form: make test-full"]
fn a_pull_is_killed_at_fifty_moments() {
    kill_pulls(50);
}

#[test]
fn an_authority_that_is_named_is_believed() {
    let authority = Authority::new();
    let (certificate, key) = authority.sign("DNS:localhost,IP:127.0.0.1");
    let registry = Registry::with_tls(&certificate, &key);
    let (layout, image) = Layout::of(&[("data", b"encrypted")]);
    registry.push(&layout, "app", "app", &[]);
    let ca = authority.file();
    let ca = ca.to_str().unwrap();
    let himage = Himage::new();
    let name = format!("localhost:{}/app", registry.port);
    came(&himage, himage.run(&["pull", &name, "--ca", ca]), &image, b"encrypted");
    // As configuration and as a variable.
    let config = Scratch::new();
    let file = |text: String| config.file("hrun/himage.toml", text);
    let with_config = |himage: &Himage| {
        let mut command = himage.command(&["pull", &name]);
        command.env("XDG_CONFIG_HOME", config.path());
        command
    };
    file(format!("[registries.\"localhost:{}\"]\nca = [\"{ca}\"]\n", registry.port));
    let himage = Himage::new();
    came(&himage, outcome_in_time(&mut with_config(&himage)), &image, b"encrypted");
    file(format!("[registries.\"localhost:{}\"]\nplain-http = false\n", registry.port));
    let himage = Himage::new();
    let told = outcome_in_time(with_config(&himage).env("SSL_CERT_FILE", ca));
    came(&himage, told, &image, b"encrypted");
    // And nobody else.
    let himage = Himage::new();
    himage
        .refuses(&mut with_config(&himage), &["an authority that nobody here knows", "--ca FILE"]);
    let wanted = &mut himage.command(&["pull", &name]);
    himage.refuses(wanted, &["400", "--ca FILE"]);
    let garbage = config.file("no.pem", "nothing");
    let wanted = &mut himage.command(&["pull", &name, "--ca", garbage.to_str().unwrap()]);
    himage.refuses(wanted, &["no.pem has no certificate in it"]);
}

#[test]
fn a_certificate_for_another_name_is_refused() {
    let authority = Authority::new();
    let (certificate, key) = authority.sign("DNS:localhost");
    let registry = Registry::with_tls(&certificate, &key);
    let himage = Himage::new();
    let ca = authority.file();
    let pull = &mut himage.command(&["pull", &registry.name("app"), "--ca", ca.to_str().unwrap()]);
    himage.refuses(pull, &["is for another name"]);
}

#[test]
fn only_this_machine_is_asked_without_encryption() {
    let registry = Registry::start();
    let (layout, image) = Layout::of(&[("data", b"plain")]);
    registry.push(&layout, "app", "app", &[]);
    let address = another_address();
    // A way to the registry from an address of this machine that is not its own loopback.
    let listener = std::net::TcpListener::bind((address, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let to = registry.port;
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let client = client.unwrap();
            std::thread::spawn(move || super::support::web::join(client, to));
        }
    });
    let name = format!("{address}:{port}/app");
    let himage = Himage::new();
    himage.refuses(&mut himage.command(&["pull", &name]), &["does not speak TLS", "--plain-http"]);
    came(&himage, himage.run(&["pull", &name, "--plain-http"]), &image, b"plain");
}

/// An address of this machine that is not loopback.
fn another_address() -> Ipv4Addr {
    let output = Command::new("hostname").arg("-I").output().unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    let address = output.split_whitespace().find_map(|word| word.parse().ok());
    address.expect("this machine has an address")
}

#[test]
fn mirrors_are_asked_first() {
    let registry = Registry::start();
    let (layout, image) = Layout::of(&[("data", b"mirrored")]);
    registry.push(&layout, "app", "hub/library/debian:12", &[]);
    let config = Scratch::new();
    let nobody = free_port();
    config.file(
        "hrun/himage.toml",
        format!(
            "[registries.\"docker.io\"]\nmirrors = [\"127.0.0.1:{nobody}\", \"127.0.0.1:{}/hub\"]\n",
            registry.port
        ),
    );
    let himage = Himage::new();
    let mut pull = himage.command(&["pull", "debian:12"]);
    let pulled = outcome_in_time(pull.env("XDG_CONFIG_HOME", config.path()));
    came(&himage, pulled, &image, b"mirrored");
}

#[test]
fn where_mirrors_have_nothing_the_registry_is_asked() {
    let registry = Registry::start();
    let (layout, image) = Layout::of(&[("data", b"of the origin")]);
    registry.push(&layout, "app", "app", &[]);
    let empty = Registry::start();
    let config = Scratch::new();
    let mirrors = format!("mirrors = [\"127.0.0.1:{}\"]\n", empty.port);
    config.file(
        "hrun/himage.toml",
        format!("[registries.\"127.0.0.1:{}\"]\n{mirrors}", registry.port),
    );
    let himage = Himage::new();
    let pull = |name: &str| {
        let mut pull = himage.command(&["pull", &registry.name(name)]);
        pull.env("XDG_CONFIG_HOME", config.path());
        pull
    };
    himage.refuses(&mut pull("other"), &["404", "a mirror was asked first"]);
    came(&himage, outcome_in_time(&mut pull("app")), &image, b"of the origin");
}

#[test]
fn the_way_out_may_lead_through_a_proxy() {
    let authority = Authority::new();
    let (certificate, key) = authority.sign("DNS:registry.example");
    let registry = Registry::with_tls(&certificate, &key);
    let (layout, image) = Layout::of(&[("data", b"far away")]);
    registry.push(&layout, "app", "app", &[]);
    let (port, names) = proxy(registry.port);
    let himage = Himage::new();
    let ca = authority.file();
    let words = ["pull", "registry.example/app", "--ca", ca.to_str().unwrap()];
    let address = format!("http://127.0.0.1:{port}");
    let pulled = outcome_in_time(himage.command(&words).env("HTTPS_PROXY", &address));
    came(&himage, pulled, &image, b"far away");
    assert!(
        names.lock().unwrap().iter().all(|line| line == "CONNECT registry.example:443 HTTP/1.1")
    );
    // The name means nothing here.
    let himage = Himage::new();
    let mut direct = himage.command(&words);
    direct.env("HTTPS_PROXY", &address).env("NO_PROXY", ".example");
    himage.refuses(&mut direct, &["registry.example cannot be reached", "https_proxy"]);
}

#[test]
fn the_way_out_may_be_a_socks_proxy() {
    let authority = Authority::new();
    let (certificate, key) = authority.sign("DNS:registry.example");
    let registry = Registry::with_tls(&certificate, &key);
    let (layout, image) = Layout::of(&[("data", b"far away")]);
    registry.push(&layout, "app", "app", &[]);
    let (port, names) = socks(registry.port);
    let himage = Himage::new();
    let ca = authority.file();
    let mut pull = himage.command(&["pull", "registry.example/app", "--ca", ca.to_str().unwrap()]);
    let pulled = outcome_in_time(pull.env("all_proxy", format!("socks5h://127.0.0.1:{port}")));
    came(&himage, pulled, &image, b"far away");
    assert!(names.lock().unwrap().iter().all(|name| name == "registry.example:443"));
}

#[test]
fn a_proxy_that_wants_a_password_says_so() {
    let proxy = Web::start(|_| Said::Answer(407, Vec::new(), Vec::new()));
    let himage = Himage::new();
    let mut pull = himage.command(&["pull", "registry.example/app"]);
    pull.env("https_proxy", format!("http://127.0.0.1:{}", proxy.port));
    let parts = ["wants a name and a password", "https_proxy=http://NAME:PASSWORD@HOST:PORT"];
    himage.refuses(&mut pull, &parts);
}

#[test]
fn names_that_lead_nowhere_are_told_apart() {
    let himage = Himage::new();
    let refused = |name: &str, parts: &[&str]| {
        himage.refuses(&mut himage.command(&["pull", name]), parts);
    };
    refused("no-such-host.invalid/app", &["pull no-such-host.invalid/app", "cannot be reached"]);
    refused(&format!("127.0.0.1:{}/app", free_port()), &["refuses connections", "running"]);
    refused("Debian", &["capital"]);
    let registry = Registry::start();
    refused(&registry.name("nothing:1"), &["404 Not Found (manifest unknown)", "list-tags"]);
    let web = Web::start(|_| super::support::web::answer(404, "<html>no</html>"));
    refused(&format!("127.0.0.1:{}/app", web.port), &["is no registry"]);
}

#[test]
fn configuration_that_cannot_be_meant_is_refused() {
    let config = Scratch::new();
    let file = config.file("hrun/himage.toml", "\n[registries.\"a.b\"]\nmirror = []\n");
    let himage = Himage::new();
    let mut pull = himage.command(&["pull", "debian"]);
    let place = format!("{}:3", file.display());
    himage.refuses(pull.env("XDG_CONFIG_HOME", config.path()), &[&place, "mirror"]);
}

/// What takes minutes: a server that stops in the middle, and one that sends a byte a second.
#[test]
#[ignore = "waits until servers have been silent or slow for too long"]
fn servers_that_fall_silent_are_given_up() {
    type Says = fn(Vec<u8>, &[u8]) -> Said;
    let silent: Says = |head, _| Said::Stuck(head);
    let slow: Says = |head, blob| Said::Drip(head, blob.to_vec());
    for (says, words) in [(silent, "is silent"), (slow, "sends less than 1 KiB a second")] {
        let (layout, image) = Layout::of(&[("data", &noise(1 << 20))]);
        let blobs = layout.blobs.clone();
        let manifest = blobs[digest(&image)].clone();
        let web = Web::start(move |asked| {
            let blob = asked.path.rsplit('/').next().and_then(|digest| blobs.get(digest));
            match blob {
                None => super::support::web::answer(200, manifest.clone()),
                Some(blob) if blob.len() < 1 << 20 => {
                    super::support::web::answer(200, blob.clone())
                }
                Some(blob) => {
                    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", blob.len());
                    says(head.into_bytes(), blob)
                }
            }
        });
        let himage = Himage::new();
        let mut pull = himage.command(&["pull", &format!("127.0.0.1:{}/app", web.port)]);
        let outcome = outcome_within(&mut pull, std::time::Duration::from_secs(900));
        assert_eq!(outcome.status, Some(125));
        assert!(outcome.stderr.contains(words), "{}", outcome.stderr);
        assert!(outcome.stderr.contains("it is asked again in 2 s"), "{}", outcome.stderr);
    }
}
