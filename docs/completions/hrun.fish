complete -c hrun -s b -s B -l bind -l volume -d 'Shows the host\'s SRC, a file or directory, at DST (default: the same path)' -r
complete -c hrun -l mount -d 'The same as --bind, as docker and podman write it' -r
complete -c hrun -s c -l cd -l workdir -l pwd -d 'Starts the command in DIR' -r
complete -c hrun -s t -l private-tmp -d 'Gives the command an empty /tmp in memory, SIZE (512m, 2g, 10%) at most' -r
complete -c hrun -s W -l write-fake -l writable-tmpfs -d 'Lets the command write to a layer in memory that is thrown away, SIZE at most' -r
complete -c hrun -l overlay -d 'Keeps what the command writes in DIR, for the next run' -r
complete -c hrun -l unpack -d 'Runs a packed image from a copy that is unpacked in DIR, on this node' -r
complete -c hrun -l store -d 'Looks in DIR for an image that is given by name' -r
complete -c hrun -l nv -l nvidia -d 'Shows the host\'s NVIDIA driver, so that programs inside can use the GPUs' -r
complete -c hrun -l rocm -l amd -d 'Makes sure that programs inside can use the host\'s AMD GPUs' -r
complete -c hrun -l intel -d 'Makes sure that programs inside can use the host\'s Intel GPUs' -r
complete -c hrun -l gpus -d 'Shows only these NVIDIA GPUs: all, none, or numbers, UUIDs, bus addresses' -r
complete -c hrun -l device -d 'Shows a device that is described on the host (CDI), or a node of /dev' -r
complete -c hrun -l cdi-dir -d 'Reads descriptions of devices from DIR too; the last DIR has the say' -r
complete -c hrun -l driver-root -d 'Looks for GPU drivers in DIR, which stands for /' -r
complete -c hrun -l join-tag -d 'Shares namespaces with all that is started with the same TAG on this node' -r
complete -c hrun -l join-pid -d 'Runs the command in the container of a process of yours' -r
complete -c hrun -l join-ct -d 'Accepted for ch-run\'s sake: no number of ranks is needed' -r
complete -c hrun -l cpus -d 'Lets the command use as much as N CPUs, such as 2 or 0.5, at any time' -r
complete -c hrun -l cpuset -l cpuset-cpus -d 'Keeps the command to these CPUs, such as 0-3,8' -r
complete -c hrun -l memory -d 'Lets the command use SIZE of memory (512m, 2g); who takes more is killed' -r
complete -c hrun -l pids-limit -d 'Lets the command have N processes and threads' -r
complete -c hrun -l limits -d 'Says what becomes of a limit that cannot be had: an error, or a warning (the default)' -r
complete -c hrun -l cgroup-parent -d 'Names the control group in which hrun may make groups' -r
complete -c hrun -l mpi -d 'Says whose MPI the command uses: host, image, or auto' -r
complete -c hrun -l mpi-root -d 'Takes the host\'s MPI from DIR, which has its lib directory' -r
complete -c hrun -l mpi-glibc -d 'With host, covers the image\'s C library where it is too old for the host\'s MPI' -r
complete -c hrun -l set-env -l env-file -d 'Sets variables from FILE, or one variable; $NAME is expanded' -r
complete -c hrun -l set-env0 -d 'Sets variables from NUL-separated records in FILE, taken as they are' -r
complete -c hrun -l unset-env -d 'Removes the variables whose names match GLOB' -r
complete -c hrun -s e -l env -d 'Sets one variable, literally; without a value takes the host\'s' -r
complete -c hrun -l keep-env -d 'Keeps host variables that --clean-env or --drop-env would remove' -r
complete -c hrun -l drop-env -d 'Replaces the list of host variables that are not taken into the container' -r
complete -c hrun -s u -l uid -d 'Shows the user as user id N inside' -r
complete -c hrun -s g -l gid -d 'Shows the user\'s group as group id N inside' -r
complete -c hrun -l seccomp -d 'Filters the command\'s system calls by PROFILE, a file as Docker and podman have it' -r
complete -c hrun -l cap-keep -d 'Keeps these capabilities over the container, or all, and no other' -r
complete -c hrun -l cap-drop -l drop-caps -d 'Takes these capabilities, or all, from what --root or --cap-keep give' -r
complete -c hrun -l dry-run -d 'Prints what would be done, and who asked for it, and does nothing' -r
complete -c hrun -l plan -d 'Carries out a plan written by --dry-run=json; no IMAGE is given' -r
complete -c hrun -l doctor -d 'Tries everything hrun needs from this machine and explains what fails' -r
complete -c hrun -l ps -d 'Lists your containers on this node: process, ranks, since when, step, image' -r
complete -c hrun -l assume-missing -d 'Does without a kernel feature: overlay, mount-setattr, pivot-root' -r
complete -c hrun -l home -d 'Shows the home directory at its own path (the default)'
complete -c hrun -l no-home -d 'Leaves the home directory out'
complete -c hrun -l no-cwd -d 'Leaves the current directory out'
complete -c hrun -l contain -d 'Hides home, current directory and /tmp; the home directory and /tmp are empty'
complete -c hrun -s w -l write -d 'Lets the command write to the image'
complete -c hrun -l overlay-wait -d 'Waits while another run uses the DIR of --overlay'
complete -c hrun -l pid -l init -d 'Gives the container a PID namespace of its own, with an init'
complete -c hrun -l join -d 'Shares namespaces with what the same parent starts, as ranks of a step do'
complete -c hrun -l no-join -d 'Gives each rank namespaces of its own'
complete -c hrun -l limits-per-rank -d 'Gives every rank of a step limits of its own, instead of sharing them'
complete -c hrun -l env-no-expand -d 'Takes $ literally in the --set-env options that follow'
complete -c hrun -l clean-env -l cleanenv -d 'Starts from an empty environment instead of the host\'s'
complete -c hrun -l root -l fakeroot -d 'Shows the user as root inside, with capabilities over the container only'
complete -c hrun -l no-config -d 'Reads neither configuration files nor HRUN_* variables'
complete -c hrun -s v -l verbose -d 'Says what hrun found and left out'
complete -c hrun -s q -l quiet -d 'Prints no warnings; the command\'s own output is never touched'
complete -c hrun -s V -l version -d 'Prints the version'
complete -c hrun -s h -l help -d 'Prints this help'
