//! Lists of devices, right and wrong.

use super::*;

/// The beginnings of the UUIDs of [`hosts`].
const UUIDS: [&str; 4] = ["GPU-aa11", "GPU-aa22", "GPU-bb33", "GPU-cc44"];

fn gpu(place: u32, minor: u32, is_open: bool) -> Gpu {
    Gpu {
        bus: format!("0000:{:02x}:00.0", 7 + place),
        minor,
        uuid: UUIDS.get(place as usize).map(|uuid| format!("{uuid}-0000-4000")),
        model: "NVIDIA A100".to_owned(),
        is_open,
    }
}

/// Four GPUs whose nodes are counted from the other end of the bus; the second is closed.
fn host() -> Vec<Gpu> {
    (0..4).map(|place| gpu(place, 3 - place, place != 1)).collect()
}

fn parse(list: &str, writer: Writer) -> Result<Selection> {
    Selection::parse(OsStr::new(list), writer)
}

fn chosen(list: &str, writer: Writer) -> Result<Chosen> {
    choose(&parse(list, writer)?, &host())
}

fn error(list: &str, writer: Writer) -> String {
    chosen(list, writer).unwrap_err().to_string()
}

#[test]
fn words_for_all_and_nothing() {
    for writer in [Writer::User, Writer::Launcher] {
        assert_eq!(parse("all", writer), Ok(Selection::All));
        assert_eq!(parse(" none ", writer), Ok(Selection::None));
        for void in ["void", "0,void", "void,void,all"] {
            assert_eq!(parse(void, writer), Ok(Selection::Void), "{void}");
        }
        for mixed in ["all,0", "0,none", "all,none"] {
            assert!(error(mixed, writer).contains("stands alone"), "{mixed}");
        }
    }
    for empty in ["", ",", " , "] {
        assert_eq!(parse(empty, Writer::Launcher), Ok(Selection::Void), "{empty:?}");
        assert!(error(empty, Writer::User).contains("the list is empty"), "{empty:?}");
    }
}

#[test]
fn devices_are_chosen_in_the_order_of_the_bus_and_once() {
    for (list, expected) in [
        ("all", vec![0, 2, 3]),
        ("none", vec![]),
        ("void", vec![]),
        ("0", vec![0]),
        ("1", vec![2]),
        ("2,0", vec![0, 3]),
        ("0,0,0", vec![0]),
        (" 1 ,, 2,", vec![2, 3]),
        ("GPU-bb33-0000-4000", vec![2]),
        ("GPU-BB33-0000-4000,1", vec![2]),
        ("0000:09:00.0", vec![2]),
        ("00000000:0A:00.0", vec![3]),
        ("0a:00.0,07:00.0", vec![0, 3]),
    ] {
        for writer in [Writer::User, Writer::Launcher] {
            let chosen = chosen(list, writer).unwrap();
            assert_eq!(chosen, Chosen { gpus: expected.clone(), mig: Vec::new() }, "{list}");
        }
    }
}

#[test]
fn users_may_write_less_and_as_for_docker() {
    for list in ["GPU-bb", "GPU-b", "device=GPU-bb", "\"device=1\"", "device=1", "\"1\""] {
        assert_eq!(chosen(list, Writer::User).unwrap().gpus, [2], "{list}");
    }
    assert_eq!(chosen("\"device=0,1\"", Writer::User).unwrap().gpus, [0, 2]);
    assert!(error("GPU-bb", Writer::Launcher).contains("there is no GPU \"GPU-bb\""));
    for list in ["device=1", "\"1\""] {
        assert!(error(list, Writer::Launcher).contains("names no device"), "{list}");
    }
    for list in ["count=2", "device=0,capabilities=utility", "device=device=0"] {
        assert!(error(list, Writer::User).contains("only device=LIST is known"), "{list}");
    }
}

#[test]
fn mistakes_name_the_word_and_what_there_is() {
    assert_eq!(
        error("7", Writer::User),
        "cannot choose the GPUs: there is no GPU \"7\"; a number is a GPU's place, not how many\n  \
         hint: this host has\n         \
         0  /dev/nvidia3  0000:07:00.0  GPU-aa11-0000-4000  NVIDIA A100\n         \
         -  /dev/nvidia2  0000:08:00.0  GPU-aa22-0000-4000  NVIDIA A100  (closed)\n         \
         1  /dev/nvidia1  0000:09:00.0  GPU-bb33-0000-4000  NVIDIA A100\n         \
         2  /dev/nvidia0  0000:0a:00.0  GPU-cc44-0000-4000  NVIDIA A100"
    );
    for (list, reason) in [
        ("0000:08:00.0", "0000:08:00.0 is closed to you, or to this job's control group"),
        ("GPU-aa22", "GPU-aa22 is closed to you, or to this job's control group"),
        ("GPU-aa", "\"GPU-aa\" fits 2 GPUs"),
        ("GPU-ffff", "there is no GPU \"GPU-ffff\""),
        ("0000:99:00.0", "there is no GPU \"0000:99:00.0\""),
        ("0,3", "there is no GPU \"3\""),
        ("0,gpu1", "\"gpu1\" names no device"),
        ("MIG-GPU-aa22-0000-4000/1/0", "is closed to you"),
        ("1:0,MIG-GPU-ffff/1/0", "there is no GPU"),
        ("9:0", "there is no GPU \"9:0\""),
        ("0,MIG-1234", "either GPUs or MIG devices"),
    ] {
        let error = error(list, Writer::User);
        assert!(error.contains(reason), "{list}: {error}");
    }
}

#[test]
fn hostile_words_are_refused() {
    use std::os::unix::ffi::OsStrExt;
    let long = "9".repeat(1 << 20);
    let hostile: [&[u8]; 15] = [
        b"-1",
        b"+1",
        b"00",
        b"1.5",
        b"0x0",
        b"4294967296",
        b"\xff\xfe",
        b"0\x000",
        b"GPU-",
        b"GPU-../../dev",
        b"MIG-",
        b"MIG-GPU-aa11/1",
        b"MIG-GPU-aa11/-1/0",
        b"0:1:2",
        long.as_bytes(),
    ];
    for word in hostile {
        for writer in [Writer::User, Writer::Launcher] {
            let parsed = Selection::parse(OsStr::from_bytes(word), writer);
            assert!(parsed.is_err(), "{:?}", word.get(..20).unwrap_or(word));
        }
    }
}

#[test]
fn mig_devices_bring_their_gpu_or_all() {
    let device = |id: &str, gpu, part| MigDevice { id: id.to_owned(), gpu, part };
    let known = "MIG-GPU-bb33-0000-4000/1/0";
    for (list, gpus, mig) in [
        (known, vec![2], device(known, Some(2), Some((1, 0)))),
        ("1:4", vec![2], device("1:4", Some(2), None)),
        ("MIG-1234-5678", vec![0, 2, 3], device("MIG-1234-5678", None, None)),
        ("MIG-1234-5678,MIG-1234-5678", vec![0, 2, 3], device("MIG-1234-5678", None, None)),
    ] {
        assert_eq!(chosen(list, Writer::User), Ok(Chosen { gpus, mig: vec![mig] }), "{list}");
    }
}

#[test]
fn without_uuids_the_other_names_are_offered() {
    let gpus = [Gpu { uuid: None, ..gpu(0, 0, true) }];
    let choose = |list| choose(&parse(list, Writer::User).unwrap(), &gpus);
    assert_eq!(choose("07:00.0").unwrap().gpus, [0]);
    let error = choose("GPU-aa11").unwrap_err().to_string();
    assert!(error.contains("the number or the place on the bus will do"), "{error}");
}

#[test]
fn a_host_without_gpus_has_none_to_choose() {
    let choose = |list| choose(&parse(list, Writer::User).unwrap(), &[]);
    assert_eq!(choose("all"), Ok(Chosen::default()));
    assert!(choose("0").unwrap_err().to_string().contains("this host has no GPU"));
}

/// Four GPUs whose nodes are counted as the bus is, of which some are open.
fn with_open(open: [usize; 2]) -> Vec<Gpu> {
    (0..4).map(|place| gpu(place, place, open.contains(&(place as usize)))).collect()
}

#[test]
fn a_launchers_numbers_are_the_nodes_or_those_that_open() {
    let chosen = |list: &str, open| {
        let gpus = with_open(open);
        let selection = of_launcher(parse(list, Writer::Launcher).unwrap(), &gpus)?;
        choose(&selection, &gpus).map(|chosen| chosen.gpus)
    };
    for (list, open, expected) in [
        // As many as open.
        ("2,3", [2, 3], vec![2, 3]),
        ("0,1", [2, 3], vec![2, 3]),
        ("1,3", [1, 3], vec![1, 3]),
        // The node's; those that open; both.
        ("3", [2, 3], vec![3]),
        ("0", [2, 3], vec![2]),
        ("0", [0, 3], vec![0]),
        ("all", [2, 3], vec![2, 3]),
        ("GPU-cc44-0000-4000", [2, 3], vec![3]),
    ] {
        assert_eq!(chosen(list, open).unwrap(), expected, "{list} of {open:?}");
    }
    let error = chosen("1", [1, 3]).unwrap_err().to_string();
    assert!(error.contains("may be the node's, or places") && error.contains("--gpus"), "{error}");
    let error = chosen("7", [1, 3]).unwrap_err().to_string();
    assert!(error.contains("there is no GPU \"7\""), "{error}");
}
