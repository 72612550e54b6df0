#!/bin/sh
# Fetches GitHub's OpenAPI document (npm package @octokit/openapi) into
# .cache/octokit-openapi-VERSION/ and checks it against the sum below.
set -eu
version=23.0.2
sum=829b4bebb19a53133289f7b0bc819f4f1118115821db2ca9f25e9ee995a7da2a

root=$(cd "$(dirname "$0")/../../.." && pwd)
target=$root/.cache/octokit-openapi-$version
document=$target/api.github.com.json
matches() { [ "$(sha256sum "$1" 2>/dev/null | cut -d' ' -f1)" = "$sum" ]; }

if matches "$document"; then
	exit 0
fi
mkdir -p "$target"
work=$(mktemp -d "$target/fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
# The package unpacks to 400 MB: take the one file of 13 MB.
npm pack --silent --pack-destination "$work" "@octokit/openapi@$version" >/dev/null
tar -xzf "$work"/*.tgz -C "$work" package/generated/api.github.com.json
matches "$work/package/generated/api.github.com.json" || {
	echo "fetch-openapi.sh: the document of @octokit/openapi@$version has another SHA-256 than expected" >&2
	exit 1
}
mv "$work/package/generated/api.github.com.json" "$document"
