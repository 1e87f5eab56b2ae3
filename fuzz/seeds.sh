#!/bin/sh
# Makes files to start from below a directory, one directory for each target: fuzz/seeds.sh DIRECTORY
#
# They are this machine's own files, and those that tests read.
set -eu

root=$(dirname "$0")/..
seeds=$1
rm -rf "$seeds"
for target in "$root"/fuzz/targets/*.rs; do
    mkdir -p "$seeds/$(basename "$target" .rs)"
done

# Small libraries, whole, one with all that hrun reads, and the start of a program.
find /lib/ /usr/lib/ -maxdepth 2 -name 'lib*.so*' -type f -size -48k 2> /dev/null | sort | head -n 8 |
while read -r library; do
    cp "$library" "$seeds/elf/"
done
fakes=$root/tests/fakes
gcc -shared -nostdlib -o "$seeds/elf/all" "$fakes/compat.s" -Wl,-soname=libcuda.so.1 \
    -Wl,--version-script="$fakes/future.map" -Wl,--no-as-needed -l:libc.so.6
head -c 65536 "$(command -v find)" > "$seeds/elf/program"

# The three formats of caches: this machine's, and one of one library, by hand.
[ ! -e /etc/ld.so.cache ] || cp /etc/ld.so.cache "$seeds/ldcache/machine"
old() {
    printf 'ld.so-1.7.0\000\001\000\000\000\003\000\000\000\000\000\000\000\012\000\000\000'
}
new() {
    printf 'glibc-ld.so.cache1.1\001\000\000\000\030\000\000\000\002\000\000\000'
    printf '\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000'
    printf '\003\003\000\000\110\000\000\000\122\000\000\000'
    printf '\000\000\000\000\000\000\000\000\000\000\000\000'
}
strings() {
    printf 'libx.so.1\000/lib/libx.so.1\000'
}
(old && strings) > "$seeds/ldcache/old"
(new && strings) > "$seeds/ldcache/new"
(old && printf '\000\000\000\000' && new && strings) > "$seeds/ldcache/compat"

# Descriptions of devices, JSON as YAML too.
descriptions=$root/runtime/src/cdi/testdata
cp "$root/fuzz/all.json" "$descriptions"/*.json "$seeds/cdi_json/"
cp "$root/fuzz/all.json" "$descriptions"/* "$seeds/cdi_yaml/"
# Its strings, but for the names of fields, a line each.
grep -oE '"[^"]+":?' "$root/fuzz/all.json" | sed '/:$/d; s/"//g' > "$seeds/cdi_edits/strings"
# Words that mutations put in.
for target in cdi_json cdi_yaml cdi_edits; do
    { grep -oE '"[^"]+"' "$root/fuzz/all.json"; printf '"%s"\n' / /. /.. // '\x0a'; } |
        sort -u > "$seeds/$target.dict"
done

cat > "$seeds/envfile/file" <<'END'
# a comment
export PATH=/opt/bin:$PATH # another
A='it''s' B
B = "a\tb\"${C:-"d ${E:+:$F}"}\
g"
LIST=$NO:/a:${NO}	

END
cat > "$seeds/envfile/script" <<'END'
#!/bin/sh
export LANG="${LANG:-"C.UTF-8"}"
if [ -n "$X" ]; then
    export A=1
fi
export B=a\;b:\~ # plain
export C='x y':"$B"
export D=$(date); export E=`date`
cat <<EOF
END
printf 'A=1\000B=\000C==x\n y\000' > "$seeds/envfile/records"

user() {
    printf 'alice\0001000\000100\000/home/alice\000'
    cat "$1"
}
user /etc/passwd > "$seeds/passwd/users"
user /etc/group > "$seeds/passwd/groups"
printf 'b\00010\0007\000b\000a:x:10:20:1000:/:\nb:x:7:\nshort:x:1\n#\nz:x:10:7:::' > "$seeds/passwd/odd"

# The call, and then a profile with everything in it.
head -c 64 /dev/zero > "$seeds/seccomp/profile"
cat >> "$seeds/seccomp/profile" <<'END'
{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "flags": ["SECCOMP_FILTER_FLAG_LOG"],
 "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
 "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]}],
 "syscalls": [
  {"names": ["read", "write", "execve", "nosuch"], "action": "SCMP_ACT_ALLOW", "args": null, "includes": {}},
  {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_SYS_ADMIN"]},
   "args": [{"index": 0, "value": 2114060288, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]},
  {"name": "personality", "action": "SCMP_ACT_TRACE", "errnoRet": 7,
   "args": [{"index": 0, "value": 8, "op": "SCMP_CMP_GT"}, {"index": 0, "value": 1, "op": "SCMP_CMP_NE"}]},
  {"names": ["ptrace"], "action": "SCMP_ACT_LOG", "includes": {"minKernel": "4.8", "arches": ["amd64"]}},
  {"names": ["kill"], "action": "SCMP_ACT_KILL_PROCESS",
   "args": [{"index": 5, "value": 18446744073709551615, "op": "SCMP_CMP_LE"}]}]}
END
grep -aohE '"[A-Za-z_0-9]+"' "$seeds/seccomp/profile" | sort -u > "$seeds/seccomp.dict"
printf '"SCMP_ACT_TRAP"\n"SCMP_CMP_LT"\n"SCMP_CMP_GE"\n"SCMP_CMP_EQ"\n' >> "$seeds/seccomp.dict"

# Small images, of every compressor and plain, with one of most kinds of files.
tree=$seeds/squashfs.tree
mkdir -p "$tree/directory/deep"
seq 2000 > "$tree/numbers"
head -c 5000 "$(command -v find)" > "$tree/directory/program"
truncate -s 20000 "$tree/hole"
ln "$tree/numbers" "$tree/directory/numbers"
ln -s directory/program "$tree/link"
mkfifo "$tree/pipe"
(cd "$tree/directory/deep" && seq 300 | xargs touch)
setfattr -n user.name -v value "$tree/directory" && setfattr -n user.name -v value "$tree/numbers"
for compressor in gzip xz lz4 zstd; do
    mksquashfs "$tree" "$seeds/squashfs/$compressor" -comp $compressor -b 4K -nopad -quiet \
        -no-progress -all-root -p 'null c 666 0 0 1 3' > /dev/null
done
for options in '-noI -noId -noX' '-noI -noD -noF -noX -noId' '-noI -no-fragments -no-exports'; do
    mksquashfs "$tree" "$seeds/squashfs/plain$options" -comp lz4 -b 4K -nopad -quiet \
        -no-progress -all-root $options > /dev/null
done
rm -r "$tree"

# A SIF file with room for three descriptors, the second of them the system's.
{
    printf '#!/usr/bin/env run-singularity\n\000SIF_MAGIC\00001\00002\000'
    head -c 40 /dev/zero
    printf '\003\000\000\000\000\000\000\000\200\000\000\000\000\000\000\000'
    head -c 609 /dev/zero
    printf '\004\100\000\000\001\001\000\000\000\001\000\000\360\000\000\000\000'
    printf '\000\200\000\000\000\000\000\000'
    head -c 176 /dev/zero
    printf '\001\000\000\000\002\000\000\000'
    head -c 961 /dev/zero
} > "$seeds/sif/file"

# Small archives of every format, with one of most kinds of members, marks of layers and holes.
tree=$seeds/layer.tree
mkdir -p "$tree/directory" "$tree/out"
printf text > "$tree/directory/file"
printf x > "$tree/out/file"
ln "$tree/directory/file" "$tree/directory/hard"
ln -s ../directory "$tree/directory/link"
mkfifo "$tree/pipe"
: > "$tree/directory/.wh.gone"
: > "$tree/directory/.wh..wh..opq"
name=$(printf 'n%.0s' $(seq 150))
printf long > "$tree/$name"
ln -s "$name" "$tree/long"
truncate -s 8K "$tree/holes" && printf end >> "$tree/holes"
setfattr -n user.name -v value "$tree/directory/file"
for options in --format=v7 --format=ustar --format=gnu '--format=gnu -S' '--format=posix --xattrs' \
    '--format=posix -S --sparse-version=0.0' '--format=posix -S --sparse-version=0.1' \
    '--format=posix -S --sparse-version=1.0'; do
    tar $options -b 1 -C "$tree" -cf "$seeds/layer/$(echo "$options" | tr -d ' =')" . 2> /dev/null || :
done
rm -r "$tree"
printf '"%s"\n' path= linkpath= size= mtime= SCHILY.xattr.user. GNU.sparse.map= GNU.sparse.offset= \
    GNU.sparse.numbytes= GNU.sparse.major= GNU.sparse.realsize= .wh. .wh..wh..opq ../ ustar \
    out/file directory/link/ > "$seeds/layer.dict"
