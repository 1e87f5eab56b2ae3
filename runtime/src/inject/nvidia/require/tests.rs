//! Requirements of real images, and what nobody should require.

use super::*;

const CUDA_12_4: &str = "cuda>=12.4 brand=tesla,driver>=470,driver<471 \
    brand=unknown,driver>=470,driver<471 brand=nvidia,driver>=470,driver<471 \
    brand=nvidiartx,driver>=470,driver<471 brand=geforce,driver>=470,driver<471 \
    brand=geforcertx,driver>=470,driver<471 brand=quadro,driver>=470,driver<471 \
    brand=quadrortx,driver>=470,driver<471 brand=titan,driver>=470,driver<471 \
    brand=titanrtx,driver>=470,driver<471 brand=tesla,driver>=525,driver<526 \
    brand=unknown,driver>=525,driver<526 brand=nvidia,driver>=525,driver<526 \
    brand=nvidiartx,driver>=525,driver<526 brand=geforce,driver>=525,driver<526 \
    brand=tesla,driver>=535,driver<536 brand=nvidia,driver>=535,driver<536";

const CUDA_10_1: &str = "cuda>=10.1 brand=tesla,driver>=384,driver<385 \
    brand=tesla,driver>=396,driver<397";

const A100: &str = "NVIDIA A100-SXM4-40GB";

fn require(value: &str, driver: &str, models: &[&str]) -> Verdict {
    check(&[(b"NVIDIA_REQUIRE_CUDA", value.as_bytes())], driver, models)
}

fn holds(value: &str, driver: &str, models: &[&str]) -> bool {
    require(value, driver, models).unsatisfied.is_empty()
}

#[test]
fn real_images_on_real_hosts() {
    for (requirement, driver, model, expected) in [
        (CUDA_12_4, "550.54.15", A100, true),
        (CUDA_12_4, "580.159.04", "NVIDIA GeForce RTX 3090", true),
        (CUDA_12_4, "535.104.05", A100, true),
        (CUDA_12_4, "535.104.05", "Tesla V100-SXM2-32GB", true),
        (CUDA_12_4, "535.104.05", "NVIDIA GeForce RTX 3090", false),
        (CUDA_12_4, "525.60.13", "NVIDIA GeForce RTX 3090", true),
        (CUDA_12_4, "530.30.02", A100, false),
        (CUDA_12_4, "470.57.02", "Quadro RTX 6000", true),
        (CUDA_12_4, "471.1", "Quadro RTX 6000", false),
        (CUDA_12_4, "460.32.03", A100, false),
        (CUDA_12_4, "460.32.03", "something else", false),
        (CUDA_10_1, "418.39", "GeForce GTX 1080", true),
        (CUDA_10_1, "396.82", "Tesla P100-PCIE-16GB", true),
        (CUDA_10_1, "396.82", "TITAN V", false),
        (CUDA_10_1, "367.48", "Tesla P100-PCIE-16GB", false),
    ] {
        assert_eq!(holds(requirement, driver, &[model]), expected, "{driver} {model}");
    }
}

#[test]
fn says_what_there_is_instead() {
    let verdict = require("cuda>=13.0", "535.104.05", &["Tesla V100-SXM2-32GB"]);
    let expected = Unsatisfied {
        condition: "cuda>=13.0".to_owned(),
        host: "cuda=12.2, driver=535.104.05, brand=tesla".to_owned(),
        is_minor_compatible: false,
    };
    assert_eq!(verdict, Verdict { unsatisfied: vec![expected], notes: Vec::new() });
    let unsatisfied = require("cuda>=13.0", "535.104.05", &[]).unsatisfied;
    assert_eq!(unsatisfied[0].host, "cuda=12.2, driver=535.104.05");
}

#[test]
fn minor_versions_of_cuda_are_compatible_from_some_driver_on() {
    for (requirement, driver, expected) in [
        (CUDA_12_4, "530.30.02", true),
        ("cuda>=12.6", "525.60.13", true),
        ("cuda>=12.6", "525.60.12", false),
        ("cuda>=11.8", "450.80.02", true),
        ("cuda>=11.8", "450.36.06", false),
        ("cuda>=13.1", "580.65.06", true),
        ("cuda>=13.1", "575.51.03", false),
        ("cuda>=10.2", "418.39", false),
        ("cuda<12.0", "525.60.13", false),
        ("cuda>=12.6,driver>=600", "525.60.13", false),
    ] {
        let unsatisfied = require(requirement, driver, &[A100]).unsatisfied;
        assert_eq!(unsatisfied[0].is_minor_compatible, expected, "{requirement} on {driver}");
    }
}

#[test]
fn drivers_newer_than_the_table_satisfy_what_it_does_not_know() {
    for requirement in ["cuda>=13.3", "cuda>=14.0", "cuda>13.3", "cuda=15", "cuda>=9"] {
        assert!(holds(requirement, "700.12", &[A100]), "{requirement}");
    }
    assert!(!holds("cuda<13.0", "700.12", &[A100]));
    assert!(holds("cuda<13.4,cuda>=13.2,cuda!=13.0", "600.1", &[A100]), "a branch between rows");
    assert!(holds("cuda>=99 driver>=99999", "no version", &[A100]));
}

#[test]
fn every_gpu_has_to_do() {
    let requirement = "cuda>=12.4 brand=tesla,driver>=470";
    assert!(holds(requirement, "470.57.02", &["Tesla T4", "Tesla V100"]));
    let unsatisfied = require(requirement, "470.57.02", &["Tesla T4", "TITAN V"]).unsatisfied;
    assert_eq!(unsatisfied[0].host, "cuda=11.4, driver=470.57.02, brand=titan");
    assert!(holds(requirement, "470.57.02", &["Tesla T4", ""]), "nobody knows the brand");
}

#[test]
fn every_variable_has_to_hold() {
    let variables: [(&[u8], &[u8]); 4] = [
        (b"PATH", b"cuda>=99"),
        (b"NVIDIA_REQUIRE_CUDA", b"cuda>=12.0"),
        (b"NVIDIA_REQUIRE_DRIVER", b"driver>=600"),
        (b"NVIDIA_REQUIRE_JETPACK_HOST_MOUNTS", b"driver>=9999"),
    ];
    let verdict = check(&variables, "550.54.15", &[A100]);
    let conditions: Vec<_> = verdict.unsatisfied.iter().map(|each| &each.condition).collect();
    assert_eq!(conditions, ["driver>=600"]);
}

#[test]
fn requirements_can_be_switched_off() {
    for (value, is_off) in
        [("1", true), ("true", true), ("yes", true), ("0", false), ("False", false), ("", false)]
    {
        let variables: [(&[u8], &[u8]); 2] =
            [(b"NVIDIA_REQUIRE_CUDA", b"cuda>=99"), (b"NVIDIA_DISABLE_REQUIRE", value.as_bytes())];
        let unsatisfied = check(&variables, "550.54.15", &[A100]).unsatisfied;
        assert_eq!(unsatisfied.is_empty(), is_off, "{value:?}");
    }
}

#[test]
fn old_images_require_the_cuda_they_have() {
    let old = |version: &str| {
        let unsatisfied =
            check(&[(b"CUDA_VERSION", version.as_bytes())], "384.81", &[]).unsatisfied;
        unsatisfied.into_iter().map(|each| each.condition).collect::<Vec<_>>()
    };
    assert_eq!(old("9.2.148"), ["cuda>=9.2"]);
    for version in ["9.0", "8.0.61", "", "12", "99.x", "v12.1"] {
        assert_eq!(old(version), [""; 0], "{version}");
    }
    let both: [(&[u8], &[u8]); 2] =
        [(b"CUDA_VERSION", b"12.4.1"), (b"NVIDIA_REQUIRE_CUDA", b"cuda>=9.0")];
    assert_eq!(check(&both, "384.81", &[]), Verdict::default());
}

#[test]
fn operators_and_versions() {
    for (requirement, expected) in [
        ("driver=550.54.15", true),
        ("driver=550.54.15.0", true),
        ("driver=550.54", false),
        ("driver!=550.54.15", false),
        ("driver>550.54.14", true),
        ("driver>550.54.15", false),
        ("driver<=550.54.15", true),
        ("driver<551", true),
        ("driver>=550.6", true),
        ("driver>=550.60", false),
        ("cuda=12.4.0", true),
        ("brand=NVIDIA", true),
        ("brand!=nvidia", false),
        ("brand=tesla", false),
        ("brand!=tesla", true),
        ("arch>=99", true),
        ("brand=tesla,arch>=99 cuda>=99", false),
        ("", true),
        (" ,, , ", true),
        (",cuda>=99,", false),
    ] {
        assert_eq!(holds(requirement, "550.54.15", &[A100]), expected, "{requirement:?}");
    }
}

#[test]
fn what_means_nothing_is_passed_over_and_said() {
    let long = "cuda>=".to_owned() + &"9".repeat(1 << 20);
    for requirement in [
        "os=linux",
        "cuda",
        "cuda>=",
        "cuda>=x",
        "cuda>=-1",
        "cuda>=+1",
        "cuda=>99",
        "cuda==99",
        "cuda>=99.",
        "=",
        "brand>tesla",
        "CUDA>=99",
        "\u{fffd}\0>=1",
        "driver>=99999999999999999999999",
        &long,
    ] {
        let verdict = require(requirement, "550.54.15", &[A100]);
        assert_eq!((verdict.unsatisfied.len(), verdict.notes.len()), (0, 1), "{requirement:?}");
    }
    let bytes: [(&[u8], &[u8]); 1] = [(b"NVIDIA_REQUIRE_X", b"\xff\xfe>=1")];
    assert_eq!(check(&bytes, "550.54.15", &[]).notes.len(), 1);
}

#[test]
fn brands_are_known_by_the_product() {
    for (model, expected) in [
        ("Tesla V100-SXM2-32GB", Some("tesla")),
        ("NVIDIA GeForce RTX 4090", Some("geforce")),
        ("GeForce GTX TITAN X", Some("geforce")),
        ("NVIDIA TITAN V", Some("titan")),
        ("Quadro RTX 8000", Some("quadrortx")),
        ("Quadro P6000", Some("quadro")),
        ("NVIDIA RTX A6000", Some("nvidiartx")),
        ("NVIDIA H100 80GB HBM3", Some("nvidia")),
        ("", None),
        ("Graphics Device", None),
    ] {
        assert_eq!(brand(model), expected, "{model}");
    }
}
