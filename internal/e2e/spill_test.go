package e2e_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// needle is one spelling of a secret.
type needle struct {
	secret string // what to call it
	form   string
	text   []byte
}

// needlesOf are the spellings in which the secrets, by name, would be found:
// plain, hex, and base64 wherever the secret begins in what was encoded. Their
// characters are the same URL-encoded and in JSON. What is looked for is the
// random part, which stays when a prefix is cut off.
func needlesOf(secrets map[string]string) []needle {
	var all []needle
	for name, value := range secrets {
		if _, random, ok := strings.Cut(value, "CANARY"); ok {
			value = random
		}
		add := func(form, text string) { all = append(all, needle{name, form, []byte(text)}) }
		add("plain", value)
		add("lower case", strings.ToLower(value))
		add("hex", hex.EncodeToString([]byte(value)))
		add("HEX", strings.ToUpper(hex.EncodeToString([]byte(value))))
		for before := range 3 {
			text := base64.RawStdEncoding.EncodeToString(append(make([]byte, before), value...))
			// Without the characters that what stands around decides.
			add("base64", text[(before*8+5)/6:(before+len(value))*8/6])
		}
	}
	return all
}

// spill collects where secrets were seen. It is safe for concurrent use.
type spill struct {
	needles []needle

	mu     sync.Mutex
	seen   map[string]bool // "PLACE: SECRET (FORM)"
	places map[string]int  // bytes that were looked at, by place
}

func newSpill(secrets map[string]string) *spill {
	return &spill{needles: needlesOf(secrets), seen: make(map[string]bool), places: make(map[string]int)}
}

// look searches a text that was found at a place.
func (s *spill) look(place string, text []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.places[place] += len(text)
	for _, n := range s.needles {
		if bytes.Contains(text, n.text) {
			s.seen[fmt.Sprintf("%s: %s (%s)", place, n.secret, n.form)] = true
		}
	}
}

// add makes it look for more.
func (s *spill) add(secrets map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.needles = append(s.needles, needlesOf(secrets)...)
}

// stream is look for what is too large to be held.
func (s *spill) stream(place string, r io.Reader) error {
	const overlap = 256 // longer than any needle
	buf := make([]byte, 1<<20)
	kept := 0
	for {
		n, err := io.ReadFull(r, buf[kept:])
		s.look(place, buf[:kept+n])
		if err != nil {
			if err == io.EOF || err == io.ErrUnexpectedEOF {
				return nil
			}
			return err
		}
		kept = copy(buf, buf[len(buf)-overlap:])
	}
}

// tree looks at every file below a directory.
func (s *spill) tree(t *testing.T, place, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		s.look(place+" (names)", []byte(path))
		return s.stream(place, f)
	})
	if err != nil {
		t.Error(err)
	}
}

// hits are the places and secrets seen, sorted; with prefixes only those that
// begin with one.
func (s *spill) hits(prefixes ...string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := slices.Sorted(maps.Keys(s.seen))
	if len(prefixes) == 0 {
		return all
	}
	return slices.DeleteFunc(all, func(hit string) bool {
		return !slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(hit, p) })
	})
}

// looked fails the test if there was nothing to see at a place.
func (s *spill) looked(t *testing.T, places ...string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, place := range places {
		if s.places[place] == 0 {
			t.Errorf("nothing was looked at: %s", place)
		}
	}
}

// Places of the watch.
const (
	placeArguments   = "arguments of processes"
	placeEnvironment = "environments of processes"
)

// watch looks at the arguments and the environment of every process on this
// machine until stopped, at least once: those of the sandbox, the services and
// the command. The one environment left out is that of holder, which is given
// the keys in it. The function that it returns ends the watch.
func (s *spill) watch(holder int) (stop func()) {
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		known := make(map[string]bool) // most processes stay as they are
		look := func(place, file string) {
			text, err := os.ReadFile(file)
			if err != nil || known[place+string(text)] {
				return // it is gone
			}
			known[place+string(text)] = true
			s.look(place, text)
		}
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			entries, _ := filepath.Glob("/proc/[0-9]*")
			for _, dir := range entries {
				look(placeArguments, dir+"/cmdline")
				if dir != "/proc/"+strconv.Itoa(holder) {
					look(placeEnvironment, dir+"/environ")
				}
			}
			select {
			case <-end:
				return
			case <-tick.C:
			}
		}
	}()
	return sync.OnceFunc(func() { close(end); <-ended })
}

// processesOf are the live processes that carry a sandbox's id.
func processesOf(sandbox string) (pids []int) {
	entries, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range entries {
		env, err := os.ReadFile(dir + "/environ")
		pid, _ := strconv.Atoi(filepath.Base(dir))
		if err == nil && bytes.Contains(env, []byte("DAYTONA_SANDBOX_ID="+sandbox)) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// memoryOf calls each with the contents of a process's writable memory.
func memoryOf(pid int, each func([]byte)) error {
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return err
	}
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		return err
	}
	defer mem.Close()
	for line := range strings.Lines(string(maps)) {
		var from, to int64
		var mode string
		if n, _ := fmt.Sscanf(line, "%x-%x %s", &from, &to, &mode); n != 3 || !strings.HasPrefix(mode, "rw") || to-from > 256<<20 {
			continue
		}
		part := make([]byte, to-from)
		n, _ := mem.ReadAt(part, from) // a page that was never touched ends it
		each(part[:n])
	}
	return nil
}

// TestSpill: the search finds a secret in each of its spellings, across
// pieces, and in the arguments and environment of a process.
func TestSpill(t *testing.T) {
	t.Parallel()
	const random = "XQ3MTGZ5LXAV7TRYB2KKD4QDLE"
	secrets := map[string]string{"KEY": "ghp_CANARY" + random}
	key := secrets["KEY"]
	for name, text := range map[string]string{
		"as it is": "x" + key + "y", "lower case": strings.ToLower(key), "without its prefix": random,
		"hex": hex.EncodeToString([]byte("é" + key)), "HEX": strings.ToUpper(hex.EncodeToString([]byte(key))),
		"base64":        base64.StdEncoding.EncodeToString([]byte(key)),
		"base64 later":  base64.StdEncoding.EncodeToString([]byte("a:" + key + "\n")),
		"base64 latest": base64.URLEncoding.EncodeToString([]byte("abc " + key + "zz")),
	} {
		s := newSpill(secrets)
		s.look("here", []byte(text))
		if len(s.hits()) == 0 {
			t.Errorf("%s is not found: %s", name, text)
		}
	}
	s := newSpill(secrets)
	s.look("here", []byte("ghp_CANARY nothing of it "+random[:20]))
	if len(s.hits()) > 0 {
		t.Errorf("found what is not there: %v", s.hits())
	}
	long := strings.Repeat("-", 1<<20-10) + key + strings.Repeat("-", 1<<20)
	if err := s.stream("stream", strings.NewReader(long)); err != nil || len(s.hits("stream: KEY")) != 1 {
		t.Errorf("in a stream: %v, %v", s.hits(), err)
	}
}
