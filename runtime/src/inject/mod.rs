//! Injectors: plain functions that find what of the host a container needs.
//!
//! Each answers with [`Edits`] and is a row of [`INJECTORS`]. They ask [`Host`] and [`Image`] and
//! touch nothing, so each runs on a fake host tree in tests. A new kind of device or service is
//! one file and one row.

use crate::edits::Edits;
use crate::error::Result;
use crate::look::host::Host;
use crate::look::image::Image;
use crate::request::Request;

mod amd;
mod cdi;
mod devices;
mod identity;
mod intel;
mod leftovers;
mod loader;
pub mod mpi;
mod network;
mod nvidia;
mod ranks;
mod slurm;
pub mod survey;

/// One injector.
pub struct Injector {
    /// Its name, as origins show it.
    pub name: &'static str,
    /// Finds what the container needs.
    pub find: fn(&Request, &Host, &Image) -> Result<Edits>,
}

/// All injectors, in order.
pub const INJECTORS: &[Injector] = &[
    Injector { name: identity::NAME, find: identity::find },
    Injector { name: network::NAME, find: network::find },
    Injector { name: slurm::NAME, find: slurm::find },
    Injector { name: ranks::NAME, find: ranks::find },
    Injector { name: nvidia::NAME, find: nvidia::find },
    Injector { name: amd::NAME, find: amd::find },
    Injector { name: intel::NAME, find: intel::find },
    Injector { name: cdi::NAME, find: cdi::find },
];

/// Asks all injectors; libraries are not yet found by their names ([`finish`]).
///
/// # Errors
///
/// The first error of an injector.
pub fn find_all(request: &Request, host: &Host, image: &Image) -> Result<Edits> {
    let mut edits = Edits::default();
    for injector in INJECTORS {
        edits.merge((injector.find)(request, host, image)?);
    }
    Ok(edits)
}

/// Has everything that was named found by its name inside.
pub fn finish(request: &Request, image: &Image, edits: &mut Edits) {
    loader::finish(request, image, edits);
}
