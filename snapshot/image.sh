#!/bin/sh
# Builds the slim image from Dockerfile.slim under the tag given as $1, with
# the sandboxd binary given as $2. An image that was built from the same
# inputs is left as it is.
set -eu
cd "$(dirname "$0")/.."
tag=$1 sandboxd=$2

version=$(cat snapshot/claude-code.version)
inputs=$(cat snapshot/Dockerfile.slim snapshot/claude-code.version snapshot/claude-code.sha256 "$sandboxd" | sha256sum | cut -c1-32)
[ "$(docker image inspect --format '{{ index .Config.Labels "dayclaude/inputs" }}' "$tag" 2>/dev/null)" != "$inputs" ] || exit 0

sh snapshot/base-image.sh
context=$(mktemp -d "${TMPDIR:-/tmp}/dayclaude-image.XXXXXX")
trap 'rm -rf "$context"' EXIT
ln ".cache/claude-code-$version/claude" "$context/claude" 2>/dev/null || cp ".cache/claude-code-$version/claude" "$context/claude"
case "$(uname -m)" in x86_64) platform=linux-x64 ;; *) platform=linux-arm64 ;; esac
awk -v p="$platform" '$2 == p { print $1 "  claude" }' snapshot/claude-code.sha256 >"$context/claude.sha256"
cp "$sandboxd" "$context/sandboxd"
cp snapshot/Dockerfile.slim "$context/"
echo "building $tag" >&2
# The classic builder: it is on every engine, and reaches what the host reaches.
if ! DOCKER_BUILDKIT=0 docker build --quiet --label "dayclaude/inputs=$inputs" -t "$tag" -f "$context/Dockerfile.slim" "$context" >"$context/log" 2>&1; then
	tail -n 30 "$context/log" >&2
	exit 1
fi
