//! What of the host's system is visible without asking for it: devices, kernel, names, time, and
//! what a job step needs.

use std::fs;
use std::path::Path;

use super::support::machine::OWN_ETC;
use super::support::{Image, Scratch, Way, bind, in_every_way, lacks, on_host, outcome};

#[test]
fn devices_and_kernel_are_the_hosts() {
    let image = Image::tiny();
    in_every_way(|way| {
        let see = |words: &str| way.probe(image.path(), &[], words);
        assert_eq!(see("kind /dev/null /dev/zero /dev/urandom").lines(), ["device"; 3]);
        assert_eq!(see("write /dev/null x").ok(), "ok\n");
        assert_eq!(see("kind /proc/self/status /sys/kernel").lines(), ["file", "directory"]);
        let version = see("cat /proc/version").ok();
        assert_eq!(version, fs::read_to_string("/proc/version").unwrap());
    });
}

#[test]
fn shared_memory_is_the_hosts() {
    let (image, memory) = (Image::tiny(), Scratch::below(Path::new("/dev/shm")));
    let note = memory.file("note", "").display().to_string();
    in_every_way(|way| {
        for option in ["--home", "--contain", "-t"] {
            fs::write(&note, "").unwrap();
            way.probe(image.path(), &[option], &format!("write {note} x")).ok();
            assert_eq!(fs::read(&note).unwrap(), b"x");
        }
    });
}

#[test]
fn names_of_hosts_and_of_the_machine_are_the_hosts() {
    let image = Image::tiny();
    image.file("etc/hosts", "the image's");
    in_every_way(|way| {
        for file in ["/etc/resolv.conf", "/etc/hosts", "/etc/machine-id"] {
            let seen = way.probe(image.path(), &[], &format!("cat {file}"));
            match fs::read_to_string(file) {
                Ok(wanted) => assert_eq!(seen.ok(), wanted),
                Err(_) => seen.refused("ENOENT"),
            }
        }
    });
    assert_eq!(fs::read(image.join("etc/hosts")).unwrap(), b"the image's");
}

#[test]
fn a_resolv_conf_that_is_a_link_on_either_side_is_the_hosts() {
    if lacks("root") {
        return;
    }
    let image = Image::tiny();
    image.link("etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf");
    let setup = format!(
        "{OWN_ETC} && mount -t tmpfs run /run && mkdir /run/here && echo host > /run/here/conf
         ln -sfn ../run/here/conf /etc/resolv.conf"
    );
    in_every_way(|way| {
        let command = way.prober(image.path(), &[], "cat /etc/resolv.conf");
        assert_eq!(on_host(&setup, &command).ok(), "host\n");
    });
}

#[test]
fn a_host_without_the_files_leaves_the_images() {
    if lacks("root") {
        return;
    }
    let image = Image::tiny();
    image.file("etc/hosts", "the image's");
    let setup = format!("{OWN_ETC} && rm /etc/hosts /etc/resolv.conf /etc/localtime");
    in_every_way(|way| {
        let see = |words| on_host(&setup, &way.prober(image.path(), &[], words));
        assert_eq!(see("cat /etc/hosts").ok(), "the image's");
        assert_eq!(see("kind /etc/resolv.conf /etc/localtime").lines(), ["missing"; 2]);
    });
}

/// A host whose time zone is this one, with a file that says its name.
fn host_in(zone: &str) -> String {
    let file = format!("/usr/share/zoneinfo/{zone}");
    format!(
        "{OWN_ETC} && mount -t tmpfs share /usr/share && mkdir -p {file} && rmdir {file} &&
         echo host {zone} > {file} && ln -sfn {file} /etc/localtime"
    )
}

/// An image in UTC that knows the zone of Berlin only by its name.
fn image_in_utc() -> Image {
    let image = Image::tiny();
    image.link("etc/localtime", "/usr/share/zoneinfo/Etc/UTC");
    image.file("usr/share/zoneinfo/Etc/UTC", "utc");
    image.file("usr/share/zoneinfo/Europe/Berlin", "berlin");
    image
}

#[test]
fn the_hosts_time_zone_is_named_to_an_image_with_another() {
    if lacks("root") {
        return;
    }
    let image = image_in_utc();
    let host = host_in("Europe/Berlin");
    in_every_way(|way| {
        let see = |words| on_host(&host, &way.prober(image.path(), &[], words));
        assert_eq!(see("env TZ").ok(), "Europe/Berlin\n");
        assert_eq!(see("cat /usr/share/zoneinfo/Europe/Berlin").ok(), "berlin");
        assert_eq!(see("cat /usr/share/zoneinfo/Etc/UTC").ok(), "utc");
        assert_eq!(see("kind /etc/localtime").ok(), "link /usr/share/zoneinfo/Etc/UTC\n");
    });
}

#[test]
fn a_zone_the_image_lacks_is_shown_from_the_host() {
    if lacks("root") {
        return;
    }
    let image = image_in_utc();
    let host = host_in("Asia/Tokyo");
    in_every_way(|way| {
        let see = |words| on_host(&host, &way.prober(image.path(), &[], words));
        assert_eq!(see("env TZ").ok(), "Asia/Tokyo\n");
        assert_eq!(see("cat /usr/share/zoneinfo/Asia/Tokyo").ok(), "host Asia/Tokyo\n");
        assert_eq!(see("ls /usr/share/zoneinfo").lines(), ["Asia", "Etc", "Europe"]);
    });
}

#[test]
fn a_zone_that_is_set_or_the_same_is_left_alone() {
    if lacks("root") {
        return;
    }
    let image = image_in_utc();
    in_every_way(|way| {
        let mut command = way.prober(image.path(), &[], "env TZ");
        command.env("TZ", "America/Lima");
        assert_eq!(on_host(&host_in("Europe/Berlin"), &command).ok(), "America/Lima\n");
        let command = way.prober(image.path(), &[], "env TZ");
        let same = on_host(&host_in("Etc/UTC"), &command);
        assert_eq!((same.status, &*same.stdout), (Some(1), ""), "{}", same.stderr);
    });
}

#[test]
fn an_image_without_a_zone_or_with_a_file_gets_the_hosts() {
    if lacks("root") {
        return;
    }
    let (without, with) = (Image::tiny(), Image::tiny());
    with.file("etc/localtime", "the image's");
    let host = host_in("Europe/Berlin");
    in_every_way(|way| {
        for image in [&without, &with] {
            let see = |words| on_host(&host, &way.prober(image.path(), &[], words));
            assert_eq!(see("cat /etc/localtime").ok(), "host Europe/Berlin\n");
        }
    });
}

/// What `TZ` is and what its file holds, in an image with a link in `/etc/localtime`.
#[track_caller]
fn time_inside(setup: &str, image: &Image, variable: Option<&str>) -> (String, String) {
    let script = "echo \"$TZ\"; zone=${TZ#:}; case $zone in /*) ;; *) zone=/usr/share/zoneinfo/$zone;; esac; \
                  cat \"$zone\"";
    let mut command = Way(&[]).command([image.path()]);
    command.args(["/bin/sh", "-c", script]);
    if let Some(value) = variable {
        command.env("TZ", value);
    }
    let lines = on_host(setup, &command).lines();
    (lines[0].clone(), lines.get(1).cloned().unwrap_or_default())
}

#[test]
fn the_hosts_time_zone_has_many_forms() {
    if lacks("root") {
        return;
    }
    // One image has the zone, one lacks it, and one has no zones at all.
    let (has, lacks_it, bare) = (image_in_utc(), image_in_utc(), Image::tiny());
    has.file("usr/share/zoneinfo/Asia/Tokyo", "host Asia/Tokyo\n");
    bare.link("etc/localtime", "../usr/share/zoneinfo/Etc/UTC");
    let tokyo = |name: &str| (name.to_owned(), "host Asia/Tokyo".to_owned());
    let host = host_in("Asia/Tokyo");
    let chain = format!(
        "{host}; mkdir -p /etc/alternatives; ln -sfn ../../usr/share/zoneinfo/Asia/Tokyo \
         /etc/alternatives/localtime; ln -sfn alternatives/localtime /etc/localtime"
    );
    let copy = format!(
        "{host}; rm /etc/localtime; cp /usr/share/zoneinfo/Asia/Tokyo /etc/localtime; \
         echo Asia/Tokyo > /etc/timezone"
    );
    let nameless = format!("{copy}; rm /etc/timezone");
    let mistaken = format!("{copy}; echo Etc/UTC > /etc/timezone");
    for image in [&has, &lacks_it, &bare] {
        for setup in [&host, &chain, &copy] {
            for variable in [None, Some(":/etc/localtime"), Some("/etc/localtime")] {
                assert_eq!(time_inside(setup, image, variable), tokyo("Asia/Tokyo"), "{setup}");
            }
        }
        for setup in [&nameless, &mistaken] {
            let wanted = tokyo(":/etc/localtime.host");
            assert_eq!(time_inside(setup, image, None), wanted, "{setup}");
        }
        let utc =
            host_in("Asia/Tokyo").replace("ln -sfn /usr/share/zoneinfo/Asia/Tokyo", "ln -sfn /x");
        for value in ["Asia/Tokyo", ":Asia/Tokyo", ":/usr/share/zoneinfo/Asia/Tokyo"] {
            assert_eq!(time_inside(&utc, image, Some(value)), tokyo(value));
        }
        let mut rules = Way(&[]).prober(image.path(), &[], "env TZ");
        assert_eq!(on_host(&host, rules.env("TZ", "JST-9")).ok(), "JST-9\n");
    }
}

/// A node with what Slurm's and munge's packages keep on it.
fn slurm_node() -> String {
    format!(
        "{OWN_ETC} && mkdir -p /etc/slurm && echo conf > /etc/slurm/slurm.conf &&
         mount -t tmpfs run /run && mkdir /run/munge && echo socket > /run/munge/socket &&
         mount -t tmpfs spool /var/spool && mkdir -p /var/spool/slurmd/job1 &&
         echo script > /var/spool/slurmd/job1/slurm_script"
    )
}

#[test]
fn a_job_step_sees_what_it_needs_of_slurm() {
    if lacks("root") {
        return;
    }
    let (image, node) = (Image::tiny(), slurm_node());
    in_every_way(|way| {
        for option in ["--home", "--contain", "--private-tmp"] {
            let see = |words| {
                let mut command = way.prober(image.path(), &[option], words);
                on_host(&node, command.env("SLURM_JOB_ID", "1"))
            };
            assert_eq!(see("cat /etc/slurm/slurm.conf").ok(), "conf\n");
            assert_eq!(see("cat /run/munge/socket").ok(), "socket\n");
            assert_eq!(see("cat /var/spool/slurmd/job1/slurm_script").ok(), "script\n");
        }
    });
}

#[test]
fn outside_of_a_job_nothing_of_slurm_is_shown() {
    if lacks("root") {
        return;
    }
    let (image, node) = (Image::tiny(), slurm_node());
    in_every_way(|way| {
        let command = way.prober(image.path(), &[], "kind /etc/slurm /run/munge /var/spool/slurmd");
        assert_eq!(on_host(&node, &command).lines(), ["missing"; 3]);
    });
}

#[test]
fn the_configuration_a_job_names_is_shown() {
    let (image, site) = (Image::tiny(), Scratch::below(Path::new("/var/tmp")));
    let conf = site.file("slurm.conf", "conf");
    in_every_way(|way| {
        let mut command = way.prober(image.path(), &[], &format!("cat {}", conf.display()));
        command.env("SLURM_JOB_ID", "1").env("SLURM_CONF", &conf);
        assert_eq!(outcome(&mut command).ok(), "conf");
    });
}

#[test]
fn the_server_of_pmix_is_reachable_whatever_is_hidden() {
    let image = Image::tiny();
    for place in ["/tmp", "/var/tmp"] {
        let job = Scratch::below(Path::new(place));
        let server = job.directory("pmix.1");
        let note = job.file("pmix.1/server", "uri");
        in_every_way(|way| {
            for option in ["--home", "--private-tmp", "--contain", "--no-home"] {
                for name in ["PMIX_SERVER_TMPDIR", "OMPI_MCA_orte_top_session_dir"] {
                    let mut command =
                        way.prober(image.path(), &[option], &format!("cat {}", note.display()));
                    command.env("SLURM_JOB_ID", "1").env(name, &server);
                    assert_eq!(outcome(&mut command).ok(), "uri", "{option} {name}");
                }
            }
            let mut command = way.prober(image.path(), &["-t"], "ls /tmp");
            command.env("SLURM_JOB_ID", "1").env("PMIX_SERVER_TMPDIR", &server);
            assert!(outcome(&mut command).lines().len() <= 1, "nothing else of /tmp");
        });
    }
}

#[test]
fn a_bind_around_the_server_of_pmix_wins() {
    let (image, data) = (Image::tiny(), Scratch::new());
    let job = Scratch::below(Path::new("/tmp"));
    in_every_way(|way| {
        let mut command = way.prober(image.path(), &[&bind(data.path(), ":/tmp")], "ls /tmp");
        command.env("SLURM_JOB_ID", "1").env("PMIX_SERVER_TMPDIR", job.path());
        assert_eq!(outcome(&mut command).ok(), "");
    });
}
