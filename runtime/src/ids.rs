//! Which ids the caller has inside, and which capabilities.

use crate::look::host::Host;
use crate::plan::{Capabilities, Map};
use crate::request::Request;

/// The user: the caller's own id unless asked otherwise, because MPI's security layers compare it
/// with the job's.
pub fn user(request: &Request, host: &Host) -> Map {
    let root = request.root.as_ref().map(|_| 0);
    let asked = request.uid.as_ref().map(|asked| asked.value);
    Map { inside: asked.or(root).unwrap_or(host.uid), outside: host.uid }
}

/// The group, in the same way.
pub fn group(request: &Request, host: &Host) -> Map {
    let root = request.root.as_ref().map(|_| 0);
    let asked = request.gid.as_ref().map(|asked| asked.value);
    Map { inside: asked.or(root).unwrap_or(host.gid), outside: host.gid }
}

/// What happens to the capabilities of the user namespace.
pub fn capabilities(request: &Request, host: &Host) -> Capabilities {
    match (&request.root, user(request, host).inside) {
        (Some(_), _) => Capabilities::Kept,
        (None, 0) => Capabilities::DroppedForRoot,
        (None, _) => Capabilities::Dropped,
    }
}
