//! For which machine an image is: operating system, architecture, variant.
//!
//! One choice for all that lists several images: what a registry has, and what lies on this machine.

use std::fmt;

use oci_spec::image::Descriptor;

/// A kind of machine, as registries name it: `linux/arm64`, `linux/arm/v7`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    /// `linux`.
    pub os: String,
    /// `amd64`, `arm64`.
    pub architecture: String,
    /// `v7`.
    pub variant: Option<String>,
}

impl Platform {
    /// This machine.
    pub fn here() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "x86" => "386",
            "aarch64" => "arm64",
            "loongarch64" => "loong64",
            "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
            "powerpc64" => "ppc64",
            other => other,
        };
        Platform { os: "linux".into(), architecture: architecture.into(), variant: None }
    }

    /// Reads `os/arch` or `os/arch/variant`, with names of the kernel's as well.
    ///
    /// # Errors
    ///
    /// Says what it should look like.
    pub fn parse(text: &str) -> Result<Self, String> {
        let is_word = |part: &str| {
            !part.is_empty()
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        };
        let small = text.to_ascii_lowercase();
        let parts: Vec<&str> = small.split('/').collect();
        let [os, architecture, variant @ ..] = parts.as_slice() else {
            return Err("it is not os/architecture or os/architecture/variant".into());
        };
        if variant.len() > 1 || !parts.iter().all(|part| is_word(part)) {
            return Err("it is not os/architecture or os/architecture/variant".into());
        }
        Ok(Platform {
            os: (*os).to_owned(),
            architecture: known(architecture).to_owned(),
            variant: variant.first().map(|variant| (*variant).to_owned()),
        })
    }

    /// Whether an image for `os` and `architecture`, as its configuration has them, is one for this.
    pub fn fits(&self, os: &str, architecture: &str) -> bool {
        self.os.eq_ignore_ascii_case(os)
            && self.architecture == known(&architecture.to_ascii_lowercase())
    }
}

/// An architecture as images call it, of what the kernel calls it.
fn known(architecture: &str) -> &str {
    match architecture {
        "x86_64" | "x86-64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.iter().try_for_each(|variant| write!(f, "/{variant}"))
    }
}

/// Chooses the image for a platform from an index.
///
/// # Errors
///
/// Fails with the platforms there are, if the one that is wanted is not among them.
pub fn choose<'a>(
    images: &'a [Descriptor],
    wanted: &Platform,
) -> Result<&'a Descriptor, Vec<String>> {
    let fitting: Vec<(&Descriptor, Option<&str>)> = images
        .iter()
        .filter_map(|image| platform_of(image).map(|found| (image, found)))
        .filter(|(_, found)| wanted.fits(&found.os, &found.architecture))
        .map(|(image, _)| {
            let variant = image.platform().as_ref().and_then(|found| found.variant().as_deref());
            (image, variant)
        })
        .collect();
    let chosen = match wanted.variant.as_deref() {
        Some(asked) => fitting.iter().find(|(_, found)| *found == Some(asked)).or_else(|| {
            let is_basic = |variant| level(&wanted.architecture, variant) == 0;
            fitting.iter().find(|(_, found)| is_basic(Some(asked)) && is_basic(*found))
        }),
        // The one that most machines run: an image for newer ones dies of an illegal instruction.
        None => fitting.iter().min_by_key(|(_, found)| level(&wanted.architecture, *found)),
    };
    if let Some((image, _)) = chosen {
        return Ok(image);
    }
    // One image of which the index says no more, as buildah makes it; beside it may be statements.
    let untold: Vec<&Descriptor> =
        images.iter().filter(|image| image.platform().is_none()).collect();
    match untold.as_slice() {
        [only] => Ok(only),
        _ => Err(platforms(images)),
    }
}

/// How much more than the least of its architecture a variant demands: `v3` of amd64, `v7` of arm.
fn level(architecture: &str, variant: Option<&str>) -> u32 {
    match (architecture, variant) {
        (_, None | Some("")) | ("amd64", Some("v1")) | ("arm64", Some("v8")) => 0,
        (_, Some(variant)) => {
            let digits = variant.trim_start_matches(|letter: char| !letter.is_ascii_digit());
            let whole = digits.split(|letter: char| !letter.is_ascii_digit()).next();
            whole.and_then(|number| number.parse().ok()).unwrap_or(u32::MAX)
        }
    }
}

/// The platform of an image in an index; attestations are listed as of an unknown one.
fn platform_of(image: &Descriptor) -> Option<Platform> {
    let found = image.platform().as_ref()?;
    let (os, architecture) = (found.os().to_string(), found.architecture().to_string());
    let variant = found.variant().clone();
    (os != "unknown").then_some(Platform { os, architecture, variant })
}

/// The platforms of an index, each once.
fn platforms(images: &[Descriptor]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in images.iter().filter_map(platform_of).map(|platform| platform.to_string()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use oci_spec::image::ImageIndex;

    use super::*;

    /// An index with images for these platforms; `-` is one without.
    fn index(platforms: &[&str]) -> Vec<Descriptor> {
        let images: Vec<String> = platforms
            .iter()
            .enumerate()
            .map(|(number, platform)| {
                let parts: Vec<&str> = platform.split('/').collect();
                let variant = parts.get(2).map(|it| format!(r#","variant":"{it}""#));
                let platform = match parts.as_slice() {
                    [os, architecture, ..] => format!(
                        r#","platform":{{"os":"{os}","architecture":"{architecture}"{}}}"#,
                        variant.unwrap_or_default()
                    ),
                    _ => String::new(),
                };
                format!(
                    r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":{number},
                         "digest":"sha256:{number:064}"{platform}}}"#
                )
            })
            .collect();
        let text = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, images.join(","));
        serde_json::from_str::<ImageIndex>(&text).unwrap().manifests().clone()
    }

    #[track_caller]
    fn chosen(platforms: &[&str], wanted: &str) -> Result<u64, Vec<String>> {
        let wanted = Platform::parse(wanted).unwrap();
        choose(&index(platforms), &wanted).map(Descriptor::size)
    }

    #[test]
    fn the_image_for_the_platform_is_chosen() {
        let debian = ["linux/amd64", "linux/arm/v5", "linux/arm/v7", "linux/arm64/v8", "linux/386"];
        assert_eq!(chosen(&debian, "linux/amd64"), Ok(0));
        assert_eq!(chosen(&debian, "linux/x86_64"), Ok(0));
        assert_eq!(chosen(&debian, "linux/arm64"), Ok(3));
        assert_eq!(chosen(&debian, "linux/arm/v7"), Ok(2));
        assert_eq!(chosen(&debian, "linux/arm"), Ok(1));
        assert_eq!(chosen(&debian, "Linux/386"), Ok(4));
        assert_eq!(chosen(&["linux/arm64", "linux/x86_64"], "linux/amd64"), Ok(1));
        assert_eq!(chosen(&["Linux/AARCH64", "linux/386"], "linux/arm64"), Ok(0));
    }

    #[test]
    fn what_every_machine_has_comes_before_what_some_have() {
        assert_eq!(chosen(&["linux/amd64/v3", "linux/amd64"], "linux/amd64"), Ok(1));
        assert_eq!(chosen(&["linux/amd64/v3", "linux/amd64/v1"], "linux/amd64"), Ok(1));
        assert_eq!(chosen(&["linux/amd64", "linux/amd64/v3"], "linux/amd64/v3"), Ok(1));
        assert_eq!(chosen(&["linux/arm64"], "linux/arm64/v8"), Ok(0));
        assert_eq!(chosen(&["linux/amd64/v3"], "linux/amd64"), Ok(0));
        assert_eq!(chosen(&["linux/amd64/v4", "linux/amd64/v2"], "linux/amd64"), Ok(1));
        assert_eq!(chosen(&["linux/arm/v7", "linux/arm/v6"], "linux/arm"), Ok(1));
    }

    #[test]
    fn what_is_missing_is_said_with_what_there_is() {
        let images = ["linux/arm64", "unknown/unknown", "windows/amd64", "linux/arm64"];
        let names = Err(vec!["linux/arm64".into(), "windows/amd64".into()]);
        assert_eq!(chosen(&images, "linux/amd64"), names);
        assert!(chosen(&["linux/arm/v5"], "linux/arm/v7").is_err());
        assert_eq!(chosen(&[], "linux/amd64"), Err(vec![]));
    }

    #[test]
    fn an_image_alone_needs_no_platform() {
        assert_eq!(chosen(&["-"], "linux/amd64"), Ok(0));
        assert_eq!(chosen(&["unknown/unknown", "-"], "linux/amd64"), Ok(1));
        assert_eq!(chosen(&["linux/arm64", "-"], "linux/amd64"), Ok(1));
        assert_eq!(chosen(&["-", "-"], "linux/amd64"), Err(vec![]));
    }

    #[test]
    fn platforms_are_read() {
        for text in ["", "linux", "linux/", "/amd64", "linux/a/b/c", "linux//v7", "li nux/amd64"] {
            assert!(Platform::parse(text).is_err(), "{text}");
        }
        assert_eq!(Platform::parse("linux/arm/v7").unwrap().to_string(), "linux/arm/v7");
    }
}
