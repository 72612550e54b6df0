package sandboxd

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// marker is the variable in the environment of every process that a task
// starts. It holds the task's directory and the phase, is handed down, and so
// finds processes that left their group, also after sandboxd itself was
// killed.
const marker = "SANDBOXD_TASK"

// killPatience bounds the wait for killed processes: one stuck in the kernel
// cannot be killed.
const killPatience = 3 * time.Second

// killMarked kills the processes that carry a marker below dir, other than
// keep, and those they start meanwhile, until there are none.
func killMarked(dir, keep string) {
	deadline := time.Now().Add(killPatience)
	killed := map[int]bool{}
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		var found bool
		for _, pid := range marked(dir, keep) {
			found = syscall.Kill(pid, syscall.SIGKILL) == nil || found
			killed[pid] = true
		}
		for pid := range killed { // claude.Run made orphans our children
			if reaped, _ := syscall.Wait4(pid, nil, syscall.WNOHANG, nil); reaped == pid {
				delete(killed, pid)
			}
		}
		if !found || time.Now().After(deadline) {
			return
		}
		time.Sleep(pause)
	}
}

// marked lists live processes by their marker. Where there is no /proc there
// are none; a zombie's environment is empty.
func marked(dir, keep string) []int {
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	var pids []int
	for _, file := range files {
		env, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		for kv := range bytes.SplitSeq(env, []byte{0}) {
			value, ok := strings.CutPrefix(string(kv), marker+"=")
			if !ok {
				continue
			}
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			if err == nil && pid != os.Getpid() && value != keep && strings.HasPrefix(value, dir+"/") {
				pids = append(pids, pid)
			}
			break
		}
	}
	return pids
}
