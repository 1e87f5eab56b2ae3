//! Divided GPUs, as the module describes them and as nobody should.

use super::super::tree_for_tests::Tree;
use super::*;

const LIST: &str = "config 1\nmonitor 2\ngpu0/gi0/access 3\ngpu0/gi0/ci0/access 4\n\
                    gpu0/gi1/access 12\ngpu0/gi1/ci0/access 13\ngpu1/gi0/access 138\n";

fn part(gpu: u32, instance: u32, compute: impl Into<Option<u32>>) -> Part {
    Part { gpu, instance, compute: compute.into() }
}

fn access(number: &str) -> String {
    format!("DeviceFileMinor: {number}\nDeviceFileMode: 256\nDeviceFileModify: 1\n")
}

#[test]
fn reads_the_list_of_numbers() {
    let expected = [
        (part(0, 0, None), 3),
        (part(0, 0, 0), 4),
        (part(0, 1, None), 12),
        (part(0, 1, 0), 13),
        (part(1, 0, None), 138),
    ];
    assert_eq!(parse_numbers(LIST.as_bytes()), expected);
}

#[test]
fn hostile_lists_say_nothing() {
    let long = [b"gpu0/gi0/".as_slice(), &[b'a'; 1 << 20]].concat();
    let hostile: [&[u8]; 14] = [
        b"",
        b"\0\0\0",
        b"\xff\xfe\x80 3",
        b"gpu0/gi0/access",
        b"gpu0/gi0/access -3",
        b"gpu0/gi0/access 4294967296",
        b"gpu0/gi0/access 3 3",
        b"gpu-1/gi0/access 3",
        b"gpu00/gi0/access 3",
        b"gpu0/gi99999999999999999999/access 3",
        b"gpu0/gi0/ci/access 3",
        b"gpu0/../../etc/access 3",
        b"gpu0/gi0/ci0/ci0/access 3",
        &long,
    ];
    for text in hostile {
        assert_eq!(parse_numbers(text), [], "{:?}", text.get(..40).unwrap_or(text));
    }
    for text in ["", "\0", "DeviceFileMinor", "DeviceFileMinor: -1", "DeviceFileMinor: 9999999999"]
    {
        assert_eq!(parse_access(text.as_bytes()), None, "{text:?}");
    }
    assert_eq!(parse_access(access("13").as_bytes()), Some(13));
}

#[test]
fn nodes_are_those_of_the_list_and_of_the_parts_there_are() {
    let capabilities = "/proc/driver/nvidia/capabilities/gpu0/mig";
    let tree = Tree::new()
        .file("/proc/driver/nvidia-caps/mig-minors", LIST)
        .file(&format!("{capabilities}/gi1/access"), access("12"))
        .file(&format!("{capabilities}/gi1/ci0/access"), access("77"))
        .file(&format!("{capabilities}/gi9/access"), access("x"))
        .file(&format!("{capabilities}/gi3/access"), access("30"))
        .file(&format!("{capabilities}/gi3/ci01/access"), access("31"))
        .file(&format!("{capabilities}/config"), access("1"));
    let nodes = Nodes::look(&tree.files(), &[0, 1]);
    assert_eq!(nodes.of_gpu(0), BTreeSet::from([3, 4, 12, 30, 77]));
    assert_eq!(nodes.of_gpu(1), BTreeSet::from([138]));
    assert_eq!(nodes.of_gpu(2), BTreeSet::new());
    assert_eq!(nodes.of_device(0, 1, 0), Some([12, 77]), "the part's own number counts");
    assert_eq!(nodes.of_device(0, 0, 0), Some([3, 4]));
    assert_eq!(nodes.of_device(0, 1, 1), None);
    assert_eq!(nodes.of_device(1, 0, 0), None);
    assert_eq!(node(12), Path::new("/dev/nvidia-caps/nvidia-cap12"));
}

#[test]
fn a_host_without_divided_gpus_has_no_nodes() {
    assert_eq!(Nodes::look(&Tree::new().files(), &[0, 1]), Nodes::default());
}
