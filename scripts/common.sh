# What the scripts share: packages, an out-of-tree build, words on a terminal. Sourced, not run.
set -euo pipefail

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# The core, `local` and `command`.
packages_demo="build-essential autoconf automake libtool libltdl-dev pkg-config libinih-dev
	libjansson-dev libmicrohttpd-dev libcurl4-openssl-dev libsmartcols-dev liblmdb-dev nettle-dev"
# The tests beside that.
packages_test="libcmocka-dev clang clang-format libclang-rt-14-dev python3 jq groff-base mandoc zsh fish tzdata librdkafka-dev"
# The grpc invoker, its servers that misbehave, and riff's own invoker in Node.
packages_grpc="libgrpc-dev libprotobuf-c-dev protobuf-c-compiler python3-grpcio python3-protobuf
	protobuf-compiler openssl"
command -v node >/dev/null && command -v npm >/dev/null || packages_grpc="$packages_grpc nodejs npm"
# A Kafka broker for them, and clients of it that are not ours, one of them compiled here.
packages_kafka="default-jdk-headless maven kcat python3-pip openssl"

# What is run for long, and not by scripts/test.
packages_soak="valgrind"

say() {
	printf '%s: %s\n' "${0##*/}" "$*"
}

die() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

# Installs those of the packages that are missing, and says so before.
install_packages() {
	local missing=() p
	for p in "$@"; do
		dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'install ok installed' || missing+=("$p")
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	say "installs with apt: ${missing[*]}"
	local apt=(env DEBIAN_FRONTEND=noninteractive apt-get)
	[ "$(id -u)" = 0 ] || apt=(sudo "${apt[@]}")
	"${apt[@]}" update -qq
	"${apt[@]}" install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# build_in DIR [configure arguments]: configures when needed, builds; quiet unless it fails.
build_in() {
	local dir=$1 log
	shift
	mkdir -p "$dir"
	log=$dir/build.log
	if [ ! -x "$top/configure" ] || [ "$top/configure.ac" -nt "$top/configure" ] ||
		[ -n "$(find "$top" -name build -prune -o -name 'build-*' -prune -o -name '*.am' -newer "$top/configure" -print -quit)" ]; then
		(cd "$top" && autoreconf -fi) >"$log" 2>&1 || { cat "$log" >&2; die "autoreconf failed"; }
	fi
	if [ ! -f "$dir/Makefile" ] || [ "$top/configure" -nt "$dir/config.status" ]; then
		(cd "$dir" && "$top/configure" -q "$@") >>"$log" 2>&1 || { cat "$log" >&2; die "configure failed"; }
	fi
	make -s -C "$dir" -j"$(nproc)" >>"$log" 2>&1 || { tail -n 60 "$log" >&2; die "the build failed"; }
}
