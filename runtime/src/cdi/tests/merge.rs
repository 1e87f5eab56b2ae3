//! What devices want: order, replacement, hooks.

use std::path::Path;

use super::*;
use crate::plan::Note;

const NVIDIA_SPEC: &str = "/var/run/cdi/nvidia.yaml";
const LIBRARIES: &str = "/usr/lib/x86_64-linux-gnu";

fn paths(edits: &CdiEdits) -> Vec<&str> {
    edits.nodes.iter().map(|node| node.path.to_str().unwrap()).collect()
}

fn links(edits: &CdiEdits) -> Vec<(&str, &str)> {
    let links = edits.links.iter();
    links.map(|link| (link.target.to_str().unwrap(), link.path.to_str().unwrap())).collect()
}

fn warnings(edits: &CdiEdits) -> Vec<&str> {
    assert!(edits.notes.iter().all(|note| note.warning));
    edits.notes.iter().map(|Note { text, .. }| text.as_str()).collect()
}

/// The edits of a device with one hook.
fn hooked(path: &str, arguments: &[&str]) -> CdiEdits {
    let arguments = serde_json::to_string(arguments).unwrap();
    edits_of(&format!(
        "{{hooks: [{{hookName: createContainer, path: {path}, args: {arguments}}}]}}"
    ))
}

#[test]
fn nvidia_gives_what_is_common_and_then_the_device() {
    let edits = edits(&host(), &["nvidia.com/gpu=0"]);
    assert_eq!(
        edits.environment,
        [("NVIDIA_CTK_LIBCUDA_DIR", LIBRARIES), ("NVIDIA_VISIBLE_DEVICES", "void")]
            .map(|(name, value)| (name.into(), value.into()))
    );
    assert_eq!(
        paths(&edits),
        [
            "/dev/nvidia-modeset",
            "/dev/nvidia-uvm",
            "/dev/nvidia-uvm-tools",
            "/dev/nvidiactl",
            "/dev/nvidia0",
            "/dev/dri/card1",
            "/dev/dri/renderD128"
        ]
    );
    assert!(edits.nodes.iter().all(|node| !node.is_member_of_all));
    let source = |name: &str| Source { file: NVIDIA_SPEC.into(), name: name.into() };
    assert_eq!(
        (edits.nodes[3].node_type, edits.nodes[3].major_minor, &edits.nodes[3].source),
        (
            Some(NodeType::Character),
            Some(Numbers { major: 195, minor: 255 }),
            &source("nvidia.com/gpu")
        )
    );
    assert_eq!((edits.nodes[0].node_type, edits.nodes[0].major_minor), (None, None));
    assert_eq!(edits.nodes[4].source, source("nvidia.com/gpu=0"));
    assert_eq!(edits.nodes[4].source.to_string(), format!("nvidia.com/gpu=0 in {NVIDIA_SPEC}"));
    assert_eq!(
        links(&edits),
        [
            ("../libnvidia-allocator.so.1", "/usr/lib/x86_64-linux-gnu/gbm/nvidia-drm_gbm.so"),
            ("libcuda.so.1", "/usr/lib/x86_64-linux-gnu/libcuda.so"),
            ("../card1", "/dev/dri/by-path/pci-0000:17:00.0-card"),
            ("../renderD128", "/dev/dri/by-path/pci-0000:17:00.0-render"),
        ]
    );
    assert_eq!(
        edits.library_folders,
        [LIBRARIES, "/usr/lib/x86_64-linux-gnu/vdpau"].map(PathBuf::from)
    );
    let compat = edits.cuda_compat.unwrap();
    assert_eq!(compat.host_driver_version.as_deref(), Some("580.95.05"));
    assert!(edits.disable_device_node_modification && !edits.update_application_profile);
    assert_eq!((edits.gids, edits.notes), (vec![44], vec![]));
    // Outer ones first, and as they stand in the spec among equals.
    let targets: Vec<_> = edits.mounts.iter().map(|mount| mount.container_path.as_path()).collect();
    assert_eq!(
        targets,
        [
            "/run/nvidia-persistenced/socket",
            "/usr/bin/nvidia-smi",
            "/usr/lib/x86_64-linux-gnu/libcuda.so.580.95.05"
        ]
        .map(Path::new)
    );
    assert_eq!(
        edits.mounts[1].content,
        MountContent::Bind {
            host_path: "/usr/bin/nvidia-smi".into(),
            recursive: true,
            read_only: true
        }
    );
}

#[test]
fn what_devices_share_comes_once() {
    let one = edits(&host(), &["nvidia.com/gpu=1"]);
    assert_eq!(one, edits(&host(), &["nvidia.com/gpu=1", "nvidia.com/gpu=1"]));
    let both = edits(&host(), &["nvidia.com/gpu=1", "amd.com/gpu=0", "nvidia.com/gpu=0"]);
    assert_eq!(paths(&both)[..5], paths(&one));
    assert_eq!(
        paths(&both)[5..],
        // AMD's devices, until NVIDIA's of the same names take their place.
        ["/dev/kfd", "/dev/nvidia0", "/dev/dri/card1", "/dev/dri/renderD128"]
    );
}

#[test]
fn members_of_all_may_be_missing_unless_they_were_named() {
    let all = edits(&host(), &["nvidia.com/gpu=all"]);
    assert!(all.nodes.iter().all(|node| node.is_member_of_all));
    for asked in
        [["nvidia.com/gpu=all", "nvidia.com/gpu=1"], ["nvidia.com/gpu=1", "nvidia.com/gpu=all"]]
    {
        let mixed = edits(&host(), &asked);
        let may_miss = mixed.nodes.iter().filter(|node| node.is_member_of_all);
        let may_miss: Vec<_> = may_miss.map(|node| node.path.to_str().unwrap()).collect();
        assert_eq!(may_miss, ["/dev/nvidia0", "/dev/dri/card1", "/dev/dri/renderD128"]);
    }
}

#[test]
fn intel_and_amd_are_understood() {
    let intel = edits(&host(), &["intel.com/gpu=0000:03:00.0-0x56c0"]);
    assert_eq!(paths(&intel), ["/dev/dri/card0", "/dev/dri/renderD128"]);
    assert_eq!(
        intel.mounts[0].content,
        MountContent::Bind {
            host_path: "/dev/dri/by-path/pci-0000:03:00.0-card".into(),
            recursive: false,
            read_only: false
        }
    );
    let amd = edits(&host(), &["amd.com/gpu=all"]);
    assert_eq!(paths(&amd), ["/dev/kfd", "/dev/dri/card1", "/dev/dri/renderD128"]);
    assert_eq!((intel.notes, amd.notes), (vec![], vec![]));
}

#[test]
fn later_ones_replace_earlier_ones() {
    let edits = edits_of(
        "{env: [A=1, B=2, A=3=4, C=], \
          deviceNodes: [{path: /dev/x, major: 1, minor: 2}, {path: /dev/y}, \
                        {path: //dev/./x, hostPath: /dev/z, type: b}], \
          mounts: [{hostPath: /1, containerPath: /a/b/c}, {hostPath: /2, containerPath: /a}, \
                   {hostPath: /3, containerPath: /d/}, {hostPath: /4, containerPath: /a//b/c/}], \
          additionalGids: [5, 0, 6, 5]}",
    );
    let environment = [("A", "3=4"), ("B", "2"), ("C", "")];
    assert_eq!(edits.environment, environment.map(|(name, value)| (name.into(), value.into())));
    assert_eq!(paths(&edits), ["/dev/y", "/dev/x"]);
    assert_eq!(edits.nodes[1].host_path, Path::new("/dev/z"));
    assert_eq!(
        (edits.nodes[1].node_type, edits.nodes[1].major_minor),
        (Some(NodeType::Block), None)
    );
    let mounts: Vec<_> =
        edits.mounts.iter().map(|mount| (&mount.content, mount.container_path.as_path())).collect();
    let bind = |path: &str| MountContent::Bind {
        host_path: path.into(),
        recursive: false,
        read_only: false,
    };
    assert_eq!(
        mounts,
        [
            (&bind("/2"), Path::new("/a")),
            (&bind("/3"), Path::new("/d")),
            (&bind("/4"), Path::new("/a/b/c"))
        ]
    );
    assert_eq!(edits.gids, [5, 6]);
}

#[test]
fn mount_options_are_read_and_others_passed_over() {
    let content = |rest: &str| {
        edits_of(&format!("{{mounts: [{{hostPath: /h, containerPath: /c, {rest}}}]}}")).mounts.pop()
    };
    for (rest, recursive, read_only) in [
        ("options: [bind, ro]", false, true),
        ("options: [ro, rw, rbind, whatever=7]", true, false),
        ("options: [rw, bind, rbind, ro], type: bind", true, true),
        ("options: null, type: none", false, false),
    ] {
        let bind = MountContent::Bind { host_path: "/h".into(), recursive, read_only };
        assert_eq!(content(rest).unwrap().content, bind, "{rest}");
    }
    for (options, mode, size) in [
        ("[]", 0o1777, None),
        ("['mode=0755', 'size=65536k']", 0o755, Some("65536k")),
        ("['mode=99', 'size=50%', nosuid]", 0o1777, Some("50%")),
        ("['mode=7777777', 'size=1,uid=0']", 0o1777, None),
    ] {
        let tmpfs = MountContent::Tmpfs { mode, size: size.map(str::to_owned) };
        let rest = format!("type: tmpfs, options: {options}");
        assert_eq!(content(&rest).unwrap().content, tmpfs, "{rest}");
    }
    // The source of a tmpfs is only a name.
    let named = "{mounts: [{hostPath: tmpfs, containerPath: /c, type: tmpfs}]}";
    assert_eq!(edits_of(named).mounts.len(), 1);
}

#[test]
fn what_needs_root_is_noted() {
    let edits = edits_of(
        "{intelRdt: {closID: x}, netDevices: [{hostInterfaceName: eth1, name: eth0}], \
          mounts: [{hostPath: /dev/sda, containerPath: /data, type: ext4}]}",
    );
    assert_eq!(
        warnings(&edits),
        [
            "v.com/c=d in /etc/cdi/v.yaml asks for a mount of type \"ext4\" at /data, which needs \
             the rights of root",
            "v.com/c=d in /etc/cdi/v.yaml asks for intelRdt, which needs the rights of root",
            "v.com/c=d in /etc/cdi/v.yaml asks for netDevices, which needs the rights of root",
        ]
    );
    assert_eq!(edits.mounts, []);
}

#[test]
fn hooks_of_nvidia_are_known_by_their_arguments() {
    const HOOK: &str = "/usr/bin/nvidia-cdi-hook";
    const CTK: &str = "/opt/toolkit/bin/nvidia-ctk";
    for (path, arguments) in [
        (HOOK, &["nvidia-cdi-hook", "create-symlinks", "--link", "a::/b", "--link=c::/d/../d"][..]),
        (HOOK, &["", "create-symlinks", "-link", "a::/b", "--other", "x", "--linked=y::/z"]),
        (CTK, &["nvidia-ctk", "--debug", "hook", "--quiet", "create-symlinks", "--link=a::/b"]),
        (
            "/run/wrapper",
            &["/x/nvidia-cdi-hook", "create-symlinks", "--link=q::/b", "--link=a::/b"],
        ),
    ] {
        let edits = hooked(path, arguments);
        assert_eq!(links(&edits), [("a", "/b")], "{arguments:?}");
    }
    let refused =
        hooked(HOOK, &["", "create-symlinks", "--link", "a:/b", "--link=::/b", "--link=a::b"]);
    assert_eq!(
        warnings(&refused),
        [
            "a link of v.com/c=d in /etc/cdi/v.yaml was left out: \"a:/b\" is not of the form \
             target::path",
            "a link of v.com/c=d in /etc/cdi/v.yaml was left out: \"::/b\" is not of the form \
             target::path",
            "a link of v.com/c=d in /etc/cdi/v.yaml was left out: the path \"b\" is not absolute",
        ]
    );
    let folders =
        ["", "update-ldcache", "--folder", "/a/", "--folder=/b", "--folder=/a", "--folder=c"];
    let folders = hooked(HOOK, &folders);
    assert_eq!(folders.library_folders, ["/a", "/b"].map(PathBuf::from));
    assert_eq!(folders.notes.len(), 1);
    let folders = hooked(CTK, &["nvidia-ctk", "hook", "create-soname-symlinks", "--folder", "/a"]);
    assert_eq!(folders.library_folders, ["/a"].map(PathBuf::from));
    let compat = [
        "",
        "enable-cuda-compat",
        "--host-driver-version",
        "580.1",
        "--host-cuda-version=13.0",
        "--cuda-compat-container-root=/usr/local/cuda/compat/",
    ];
    let expected = CudaCompat {
        host_driver_version: Some("580.1".into()),
        host_cuda_version: Some("13.0".into()),
        container_root: Some("/usr/local/cuda/compat".into()),
    };
    assert_eq!(hooked(HOOK, &compat).cuda_compat, Some(expected));
    let bare = hooked(HOOK, &["", "enable-cuda-compat", "--host-driver-version="]);
    assert_eq!(bare.cuda_compat, Some(CudaCompat::default()));
    assert!(hooked(HOOK, &["", "update-application-profile"]).update_application_profile);
    assert!(
        hooked(HOOK, &["", "disable-device-node-modification"]).disable_device_node_modification
    );
    let chmod = ["nvidia-ctk", "hook", "chmod", "--mode", "755", "--path", "/dev/dri"];
    assert_eq!(hooked(CTK, &chmod), CdiEdits::default());
}

#[test]
fn other_hooks_are_named_and_not_run() {
    let long = "x".repeat(200);
    for (path, arguments, shown) in [
        ("/bin/sh", &["sh", "-c", "rm -rf /"][..], "/bin/sh -c rm -rf /".to_owned()),
        (
            "/usr/bin/nvidia-ctk",
            &["nvidia-ctk", "cdi", "create-symlinks"],
            "/usr/bin/nvidia-ctk cdi create-symlinks".to_owned(),
        ),
        (
            "/usr/bin/nvidia-cdi-hook",
            &["nvidia-cdi-hook", "update-world"],
            "/usr/bin/nvidia-cdi-hook update-world".to_owned(),
        ),
        ("/usr/bin/nvidia-cdi-hook", &[], "/usr/bin/nvidia-cdi-hook".to_owned()),
        ("/x", &["", &long], format!("/x {}...", "x".repeat(77))),
        ("/x", &["", "\u{1b}[31m"], "/x \\u{1b}[31m".to_owned()),
    ] {
        let edits = hooked(path, arguments);
        let text = format!(
            "the hook \"{shown}\" of v.com/c=d in /etc/cdi/v.yaml was left out: hrun runs no hooks"
        );
        assert_eq!(edits, CdiEdits { notes: vec![Note::warning(text)], ..CdiEdits::default() });
    }
}
