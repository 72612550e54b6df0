package sandboxd

import (
	"context"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// tools are the programs that tasks need, and the environment they get.
type tools struct {
	env      []string // what of our environment reaches processes
	path     []string // directories of PATH
	loopback string   // base URL of what the host lends; set while serving

	mu       sync.Mutex
	versions map[string]string // by path: asked once
}

var programs = []string{"bash", "claude", "git"}

// inherited lists the variables that processes get from our environment.
var inherited = []string{
	"PATH", "HOME", "LANG", "TZ", "USER", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "DAYTONA_SANDBOX_ID",
}

func newTools(environ []string) *tools {
	t := &tools{versions: map[string]string{}, env: []string{"TERM=dumb"}}
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		if slices.Contains(inherited, name) || strings.HasPrefix(name, "LC_") {
			t.env = append(t.env, kv)
		}
		if name == "PATH" {
			t.path = filepath.SplitList(value)
		}
	}
	return t
}

// find returns the path of a program, or "".
func (t *tools) find(name string) string {
	for _, dir := range t.path {
		path := filepath.Join(dir, name)
		info, err := os.Stat(path)
		if err == nil && filepath.IsAbs(path) && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path
		}
	}
	return ""
}

func (t *tools) found() map[string]bool {
	found := map[string]bool{}
	for _, name := range programs {
		found[name] = t.find(name) != ""
	}
	return found
}

// version returns the first line that each program prints for --version.
func (t *tools) version(ctx context.Context) map[string]string {
	t.mu.Lock()
	defer t.mu.Unlock()
	versions := map[string]string{}
	for _, name := range programs {
		path := t.find(name)
		if path != "" && t.versions[path] == "" {
			ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
			cmd := exec.CommandContext(ctx, path, "--version")
			cmd.Env, cmd.WaitDelay = t.env, time.Second
			out, _ := cmd.Output()
			cancel()
			line, _, _ := strings.Cut(string(out), "\n")
			t.versions[path] = headOf(strings.TrimSpace(line), 100)
		}
		versions[name] = t.versions[path]
	}
	return versions
}

// environ is what every process of a task gets: ours as far as it may know
// it, and the task's plain values.
func (t *tools) environ(values map[string]string) []string {
	env := slices.Clone(t.env)
	for _, name := range slices.Sorted(maps.Keys(values)) {
		env = append(env, name+"="+values[name])
	}
	return env
}

// gitConfig makes git reach the repositories below web through the tunnel,
// without a word of it in any file.
func (t *tools) gitConfig(web string) []string {
	here := "url." + t.loopback + "/git/.insteadOf"
	settings := [][2]string{
		{here, web},
		{"user.name", "dayclaude"}, {"user.email", "dayclaude@localhost"},
		{"credential.helper", ""},
	}
	if u, err := url.Parse(web); err == nil && u.Path == "/" {
		settings = append(settings, [2]string{here, "git@" + u.Hostname() + ":"}, [2]string{here, "ssh://git@" + u.Hostname() + "/"})
	}
	env := []string{"GIT_TERMINAL_PROMPT=0", "GIT_CONFIG_COUNT=" + strconv.Itoa(len(settings))}
	for i, kv := range settings {
		n := strconv.Itoa(i)
		env = append(env, "GIT_CONFIG_KEY_"+n+"="+kv[0], "GIT_CONFIG_VALUE_"+n+"="+kv[1])
	}
	return env
}

// openRegular opens a regular file for reading; a link, a pipe or a device in
// its place is an error and never blocks.
func openRegular(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &os.PathError{Op: "open", Path: path, Err: syscall.EINVAL}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
