//! A tree as an OCI image of one layer: a layout, or the archive that Docker loads.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use runtime::error::{Error, Result};
use runtime::text::quoted;
use serde_json::{Value, json};
use tar::{EntryType, Header};

use super::tar::compressed;
use super::walk::walk;
use super::{Compressor, config, tar as archive};
use crate::digest::{Digest, Hashing};
use crate::failure::{cause, failed};
use crate::own;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// Writes a layout into a directory that is not there yet.
pub(super) fn write_layout(
    root: &Path,
    config: Option<&[u8]>,
    dest: &Path,
    name: &str,
    compressor: Option<Compressor>,
) -> Result<()> {
    let blobs = dest.join("blobs/sha256");
    fs::create_dir_all(&blobs).map_err(|error| failed("make", &blobs, &error))?;
    // Every tool reads gzip; zstd is not ten years old.
    let compressor = compressor.unwrap_or(Compressor::Gzip);
    let media = match compressor {
        Compressor::Gzip => format!("{LAYER}+gzip"),
        Compressor::Zstd => format!("{LAYER}+zstd"),
        Compressor::None => LAYER.to_owned(),
        Compressor::Xz | Compressor::Lz4 => {
            return Err(Error::new("compress the layer", "OCI images have gzip, zstd or none"));
        }
    };
    let layer = write_layer(root, &blobs.join("layer"), compressor)?;
    let at = blobs.join(layer.stored.hex());
    fs::rename(blobs.join("layer"), &at).map_err(|error| failed("write", &at, &error))?;
    let config = config::with_layer(root, config, &layer.contents.to_string())?;
    let config_digest = write_blob(&blobs, &config)?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(CONFIG, config_digest, config.len() as u64),
        "layers": [descriptor(&media, layer.stored, layer.size)],
    });
    let manifest = manifest.to_string();
    let digest = write_blob(&blobs, manifest.as_bytes())?;
    let mut described = descriptor(MANIFEST, digest, manifest.len() as u64);
    described["annotations"] = json!({"org.opencontainers.image.ref.name": tag(name)});
    let index = json!({"schemaVersion": 2, "manifests": [described]});
    write_file(&dest.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    write_file(&dest.join("index.json"), index.to_string().as_bytes())
}

/// Writes an archive for `docker load` to a file that is not there yet.
pub(super) fn write_archive(
    root: &Path,
    config: Option<&[u8]>,
    dest: &Path,
    name: &str,
    compressor: Option<Compressor>,
) -> Result<()> {
    let layer_file = dest.with_extension("layer");
    let layer = write_layer(root, &layer_file, Compressor::None)?;
    let config = config::with_layer(root, config, &layer.contents.to_string())?;
    let config_name = format!("{}.json", Digest::of(&config).hex());
    let layer_name = format!("{}.tar", layer.contents.hex());
    let manifest = json!([{
        "Config": config_name,
        "RepoTags": [format!("{}:latest", repository(name))],
        "Layers": [layer_name],
    }]);
    let manifest = manifest.to_string();
    let file = File::create_new(dest).map_err(|error| failed("make", dest, &error))?;
    let mut file = BufWriter::new(file);
    compressed(&mut file, compressor.unwrap_or(Compressor::None), &mut |out| {
        let open = |path: &Path| File::open(path).map_err(|error| failed("read", path, &error));
        put(out, &layer_name, layer.size, &mut open(&layer_file)?)?;
        put(out, &config_name, config.len() as u64, &mut &config[..])?;
        put(out, "manifest.json", manifest.len() as u64, &mut manifest.as_bytes())?;
        out.write_all(&[0; 1024]).map_err(|error| failed("write", dest, &error))
    })?;
    let file = file.into_inner().map_err(|error| failed("write", dest, error.error()))?;
    own::close(file).map_err(|error| failed("write", dest, &error))
}

/// A layer that was written.
struct Layer {
    /// The digest before compression, and as it is stored.
    contents: Digest,
    stored: Digest,
    /// The size as it is stored.
    size: u64,
}

fn write_layer(root: &Path, path: &Path, compressor: Compressor) -> Result<Layer> {
    refuse_marks(root)?;
    let file = File::create_new(path).map_err(|error| failed("make", path, &error))?;
    let mut file = BufWriter::new(file);
    let mut stored = Hashing::new(&mut file);
    let mut contents = None;
    compressed(&mut stored, compressor, &mut |out| {
        let mut hashing = Hashing::new(out);
        archive::write(root, None, &mut hashing)?;
        contents = Some(hashing.finish().0);
        Ok(())
    })?;
    stored.flush().map_err(|error| failed("write", path, &error))?;
    let size = path.metadata().map_err(|error| failed("read", path, &error))?.len();
    let stored = stored.finish().0;
    let file = file.into_inner().map_err(|error| failed("write", path, error.error()))?;
    own::close(file).map_err(|error| failed("write", path, &error))?;
    Ok(Layer { contents: contents.unwrap_or(stored), stored, size })
}

/// In a layer, such a name says that another file is gone.
fn refuse_marks(root: &Path) -> Result<()> {
    walk(root, &mut |path, _| {
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        match name.starts_with(b".wh.") {
            false => Ok(()),
            true => Err(Error::new(
                format!("put {} in a layer", quoted(path)),
                "there its name means that another file is gone",
            )
            .hint("rename the file; squashfs files and plain archives take any name")),
        }
    })
}

fn write_blob(blobs: &Path, bytes: &[u8]) -> Result<Digest> {
    let digest = Digest::of(bytes);
    write_file(&blobs.join(digest.hex()), bytes).map(|()| digest)
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    own::write(path, bytes).map_err(|error| failed("write", path, &error))
}

fn descriptor(media: &str, digest: Digest, size: u64) -> Value {
    json!({"mediaType": media, "digest": digest.to_string(), "size": size})
}

/// The name as a tag; tags have letters, digits, `.`, `_` and `-`.
fn tag(name: &str) -> String {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
    let tag: String = name.chars().filter(|letter| fits(*letter)).take(128).collect();
    let tag = tag.trim_start_matches(['.', '-']);
    if tag.is_empty() { "latest".to_owned() } else { tag.to_owned() }
}

/// The name as a repository, whose letters are small.
fn repository(name: &str) -> String {
    tag(name).to_lowercase().trim_matches(['.', '_', '-']).to_owned()
}

/// Writes a file into the outer archive.
fn put(out: &mut dyn Write, name: &str, size: u64, contents: &mut dyn Read) -> Result<()> {
    let fail = |error: io::Error| Error::new("write the archive", cause(&error));
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o644);
    header.set_size(size);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_path(name).map_err(fail)?;
    header.set_cksum();
    out.write_all(header.as_bytes()).map_err(fail)?;
    io::copy(contents, out).map_err(fail)?;
    let padding = size.next_multiple_of(512) - size;
    out.write_all(&[0; 512][..padding as usize]).map_err(fail)
}
