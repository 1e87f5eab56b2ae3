//! `himage pull` from registries that lie, send what is endless, and lead around in circles.
//!
//! Each is an honest registry in all but one thing; the first case is honest in everything.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use images::digest::Digest;
use serde_json::{Value, json};

use super::support::registry::{Authority, Himage, Layout};
use super::support::web::{Asked, Said, Web, answer};

/// An image on a shelf, given out as the specification says.
#[derive(Clone)]
pub struct Shelf {
    pub blobs: BTreeMap<String, Vec<u8>>,
    /// What the tag `latest` means.
    pub tagged: String,
    pub config: String,
    pub layer: String,
}

impl Shelf {
    pub fn new() -> Self {
        let (layout, image) = Layout::of(&[("data", b"honest")]);
        let tagged = image["digest"].as_str().unwrap().to_owned();
        let manifest: Value = serde_json::from_slice(&layout.blobs[&tagged]).unwrap();
        let digest = |descriptor: &Value| descriptor["digest"].as_str().unwrap().to_owned();
        Shelf {
            config: digest(&manifest["config"]),
            layer: digest(&manifest["layers"][0]),
            tagged,
            blobs: layout.blobs.clone(),
        }
    }

    /// Puts bytes on the shelf.
    fn put(&mut self, bytes: &[u8]) -> String {
        let digest = Digest::of(bytes).to_string();
        self.blobs.insert(digest.clone(), bytes.to_vec());
        digest
    }

    /// Has the tag mean these bytes.
    fn tag(mut self, bytes: &[u8]) -> Self {
        self.tagged = self.put(bytes);
        self
    }

    /// Has the tag mean a list of these images.
    fn list(self, images: Value) -> Self {
        let index = json!({ "schemaVersion": 2, "manifests": images });
        self.tag(index.to_string().as_bytes())
    }

    /// The manifest, changed.
    pub fn changed(self, change: impl FnOnce(&mut Value)) -> Self {
        let mut manifest: Value = serde_json::from_slice(&self.blobs[&self.tagged]).unwrap();
        change(&mut manifest);
        self.tag(manifest.to_string().as_bytes())
    }

    pub fn honest(&self, asked: &Asked) -> Said {
        let last = asked.path.rsplit('/').next().unwrap();
        let digest = if last == "latest" { &self.tagged } else { last };
        let Some(blob) = self.blobs.get(digest) else { return answer(404, "{}") };
        let headers = vec![("Docker-Content-Digest", digest.to_owned())];
        match asked
            .header("range")
            .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-'))
        {
            None => Said::Answer(200, headers, blob.clone()),
            Some(from) => {
                let from: usize = from.parse().unwrap();
                let range = format!("bytes {from}-{}/{}", blob.len() - 1, blob.len());
                Said::Answer(206, vec![("Content-Range", range)], blob[from..].to_vec())
            }
        }
    }

    /// Serves it, but for what `lie` has an answer to.
    pub fn serve(
        self,
        lie: impl Fn(&Asked, &Shelf) -> Option<Said> + Send + Sync + 'static,
    ) -> Web {
        Web::start(move |asked| lie(asked, &self).unwrap_or_else(|| self.honest(asked)))
    }
}

fn never(_: &Asked, _: &Shelf) -> Option<Said> {
    None
}

fn name(web: &Web) -> String {
    format!("127.0.0.1:{}/app", web.port)
}

#[track_caller]
fn refused(web: &Web, parts: &[&str]) -> String {
    let himage = Himage::new();
    let name = name(web);
    let attempt = format!("pull {name}");
    himage.refuses(&mut himage.command(&["pull", &name]), &[&[attempt.as_str()], parts].concat())
}

#[track_caller]
fn pulled(web: &Web) {
    Himage::new().run(&["pull", &name(web)]).succeeds();
}

/// Answers only to what is asked about a digest.
fn about(digest: &str, said: impl Fn() -> Said + Send + Sync) -> impl Fn(&Asked) -> Option<Said> {
    let end = format!("/{digest}");
    move |asked| asked.path.ends_with(&end).then(&said)
}

#[test]
fn an_honest_one_is_believed() {
    pulled(&Shelf::new().serve(never));
    // One that cannot begin in the middle, says no length, and counts by another algorithm.
    let shelf = Shelf::new();
    let web = Web::start(move |asked| match shelf.honest(asked) {
        Said::Answer(_, _, body) => {
            let head =
                "HTTP/1.1 200 OK\r\nConnection: close\r\nDocker-Content-Digest: sha512:ab\r\n\r\n";
            Said::Raw([head.as_bytes(), &body].concat())
        }
        other => other,
    });
    pulled(&web);
}

/// What other clients take, from servers that keep to the letter less than most.
#[test]
fn small_liberties_are_allowed() {
    // Whole answers that call themselves a part.
    let web = Shelf::new().serve(|asked, shelf| match shelf.honest(asked) {
        Said::Answer(200, mut headers, body) => {
            headers.push(("Content-Range", format!("bytes 0-{}/{}", body.len() - 1, body.len())));
            Some(Said::Answer(206, headers, body))
        }
        other => Some(other),
    });
    pulled(&web);
    // A digest in capital letters.
    let web = Shelf::new().serve(|asked, shelf| {
        let digest = vec![("Docker-Content-Digest", shelf.tagged.to_uppercase())];
        let manifest = shelf.blobs[&shelf.tagged].clone();
        asked.path.contains("/manifests/").then(|| Said::Answer(200, digest.clone(), manifest))
    });
    pulled(&web);
    // A location that goes up.
    let web = Shelf::new().serve(|asked, shelf| {
        if asked.path == "/v2/elsewhere/x" {
            return Some(answer(200, shelf.blobs[&shelf.layer].clone()));
        }
        let there = vec![("Location", "../../elsewhere/x".to_owned())];
        asked.path.ends_with(&shelf.layer).then(|| Said::Answer(302, there, Vec::new()))
    });
    pulled(&web);
    assert!(web.asked().iter().all(|asked| !asked.path.contains("..")));
}

#[test]
fn who_cannot_begin_in_the_middle_is_asked_for_all_of_it() {
    let first = AtomicUsize::new(0);
    let web = Shelf::new().serve(move |asked, shelf| {
        let blob = &shelf.blobs[&shelf.layer];
        about(&shelf.layer, || match asked.header("range") {
            Some(_) => answer(416, ""),
            None if first.fetch_add(1, Ordering::Relaxed) == 0 => {
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", blob.len());
                Said::Raw([head.as_bytes(), &blob[..1000]].concat())
            }
            None => answer(200, blob.clone()),
        })(asked)
    });
    pulled(&web);
}

#[test]
fn layers_that_lie_elsewhere_are_fetched_there() {
    let shelf = Shelf::new();
    let layer = shelf.blobs[&shelf.layer].clone();
    let elsewhere = Web::start(move |_| answer(200, layer.clone()));
    let address = format!("http://127.0.0.1:{}/layer", elsewhere.port);
    let foreign = shelf.changed(|manifest| manifest["layers"][0]["urls"] = json!([address]));
    let mut without = foreign.clone();
    without.blobs.remove(&without.layer);
    pulled(&without.serve(never));
    assert_eq!(elsewhere.asked().len(), 1);
    // The registry comes first, and what comes from elsewhere is compared.
    pulled(&foreign.clone().serve(never));
    assert_eq!(elsewhere.asked().len(), 1);
    let liar = Web::start(|_| answer(200, "other"));
    let address = format!("http://127.0.0.1:{}/layer", liar.port);
    let mut lies = foreign.changed(|manifest| manifest["layers"][0]["urls"] = json!([address]));
    lies.blobs.remove(&lies.layer);
    refused(&lies.serve(never), &["bytes where there should be"]);
}

#[test]
fn a_layer_that_is_missing_is_no_matter_of_tags() {
    let mut shelf = Shelf::new();
    shelf.blobs.remove(&shelf.layer);
    let words = refused(&shelf.serve(never), &["404", "a layer of the image is missing there"]);
    assert!(!words.contains("list-tags"), "{words}");
}

#[test]
fn manifests_are_what_their_digests_say() {
    let web = Shelf::new().serve(|asked, shelf| {
        let wrong = vec![("Docker-Content-Digest", shelf.layer.clone())];
        let manifest = shelf.blobs[&shelf.tagged].clone();
        asked.path.contains("/manifests/").then(|| Said::Answer(200, wrong.clone(), manifest))
    });
    refused(
        &web,
        &["sends a manifest of digest sha256:", "that should be sha256:", "tell who runs it"],
    );
    // Asked for one, and another is given.
    let shelf = Shelf::new();
    let (wanted, given) = (shelf.layer.clone(), shelf.blobs[&shelf.tagged].clone());
    let web = shelf.serve(move |asked, _| {
        asked.path.contains("/manifests/").then(|| answer(200, given.clone()))
    });
    let himage = Himage::new();
    let pull = &mut himage.command(&["pull", &format!("{}@{wanted}", name(&web))]);
    himage.refuses(pull, &["sends a manifest of digest", &format!("should be {wanted}")]);
}

#[test]
fn lists_are_what_they_say() {
    let entry = |digest: &str, size: usize| {
        json!([{ "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": size,
                 "platform": { "os": "linux", "architecture": "amd64" } }])
    };
    let shelf = Shelf::new();
    let (digest, size) = (shelf.tagged.clone(), shelf.blobs[&shelf.tagged].len());
    pulled(&shelf.clone().list(entry(&digest, size)).serve(never));
    refused(
        &shelf.clone().list(entry(&digest, size + 1)).serve(never),
        &["bytes of a manifest of"],
    );
    refused(
        &shelf.clone().list(entry(&digest, 5 << 20)).serve(never),
        &["lists a manifest of 5242880 bytes"],
    );
    let other = shelf.config.clone();
    let lies = shelf.clone().list(entry(&digest, size)).serve(move |asked, shelf| {
        about(&digest, || answer(200, vec![b' '; size]))(asked).or_else(|| never(asked, shelf))
    });
    refused(&lies, &["sends a manifest of digest", "should be"]);
    let size = shelf.blobs[&other].len();
    refused(&shelf.clone().list(entry(&other, size)).serve(never), &["no manifest"]);
    refused(&shelf.list(json!([])).serve(never), &["no image for linux/amd64"]);
}

#[test]
fn lists_of_lists_end() {
    let shelf = Shelf::new();
    let (mut digest, mut size) = (shelf.tagged.clone(), shelf.blobs[&shelf.tagged].len());
    let mut nested = shelf;
    for depth in 1..6 {
        let kind = if depth == 1 { "manifest" } else { "index" };
        let image = json!([{ "mediaType": format!("application/vnd.oci.image.{kind}.v1+json"),
                             "digest": digest, "size": size }]);
        nested = nested.list(image);
        (digest, size) = (nested.tagged.clone(), nested.blobs[&nested.tagged].len());
        let web = nested.clone().serve(never);
        if depth <= 3 { pulled(&web) } else { drop(refused(&web, &["lists in lists"])) }
    }
    // One that has itself in it cannot be made; one that says so can.
    let shelf = Shelf::new();
    let own = format!("sha256:{}", "0".repeat(64));
    let image = json!([{ "mediaType": "application/vnd.oci.image.index.v1+json", "digest": own, "size": 500 }]);
    let shelf = shelf.list(image);
    let index = shelf.blobs[&shelf.tagged].clone();
    let web = shelf.serve(move |asked, _| about(&own, || answer(200, index.clone()))(asked));
    refused(&web, &["bytes of a manifest of 500"]);
}

#[test]
fn what_is_no_manifest_is_none() {
    let shelf = Shelf::new();
    let huge = [b"{\"x\":\"".as_slice(), &vec![b'x'; 5 << 20], b"\"}"].concat();
    for (bytes, parts) in [
        (&b"<html>come in</html>"[..], ["no manifest", ""]),
        (&b""[..], ["no manifest", ""]),
        (&b"{\"schemaVersion\":1,\"fsLayers\":[]}"[..], ["schema 1", "himage import"]),
        (&huge, ["more than 4096 KiB", ""]),
        (&b"[[[[[[[["[..], ["no manifest", ""]),
    ] {
        refused(&shelf.clone().tag(bytes).serve(never), &parts);
    }
    let chart = shelf.clone().changed(|it| {
        it["config"]["mediaType"] = "application/vnd.cncf.helm.config.v1+json".into();
    });
    refused(&chart.serve(never), &["no container image but 'application/vnd.cncf.helm"]);
    let web = shelf.serve(|asked, _| {
        let head = "HTTP/1.1 200 OK\r\n\r\n".to_owned();
        asked.path.contains("/manifests/").then_some(Said::Endless(head))
    });
    refused(&web, &["more than 4096 KiB"]);
}

#[test]
fn layers_and_configurations_are_what_the_manifest_says() {
    let shelf = Shelf::new();
    for digest in [&shelf.layer, &shelf.config] {
        let blob = shelf.blobs[digest].clone();
        let lies = |said: fn(&[u8]) -> Said| {
            let (digest, blob) = (digest.clone(), blob.clone());
            shelf.clone().serve(move |asked, _| about(&digest, || said(&blob))(asked))
        };
        let other = lies(|blob| answer(200, vec![b'x'; blob.len()]));
        refused(&other, &["digest", "tell who runs it"]);
        let short = lies(|blob| answer(200, blob[1..].to_vec()));
        refused(&short, &["bytes where there should be"]);
        let long = lies(|blob| answer(200, [blob, b"x"].concat()));
        refused(&long, &["bytes where there should be"]);
        let endless = lies(|_| Said::Endless("HTTP/1.1 200 OK\r\n\r\n".into()));
        refused(&endless, &["sends more than the"]);
        let gone = lies(|_| answer(404, "{}"));
        refused(&gone, &["404"]);
    }
    let size = shelf.clone().changed(|it| it["config"]["size"] = (5 << 20).into());
    refused(&size.serve(never), &["its configuration has 5242880 bytes"]);
}

#[test]
fn what_goes_on_elsewhere_is_not_taken() {
    let shelf = Shelf::new();
    let layer = shelf.layer.clone();
    let first = AtomicUsize::new(0);
    let web = shelf.serve(move |asked, shelf| {
        let blob = &shelf.blobs[&layer];
        about(&layer, || {
            if first.fetch_add(1, Ordering::Relaxed) == 0 {
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", blob.len());
                return Said::Raw([head.as_bytes(), &blob[..1000]].concat());
            }
            let range = format!("bytes 0-{}/{}", blob.len() - 1, blob.len());
            Said::Answer(206, vec![("Content-Range", range)], blob.clone())
        })(asked)
    });
    refused(&web, &["was asked for byte 1000 of"]);
}

#[test]
fn circles_are_left() {
    let shelf = Shelf::new();
    let web = shelf.clone().serve(|asked, _| {
        let again = format!("{}?again", asked.path.split('?').next().unwrap());
        asked
            .path
            .contains("/blobs/")
            .then(|| Said::Answer(302, vec![("Location", again)], Vec::new()))
    });
    refused(&web, &["around in circles"]);
    assert!(web.asked().len() < 10);
    for (location, words) in [
        ("http://192.0.2.1/x", "192.0.2.1 would be asked without encryption"),
        ("ftp://127.0.0.1/x", "no address"),
        ("https://user:word@127.0.0.1/", "no address"),
    ] {
        let web = shelf.clone().serve(move |asked, _| {
            let there = vec![("Location", location.to_owned())];
            asked.path.contains("/blobs/").then(|| Said::Answer(302, there, Vec::new()))
        });
        refused(&web, &[words]);
    }
}

#[test]
fn nothing_leads_out_of_encryption() {
    let authority = Authority::new();
    let (certificate, key) = authority.sign("DNS:localhost");
    let shelf = Shelf::new();
    let plain = shelf.clone().serve(never);
    let there = plain.port;
    let web = Web::start_tls(&certificate, &key, move |asked| {
        if asked.path.contains("/manifests/") {
            return shelf.honest(asked);
        }
        let location = format!("http://127.0.0.1:{there}{}", asked.path);
        Said::Answer(307, vec![("Location", location)], Vec::new())
    });
    let himage = Himage::new();
    let ca = authority.file();
    let name = format!("localhost:{}/app", web.port);
    let pull = &mut himage.command(&["pull", &name, "--ca", ca.to_str().unwrap()]);
    himage.refuses(pull, &["sends us to 127.0.0.1", "not encrypted"]);
    assert!(plain.asked().is_empty());
}

#[test]
fn who_is_busy_is_waited_for_but_not_for_ever() {
    let busy = |count: usize, status: u16, after: &'static str| {
        let asked_for = AtomicUsize::new(0);
        Shelf::new().serve(move |_, _| {
            let is_busy = asked_for.fetch_add(1, Ordering::Relaxed) < count;
            let after = vec![("Retry-After", after.to_owned())];
            is_busy.then(|| Said::Answer(status, after, Vec::new()))
        })
    };
    pulled(&busy(2, 429, "0"));
    pulled(&busy(1, 503, "1"));
    let web = busy(100, 503, "");
    refused(&web, &["503", "5 tries", "try later"]);
    assert_eq!(web.asked().len(), 5);
    let web = busy(100, 429, "3600");
    refused(&web, &["429", "left alone for 3600 s", "log in"]);
    assert_eq!(web.asked().len(), 1);
    let web = busy(100, 418, "");
    refused(&web, &["says 418"]);
    assert_eq!(web.asked().len(), 1);
}

#[test]
fn what_is_no_web_server_is_none() {
    let web = Web::start(|_| Said::Raw(b"220 mail.example ESMTP\r\n\r\n".to_vec()));
    refused(&web, &["does not answer as a web server does"]);
    let web = Web::start(|_| Said::Endless("HTTP/1.1 200 OK\r\nX: ".into()));
    refused(&web, &["does not answer as a web server does"]);
    let web = Web::start(|_| Said::Raw(Vec::new()));
    refused(&web, &["has cut the connection", "5 tries"]);
}

#[test]
fn wishes_that_mean_nothing_are_told() {
    let wants = |challenge: &'static str| {
        Shelf::new().serve(move |_, _| {
            let headers = vec![("WWW-Authenticate", challenge.to_owned())];
            Some(Said::Answer(401, headers, Vec::new()))
        })
    };
    refused(&wants("Negotiate"), &["not what it wants to see"]);
    refused(&wants(",=\""), &["not what it wants to see"]);
    refused(&wants("Bearer service=\"x\""), &["names no server for tokens"]);
    refused(&wants("Bearer realm=\"javascript:alert\""), &["names no server for tokens"]);
    refused(&wants("Basic realm=\"x\""), &["401", "found no login"]);
}

#[test]
fn tokens_that_are_none_are_told() {
    let huge = format!("{{\"token\":\"{}\"}}", "x".repeat(100_000));
    for (status, said, words) in [
        (200, "{}", "sends no token"),
        (200, "{\"token\":\"\"}", "sends no token"),
        (200, "{\"token\":\"a\\r\\nX: b\"}", "cannot be one"),
        (200, "garbage", "sends no token but something else"),
        (200, huge.as_str(), "more than 64 KiB"),
        (403, "{}", "says 403"),
        (404, "{}", "says 404"),
    ] {
        let said = said.to_owned();
        let tokens = Web::start(move |_| answer(status, said.clone()));
        let realm = tokens.port;
        let web = Shelf::new().serve(move |_, _| {
            let challenge = format!("Bearer realm=\"http://127.0.0.1:{realm}/\"");
            Some(Said::Answer(401, vec![("WWW-Authenticate", challenge)], Vec::new()))
        });
        refused(&web, &[words]);
    }
}
