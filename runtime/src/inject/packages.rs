//! What package managers need to know where ids only seem to change (`--seccomp=fakeroot`).

use std::path::{Path, PathBuf};

use crate::edits::Edits;
use crate::error::Result;
use crate::look::files::{self, Kind};
use crate::look::host::Host;
use crate::look::image::Image;
use crate::origin::Origin;
use crate::request::{Request, Seccomp};

pub(super) const NAME: &str = "packages";

/// apt's files of configuration; the last one has the say.
const APT: &str = "/etc/apt/apt.conf.d";

/// apt fetches as another user, and fails where it finds that it still is root (apt.conf(5),
/// `APT::Sandbox::Verify::IDs`).
const FETCH_AS_ROOT: &str = "APT::Sandbox::User \"root\";\n";

pub(super) fn find(request: &Request, _: &Host, image: &Image) -> Result<Edits> {
    let mut edits = Edits::default();
    let is_wanted =
        request.rights.seccomp.as_ref().is_some_and(|asked| asked.value == Seccomp::Fakeroot);
    if is_wanted
        && matches!(files::find(&image.files, Path::new(APT)), Ok(Some((_, Kind::Directory))))
    {
        let file = PathBuf::from(APT).join("zz-hrun");
        edits.replace_file(file, FETCH_AS_ROOT.into(), &Origin::injector(NAME));
    }
    Ok(edits)
}
