//! The rows about ranks and their MPI.

use super::table::FLAG;
use super::{Name, Row, Section, Takes};

pub(super) const PID: Row = Row {
    name: Name::Pid,
    long: "pid",
    aliases: &["init"],
    section: Section::Ranks,
    help: "Gives the container a PID namespace of its own, with an init",
    manual: "The command sees its own processes only; the ranks of a step on a node see each \
             other. hrun stays as long as the command runs: signals that are sent to it are passed \
             on, it stops and ends as the command does, and it is ended with it. The first \
             process of the namespace waits for whatever others leave, and all that is left when \
             the command ends, in a step the last one of the node, is killed.",
    ..FLAG
};

pub(super) const JOIN: Row = Row {
    name: Name::Join,
    long: "join",
    section: Section::Ranks,
    help: "Shares namespaces with what the same parent starts, as ranks of a step do",
    manual: "Ranks that Slurm, mpirun or another launcher has started on a node share one set of \
             namespaces without being asked, in any order and number, because MPI needs it: ranks \
             in user namespaces of their own cannot read each other's memory. Ranks with another \
             image or other mounts share the user namespace only. They meet in a small file in \
             /dev/shm/hrun-UID, which the next step removes. With this option, programs that the \
             same parent starts share them too where no launcher is seen.",
    ..FLAG
};

pub(super) const NO_JOIN: Row = Row {
    name: Name::NoJoin,
    long: "no-join",
    section: Section::Ranks,
    help: "Gives each rank namespaces of its own",
    manual: "MPI is told not to read other ranks' memory, which is slower but works: Open MPI, \
             UCX, MPICH, libfabric, PSM and MVAPICH by a variable each, unless it is set already.",
    ..FLAG
};

pub(super) const JOIN_TAG: Row = Row {
    name: Name::JoinTag,
    long: "join-tag",
    takes: Takes::Value("TAG"),
    section: Section::Ranks,
    help: "Shares namespaces with all that is started with the same TAG on this node",
    manual: "",
    ..FLAG
};

pub(super) const JOIN_PID: Row = Row {
    name: Name::JoinPid,
    long: "join-pid",
    takes: Takes::Value("PID"),
    section: Section::Ranks,
    help: "Runs the command in the container of a process of yours",
    manual: "PID is that of the command or of a child of it, as the host counts. Nothing is \
             mounted: what the container shows is what its first start has asked for. Without \
             IMAGE (hrun --join-pid PID, or with -- before the command) environment and current \
             directory are those of the process too, and without a command a shell starts.",
    ..FLAG
};

pub(super) const JOIN_CT: Row = Row {
    name: Name::JoinCt,
    long: "join-ct",
    takes: Takes::Value("N"),
    section: Section::Ranks,
    help: "Accepted for ch-run's sake: no number of ranks is needed",
    manual: "",
    ..FLAG
};

pub(super) const MPI: Row = Row {
    name: Name::Mpi,
    long: "mpi",
    takes: Takes::OptionalValue("auto|host|image|off"),
    section: Section::Ranks,
    help: "Says whose MPI the command uses: host, image, or auto",
    manual: "With host, the host's MPI library takes the place of the image's, with what belongs to \
             it: the libraries it is linked with, its plugins, its configuration. Both must have \
             one interface (that of MPICH, of Open MPI, or the standard one of MPI 5), and the \
             host's must have all that the command asks for; if not, nothing starts. auto, the \
             value if none is given, does so only where the image's MPI does not understand the \
             launcher and the host's does. image is the default; off is the same without a \
             warning where the launcher is not understood.",
    ..FLAG
};

pub(super) const MPI_ROOT: Row = Row {
    name: Name::MpiRoot,
    long: "mpi-root",
    takes: Takes::Value("DIR"),
    section: Section::Ranks,
    help: "Takes the host's MPI from DIR, which has its lib directory",
    manual: "Without it, the host's MPI is what the host's LD_LIBRARY_PATH leads to, then what \
             modules name in variables, then what mpirun belongs to, then what the host's loader \
             finds.",
    ..FLAG
};

pub(super) const MPI_GLIBC: Row = Row {
    name: Name::MpiGlibc,
    long: "mpi-glibc",
    takes: Takes::Value("image|host"),
    section: Section::Ranks,
    help: "With host, covers the image's C library where it is too old for the host's MPI",
    manual: "",
    ..FLAG
};
