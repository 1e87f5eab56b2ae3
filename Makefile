# What people type. `make demo` and `make test` need nothing but Rust on a fresh Debian; as root
# they install the packages they lack.

PREFIX ?= /usr/local
PROFILE ?= release
TARGET := $(or $(CARGO_TARGET_DIR),target)
TRIPLE := $(shell rustc -vV | sed -n 's/^host: //p')
BUILT := $(TARGET)/$(TRIPLE)/$(PROFILE)
# Here rustc links with an lld of its own, which can order functions (build.rs).
ifeq ($(TRIPLE),x86_64-unknown-linux-gnu)
HRUN_LINK_ORDER := $(shell find "$$(rustc --print sysroot)/lib/rustlib/$(TRIPLE)/bin/gcc-ld" \
    -name ld.lld 2> /dev/null | grep -c .)
export HRUN_LINK_ORDER
endif

.PHONY: all build demo test test-full test-faults test-kernels lint fuzz order bench bench-ranks bench-packed install images drivers programs packages

all: build

build:
	cargo build --profile $(PROFILE)

# Debian packages that tests and benchmarks use; installed only by root, and only if missing.
TEST_PACKAGES := mmdebstrap busybox-static libcap2-bin musl-tools strace util-linux crun \
    binutils gcc libc6-dev python3-pip openmpi-bin libopenmpi-dev mpich libmpich-dev \
    slurmctld slurmd slurm-client slurm-wlm-basic-plugins munge libpmix2 libpmi2-0 gdb \
    squashfs-tools attr docker-registry skopeo openssl umoci xz-utils zstd bzip2 \
    e2fsprogs
KERNEL_PACKAGES := qemu-system-x86 busybox-static cpio xz-utils squashfs-tools musl-tools
BENCH_PACKAGES := bubblewrap charliecloud crun runc podman uidmap gcc libc6-dev strace patchelf

packages:
	@tests/packages.sh $(TEST_PACKAGES)

images: packages
	@tests/images.sh $(TARGET) bullseye bookworm bookworm.sqfs trixie musl gpu cuda sealed leftovers \
	    mpi mpi4py wheels mpi-bookworm packages

# Machines with GPUs and with fabrics, as trees.
drivers: packages
	@tests/drivers.sh $(TARGET) h100 rhel alternatives nocache two mismatch newglibc mig local a100 \
	    gds rocm intel
	@tests/clusters.sh $(TARGET) cray mofed omnipath

# The programs under test, where the test user can be shown them.
programs: build packages
	@cargo build --quiet --profile $(PROFILE) --example probe
	@install -d -m 755 $(TARGET)/programs
	@install -m 755 $(BUILT)/hrun $(BUILT)/himage $(BUILT)/examples/probe /bin/busybox $(TARGET)/programs
	@for name in secure calls escapes old faults; do \
	    gcc -O1 -Wall -Wextra -static -o $(TARGET)/programs/$$name tests/fakes/$$name.c || exit; done
	@tests/profile.sh $(TARGET)/programs/docker-seccomp.json

demo: build
	@tests/packages.sh mmdebstrap util-linux
	@tests/images.sh $(TARGET) bookworm
	@install -D -m 755 $(BUILT)/hrun $(TARGET)/programs/hrun
	@tests/session.sh $(TARGET) demo/run.sh

lint:
	cargo fmt --all --check
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	cargo clippy --workspace --all-targets -- -D warnings

test: lint images drivers programs
	cargo test --workspace --no-run
	tests/session.sh $(TARGET) cargo test --workspace

# Random input for the parsers of foreign files, so many seconds each:
# make fuzz [SECONDS=60] [TARGETS="elf passwd"].
SECONDS ?= 600

fuzz:
	@tests/packages.sh g++ squashfs-tools attr
	@mkdir -p $(TARGET)
	@fuzz/run.sh $(TARGET) $(SECONDS) $(TARGETS)

# In virtual machines with kernels of Debian's.
test-kernels: programs
	@tests/packages.sh $(KERNEL_PACKAGES)
	@tests/images.sh $(TARGET) systemd musl
	tests/session.sh $(TARGET) cargo test --test hrun -- --ignored kernels

# Every system call of a start and of an import fails in seven ways, and is the last one of a process
# that is killed; HRUN_UPDATE=1 writes the table of docs/faults.md.
test-faults: images programs
	tests/session.sh $(TARGET) cargo test --test hrun -- --ignored --nocapture --test-threads 2 faults::

# With what waits for clocks, takes minutes or wants large images.
test-full: test fuzz
	@tests/packages.sh $(KERNEL_PACKAGES)
	@tests/packages.sh mmdebstrap patchelf
	@tests/images.sh $(TARGET) torch rpm systemd mpi-bullseye mpi-trixie
	@benches/apptainer.sh $(TARGET)
	tests/session.sh $(TARGET) cargo test --workspace -- --ignored

# Writes link/order.txt anew; worth it when much has changed of what a start runs.
order: images drivers programs
	@link/order.sh $(TARGET) $(PROFILE)

install: build
	install -D -m 755 -t $(DESTDIR)$(PREFIX)/bin $(BUILT)/hrun $(BUILT)/himage
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/man/man1 docs/hrun.1 docs/himage.1
	install -D -m 644 docs/completions/hrun.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/hrun
	install -D -m 644 docs/completions/himage.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/himage
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/zsh/site-functions docs/completions/_hrun docs/completions/_himage
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d docs/completions/hrun.fish \
	    docs/completions/himage.fish

# Side by side with its peers, as an ordinary user: make bench [QUICK=1] [MACHINE=WORD].
MACHINE ?= $(shell uname -m)-$(shell nproc)cpu
RECORD := $(if $(QUICK),$(TARGET)/bench-quick,benches/results/$(shell date +%F)-$(MACHINE))
RUNNER := CARGO_TARGET_$(shell echo $(TRIPLE) | tr a-z- A-Z_)_RUNNER
# With programs and images in place.
MEASURE = gcc -O2 -Wall -Wextra -static -o $(BUILT)/floor benches/floor.c && \
    install -D -m 755 -t $(TARGET)/programs $(BUILT)/hrun $(BUILT)/floor && \
    benches/apptainer.sh $(TARGET) && \
    HRUN_BENCH_RECORD=$(RECORD) HRUN_BENCH_SOURCE=$$(git describe --always --dirty 2>/dev/null) \
    $(if $(QUICK),HRUN_BENCH_QUICK=1) \
    $(RUNNER)="tests/session.sh $(TARGET) benches/as-tester.sh" \
    cargo bench --quiet --profile $(PROFILE) --bench start

bench: build
	@tests/packages.sh mmdebstrap $(BENCH_PACKAGES)
	@tests/images.sh $(TARGET) bookworm bench complete
	@tests/drivers.sh $(TARGET) local
	@$(MEASURE)

# What being a rank of a step costs, to start and in messages: make bench-ranks [QUICK=1] [MACHINE=WORD].
bench-ranks: RECORD := $(RECORD)-ranks
bench-ranks: build
	@tests/packages.sh mmdebstrap bubblewrap charliecloud gcc libc6-dev patchelf \
	    openmpi-bin libopenmpi-dev mpich libmpich-dev
	@tests/images.sh $(TARGET) ranks
	@tests/drivers.sh $(TARGET) local
	@$(MEASURE) -- ranks

# Packed images beside directories, the kernel's own mount and squashfuse, as root:
# make bench-packed [QUICK=1] [MACHINE=WORD].
bench-packed: RECORD := $(RECORD)-packed
bench-packed: build
	@tests/packages.sh mmdebstrap squashfs-tools squashfuse fuse3 charliecloud gcc libc6-dev patchelf
	@tests/images.sh $(TARGET) python python.sqfs python.gzip.sqfs
	@tests/drivers.sh $(TARGET) local
	@install -d -m 755 $(TARGET)/programs
	@gcc -O2 -Wall -Wextra -static -o $(TARGET)/programs/tree benches/tree.c
	@$(MEASURE) -- packed
