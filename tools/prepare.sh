#!/bin/sh
# Make an environment and install fastq in it, editable.
#   usage: prepare.sh PYTHON VENV [EXTRAS]
# What the system must bring is checked first. As root on Debian it is installed; elsewhere it is named.
set -eu
python=$1 venv=$2 extras=${3:-}

# Prints the Debian packages for whatever is missing.
missing() {
    if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
        echo python3 python3-venv python3-dev
    else
        "$python" -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv
        "$python" -c 'import os, sysconfig as s; os.stat(s.get_path("include") + "/Python.h")' 2>/dev/null ||
            echo python3-dev
    fi
    # One small program asks for compiler, C library and (Linux only: `make asan`) sanitizers at once.
    [ "$(uname)" = Linux ] && sanitizers=-fsanitize=address,undefined || sanitizers=
    echo 'int main(void) { return 0; }' | cc $sanitizers -x c - -o /dev/null 2>/dev/null || echo gcc libc6-dev
}

# Prints the Debian packages of the servers that tests start for themselves.
missing_servers() {
    case $extras in *test*) ;; *) return 0 ;; esac
    ls /usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin >/dev/null 2>&1 || command -v rabbitmq-server >/dev/null ||
        echo rabbitmq-server
    command -v "${REDIS_SERVER:-redis-server}" >/dev/null || echo redis-server # it is the sentinel too
}

# A package of a server starts it when it is installed. Nobody asked for that one: whoever needs a server starts it.
start_no_service() {
    policy=/usr/sbin/policy-rc.d
    [ ! -e "$policy" ] || return 0
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy"
}

needed=$(missing) servers=$(missing_servers)
# pip needs them; installed over those of an administrator, the package would make their bundle anew.
[ -e /etc/ssl/certs/ca-certificates.crt ] && certificates= || certificates=ca-certificates
if [ -n "$needed$servers" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    [ -z "$servers" ] || start_no_service
    apt-get -qq update
    # shellcheck disable=SC2086  # several words are meant
    DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $needed $servers $certificates
    needed=$(missing) servers=$(missing_servers)
fi
[ -z "$servers" ] || echo "without $servers the tests that need it are skipped, and \`make test\` fails" >&2
if [ -n "$needed" ]; then
    echo "fastq needs a CPython of 3.10 or newer with its headers and venv, and a C compiler with the address" >&2
    echo "and undefined-behaviour sanitizers. Missing here, by Debian's names:" $needed >&2
    echo "Another Python can be named: make PYTHON=/path/to/python3 ..." >&2
    exit 1
fi

[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
echo "installing fastq${extras:+[$extras]} in $venv"
"$venv/bin/python" -m pip install -q -e ".${extras:+[$extras]}"
# It wants a redis-py before 6, and its peers one after that.
case $extras in *bench*) [ -d "$venv/apart/arq" ] ||
    "$venv/bin/python" -m pip install -q --no-warn-conflicts --target "$venv/apart/arq" arq ;; esac
