package gate

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"github.com/dayclaude/dayclaude/internal/changeset"
	"github.com/dayclaude/dayclaude/internal/untrusted"
)

const (
	maxPath   = 1024 // bytes; Linux ends at 4096 with the checkout's own directory
	maxName   = 255  // bytes of one segment, what common file systems hold
	maxTarget = 1024 // bytes of a link
)

// badPath says why path is none that a git tree may hold, or "".
func badPath(path string) string {
	switch {
	case path == "":
		return "is empty"
	case len(path) > maxPath:
		return "is longer than 1024 bytes"
	case !utf8.ValidString(path):
		return "is not UTF-8"
	case path[0] == '/':
		return "is absolute"
	case strings.Contains(path, `\`):
		return "has a backslash, which separates directories on Windows"
	case strings.ContainsFunc(path, unicode.IsControl):
		return "has a control character"
	}
	for segment := range strings.SplitSeq(path, "/") {
		switch {
		case segment == "":
			return "has an empty segment"
		case segment == "." || segment == "..":
			return "has a segment that is . or .."
		case len(segment) > maxName:
			return "has a segment of more than 255 bytes"
		}
	}
	return ""
}

// isDotGit reports whether a file system may take segment for long: NTFS by
// case, trailing dots and spaces, a stream (".git::$INDEX_ALLOCATION"), or
// the short name it gives (git~1; fsck also knows gi7eba and its like, made
// from a hash, for .gitmodules); HFS+ by case and by leaving out
// characters that show nothing. The rules are git's own is_ntfs_dotgit,
// is_hfs_dotgit and verify_dotfile, a little wider.
func isDotGit(segment, long, short string) bool {
	s, _, _ := strings.Cut(fold(segment), ":")
	s = strings.TrimRight(s, ". ")
	if s == long || s == short {
		return true
	}
	// For .gitmodules NTFS counts to ~4, then makes names of a hash: gi7eba~1.
	prefix, number, ok := strings.Cut(s, "~")
	return ok && long != ".git" && number != "" && strings.Trim(number, "0123456789") == "" &&
		(strings.HasPrefix(prefix, "gi7e") || prefix == strings.TrimSuffix(short, "~1"))
}

// unportable says why Windows cannot check a segment out as it is written, or
// why it reads as something else, or "".
func unportable(segment string) string {
	stem, _, _ := strings.Cut(strings.ToLower(segment), ".")
	switch {
	case strings.HasSuffix(segment, ".") || strings.HasSuffix(segment, " "):
		return "ends with a dot or a space, which Windows drops"
	case strings.Contains(segment, ":"):
		return "has a colon, which names a hidden stream on Windows"
	case devices[strings.TrimRight(stem, " ")]:
		return "has the name of a Windows device"
	case strings.ContainsFunc(segment, misleading):
		return "has characters that are not seen and change how the name reads"
	}
	return ""
}

// misleading is untrusted.Invisible without the two joiners, which several
// scripts and emoji need.
func misleading(r rune) bool {
	return untrusted.Invisible(r) && r != '\u200c' && r != '\u200d'
}

// devices are the names that Windows gives to devices in every directory,
// with any extension ("Naming Files, Paths, and Namespaces", Microsoft).
var devices = func() map[string]bool {
	m := map[string]bool{"con": true, "prn": true, "aux": true, "nul": true, "conin$": true, "conout$": true}
	for _, n := range strings.Split("0123456789¹²³", "") {
		m["com"+n], m["lpt"+n] = true, true
	}
	return m
}()

// fold maps names that some file system takes for the same to one string: it
// ignores case (NTFS, APFS, HFS+), composition (APFS, HFS+) and characters
// that show nothing (HFS+).
func fold(path string) string {
	if !strings.ContainsFunc(path, func(r rune) bool { return r >= utf8.RuneSelf }) {
		return strings.ToLower(path)
	}
	path = strings.Map(func(r rune) rune {
		if untrusted.Invisible(r) {
			return -1
		}
		return r
	}, path)
	return norm.NFC.String(cases.Fold().String(norm.NFD.String(path)))
}

// links lists the paths that the changeset makes symbolic links.
func links(set *changeset.Set) map[string]bool {
	m := make(map[string]bool)
	for i := range set.Changes {
		if set.Changes[i].Mode == changeset.ModeSymlink {
			m[fold(set.Changes[i].Path)] = true
		}
	}
	return m
}

// badLink says why a symbolic link may not be published, or "". Its target
// must be relative and stay in the repository. ".." may stand at its front
// only: then no link on the way, known or not, can lead it out.
func (c *check) badLink(ch *changeset.Change) string {
	target := string(ch.Content)
	switch {
	case strings.HasPrefix(fold(name(ch.Path)), ".git"):
		return "is a file that git reads, which may not be a link"
	case len(target) > maxTarget:
		return "is a link of more than 1024 bytes"
	case target == "" || !utf8.ValidString(target) || strings.ContainsFunc(target, unicode.IsControl):
		return "is a link to nothing that can be written down"
	case target[0] == '/' || strings.ContainsAny(target, `\:`):
		return "is a link to an absolute path, or to one that Windows takes for such"
	}
	at := strings.Split(ch.Path, "/")
	at = at[:len(at)-1]
	down := false
	steps := strings.Split(strings.TrimSuffix(target, "/"), "/")
	for i, step := range steps {
		switch {
		case step == "" || step == ".":
		case step == ".." && down:
			return "is a link whose target goes down and up again"
		case step == ".." && len(at) == 0:
			return "is a link that leads out of the repository"
		case step == "..":
			at = at[:len(at)-1]
		case isDotGit(step, ".git", "git~1"):
			return "is a link into git's own directory"
		default:
			down = true
			at = append(slices.Clip(at), step)
			if i < len(steps)-1 && c.links[fold(strings.Join(at, "/"))] {
				return "is a link through another link of the same changes"
			}
		}
	}
	return ""
}
