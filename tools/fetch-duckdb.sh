#!/usr/bin/env bash
# Puts DuckDB's shared library where the product looks for it: build/native/libduckdb.so.
# The npm package ships the plain C library (needs glibc 2.25 or newer); nothing else of npm is used.
set -euo pipefail
source "$(dirname "$0")/env.sh"

target=$root/build/native/libduckdb.so
[ -e "$target" ] && exit 0
case $(uname -m) in
    x86_64) package=@duckdb/node-bindings-linux-x64 ;;
    aarch64) package=@duckdb/node-bindings-linux-arm64 ;;
    *) die "There is no DuckDB package for $(uname -m)." $'\n'"  fix: name a libduckdb.so with HANDBOOK_DUCKDB=/path/to/libduckdb.so" ;;
esac
say "set-up: fetching DuckDB (npm package $package)"
mkdir -p "$root/build/npm" "$root/build/native"
npm install --prefix "$root/build/npm" --no-save --no-package-lock --no-audit --no-fund --ignore-scripts --loglevel=error \
    "$package@1.5.6-r.1" >&2 ||
    die "npm could not fetch $package." $'\n'"  fix: check the network, or name a libduckdb.so with HANDBOOK_DUCKDB=/path/to/libduckdb.so"
found=$(find "$root/build/npm/node_modules/$package" -name libduckdb.so -print -quit)
[ -n "$found" ] || die "$package holds no libduckdb.so."
cp "$found" "$target.part"
mv "$target.part" "$target"
