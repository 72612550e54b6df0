#!/bin/sh
# Installs Daytona's TypeScript SDK, as the lock file beside this has it, into
# .cache/daytona-sdk-VERSION/node_modules. Nothing of its packages is run.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../../.." && pwd)
version=$(sed -n 's/.*"@daytona\/sdk": "\(.*\)".*/\1/p' "$here/package.json")
target=$root/.cache/daytona-sdk-$version

if cmp -s "$here/package-lock.json" "$target/package-lock.json"; then
	exit 0
fi
mkdir -p "$root/.cache"
work=$(mktemp -d "$root/.cache/daytona-sdk.XXXXXX")
trap 'rm -rf "$work"' EXIT
cp "$here/package.json" "$here/package-lock.json" "$work"
(cd "$work" && npm ci --loglevel=error --ignore-scripts --no-audit --no-fund >/dev/null)
rm -rf "$target"
mv "$work" "$target"
