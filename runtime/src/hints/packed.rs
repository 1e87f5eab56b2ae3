//! The rows about packed images.

use nix::errno::Errno;

use super::{ALWAYS, Hint, Operation};

pub(super) const HINTS: &[Hint] = &[
    Hint {
        operations: &[Operation::Hold],
        errnos: &[Errno::EBUSY],
        when: ALWAYS,
        text: |_| {
            "two runs at once would damage the layer; --overlay-wait waits until the other has ended, \
             and each run can have a DIR of its own\n\
             ranks of one step share one run, and so does what is started with --join-tag TAG"
                .to_owned()
        },
    },
    Hint {
        operations: &[Operation::Hold],
        errnos: &[Errno::ENOSYS, Errno::EOPNOTSUPP, Errno::ENOLCK],
        when: ALWAYS,
        text: |_| {
            "its file system has no locks (Lustre: mount option flock), so two runs could damage it; \
             use a directory on a local disk"
                .to_owned()
        },
    },
    Hint {
        operations: &[Operation::Serve],
        errnos: &[Errno::EACCES, Errno::EPERM, Errno::ENOENT, Errno::ENODEV, Errno::ENXIO],
        when: ALWAYS,
        text: |_| {
            "it takes /dev/fuse, open to everybody, and Linux 4.18; ask the administrator of this \
             node: modprobe fuse && chmod 666 /dev/fuse\n\
             without: --unpack runs a copy that is unpacked in a directory of this node"
                .to_owned()
        },
    },
    Hint {
        operations: &[Operation::Serve],
        errnos: &[Errno::ECHILD, Errno::EAGAIN, Errno::ENOMEM],
        when: ALWAYS,
        text: |_| {
            "a process of its own serves the image, and it could not be started: it takes 30 MB of memory \
             (ulimit -v, ulimit -d) within the limit of the job, and some threads (ulimit -u)\n\
             limits for the command alone: hrun IMAGE sh -c 'ulimit ...; exec COMMAND'"
                .to_owned()
        },
    },
    Hint {
        operations: &[Operation::Unpack],
        errnos: &[Errno::ENOSPC, Errno::EDQUOT, Errno::EFBIG],
        when: ALWAYS,
        text: |_| {
            "an image takes two to four times the room when it is unpacked; choose a larger disk \
             of this node: --unpack=DIR\n\
             and see that ulimit -f lets files be as large as those of the image"
                .to_owned()
        },
    },
    Hint {
        operations: &[Operation::Unpack],
        errnos: &[Errno::EPERM],
        when: ALWAYS,
        text: |_| {
            "the directory around it must be yours alone (mode 0700), as hrun makes it; if somebody \
             else made it, choose another place: --unpack=DIR"
                .to_owned()
        },
    },
    Hint {
        operations: &[Operation::Unpack],
        errnos: &[Errno::EACCES, Errno::EROFS, Errno::ENOENT],
        when: ALWAYS,
        text: |_| "choose a directory that you may write to: --unpack=DIR".to_owned(),
    },
    Hint {
        operations: &[Operation::Unpack],
        errnos: &[Errno::EIO],
        when: ALWAYS,
        text: |_| {
            "the image is damaged or not complete (unsquashfs -s, or sha256sum, tell more), or a disk \
             fails; copy or make the image again"
                .to_owned()
        },
    },
    Hint {
        operations: &[Operation::Unpack, Operation::Outlive, Operation::Hold],
        errnos: &[Errno::ECHILD, Errno::EAGAIN, Errno::ENOMEM],
        when: ALWAYS,
        text: |_| {
            "it takes a process of its own, which could not be started or was killed; see ulimit -u, -v, -d and \
             -t, and the memory limit of the job"
                .to_owned()
        },
    },
    Hint {
        operations: &[Operation::Outlive],
        errnos: &[Errno::EMFILE, Errno::ENOSPC],
        when: ALWAYS,
        text: |_| {
            "each container with an unpacked image takes one of your inotify instances; processes of \
             one step share one (--join), or ask the administrator for: sysctl -w \
             fs.inotify.max_user_instances=1024"
                .to_owned()
        },
    },
    Hint {
        operations: &[
            Operation::Execute,
            Operation::ChangeDirectory,
            Operation::Mount,
            Operation::Overlay,
            Operation::OverlayWithLayer,
            Operation::BindWithoutSubmounts,
            Operation::Enter,
        ],
        errnos: &[Errno::ENOTCONN, Errno::ECONNABORTED],
        when: ALWAYS,
        text: |_| {
            "the image is packed, and the process that served it to this step, hrun-image, is gone: \
             somebody killed it,\nor the kernel did for want of memory (sacct, dmesg) or for a limit (ulimit -v, \
             -d, -t); start the step again, with more, or with --unpack"
                .to_owned()
        },
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hints::{hint, operation};
    use crate::plan::Action;

    #[test]
    fn every_row_can_speak_and_names_a_remedy() {
        let (image, offset) = ("/scratch/img.sqfs".into(), 0);
        let serve = Action::Serve { image, offset, first: Vec::new(), target: "/srv/image".into() };
        let unpack = Action::Unpack {
            image: "/scratch/img.sqfs".into(),
            offset,
            tree: "/tmp/hrun-images-1000/7".into(),
            mark: String::new(),
            says: false,
        };
        let outlive =
            Action::Outlive { tree: "/tmp/hrun-images-1000/7".into(), stage: "/srv".into() };
        let start = Action::ChangeDirectory { path: "/".into() };
        let file = "/scratch/layer/lock".into();
        let hold = Action::Hold { file, stage: "/srv".into(), waits: false };
        let remedies = [
            (&hold, "--overlay-wait"),
            (&hold, "a local disk"),
            (&serve, "chmod 666 /dev/fuse"),
            (&serve, "ulimit -u"),
            (&unpack, "--unpack=DIR"),
            (&unpack, "yours alone"),
            (&unpack, "may write to"),
            (&unpack, "damaged"),
            (&unpack, "ulimit -u"),
            (&outlive, "fs.inotify.max_user_instances="),
            (&start, "hrun-image, is gone"),
        ];
        assert_eq!(HINTS.len(), remedies.len());
        for (row, (action, remedy)) in HINTS.iter().zip(remedies) {
            for errno in row.errnos {
                let text = hint(operation(action).unwrap(), *errno, &Default::default());
                assert!(text.as_ref().is_some_and(|text| text.contains(remedy)), "{text:?}");
            }
        }
    }
}
