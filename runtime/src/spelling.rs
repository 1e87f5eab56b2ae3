//! Names of images as other programs and web pages write them: what they mean, or what to type here.
//!
//! What looks like one of these is never taken for a repository of the default registry: `docker:debian`
//! would ask for the image `docker` with the tag `debian`.

/// Why a name is none here, and what to type instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// What it is.
    pub reason: String,
    /// The command that does what was meant.
    pub hint: String,
}

/// A name in the words of registries: of enroot's `REGISTRY#IMAGE`, and with `docker://` in front.
pub fn plain(text: &str) -> String {
    let text = text.strip_prefix("docker://").unwrap_or(text);
    match text.split_once('#') {
        Some((registry, image)) if registry.contains(['.', ':']) || registry == "localhost" => {
            format!("{registry}/{image}")
        }
        _ => text.to_owned(),
    }
}

/// What a name is that other programs know, if it is one of those.
pub fn foreign(text: &str) -> Option<Foreign> {
    if let Some((front, image)) = text.split_once('#') {
        return enroot(front.strip_prefix("docker://").unwrap_or(front), image);
    }
    if let Some(page) = web_page(text) {
        return Some(page);
    }
    let (scheme, rest) = text.split_once(':')?;
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    // The path of a file, and what may be chosen in it.
    let (file, chosen) = rest.split_once(':').unwrap_or((rest, ""));
    let (reason, hint) = match scheme {
        "oras" => (
            "it names a file that is kept in a registry",
            format!("oras pull {rest}, or apptainer pull oras://{rest}: hrun runs the SIF file"),
        ),
        "library" | "shub" => (
            "it names a SIF file on a server of Singularity's",
            format!("apptainer pull {scheme}://{rest}: hrun runs the SIF file"),
        ),
        "docker-daemon" | "dockerd" => (
            "it names an image of docker on this machine",
            format!("docker save {rest} | himage import - {rest}"),
        ),
        "containers-storage" | "podman" => (
            "it names an image of podman on this machine",
            format!("podman save {rest} | himage import - {rest}"),
        ),
        "docker-archive" | "oci-archive" | "oci" if !chosen.is_empty() => (
            "it names an image in a file or directory",
            format!("himage import {file} --image {chosen}"),
        ),
        "docker-archive" | "oci-archive" | "oci" | "file" => {
            ("it names a file or directory", format!("himage import {file}"))
        }
        "dir" => (
            "it names a directory of skopeo's own form",
            format!("skopeo copy dir:{rest} oci:NAME.oci && himage import NAME.oci"),
        ),
        "docker" if !text.contains('/') && !is_of_the_image_docker(rest) => (
            "docker: in front says nothing here",
            format!("himage pull {rest}; the image called docker is docker.io/library/{text}"),
        ),
        _ => return None,
    };
    Some(Foreign { reason: reason.to_owned(), hint })
}

fn pull(name: &str) -> String {
    format!("himage pull {name}")
}

fn enroot(front: &str, image: &str) -> Option<Foreign> {
    if let Some((user, registry)) = front.split_once('@') {
        let reason = format!("a name has no user ({user}) in it: himage finds the login by itself");
        return Some(Foreign { reason, hint: pull(&format!("{registry}/{image}")) });
    }
    if plain(&format!("{front}#{image}")).contains('#') {
        let reason = format!("'{front}' is no registry: it has neither a point nor a port");
        return Some(Foreign { reason, hint: pull(&format!("{front}:443/{image}")) });
    }
    None
}

/// Whether a tag is one of Docker Hub's image `docker`, whose name is also a prefix of skopeo's.
fn is_of_the_image_docker(tag: &str) -> bool {
    const WORDS: [&str; 10] = [
        "latest",
        "dind",
        "cli",
        "git",
        "rc",
        "stable",
        "edge",
        "test",
        "experimental",
        "windowsservercore",
    ];
    let word = tag.split(['-', '@']).next().unwrap_or_default();
    tag.starts_with(|letter: char| letter.is_ascii_digit()) || WORDS.contains(&word)
}

/// The page of an image, or the address of a file.
fn web_page(text: &str) -> Option<Foreign> {
    let bare = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let address = bare.unwrap_or(text);
    let clean = address.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
    let (host, path) = clean.split_once('/')?;
    let parts: Vec<&str> = path.split('/').collect();
    let name = match (host, parts.as_slice()) {
        ("hub.docker.com", ["_", name, ..]) => Some((*name).to_owned()),
        ("hub.docker.com", ["r", group, name, ..]) => Some(format!("{group}/{name}")),
        ("quay.io", ["repository", group, name, ..]) => Some(format!("quay.io/{group}/{name}")),
        ("catalog.ngc.nvidia.com", ["orgs", group, "containers", name, ..]) => {
            Some(format!("nvcr.io/{group}/{name}"))
        }
        ("catalog.ngc.nvidia.com", ["orgs", group, "teams", team, "containers", name, ..]) => {
            Some(format!("nvcr.io/{group}/{team}/{name}"))
        }
        ("github.com", [group, _, "pkgs", "container", name, ..])
        | ("github.com", ["orgs", group, "packages", "container", "package", name, ..]) => {
            Some(format!("ghcr.io/{group}/{name}"))
        }
        _ => None,
    };
    if let Some(name) = name {
        let reason = "it is the address of a web page, not the name of an image".to_owned();
        return Some(Foreign { reason, hint: pull(&name) });
    }
    bare?;
    let file = parts.last().copied().unwrap_or_default();
    let ends = |endings: &[&str]| endings.iter().any(|ending| file.ends_with(ending));
    let is_sif = ends(&[".sif", ".simg"]) || host == "depot.galaxyproject.org";
    let (reason, hint) = if is_sif || ends(&[".sqfs", ".sqsh", ".squashfs", ".img"]) {
        let local = if is_sif && !ends(&[".sif", ".simg"]) {
            format!("{file}.sif")
        } else {
            file.to_owned()
        };
        ("it is the address of a file", format!("curl -fL -o {local} {text} && hrun ./{local}"))
    } else if ends(&[".tar", ".gz", ".tgz", ".xz", ".zst", ".txz", ".bz2"]) {
        ("it is the address of a file", format!("curl -fLO {text} && himage import {file}"))
    } else {
        ("the name of an image has no http in front", pull(clean))
    };
    Some(Foreign { reason: reason.to_owned(), hint })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn hints(text: &str, hint: &str) {
        assert_eq!(foreign(text).map(|foreign| foreign.hint).as_deref(), Some(hint), "{text}");
    }

    #[test]
    fn names_of_enroot_are_read() {
        for text in
            ["nvcr.io#nvidia/pytorch:24.10-py3", "docker://nvcr.io#nvidia/pytorch:24.10-py3"]
        {
            assert_eq!(plain(text), "nvcr.io/nvidia/pytorch:24.10-py3");
            assert_eq!(foreign(text), None);
        }
        assert_eq!(plain("localhost:5000#app"), "localhost:5000/app");
        hints("docker://$oauthtoken@nvcr.io#nvidia/pytorch", "himage pull nvcr.io/nvidia/pytorch");
        hints("myhub#group/app", "himage pull myhub:443/group/app");
    }

    #[test]
    fn other_places_get_a_command() {
        hints(
            "oras://ghcr.io/a/b:1",
            "oras pull ghcr.io/a/b:1, or apptainer pull oras://ghcr.io/a/b:1: hrun runs the SIF file",
        );
        hints(
            "library://sylabs/lolcow",
            "apptainer pull library://sylabs/lolcow: hrun runs the SIF file",
        );
        hints("shub://a/b", "apptainer pull shub://a/b: hrun runs the SIF file");
        hints("docker-archive:app.tar", "himage import app.tar");
        hints("docker-archive:app.tar:app:1", "himage import app.tar --image app:1");
        hints("oci:layout:1", "himage import layout --image 1");
        hints("oci-archive:/a/b.tar", "himage import /a/b.tar");
        hints("dockerd://app:1", "docker save app:1 | himage import - app:1");
        hints("docker-daemon:app", "docker save app | himage import - app");
        hints("containers-storage:app", "podman save app | himage import - app");
        hints("podman://app:1", "podman save app:1 | himage import - app:1");
        hints(
            "docker:debian",
            "himage pull debian; the image called docker is docker.io/library/docker:debian",
        );
    }

    #[test]
    fn web_pages_get_the_name_they_are_about() {
        for (text, name) in [
            ("https://hub.docker.com/_/debian", "debian"),
            ("https://hub.docker.com/r/nvidia/cuda/tags?page=2", "nvidia/cuda"),
            ("hub.docker.com/r/nvidia/cuda", "nvidia/cuda"),
            (
                "https://quay.io/repository/biocontainers/samtools?tab=tags",
                "quay.io/biocontainers/samtools",
            ),
            (
                "https://catalog.ngc.nvidia.com/orgs/nvidia/containers/pytorch",
                "nvcr.io/nvidia/pytorch",
            ),
            (
                "https://catalog.ngc.nvidia.com/orgs/nvidia/teams/clara/containers/x",
                "nvcr.io/nvidia/clara/x",
            ),
            ("https://github.com/org/repo/pkgs/container/app", "ghcr.io/org/app"),
            ("https://github.com/orgs/org/packages/container/package/app", "ghcr.io/org/app"),
            ("https://ghcr.io/org/app:1", "ghcr.io/org/app:1"),
        ] {
            hints(text, &pull(name));
        }
        hints("https://x.org/a.sif", "curl -fL -o a.sif https://x.org/a.sif && hrun ./a.sif");
        hints(
            "https://depot.galaxyproject.org/singularity/bwa:0.7.17",
            "curl -fL -o bwa:0.7.17.sif https://depot.galaxyproject.org/singularity/bwa:0.7.17 && hrun ./bwa:0.7.17.sif",
        );
        hints("http://x.org/a.tar.gz", "curl -fLO http://x.org/a.tar.gz && himage import a.tar.gz");
    }

    #[test]
    fn names_of_registries_are_left_alone() {
        for text in [
            "debian",
            "debian:12",
            "docker",
            "docker:24",
            "docker:24-dind",
            "docker:dind-rootless",
            "docker:latest",
            "docker/compose:1",
            "docker.io/library/docker:debian",
            "docker://debian",
            "oci/app:1",
            "localhost:5000/podman:1",
            "podman/stable:1",
            "quay.io/repository",
        ] {
            assert_eq!(foreign(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_known_or_not(text in ".{0,80}") {
            let _ = (foreign(&text), plain(&text));
        }
    }
}
