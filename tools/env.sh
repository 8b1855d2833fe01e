# Sourced by the scripts beside it: the repository's root, and a .NET that behaves the same everywhere.
# shellcheck shell=bash
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# The SDK's installer script puts it into the home folder and leaves PATH alone.
if ! command -v dotnet >/dev/null; then
    for folder in "${DOTNET_ROOT:-}" "$HOME/.dotnet" /usr/share/dotnet /usr/lib/dotnet; do
        if [ -n "$folder" ] && [ -x "$folder/dotnet" ]; then PATH=$folder:$PATH; break; fi
    done
fi
export PATH
export DOTNET_NOLOGO=1 DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_GENERATE_ASPNET_CERTIFICATE=false
# The product runs with invariant globalization; this gives the SDK the same on a machine without libicu.
export DOTNET_SYSTEM_GLOBALIZATION_INVARIANT=1
# No build node stays behind to hold memory, or the pipe that a caller reads to its end.
export MSBUILDDISABLENODEREUSE=1
if [ -n "${CI:-}" ]; then export UseSharedCompilation=false; fi

say() { local IFS=; printf '%s\n' "$*" >&2; }
die() { say "$@"; exit 1; }
