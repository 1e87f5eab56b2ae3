//! What registries answer when they are asked for an image: a manifest, or a list of several.

use images::said;
use oci_spec::image::{Descriptor, ImageManifest};
use runtime::error::Error;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// No manifest is larger; the distribution specification lets registries refuse larger ones too.
pub const LIMIT: u64 = 4 << 20;

/// What is asked for, for registries that have several forms of an image.
pub const ACCEPT: &str = "application/vnd.oci.image.manifest.v1+json, \
    application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.docker.distribution.manifest.list.v2+json";

/// A manifest, read.
#[derive(Clone, Debug)]
pub enum Manifest {
    /// One image.
    Image(Box<ImageManifest>),
    /// Images for several platforms.
    Index(Vec<Descriptor>),
}

/// Why something is no manifest of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    /// What it is instead, as it reads after "it is".
    pub reason: String,
    /// What to do about it.
    pub hint: Option<&'static str>,
}

/// What tells the kinds of manifests apart.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kind {
    schema_version: Option<u64>,
    media_type: Option<String>,
    manifests: Option<IgnoredAny>,
    config: Option<IgnoredAny>,
}

const SCHEMA_1: &str = "have it pushed again by any program of the last years; until then, where docker still pulls it: \
    docker save IMAGE -o FILE, then himage import FILE";

/// Reads a manifest. What it is, it says itself: the type that a registry names is not signed.
///
/// # Errors
///
/// Says what it is, if it is no image that can be run.
pub fn read(bytes: &[u8]) -> Result<Manifest, Unfit> {
    let unfit = |reason: String, hint| Unfit { reason, hint };
    let garbled = |error: serde_json::Error| unfit(format!("no manifest: {error}"), None);
    let unread = |error: Error| unfit(format!("no manifest: {}", error.cause), None);
    let kind: Kind = serde_json::from_slice(bytes).map_err(garbled)?;
    let is_of_schema_1 =
        kind.media_type.is_some_and(|name| name.contains("docker.distribution.manifest.v1+"));
    if kind.schema_version == Some(1) || is_of_schema_1 {
        return Err(unfit("in Docker's format of 2014 (schema 1)".into(), Some(SCHEMA_1)));
    }
    if kind.schema_version != Some(2) {
        return Err(unfit("no manifest: it has no schemaVersion 2".into(), None));
    }
    match (kind.manifests, kind.config) {
        (Some(_), None) => said::index(bytes).map(Manifest::Index).map_err(unread),
        (None, Some(_)) => {
            let image = said::manifest(bytes).map_err(unread)?;
            is_image(&image)?;
            Ok(Manifest::Image(image.into()))
        }
        // Else two readers could see two images in it.
        (Some(_), Some(_)) => Err(unfit("both one image and several".into(), None)),
        (None, None) => Err(unfit("no manifest: it has neither images nor layers".into(), None)),
    }
}

/// Registries keep other things in the same way.
fn is_image(image: &ImageManifest) -> Result<(), Unfit> {
    let kind = image.config().media_type().to_string();
    let known = [
        "application/vnd.oci.image.config.v1+json",
        "application/vnd.docker.container.image.v1+json",
        // Of registries' first years.
        "application/octet-stream",
    ];
    if known.contains(&kind.as_str()) {
        return Ok(());
    }
    let layer = image.layers().first().map(|layer| layer.media_type().to_string());
    if kind.contains("sif") || layer.is_some_and(|layer| layer.contains("sif")) {
        let reason = "a SIF file, kept in a registry".into();
        let hint = "oras pull, or apptainer pull oras://NAME, gets the file, which hrun runs";
        return Err(Unfit { reason, hint: Some(hint) });
    }
    Err(Unfit { reason: format!("no container image but '{}'", kind.escape_debug()), hint: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYER: &str = r#"{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","size":3,"digest":
        "sha256:2222222222222222222222222222222222222222222222222222222222222222"}"#;

    fn image(config: &str) -> String {
        format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"mediaType":"{config}","size":2,"digest":
               "sha256:1111111111111111111111111111111111111111111111111111111111111111"}},
               "layers":[{LAYER}]}}"#
        )
    }

    #[track_caller]
    fn unfit(text: &str) -> String {
        read(text.as_bytes()).expect_err(text).reason
    }

    #[test]
    fn images_of_both_families_are_read() {
        for config in [
            "application/vnd.oci.image.config.v1+json",
            "application/vnd.docker.container.image.v1+json",
        ] {
            let Ok(Manifest::Image(found)) = read(image(config).as_bytes()) else {
                panic!("{config}");
            };
            assert_eq!(found.layers().len(), 1);
        }
        let index = format!(r#"{{"schemaVersion":2,"manifests":[{LAYER}]}}"#);
        assert!(matches!(read(index.as_bytes()), Ok(Manifest::Index(images)) if images.len() == 1));
    }

    #[test]
    fn what_is_no_image_is_named() {
        let helm = "application/vnd.cncf.helm.config.v1+json";
        assert!(unfit(&image(helm)).contains(helm));
        assert!(unfit(&image("application/vnd.sylabs.sif.config.v1")).contains("SIF"));
        assert!(unfit(r#"{"schemaVersion":1,"fsLayers":[]}"#).contains("schema 1"));
        let kind = "application/vnd.docker.distribution.manifest.v1+prettyjws";
        assert!(unfit(&format!(r#"{{"mediaType":"{kind}"}}"#)).contains("schema 1"));
        assert!(unfit("<html>").contains("no manifest"));
        assert!(unfit("[]").contains("no manifest"));
        assert!(unfit("{}").contains("schemaVersion"));
        assert!(unfit("").contains("no manifest"));
        assert!(unfit(r#"{"schemaVersion":2}"#).contains("neither"));
        let both = image("application/vnd.oci.image.config.v1+json").replacen(
            '{',
            &format!(r#"{{"manifests":[{LAYER}],"#),
            1,
        );
        assert!(unfit(&both).contains("both"));
        let digest = LAYER.replace("sha256:2", "sha256:x");
        assert!(
            unfit(&format!(r#"{{"schemaVersion":2,"manifests":[{digest}]}}"#)).contains("digest")
        );
    }

    #[test]
    fn nesting_without_end_is_refused() {
        assert!(read("[".repeat(1 << 20).as_bytes()).is_err());
    }
}
