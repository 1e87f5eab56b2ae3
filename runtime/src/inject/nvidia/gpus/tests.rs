//! GPUs as the module describes them, and as nobody should.

use super::super::tree_for_tests::Tree;
use super::*;

const REAL: &str = "Model: \t\t NVIDIA A100-SXM4-40GB\n\
                    IRQ:   \t\t 345\n\
                    GPU UUID: \t GPU-5a1c3f60-8e77-4a9b-b1ce-0d9a6f2e4b13\n\
                    Video BIOS: \t 92.00.45.00.03\n\
                    Bus Type: \t PCIe\n\
                    DMA Size: \t 47 bits\n\
                    DMA Mask: \t 0x7fffffffffff\n\
                    Bus Location: \t 0000:07:00.0\n\
                    Device Minor: \t 2\n\
                    GPU Firmware: \t 580.95.05\n\
                    GPU Excluded:\t No\n";

fn minors(tree: &Tree) -> Vec<u32> {
    look(&tree.files(), &tree.host()).iter().map(|gpu| gpu.minor).collect()
}

#[test]
fn reads_what_the_module_says() {
    let information = parse_information(REAL.as_bytes()).unwrap();
    assert_eq!(information.minor, 2);
    assert_eq!(information.model, "NVIDIA A100-SXM4-40GB");
    assert_eq!(information.uuid.as_deref(), Some("GPU-5a1c3f60-8e77-4a9b-b1ce-0d9a6f2e4b13"));
    assert!(!information.is_excluded);
    let unused = REAL.replace("5a1c3f60-8e77-4a9b-b1ce-0d9a6f2e4b13", "????????-????-????");
    assert_eq!(parse_information(unused.as_bytes()).unwrap().uuid, None);
    assert_eq!(parse_information(b"Device Minor: 0").unwrap(), Information::default());
    assert!(parse_information(&REAL.replace("No", "Yes").into_bytes()).unwrap().is_excluded);
}

#[test]
fn hostile_descriptions_are_passed_over() {
    let long = [b"Model: ".as_slice(), &[b'x'; 1 << 20]].concat();
    let hostile: [&[u8]; 14] = [
        b"",
        b"\n\n\n",
        b"\0\0\0\0",
        b":",
        b":::\n:::",
        b"\x7fELF\x02\x01\x01\xff\xfe\xfd\x80",
        b"Device Minor",
        b"Device Minor:",
        b"Device Minor: -1",
        b"Device Minor: +1",
        b"Device Minor: 4294967296",
        b"Device Minor: 99999999999999999999999999999999",
        b"Device Minor: 1\0",
        &long,
    ];
    for text in hostile {
        assert_eq!(parse_information(text), None, "{:?}", text.get(..40).unwrap_or(text));
    }
    let doubled = parse_information(b"Device Minor: 1\nDevice Minor: 2\nDevice Minor: x").unwrap();
    assert_eq!(doubled.minor, 1, "the first counts");
    let odd = parse_information(b"Model: a\x1b[2J\xff\0b\r\nDevice Minor: 7").unwrap();
    assert_eq!((odd.minor, odd.model.as_str()), (7, "a [2J\u{fffd} b"));
    for uuid in ["", "GPU-", "GPU-../../etc", "GPU-1 2", "MIG-1", "1234"] {
        let text = format!("GPU UUID: {uuid}\nDevice Minor: 0");
        assert_eq!(parse_information(text.as_bytes()).unwrap().uuid, None, "{uuid}");
    }
}

#[test]
fn gpus_are_in_the_order_of_the_bus() {
    let tree = Tree::new()
        .gpu("0000:41:00.0", 1, "A")
        .gpu("0001:01:00.0", 0, "A")
        .gpu("0000:c1:00.0", 5, "A")
        .gpu("0000:07:00.0", 10, "A")
        .nodes(&[0, 5, 10]);
    let gpus = look(&tree.files(), &tree.host());
    let found: Vec<_> = gpus.iter().map(|gpu| (gpu.minor, gpu.is_open)).collect();
    assert_eq!(found, [(10, true), (1, false), (5, true), (0, true)]);
    assert_eq!(gpus[0].to_string(), "/dev/nvidia10  0000:07:00.0  ?  A");
}

#[test]
fn what_no_one_can_use_is_passed_over() {
    let information = |bus: &str| format!("/proc/driver/nvidia/gpus/{bus}/information");
    let tree = Tree::new()
        .gpu("0000:01:00.0", 0, "A\nGPU Excluded: Yes")
        .gpu("0000:02:00.0", 1, "A\nGPU Excluded: No")
        .gpu("not-a-bus", 2, "A")
        .gpu("0000:03:00.0", 3, &"A".repeat(64 << 10))
        .file(&information("0000:04:00.0"), "Model: A\n")
        .file("/proc/driver/nvidia/gpus/0000:05:00.0/registry", "")
        .file("/proc/driver/nvidia/gpus/0000:06:00.0", "")
        .nodes(&[0, 1, 2, 3]);
    assert_eq!(minors(&tree), [1]);
}

#[test]
fn nodes_alone_are_counted_by_number() {
    let tree = Tree::new().nodes(&[10, 2, 0, 1]);
    let tree = ["ctl", "-uvm", "-modeset", "-caps/nvidia-cap1", "01", "x", "4294967296"]
        .iter()
        .fold(tree, |tree, rest| tree.file(&format!("/dev/nvidia{rest}"), ""));
    assert_eq!(minors(&tree), [0, 1, 2, 10]);
    let gpus = look(&tree.files(), &tree.host());
    assert_eq!(gpus[3], Gpu { minor: 10, is_open: true, ..Gpu::default() });
    assert_eq!(gpus[3].to_string(), "/dev/nvidia10  ?");
    assert_eq!(minors(&Tree::new()), [0_u32; 0]);
}

#[test]
fn an_empty_directory_of_the_module_means_no_gpus() {
    let tree = Tree::new().file("/proc/driver/nvidia/gpus/x", "").nodes(&[0]);
    assert_eq!(minors(&tree), [0_u32; 0]);
}

#[test]
fn places_on_the_bus_have_three_spellings() {
    let place = Address::parse("0000:0a:1f.0");
    assert!(place.is_some());
    for same in ["0a:1f.0", "0A:1F.0", "00000000:0A:1f.0"] {
        assert_eq!(Address::parse(same), place, "{same}");
    }
    assert!(Address::parse("0000:0a:00.0") < Address::parse("0000:0a:00.1"));
    assert!(Address::parse("0000:ff:00.0") < Address::parse("0001:00:00.0"));
    for odd in
        ["", "0:1", "a.0", "0a:00", "000:0a:00.0", "0a:00.0.0", "0a:0g.0", "+a:00.0", "é:00.0"]
    {
        assert_eq!(Address::parse(odd), None, "{odd}");
    }
}

#[test]
fn parameters_that_make_nodes_are_switched_off() {
    let changed =
        |text: &str| parameters(text.as_bytes()).map(|copy| String::from_utf8(copy).unwrap());
    assert_eq!(
        changed("ResmanDebugLevel: 4294967295\nModifyDeviceFiles: 1\nDeviceFileMode: 438\n\"a\"\n")
            .as_deref(),
        Some("ResmanDebugLevel: 4294967295\nModifyDeviceFiles: 0\nDeviceFileMode: 438\n\"a\"\n")
    );
    assert_eq!(changed("ModifyDeviceFiles: 1").as_deref(), Some("ModifyDeviceFiles: 0"));
    for same in ["", "\0\0", "ModifyDeviceFiles: 0\n", "ModifyDeviceFiles:0", "DeviceFileUID: 1\n"]
    {
        assert_eq!(changed(same), None, "{same:?}");
    }
    assert_eq!(
        parameters(b"\xff\xfe\nModifyDeviceFiles: \xff\nx").as_deref(),
        Some(b"\xff\xfe\nModifyDeviceFiles: 0\nx".as_slice())
    );
}
