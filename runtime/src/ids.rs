//! Which ids the caller has inside, and which capabilities.

use crate::capabilities::Set;
use crate::look::host::Host;
use crate::plan::{Capabilities, Map};
use crate::request::{Request, Rights};

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
    let uid = user(request, host).inside;
    let Rights { keep, drop, .. } = &request.rights;
    if keep.is_some() || drop.is_some() {
        let all = request.root.as_ref().map_or(Set::NONE, |_| Set::ALL);
        let kept = keep.as_ref().map_or(all, |asked| asked.value);
        let dropped = drop.as_ref().map_or(Set::NONE, |asked| asked.value);
        // Root gets from execve(2) what the bounding set holds; others, what is ambient.
        return Capabilities::Exactly { kept: kept.without(dropped), ambient: uid != 0 };
    }
    match (&request.root, uid) {
        (Some(_), _) => Capabilities::Kept,
        (None, 0) => Capabilities::DroppedForRoot,
        (None, _) => Capabilities::Dropped,
    }
}
