#!/bin/sh
# Fetches the pinned native Claude Code binary from npm into
# .cache/claude-code-<version>/claude and checks its hash. Does nothing when
# it is there already.
set -eu
cd "$(dirname "$0")/.."

version=$(cat snapshot/claude-code.version)
case "$(uname -s)-$(uname -m)" in
Linux-x86_64) platform=linux-x64 ;;
Linux-aarch64) platform=linux-arm64 ;;
*)
	echo "fetch-claude-code: no pinned Claude Code for $(uname -s) $(uname -m): the demo and the tests need Linux on x86-64 or arm64" >&2
	exit 1
	;;
esac
dir=.cache/claude-code-$version
[ ! -x "$dir/claude" ] || exit 0

expected=$(awk -v p="$platform" '$2 == p { print $1 }' snapshot/claude-code.sha256)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
echo "fetching Claude Code $version for $platform (175 MB)" >&2
(cd "$tmp" && npm pack --loglevel=error "@anthropic-ai/claude-code-$platform@$version" >/dev/null && tar -xzf ./*.tgz)
if ! echo "$expected  $tmp/package/claude" | sha256sum --check --quiet; then
	echo "fetch-claude-code: the binary that npm served is not the pinned one" >&2
	exit 1
fi
chmod 755 "$tmp/package/claude"
mkdir -p "$dir"
mv "$tmp/package/claude" "$dir/claude.new"
mv "$dir/claude.new" "$dir/claude"
