//! What becomes of `CUDA_VISIBLE_DEVICES`; the letters are those of the test matrix in the design.

use super::super::gpus;
use super::super::selection::{Selection, Writer, choose};
use super::super::tree_for_tests::Tree;
use super::*;

/// A host of which nothing but the letters of its GPUs' UUIDs has to be known.
#[derive(Clone, Copy)]
struct Case<'a> {
    letter: &'a str,
    /// The minors in the order of the bus; closed ones are negative.
    minors: &'a [i32],
    models: &'a [&'a str],
    has_uuids: bool,
    value: Option<&'a str>,
    order: Option<&'a str>,
    list: &'a str,
    expected: Expected<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected<'a> {
    Keep,
    Set(&'a str),
    SetByBus(&'a str),
    Refused(&'a str),
}

use Expected::{Keep, Refused, Set, SetByBus};

const FOUR: Case<'static> = Case {
    letter: "",
    minors: &[0, 1, 2, 3],
    models: &["A100"],
    has_uuids: true,
    value: None,
    order: None,
    list: "all",
    expected: Keep,
};

/// `GPU-a0` is the first on the bus, `GPU-a1` the second.
fn gpus_of(case: &Case) -> Vec<Gpu> {
    let gpu = |(place, minor): (usize, &i32)| Gpu {
        bus: format!("0000:{place:02x}:00.0"),
        minor: minor.unsigned_abs(),
        uuid: case.has_uuids.then(|| format!("GPU-a{place}")),
        model: case.models[place % case.models.len()].to_owned(),
        is_open: *minor >= 0,
    };
    case.minors.iter().enumerate().map(gpu).collect()
}

fn narrowed(case: &Case) -> Result<Narrowed> {
    let gpus = gpus_of(case);
    let selection = Selection::parse(OsStr::new(case.list), Writer::User)?;
    let chosen = choose(&selection, &gpus)?;
    narrow(case.value.map(OsStr::new), case.order.map(OsStr::new), &gpus, &chosen)
}

fn check(case: &Case) {
    let label = format!("({}) {:?} with --gpus {}", case.letter, case.value, case.list);
    match (narrowed(case), case.expected) {
        (Ok(narrowed), Keep) => assert_eq!(narrowed.change, Change::Keep, "{label}"),
        (Ok(narrowed), Set(value)) => {
            assert_eq!(
                narrowed.change,
                Change::Set { value: value.into(), by_bus: false },
                "{label}"
            );
        }
        (Ok(narrowed), SetByBus(value)) => {
            assert_eq!(
                narrowed.change,
                Change::Set { value: value.into(), by_bus: true },
                "{label}"
            );
        }
        (Err(error), Refused(reason)) => {
            assert!(error.to_string().contains(reason), "{label}: {error}");
        }
        (result, expected) => panic!("{label}: {result:?}, not {expected:?}"),
    }
}

#[test]
fn without_narrowing_every_value_is_kept() {
    for value in [None, Some(""), Some("0,1"), Some("-1"), Some("NoDevFiles"), Some("GPU-a0,9,x")] {
        // (a) the control group allows the last two; their numbers stay 0 and 1.
        check(&Case { letter: "a", minors: &[-4, -1, 2, 3], value, ..FOUR });
        check(&Case { letter: "a", minors: &[-4, -1, 2, 3], value, list: "1,0", ..FOUR });
        check(&Case { letter: "b", minors: &[0, 2, 5], value, ..FOUR });
        check(&Case { letter: "c", minors: &[3, 2, 1, 0], value, ..FOUR });
        check(&Case { letter: "d", models: &["A100", "T4"], value, ..FOUR });
        check(&Case { letter: "k", minors: &[], value, ..FOUR });
        check(&Case { letter: "k", minors: &[], value, list: "none", ..FOUR });
    }
}

#[test]
fn numbers_become_uuids() {
    for (letter, minors, value, list, expected) in [
        ("a", &[-4, -1, 2, 3][..], "0,1", "0", Set("GPU-a2")),
        ("a", &[-4, -1, 2, 3], "1,0", "1", Set("GPU-a3")),
        ("b", &[0, 2, 5], "2,1", "0,2", Set("GPU-a2")),
        ("c", &[3, 2, 1, 0], "0,3", "0,1", Set("GPU-a0")),
        ("c", &[3, 2, 1, 0], "3,0,1", "0,1,3", Set("GPU-a3,GPU-a0,GPU-a1")),
        ("", &[0, 1, 2, 3], "0,1", "2,3", Set("")),
        ("", &[0, 1, 2, 3], "1,1,0", "0,1", Set("GPU-a1,GPU-a0")),
        ("", &[0, 1, 2, 3], " 1 , 0 ", "0,1", Set("GPU-a1,GPU-a0")),
        ("", &[0, 1, 2, 3], "0,2,-1,1", "0,1,2", Set("GPU-a0,GPU-a2")),
        ("", &[0, 1, 2, 3], "0,4,1", "0,1", Set("GPU-a0")),
        ("", &[0, 1, 2, 3], "0,,1", "0,1", Set("GPU-a0")),
        ("", &[0, 1, 2, 3], "0", "none", Set("")),
    ] {
        check(&Case { letter, minors, value: Some(value), list, expected, ..FOUR });
    }
}

#[test]
fn numbers_of_different_models_need_the_order_of_the_bus() {
    let mixed = Case { letter: "d", models: &["A100", "T4"], value: Some("0,1"), ..FOUR };
    let case = Case { list: "1,2", ..mixed };
    check(&Case { expected: Refused("counts GPUs of different models by their speed"), ..case });
    let fastest = Some("FASTEST_FIRST");
    check(&Case { order: fastest, expected: Refused("by their speed"), ..case });
    check(&Case { order: Some("PCI_BUS_ID"), expected: Set("GPU-a1"), ..case });
    check(&Case { models: &[""], expected: Refused("by their speed"), ..case });
    check(&Case { value: Some("GPU-a0,GPU-a1"), expected: Set("GPU-a1"), ..case });
    check(&Case { list: "none", expected: Set(""), ..case });
    let error = narrowed(&case).unwrap_err().to_string();
    assert!(error.contains("CUDA_VISIBLE_DEVICES is 0,1"), "{error}");
    assert!(error.contains("CUDA_DEVICE_ORDER=PCI_BUS_ID"), "{error}");
}

#[test]
fn uuids_are_kept_where_their_gpu_is() {
    for (value, list, expected) in [
        ("GPU-a3,GPU-a1", "1,2", Set("GPU-a1")),
        ("GPU-a3,GPU-a1", "3,1", Keep),
        ("gpu-a3", "3,1", Keep),
        ("GPU-A3,GPU-a2,GPU-a1", "3,1", Set("GPU-A3,GPU-a1")),
        ("GPU-a0,GPU-a1", "2,3", Set("")),
        ("GPU-a1,GPU-a1", "1", Set("GPU-a1")),
        ("GPU-a0,GPU-f,GPU-a1", "0,1", Set("GPU-a0")),
        ("GPU-a0,GPU-a,GPU-a1", "0,1", Set("GPU-a0")),
        ("GPU-a0,1", "0,1", Refused("it has both numbers and UUIDs")),
    ] {
        check(&Case { letter: "e", value: Some(value), list, expected, ..FOUR });
    }
}

#[test]
fn no_gpu_stays_no_gpu() {
    for value in ["", "-1", "NoDevFiles", "none", "4", "GPU-ffff", "-1,0", " ", "\u{fffd}", ",0"] {
        check(&Case { letter: "f, g", value: Some(value), list: "0", ..FOUR });
    }
    check(&Case { letter: "f", value: None, list: "0", ..FOUR });
}

#[test]
fn divided_gpus() {
    let one = "MIG-aaaa-1111";
    let old = "MIG-GPU-a1/1/0";
    for (value, list, expected) in [
        (Some("MIG-aaaa-1111,MIG-bbbb-2222"), one, Set(one)),
        (Some("mig-aaaa-1111"), one, Keep),
        (Some(one), one, Keep),
        (Some(one), "all", Keep),
        (Some(one), "MIG-bbbb-2222", Set("")),
        (Some(one), "0", Refused("only the driver knows on which GPU MIG-aaaa-1111 is")),
        (Some(one), old, Refused("only the driver knows whether MIG-aaaa-1111")),
        (Some(one), "0:1", Refused("only the driver knows whether")),
        (Some("GPU-a1"), one, Refused("only the driver knows whether")),
        (Some("0"), one, Refused("its numbers do not say which MIG devices")),
        (Some(old), old, Keep),
        (Some("MIG-GPU-a1/1/0,MIG-GPU-a1/2/0"), old, Set(old)),
        (Some("MIG-GPU-a0/1/0,MIG-GPU-a1/2/0"), "1", Set("MIG-GPU-a1/2/0")),
        (None, one, Set(one)),
        (None, "MIG-aaaa-1111,MIG-bbbb-2222", Set("MIG-aaaa-1111,MIG-bbbb-2222")),
        (None, old, Keep),
        (None, "1:0", Keep),
        (None, "1:0,MIG-aaaa-1111", Keep),
    ] {
        check(&Case { letter: "h", value, list, expected, ..FOUR });
    }
}

#[test]
fn twelve_gpus_are_counted_by_number() {
    let minors: Vec<i32> = (0..12).collect();
    let case = Case { letter: "i", minors: &minors, value: Some("2,10,11"), ..FOUR };
    check(&Case { list: "10,2", expected: Set("GPU-a2,GPU-a10"), ..case });
    // GPU-a10 and GPU-a11 begin with GPU-a1, too; what fits as a whole counts.
    check(&Case { value: Some("GPU-a1,GPU-a0"), list: "1", expected: Set("GPU-a1"), ..case });
    check(&Case { has_uuids: false, list: "10,2", expected: SetByBus("0,1"), ..case });
}

#[test]
fn without_uuids_the_order_of_the_bus_is_said() {
    let case = Case { letter: "j", has_uuids: false, value: Some("3,1"), ..FOUR };
    check(&Case { list: "1,3", expected: SetByBus("1,0"), ..case });
    check(&Case { list: "0,1", expected: SetByBus("1"), ..case });
    check(&Case { list: "0,1", value: Some("0"), expected: SetByBus("0"), ..case });
    check(&Case { list: "0,2", expected: Set(""), ..case });
    let uuid = Case { value: Some("GPU-a1"), list: "0", ..case };
    check(&Case { expected: Refused("only the driver knows on which GPU GPU-a1 is"), ..uuid });
}

#[test]
fn nodes_alone_have_no_order() {
    let tree = Tree::new().nodes(&[0, 1]);
    let gpus = gpus::look(&tree.files(), &tree.host());
    let chosen = Chosen { gpus: vec![1], mig: Vec::new() };
    let error = narrow(Some(OsStr::new("0")), None, &gpus, &chosen).unwrap_err().to_string();
    assert!(error.contains("does not say in what order"), "{error}");
    assert_eq!(narrow(None, None, &gpus, &chosen).unwrap().change, Change::Keep);
}

#[test]
fn notes_say_what_was_changed() {
    let notes = |value, list| narrowed(&Case { value: Some(value), list, ..FOUR }).unwrap().notes;
    assert_eq!(notes("GPU-a0,GPU-a1", "0,1"), []);
    assert_eq!(
        notes("0,9", "0"),
        [
            Note::info("CUDA_VISIBLE_DEVICES=0,9 is GPU-a0 among the chosen GPUs"),
            Note::info("CUDA_VISIBLE_DEVICES=0,9 ends before \"9\" for CUDA, too"),
        ]
    );
    assert_eq!(
        notes("0", "1"),
        [Note::warning(
            "CUDA_VISIBLE_DEVICES=0 names none of the chosen GPUs: programs will see no GPU"
        )]
    );
    assert_eq!(notes("0", "none"), []);
}
