#!/bin/sh
# Makes sure that Docker holds the base image that Dockerfile.slim starts
# from: pulled where a registry can be reached, else built from Debian's
# packages by debootstrap (as root).
set -eu
base=debian:bookworm-slim

docker image inspect "$base" >/dev/null 2>&1 && exit 0
timeout 60 docker pull --quiet "$base" >/dev/null 2>&1 && exit 0
if [ "$(id -u)" != 0 ] || ! command -v debootstrap >/dev/null; then
	echo "base-image: $base can't be pulled, and making it here takes root and debootstrap" >&2
	exit 1
fi
echo "making $base with debootstrap" >&2
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
if ! debootstrap --variant=minbase bookworm "$tmp/root" >"$tmp/log" 2>&1; then
	tail -n 20 "$tmp/log" >&2
	exit 1
fi
rm -rf "$tmp"/root/var/cache/apt/archives/*.deb "$tmp"/root/var/lib/apt/lists/*
tar -C "$tmp/root" -c . | docker import - "$base" >/dev/null
