# Builds stand-ins for a driver's files; tests/drivers.sh and tests/images.sh read it.
#
# Everything loads with glibc 2.31 and later, whatever the C library of the machine that builds.

fakes=$(realpath "$(dirname "$0")/fakes")

# The newest CUDA a driver can do, as cuDriverGetVersion gives it.
cuda_of() { # VERSION
    case $1 in
    470.*) echo 11040 ;;
    570.*) echo 12080 ;;
    580.*) echo 13000 ;;
    999.*) echo 99000 ;;
    *) echo "no CUDA version is known for driver $1" >&2; return 1 ;;
    esac
}

build() ( # VERSION GCC_ARGUMENT...
    version=$1 cuda=$(cuda_of "$1")
    shift
    gcc -DVERSION="\"$version\"" -DCUDA_VERSION="$cuda" -O1 -Wall -Wextra -fno-stack-protector "$@"
)

library() ( # FILE SONAME SOURCE VERSION [GCC_ARGUMENT]...
    file=$1 soname=$2 source=$fakes/$3.c version=$4
    shift 4
    build "$version" -shared -fPIC -o "$file" -Wl,-soname="$soname" "$source" "$@"
)

# A program that uses dlopen, which older C libraries have in a library of its own.
program() { # FILE SOURCE VERSION
    build "$3" -nostartfiles -o "$1" "$fakes/start.c" "$fakes/$2.c" -Wl,--no-as-needed -l:libdl.so.2
}

# All libraries of a table, with the links that a driver's packages and ldconfig make.
libraries() ( # DIRECTORY VERSION [TABLE]
    directory=$1 driver=$2
    table "$driver" "${3:-libraries}" |
        while read -r name soname source extra; do
            needed=
            mkdir -p "$directory/$(dirname "$name")"
            for word in $extra; do
                case $word in
                +*) needed="$needed -l:${word#+}" ;;
                *) link "$directory/${word%%=*}" "${word#*=}" ;;
                esac
            done
            library "$directory/$name" "$soname" "$source" "$driver" \
                -L"$directory" -Wl,--no-as-needed $needed
            [ "$soname" = "$(basename "$name")" ] ||
                link "$directory/$(dirname "$name")/$soname" "$(basename "$name")"
        done
)

# The rows of a table, libraries.txt unless another is named, for a version.
table() { # VERSION [TABLE]
    sed -e '/^#/d' -e "s/\.so\.V\>/.so.$1/g" "$fakes/${2:-libraries}.txt"
}

# A symbolic link in place of whatever is there, and the directories above it.
link() { # NAME TARGET
    mkdir -p "$(dirname "$1")"
    ln -sfn "$2" "$1"
}
